//! The verbs, one file each: arguments, and what `run` does with them.

pub mod build;
pub mod commit;
pub mod completion;
pub mod convert;
pub mod copy;
pub mod images;
pub mod inspect;
pub mod install;
pub mod load;
pub mod log;
pub mod login;
pub mod man;
pub mod promote;
pub mod prune;
pub mod pull;
pub mod push;
pub mod rm;
pub mod rollback;
pub mod save;
pub mod staging;
pub mod tag;
pub mod trainer;
pub mod verify;

use std::path::PathBuf;
use std::process::ExitCode;

use hone_store::Store;

use crate::args::{Args, Verb};
use crate::external;
use crate::failure::Failure;
use crate::{output, root};

/// Does what was typed.
pub fn run(args: Args) -> Result<ExitCode, Failure> {
    let given = args.root.clone();
    let store = root::store(args.root);
    let done = dispatch(args.verb, &store, given);
    // One bad entry or record hides no other, and is named.
    for problem in store.problems() {
        output::tell(&format!("hone: warning: {problem}"));
    }
    done
}

fn dispatch(verb: Verb, store: &Store, given: Option<PathBuf>) -> Result<ExitCode, Failure> {
    match verb {
        Verb::Build(verb) => verb.run(store)?,
        Verb::Convert(verb) => verb.run(store)?,
        Verb::Images(verb) => verb.run(store)?,
        Verb::Inspect(verb) => verb.run(store)?,
        Verb::Log(verb) => verb.run(store)?,
        Verb::Tag(verb) => verb.run(store)?,
        Verb::Rm(verb) => verb.run(store)?,
        Verb::Prune(verb) => verb.run(store)?,
        Verb::Promote(verb) => verb.run(store)?,
        Verb::Rollback(verb) => verb.run(store)?,
        Verb::Save(verb) => verb.run(store)?,
        Verb::Copy(verb) => verb.run(store)?,
        Verb::Push(verb) => verb.run(store)?,
        Verb::Pull(verb) => verb.run(store)?,
        Verb::Login(verb) => verb.run()?,
        Verb::Logout(verb) => verb.run()?,
        Verb::Load(verb) => verb.run(store)?,
        Verb::Verify(verb) => return verb.run(store),
        Verb::Staging(verb) => verb.run(store)?,
        Verb::Commit(verb) => verb.run(store)?,
        Verb::Trainer(verb) => verb.run(store)?,
        Verb::Install(verb) => verb.run(store)?,
        Verb::Uninstall(verb) => verb.run(store)?,
        Verb::Completion(verb) => verb.run()?,
        Verb::Man(verb) => verb.run()?,
        Verb::External(args) => match external::exec(&args, given)? {},
    }
    Ok(ExitCode::SUCCESS)
}
