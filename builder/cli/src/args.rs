//! The command line as typed. Each verb's own arguments are in the verb's file.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::builder::{Resettable, StyledStr};
use clap::{Command, CommandFactory, Parser, Subcommand};

use crate::verbs;

/// Verbs that are programs of their own, found beside this one as git finds its verbs.
const BESIDE: &str =
    "Programs beside it:\n  run        Run an image without an engine: train, generate, or anything else";

/// Fine-tune models on the device: images in, versions out.
#[derive(Debug, Parser)]
#[command(name = "hone", version, about, arg_required_else_help = true, after_help = BESIDE)]
pub struct Args {
    /// Where images, versions and staging directories are [default: /var/lib/hone for root, else ~/.local/share/hone]
    #[arg(long, global = true, value_name = "DIR", env = "HONE_ROOT")]
    pub root: Option<PathBuf>,
    /// Tell on standard error what is done, step by step; RUST_LOG says more exactly of what, e.g. hone_registry=trace
    #[arg(short = 'D', long, global = true)]
    pub debug: bool,
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
}

/// Every verb of this program.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Build an image from a Honefile
    Build(verbs::build::Build),
    /// Make a Honefile of AIKit's fine-tune YAML or a Modelfile
    Convert(verbs::convert::Convert),
    /// List images
    Images(verbs::images::Images),
    /// Show what an image is made of
    Inspect(verbs::inspect::Inspect),
    /// List the versions of a lineage, newest first, and the runs that were refused
    Log(verbs::log::Log),
    /// Give an image another name
    Tag(verbs::tag::Tag),
    /// Remove a name or a version, and what nothing needs any more
    Rm(verbs::rm::Rm),
    /// Remove what nothing needs any more: blobs, unpacked layers, downloads that did not end
    Prune(verbs::prune::Prune),
    /// Make a version the current one of its lineage
    Promote(verbs::promote::Promote),
    /// Go back to the version that was current before
    Rollback(verbs::rollback::Rollback),
    /// Write an image to an OCI layout or an archive
    Save(verbs::save::Save),
    /// Copy an image from anywhere to anywhere: registries, layouts, archives, engines
    Copy(verbs::copy::Copy),
    /// Send an image to a registry
    Push(verbs::push::Push),
    /// Fetch an image from a registry
    Pull(verbs::pull::Pull),
    /// Tell a registry who you are, and keep that for every verb
    Login(verbs::login::Login),
    /// Forget who you are at a registry
    Logout(verbs::login::Logout),
    /// Read an image from an archive, a layout or an engine
    Load(verbs::load::Load),
    /// Re-hash an image and check every claim that is made of it
    Verify(verbs::verify::Verify),
    /// Look at and remove what runs left behind
    Staging(verbs::staging::Staging),
    /// Seal, commit and publish the adapter of a finished run (called by runtimes)
    Commit(verbs::commit::Commit),
    /// Make trainers
    Trainer(verbs::trainer::Trainer),
    /// Tell an engine of Hone's runtime
    Install(verbs::install::Install),
    /// Make an engine forget Hone's runtime
    Uninstall(verbs::install::Uninstall),
    /// Print the completion script of a shell
    Completion(verbs::completion::Completion),
    /// Write the manual pages to a directory
    #[command(hide = true)]
    Man(verbs::man::Manual),
    /// A program `hone-<verb>` beside this one, e.g. `hone run`
    #[command(external_subcommand)]
    External(Vec<OsString>),
}

/// The whole command line, as completions and the manual show it: what other programs read is a verb like any other.
pub fn with_programs_beside() -> Command {
    let run = hone_commands::run::Args::command().name("run").about("Run an image without an engine");
    Args::command().subcommand(run).after_help(Resettable::<StyledStr>::Reset)
}
