//! Training containers: finds the job, prepares the run's staging directory, checks the fence, starts the keeper.

use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use hone_contract::Digest;
use hone_contract::job::{JOB_PATH, Job, MAX_JOB_BYTES};
use hone_contract::run::{Engine, ImageRef, RunRecord};
use hone_keeper::Staging;
use oci_spec::runtime::{LinuxIdMapping, LinuxNamespaceType, Spec};

use crate::bundle::rootfs;
use crate::edits::{fence, has_namespace};
use crate::error::{Result, RuntimeError};
use crate::log::Logger;
use crate::outside;

/// The annotation that podman puts on its containers.
const MANAGER: (&str, &str) = ("io.container.manager", "libpod");

/// Hone's own options.
#[derive(Debug, Clone, Default)]
pub struct HoneOptions {
    /// The store's root.
    pub root: PathBuf,
    /// `--hone-engine`.
    pub engine: Option<String>,
    /// `--hone-image`.
    pub image: Option<String>,
    /// `--hone-staging`.
    pub staging: Option<String>,
}

/// The job that this configuration would train, if it is a training container's.
///
/// # Errors
/// When the image has a job that cannot be read: it must not run as if it had none.
pub fn job_of(spec: &Spec) -> Result<Option<Job>> {
    let Some(bytes) = hone_sys::read_in_root(&rootfs(spec), Path::new(JOB_PATH), MAX_JOB_BYTES)? else {
        return Ok(None);
    };
    let job = Job::parse(&bytes)?;
    let args = spec.process().as_ref().and_then(|p| p.args().clone()).unwrap_or_default();
    Ok(job.trains(&args).then_some(job))
}

/// A training run that is being prepared.
pub struct Run {
    staging: Staging,
    new: bool,
    status: OwnedFd,
    fenced: bool,
}

impl Run {
    /// Makes the staging directory and the status pipe; returns the edited configuration and the pipe's write end.
    ///
    /// # Errors
    /// When the caller asked for what a training container cannot have, or the directory cannot be made.
    pub fn prepare(
        spec: Spec,
        job: &Job,
        id: &str,
        bundle: &Path,
        options: &HoneOptions,
    ) -> Result<(Self, Spec, OwnedFd)> {
        let (uid, gid) = owner(&spec)?;
        let engine = engine_of(&spec, bundle, id, options)?;
        let image = options.image.as_deref().map(image_ref).transpose()?;
        let staging = Staging::of(&options.root, options.staging.as_deref().unwrap_or(id))?;
        let fenced = !fence::wants_engine_network(&spec);
        let spec = edit(spec, job, &staging)?;
        let pipe = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC);
        let (status, write) = pipe.map_err(RuntimeError::call("make the status pipe"))?;
        let new = staging.prepare(uid, gid)?;
        if has_namespace(&spec, LinuxNamespaceType::User) {
            staging.let_through()?;
        }
        staging.set_run(&RunRecord { id: id.into(), engine, image, job: job.clone() })?;
        Ok((Self { staging, new, status, fenced }, spec, write))
    }

    /// Takes the staging directory back, when this run made it and never began.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub fn abandon(&self) -> Result<()> {
        if self.new { Ok(self.staging.remove()?) } else { Ok(()) }
    }

    /// The staging directory.
    pub fn dir(&self) -> &Path {
        self.staging.dir()
    }

    /// Checks the fence of the container's process and leaves a keeper with it.
    ///
    /// # Errors
    /// When an interface is found, or the keeper does not start: the container must then not start either.
    pub fn guard(&self, pid: i32, cgroup: Option<PathBuf>, log: &Logger) -> Result<()> {
        if self.fenced {
            let found = outside::interfaces(pid)?;
            if !found.is_empty() {
                let text = format!("network interfaces {found:?} in its namespace, want none but loopback");
                return Err(RuntimeError::Fence(text));
            }
        }
        self.start_keeper(pid, cgroup, log)
    }

    fn start_keeper(&self, pid: i32, cgroup: Option<PathBuf>, log: &Logger) -> Result<()> {
        let program = crate::sealed::origin()?.with_file_name("hone-keeper");
        // The keeper takes the descriptor by number; this process has one thread, so nobody else inherits it.
        rustix::io::fcntl_setfd(self.status.as_fd(), rustix::io::FdFlags::empty())
            .map_err(RuntimeError::call("hand the status pipe over"))?;
        let mut command = Command::new(&program);
        command.arg("--staging").arg(self.staging.dir());
        command.arg("--status-fd").arg(self.status.as_raw_fd().to_string()).arg("--pid").arg(pid.to_string());
        if let Some(dir) = cgroup {
            command.arg("--cgroup").arg(dir);
        }
        if let Some(path) = &log.file().path {
            let format = if log.file().format == hone_keeper::report::Format::Json { "json" } else { "text" };
            command.arg("--log").arg(path).arg("--log-format").arg(format);
        }
        let output = command.stdin(Stdio::null()).output();
        let output = output.map_err(|error| RuntimeError::Keeper(format!("{program:?}: {error}")))?;
        if output.status.success() {
            return Ok(());
        }
        Err(RuntimeError::Keeper(String::from_utf8_lossy(&output.stderr).trim().to_owned()))
    }
}

