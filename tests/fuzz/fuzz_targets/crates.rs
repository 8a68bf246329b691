//! The list of crates in a trainer, and the bills of materials that are made of it.
#![no_main]

use hone_contract::Digest;
use hone_sbom::{self as sbom, File, ImageName, Inventory, Trainer};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let crates = match sbom::crates(bytes) {
        Ok(crates) => crates,
        Err(error) => return assert!(!error.to_string().is_empty()),
    };
    let digest = Digest::of(b"");
    let file = File { path: "/hone/bin/train".into(), digest, size: 1 };
    let trainer =
        |crates| Trainer { name: "t".into(), digest, programs: vec![file.clone()], libraries: vec![], crates };
    let inventory = |crates| Inventory {
        image: ImageName { name: "a:b".into(), digest },
        model: None,
        tokenizer: vec![],
        job: None,
        trainer: Some(trainer(crates)),
    };
    let backwards: Vec<_> = crates.iter().rev().cloned().collect();
    let (forth, back) = (inventory(crates), inventory(backwards));
    for write in [sbom::spdx, sbom::cyclonedx] {
        let document = write(&forth, &sbom::date(0));
        assert!(serde_json::from_slice::<serde_json::Value>(&document).is_ok());
        assert_eq!(document, write(&back, &sbom::date(0)), "the order in which crates were listed shows");
    }
});
