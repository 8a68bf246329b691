//! `hone-frontend`: a BuildKit gateway frontend. A Honefile that begins with `# syntax=REGISTRY/hone/frontend` is built by
//! `docker build`, `buildx`, `nerdctl build` and `buildctl`, and gives what `hone build` gives.
//!
//! Started without arguments, it talks to BuildKit over standard input and output ([`bridge`]) and builds ([`build`]).
//! With arguments it is one of its own steps ([`steps`]), run by BuildKit in a container without a network. Nothing is
//! written but what BuildKit keeps; nothing is fetched but by BuildKit.

mod bridge;
mod build;
mod context;
mod error;
mod exchange;
mod image;
mod llb;
mod options;
mod proto;
mod steps;
mod trainer;

use std::io::IsTerminal;
use std::process::ExitCode;

use crate::bridge::Bridge;
use crate::options::Options;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let done = match args.as_slice() {
        [] if std::io::stdin().is_terminal() => Err("this is a BuildKit frontend: write `# syntax=IMAGE` into the first line of a Honefile, and `docker build -f Honefile .`".to_owned()),
        [] => frontend(),
        args => steps::run(args).map_err(|error| hone_contract::chain(&error)),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            hone_contract::tell(std::io::stderr(), &format!("hone-frontend: {message}"));
            ExitCode::FAILURE
        }
    }
}

/// A build that fails is told to BuildKit; this fails when that fails.
fn frontend() -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|e| e.to_string())?;
    let told = runtime.block_on(async {
        let mut bridge = Bridge::stdio();
        let result = match Options::of(std::env::vars()) {
            Ok(options) => build::build(&mut bridge, &options).await,
            Err(error) => Err(error),
        };
        bridge.give(result).await
    });
    // A thread that waits for input would hold the end up for ever.
    runtime.shutdown_background();
    told.map_err(|status| format!("tell BuildKit the result: {}", status.message()))
}
