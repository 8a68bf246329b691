//! One run, from the command line to the exit code.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};

use hone_contract::{Reference, chain, quoted_path};
use hone_image::{Image, claim};
use hone_store::{Reading, Store, this_machine};

use crate::bundle::{self, Process};
use crate::container::{self, Start};
use crate::error::RunError;
use crate::outcome::{self, Ended};
use crate::rootfs::{Bundle, private_dir};
use crate::snapshot::Snapshots;
use crate::{data, identity, snapshot, user};
use hone_commands::run::Args;

/// The image that was asked for, and what it would do.
struct Subject {
    store: Store,
    image: Image,
    reference: String,
    command: Vec<String>,
    trains: bool,
    /// Whether a good end is to become a version.
    commits: bool,
}

/// A training run's identity, and the lock that keeps a second one out.
struct Training {
    run: String,
    staging: PathBuf,
    _lock: File,
}

/// Runs the container and gives the code to exit with.
pub(crate) fn run(args: &Args) -> Result<u8, RunError> {
    if !rustix::process::geteuid().is_root() {
        return Err(RunError::NotRoot);
    }
    let (args, runtime) = (&absolute(args)?, container::runtime());
    let store = Store::at(&args.root);
    // Nothing of the image goes before its layers are unpacked.
    let held = store.reading()?;
    let subject = subject(args, store)?;
    if subject.trains {
        // Told before layers are unpacked, which may take a while.
        data::source(&args.volumes, &subject.reference)?;
        if let Some(note) = disbelieved(&subject) {
            crate::tell(&format!("note: {note}"));
        }
    }
    let snapshots = unpacked(&subject, held)?;
    let container = args.name.clone().unwrap_or_else(made_up_name);
    let bundle = Bundle::new(subject.store.root(), &container)?;
    bundle.mount(&subject.store.unpacked(), &snapshots.layers)?;
    let process = process(args, &subject, &bundle, &container)?;
    let training = training(args, &subject, &process)?;
    let config = bundle::config(args, &container, &process)?;
    let path = bundle.path().join("config.json");
    fs::write(&path, config.to_string()).map_err(RunError::io("write", &path))?;
    let start = Start {
        runtime: &runtime,
        root: subject.store.root(),
        image: &format!("{}@{}", subject.reference, subject.image.config().digest()),
        staging: training.as_ref().map(|training| training.run.as_str()),
        bundle: bundle.path(),
        container: &container,
    };
    let code = container::run(&start)?;
    match training {
        None => Ok(code),
        Some(training) => report(&subject, &training, code),
    }
}

/// Unpacks the image's layers, and lets go of the store. What was passed over in it since it is damaged is told.
fn unpacked(subject: &Subject, held: Reading) -> Result<Snapshots, RunError> {
    let snapshots = snapshot::prepare(&subject.store, &subject.image)?;
    drop(held);
    for problem in subject.store.problems() {
        crate::tell(&format!("warning: {problem}"));
    }
    Ok(snapshots)
}

/// The same arguments with paths that do not depend on the working directory.
fn absolute(args: &Args) -> Result<Args, RunError> {
    let full = |path: &Path| std::path::absolute(path).map_err(RunError::io("resolve", path));
    let mut args = args.clone();
    args.root = full(&args.root)?;
    for volume in &mut args.volumes {
        volume.source = full(&volume.source)?;
    }
    Ok(args)
}

fn subject(args: &Args, store: Store) -> Result<Subject, RunError> {
    let resolved = store.resolve(&args.image)?;
    let named = |r: &&Reference| args.image.parse::<Reference>().is_ok_and(|asked| asked == **r);
    let reference = resolved.references.iter().find(named).or(resolved.references.first());
    let reference = reference.map_or_else(|| args.image.clone(), ToString::to_string);
    let config = resolved.image.config().value();
    let (got, want) = (config.platform(), this_machine());
    if !want.runs(&got) {
        return Err(RunError::Platform { image: reference, got: got.to_string(), want: want.to_string() });
    }
    let mut command = config.config.command_line();
    if !args.arguments.is_empty() {
        command = config.config.entrypoint.clone().unwrap_or_default();
        command.extend(args.arguments.iter().cloned());
    }
    if command.is_empty() {
        return Err(RunError::NoCommand(reference));
    }
    let job = store.job_of(&resolved.image)?;
    let trains = job.as_ref().is_some_and(|job| job.trains(&command));
    let commits = job.is_some_and(|job| job.adapter.commit);
    Ok(Subject { store, image: resolved.image, reference, command, trains, commits })
}

