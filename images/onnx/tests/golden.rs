//! Gradients and losses against PyTorch's, for every family and both ends of the memory dial.

mod common;

use hone_train::engine::Dial;
use hone_train::layers::Residence;

fn check(family: &str, activations: u64) {
    let dir = common::fixture(&format!("golden/{family}"));
    let dial = Dial { residence: Residence::Stream, activations };
    let report = hone_train::golden::run(&common::runtime(), &dir, dial).unwrap();
    assert!(report.grad_max_rel_err < 1e-3, "{family}: {report:?}");
    assert!(report.loss_max_abs_dev < 1e-3, "{family}: {report:?}");
    assert_eq!(report.steps, 20);
}

#[test]
fn llama_with_kept_activations() {
    check("llama", u64::MAX);
}

#[test]
fn llama_computing_layers_again() {
    check("llama", 0);
}

#[test]
fn qwen2_with_kept_activations() {
    check("qwen2", u64::MAX);
}

#[test]
fn qwen2_computing_layers_again() {
    check("qwen2", 0);
}

#[test]
fn qwen3_with_kept_activations() {
    check("qwen3", u64::MAX);
}

#[test]
fn qwen3_computing_layers_again() {
    check("qwen3", 0);
}