fn edit(spec: Spec, job: &Job, staging: &Staging) -> Result<Spec> {
    let root = rootfs(&spec);
    let resolve = |path: &Path| hone_sys::resolve_in_root(&root, path);
    let with = fence::Training { job, out: &staging.out(), resolve: &resolve };
    fence::training(spec, &with).map_err(|error| RuntimeError::Fence(error.to_string()))
}

/// Who owns `out/` on the host: the container's user, through its user namespace.
fn owner(spec: &Spec) -> Result<(u32, u32)> {
    let user = spec.process().as_ref().map(|p| p.user().clone()).unwrap_or_default();
    let linux = spec.linux().as_ref();
    let map = |maps: Option<&Vec<LinuxIdMapping>>, id: u32| match maps {
        Some(maps) if !maps.is_empty() => on_host(maps, id)
            .ok_or_else(|| RuntimeError::Spec(format!("user or group {id} is not mapped in the user namespace"))),
        _ => Ok(id),
    };
    let uid = map(linux.and_then(|l| l.uid_mappings().as_ref()), user.uid())?;
    let gid = map(linux.and_then(|l| l.gid_mappings().as_ref()), user.gid())?;
    Ok((uid, gid))
}

fn on_host(maps: &[LinuxIdMapping], id: u32) -> Option<u32> {
    let map = maps.iter().find(|m| id >= m.container_id() && id - m.container_id() < m.size())?;
    map.host_id().checked_add(id - map.container_id())
}

/// `REF@sha256:...`: what the user called the image, which may be the digits of a digest or have one itself, and the digest
/// of the image's configuration. So it is no `Pinned`, and the last `@` counts.
fn image_ref(text: &str) -> Result<ImageRef> {
    let bad = || RuntimeError::Usage(format!("read --hone-image {text:?}: want NAME:TAG@sha256:<config digest>"));
    let (reference, digest) = text.rsplit_once('@').ok_or_else(bad)?;
    let config: Digest = digest.parse().map_err(|_| bad())?;
    Ok(ImageRef { reference: reference.into(), config })
}

/// The engine that asked for the container.
fn engine_of(spec: &Spec, bundle: &Path, id: &str, options: &HoneOptions) -> Result<Engine> {
    let manager = spec.annotations().as_ref().and_then(|a| a.get(MANAGER.0)).map(String::as_str);
    match options.engine.as_deref() {
        Some("embedded") => Ok(Engine::Embedded),
        Some("none") => Ok(Engine::None),
        Some("podman") => podman(spec, bundle, id),
        None if manager == Some(MANAGER.1) => podman(spec, bundle, id),
        None => Ok(Engine::None),
        Some(other) => match other.strip_prefix("docker=") {
            Some(host) => Ok(Engine::Docker { host: host.into() }),
            None => Err(RuntimeError::Usage(format!(
                "read --hone-engine {other:?}: want embedded, docker=ADDRESS, podman or none"
            ))),
        },
    }
}

/// podman's bundle is `GRAPHROOT/<driver>-containers/<id>/userdata`; files of the same container that it mounts from
/// elsewhere lie below the run root.
fn podman(spec: &Spec, bundle: &Path, id: &str) -> Result<Engine> {
    let graphroot = storage_root(bundle, id);
    let graphroot =
        graphroot.ok_or_else(|| RuntimeError::Usage(format!("find podman's storage: {bundle:?} is not below it")))?;
    let sources = spec.mounts().iter().flatten().filter_map(|m| m.source().as_deref());
    let runroot = sources.filter_map(|source| storage_root(source, id)).find(|root| *root != graphroot);
    let text = |path: &Path| path.display().to_string();
    Ok(Engine::Podman { runroot: text(&runroot.unwrap_or_else(|| graphroot.clone())), graphroot: text(&graphroot) })
}

