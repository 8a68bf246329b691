//! `hone-runtime`: an OCI runtime with runc's command line. Reads it, does one operation, says what went wrong.

use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser as _;
use hone_contract::chain;
use hone_runtime::cli::{Cli, Verb};
use hone_runtime::error::{Result, RuntimeError};
use hone_runtime::state::{Container, OCI_VERSION};
use hone_runtime::verbs::{self, Context};
use hone_runtime::{sealed, signal};

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help goes to standard output with code 0; a mistake is 1 as with runc, not clap's 2.
            let code = u8::from(error.use_stderr());
            let _ = error.print();
            return ExitCode::from(code);
        }
    };
    if cli.global.version {
        return print(&version()).map_or(ExitCode::FAILURE, |()| ExitCode::SUCCESS);
    }
    let ctx = match Context::new(&cli.global) {
        Ok(ctx) => ctx,
        Err(error) => {
            hone_contract::tell(std::io::stderr(), &chain(&error));
            return ExitCode::FAILURE;
        }
    };
    let Some(verb) = cli.command else { return ExitCode::FAILURE };
    let (prefix, failure) = words(&verb);
    match perform(&ctx, &verb) {
        // Codes of a container are one byte.
        Ok(code) => ExitCode::from(code as u8),
        Err(error) => {
            // Of hooks, the process that waits in libcontainer tells.
            if !matches!(verb, Verb::HostHooks(_)) {
                ctx.log.fatal(&format!("{prefix}{}", chain(&error)));
            }
            ExitCode::from(failure)
        }
    }
}

/// What goes before an error's text, and the exit code: runc's, which engines know.
fn words(verb: &Verb) -> (&'static str, u8) {
    match verb {
        Verb::Create(_) => ("hone-runtime create failed: ", 1),
        Verb::Run(_) => ("hone-runtime run failed: ", 1),
        Verb::Exec(_) => ("exec failed: ", 255),
        _ => ("", 1),
    }
}

fn perform(ctx: &Context, verb: &Verb) -> Result<i32> {
    if matches!(verb, Verb::Create(_) | Verb::Run(_) | Verb::Exec(_)) {
        sealed::ensure()?;
    }
    match verb {
        Verb::Create(args) => verbs::create::create(ctx, &args.id, &verbs::run::options(args)).map(|_| 0),
        Verb::Run(args) => verbs::run::run(ctx, args),
        Verb::Exec(args) => verbs::exec::exec(ctx, args),
        other => simple(ctx, other).map(|()| 0),
    }
}

fn simple(ctx: &Context, verb: &Verb) -> Result<()> {
    match verb {
        Verb::Start(args) => verbs::start::start(ctx, &mut Container::load(&ctx.root, &args.id)?),
        Verb::State(args) => print(&verbs::state::state(ctx, &args.id)?),
        Verb::Kill(args) => {
            let signal = args.signal.as_deref().map_or(Ok(signal::TERM), signal::parse)?;
            verbs::kill::kill(ctx, &args.id, signal, args.all)
        }
        Verb::Delete(args) => verbs::delete::delete(ctx, &args.id, args.force),
        Verb::Ps(args) => print(&verbs::ps::ps(ctx, args)?),
        Verb::List(args) => print(&verbs::list::list(ctx, args)?),
        Verb::Pause(args) => verbs::freeze::pause(ctx, &args.id),
        Verb::Resume(args) => verbs::freeze::resume(ctx, &args.id),
        Verb::Update(args) => verbs::update::update(ctx, args),
        Verb::Events(args) => verbs::events::events(ctx, args),
        Verb::Spec(args) => verbs::spec::spec(args),
        Verb::Features => print(&format!("{:#}\n", verbs::features::features())),
        Verb::Man(args) => verbs::man::man(&args.dir),
        Verb::HostHooks(args) => verbs::host_hooks::host_hooks(ctx, &args.id),
        Verb::Create(_) | Verb::Run(_) | Verb::Exec(_) => Ok(()),
    }
}

fn print(text: &str) -> Result<()> {
    std::io::stdout().write_all(text.as_bytes()).map_err(RuntimeError::call("print"))
}

/// runc's shape: engines read the first word and the lines' names.
fn version() -> String {
    format!("hone-runtime version {}\nspec: {OCI_VERSION}\nlibcontainer: youki 0.7\n", env!("CARGO_PKG_VERSION"))
}