/// What is said of an image whose labels call it a version that it is not: they decide nothing.
fn disbelieved(subject: &Subject) -> Option<String> {
    let name = subject.reference.parse::<Reference>().ok()?;
    match subject.store.membership(&name, &subject.image) {
        Ok(Some(_)) => None,
        Ok(None) => claim::disbelieved(&name, subject.image.config().value()),
        // Its base, that is, cannot be read, which is for the commit to say.
        Err(error) => Some(format!("whether image {name} is a version is not known: {}", chain(&error))),
    }
}

fn process(args: &Args, subject: &Subject, bundle: &Bundle, container: &str) -> Result<Process, RunError> {
    let config = &subject.image.config().value().config;
    let user = args.user.as_deref().or(config.user.as_deref()).unwrap_or_default();
    let cwd = config.working_dir.clone().filter(|dir| !dir.is_empty()).unwrap_or_else(|| "/".to_owned());
    Ok(Process {
        args: subject.command.clone(),
        env: bundle::environment(config.env.as_deref().unwrap_or_default(), &args.env, container),
        cwd,
        user: user::resolve(&bundle.rootfs(), user)?,
    })
}

/// Finds out which run this is, and makes its staging ready: as it was left, or empty.
fn training(args: &Args, subject: &Subject, process: &Process) -> Result<Option<Training>, RunError> {
    if !subject.trains {
        return Ok(None);
    }
    let data = data::files(data::source(&args.volumes, &subject.reference)?, &process.user)?;
    if let Some(first) = data.special.first() {
        let (more, first) = (data.special.len(), quoted_path(first));
        crate::tell(&format!(
            "data {first}: a FIFO, socket or device, which is no data and was not read ({more} such in all)"
        ));
    }
    let run = identity::run_id(subject.image.config().digest(), &subject.reference, &data.files);
    let lock = exclusive(subject.store.root(), &run)?;
    let staging = subject.store.root().join("staging").join(&run);
    if args.fresh {
        hone_files::remove(&staging).map_err(RunError::io("remove", &staging))?;
    }
    outcome::forget_attempt(&staging)?;
    if staging.join("out/checkpoint").exists() {
        crate::tell("resuming from checkpoint");
    }
    Ok(Some(Training { run, staging, _lock: lock }))
}

/// The lock of a run; it stays when the run is over, a few bytes that the next one needs.
fn exclusive(root: &Path, run: &str) -> Result<File, RunError> {
    let dir = root.join("locks");
    private_dir(&dir)?;
    let path = dir.join(run);
    let file = File::create(&path).map_err(RunError::io("make", &path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(RunError::Running(run.to_owned())),
        Err(TryLockError::Error(error)) => Err(RunError::io("lock", &path)(error)),
    }
}

fn report(subject: &Subject, training: &Training, code: u8) -> Result<u8, RunError> {
    outcome::report(&Ended {
        store: &subject.store,
        image: &subject.image,
        run: &training.run,
        staging: &training.staging,
        commits: subject.commits,
        code,
    })
}

/// Unlike any other that runs now: process ids are, and the clock tells this one from its predecessors.
fn made_up_name() -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    format!("hone-{}-{:x}", std::process::id(), now.as_millis())
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use hone_image::image::BaseImage;
    use hone_image::oci::{ImageConfig, Manifest, Sealed};
    use hone_image::{Pack, media};

    use super::*;

    /// A store with an image `a:b` that says that it runs on this.
    fn found(os: &str, architecture: &str, variant: Option<&str>) -> Result<Subject, RunError> {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::at(dir.path());
        let base = Image::base(BaseImage {
            name: "a".into(),
            architecture: architecture.into(),
            variant: variant.map(str::to_owned),
            config: hone_image::oci::RuntimeConfig { cmd: Some(vec!["x".into()]), ..Default::default() },
            layers: vec![],
            annotations: Default::default(),
        });
        let config = Sealed::new(ImageConfig { os: os.into(), ..base.config().value().clone() });
        let manifest = Manifest::new(config.descriptor(media::CONFIG), vec![], Default::default());
        let image = Image::join(Sealed::new(manifest), config).unwrap();
        store.ingest().unwrap().put_pack(&"a:b".parse().unwrap(), &Pack::alone(image)).unwrap();
        subject(&Args::parse_from(["hone run", "a:b"]), Store::at(dir.path()))
    }

    #[test]
    fn only_what_this_machine_runs_is_run() {
        let here = this_machine();
        assert!(found("linux", &here.architecture, None).is_ok() || here.architecture == "arm");
        for (os, architecture, variant) in [
            ("windows", here.architecture.as_str(), None),
            ("linux", "another", None),
            ("unknown", "unknown", None),
            ("linux", here.architecture.as_str(), Some("v99")),
        ] {
            let error = found(os, architecture, variant).err().expect(os).to_string();
            assert!(error.contains(&format!("made for {os}/{architecture}")), "{error}");
            assert!(error.ends_with(&format!("this machine is {here}")), "{error}");
        }
    }
}