fn storage_root(path: &Path, id: &str) -> Option<PathBuf> {
    let own = path.ancestors().find(|dir| dir.file_name().is_some_and(|name| name == id))?;
    let driver = own.parent()?;
    let is_driver = driver.file_name().is_some_and(|name| name.to_string_lossy().ends_with("-containers"));
    driver.parent().filter(|_| is_driver).map(Path::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The job of an image that `hone build` made when contract 1 was new.
    const RECORDED: &str = include_str!("../../../tests/fixtures/contract/v1/job.json");

    /// What is found in a root file system whose job is this text.
    fn found(job: &str, args: &[&str]) -> Result<Option<Job>> {
        let root = tempfile::tempdir().expect("tempdir");
        std::fs::create_dir(root.path().join("hone")).expect("mkdir");
        std::fs::write(root.path().join("hone/job.json"), job).expect("write");
        let config = serde_json::json!({
            "ociVersion": "1.0.2", "root": {"path": root.path()}, "process": {"cwd": "/", "args": args, "user": {"uid": 0, "gid": 0}}
        });
        job_of(&serde_json::from_value(config).expect("spec"))
    }

    #[test]
    fn recorded_images_and_those_of_tomorrow_train() {
        let train = ["/bin/train", "all"];
        let recorded = found(RECORDED, &train).expect("read").expect("it trains");
        assert_eq!((recorded.name.as_str(), recorded.note()), ("recorded", None));
        assert!(found(RECORDED, &["sh"]).expect("read").is_none());
        let tomorrow = RECORDED.replacen('{', "{\"later\": [1],", 1);
        let job = found(&tomorrow, &train).expect("read").expect("it trains");
        assert!(job.note().expect("a note").contains("\"later\""));
    }

    #[test]
    fn a_job_that_requires_what_is_not_known_does_not_run() {
        let required = RECORDED.replacen('{', "{\"requires\": [\"finetune.packing\"],", 1);
        for args in [["/bin/train", "all"].as_slice(), &["sh"]] {
            let error = found(&required, args).expect_err("refused");
            let said = hone_contract::chain(&error);
            assert!(
                said.contains("it requires \"finetune.packing\", not known to this program: update hone"),
                "{said}"
            );
        }
    }

    fn spec(extra: &str) -> Spec {
        let text = format!(
            r#"{{"ociVersion":"1.0.2","root":{{"path":"/r"}},"process":{{"cwd":"/","args":["x"],"user":{{"uid":5,"gid":6}}}}
            {extra}}}"#
        );
        serde_json::from_str(&text).expect("spec")
    }

    #[test]
    fn the_owner_is_mapped_through_the_user_namespace() {
        assert_eq!(owner(&spec("")).expect("owner"), (5, 6));
        let map = r#"[{"containerID":0,"hostID":100000,"size":6}]"#;
        let mapped = format!(r#","linux":{{"uidMappings":{map}}}"#);
        assert_eq!(owner(&spec(&mapped)).expect("owner"), (100_005, 6));
        let unmapped = format!(r#","linux":{{"gidMappings":{map}}}"#);
        assert!(owner(&spec(&unmapped)).is_err());
    }

    #[test]
    fn podman_is_recognised_and_its_storage_found() {
        let libpod = r#","annotations":{"io.container.manager":"libpod"},"mounts":[
          {"destination":"/etc/hosts","source":"/run/st/overlay-containers/abc/userdata/hosts"}]"#;
        let bundle = Path::new("/var/lib/st/overlay-containers/abc/userdata");
        let engine = engine_of(&spec(libpod), bundle, "abc", &HoneOptions::default()).expect("engine");
        assert_eq!(engine, Engine::Podman { graphroot: "/var/lib/st".into(), runroot: "/run/st".into() });
        let none = engine_of(&spec(""), bundle, "abc", &HoneOptions::default()).expect("engine");
        assert_eq!(none, Engine::None);
    }

    #[test]
    fn docker_is_named_with_its_address() {
        let options = |engine: &str| HoneOptions { engine: Some(engine.into()), ..HoneOptions::default() };
        let of = |engine: &str| engine_of(&spec(""), Path::new("/b"), "a", &options(engine));
        assert_eq!(of("docker=unix:///d.sock").expect("engine"), Engine::Docker { host: "unix:///d.sock".into() });
        assert!(of("nonesuch").is_err());
    }

    #[test]
    fn images_are_named_with_their_digest() {
        let digest = Digest::of(b"x");
        let image = image_ref(&format!("assistant:base@{digest}")).expect("image");
        assert_eq!((image.reference.as_str(), image.config), ("assistant:base", digest));
        assert!(image_ref("assistant:base").is_err());
    }
}
