//! Asks the engine that runs a container which image it was made from.
//!
//! Only questions that take no lock of the container: while it ends, the engine holds that lock and waits for the
//! runtime's `delete`, which waits for the keeper.

use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use hone_contract::run::{Engine, ImageRef};
use hone_contract::{Digest, quoted, quoted_path};
use hone_docker::Address;
use serde::Deserialize;

/// How long one question may take, all of it.
const TIMEOUT: Duration = Duration::from_secs(20);
/// A list of podman's storage longer than this is none (bytes): an image or container has some kilobytes.
const MAX_STORAGE: u64 = 64 << 20;

/// What podman puts before the name of an image that no registry has; the user typed, and the store has, the rest.
const PODMAN_LOCAL: &str = "localhost/";

/// A question that got no answer.
#[derive(Debug, thiserror::Error)]
pub enum LookupError {
    /// docker did not answer, or refused.
    #[error(transparent)]
    Docker(#[from] hone_docker::Error),
    /// podman's storage cannot be read.
    #[error("read podman's storage \"{}\"", quoted_path(path))]
    Podman {
        /// The file.
        path: PathBuf,
        /// What went wrong.
        #[source]
        source: io::Error,
    },
    /// The answer is not JSON of the expected shape.
    #[error("read the engine's answer")]
    Json(#[from] serde_json::Error),
    /// The engine does not know the container, or not its image.
    #[error("find container \"{}\" in the engine: not there, or without an image", quoted(.0))]
    Unknown(String),
}

/// The image that container `id` was made from; `None` when there is no engine to ask.
///
/// # Errors
/// See [`LookupError`].
pub fn image_of(engine: &Engine, id: &str) -> Result<Option<ImageRef>, LookupError> {
    match engine {
        Engine::Docker { host } => Docker { address: host.parse()?, within: TIMEOUT }.image_of(id).map(Some),
        Engine::Podman { graphroot, .. } => podman(Path::new(graphroot), id).map(Some),
        Engine::Embedded | Engine::None => Ok(None),
    }
}

#[derive(Deserialize)]
struct DockerContainer {
    #[serde(rename = "Id")]
    id: String,
    #[serde(rename = "Image")]
    image: String,
    #[serde(rename = "ImageID")]
    image_id: String,
}

#[derive(Deserialize)]
struct DockerImage {
    #[serde(rename = "RepoTags", default)]
    tags: Option<Vec<String>>,
}

/// A daemon, and how long it may take for an answer.
struct Docker {
    address: Address,
    within: Duration,
}

impl Docker {
    /// The list of containers is answered from dockerd's own copy, without the container's lock.
    fn image_of(&self, id: &str) -> Result<ImageRef, LookupError> {
        let path = format!("/containers/json?all=1&filters=%7B%22id%22%3A%5B%22{id}%22%5D%7D");
        let containers: Vec<DockerContainer> = serde_json::from_slice(&self.get(&path)?)?;
        let found = containers.into_iter().find(|c| c.id == id).ok_or_else(|| LookupError::Unknown(id.into()))?;
        let config: Digest = found.image_id.parse().map_err(|_| LookupError::Unknown(id.into()))?;
        let reference = if is_bare_id(&found.image, &config) { self.tag(&config)? } else { Some(found.image) };
        let reference = reference.unwrap_or_else(|| config.to_string());
        Ok(ImageRef { reference, config })
    }

    fn tag(&self, config: &Digest) -> Result<Option<String>, LookupError> {
        let image: DockerImage = serde_json::from_slice(&self.get(&format!("/images/{config}/json"))?)?;
        Ok(image.tags.unwrap_or_default().into_iter().next())
    }

    fn get(&self, path: &str) -> Result<Vec<u8>, LookupError> {
        Ok(hone_docker::get(&self.address, path, self.within)?)
    }
}

/// `docker run <id>`: the user named no tag.
fn is_bare_id(image: &str, config: &Digest) -> bool {
    let digits = image.strip_prefix("sha256:").unwrap_or(image);
    digits.len() >= 12 && config.hex().starts_with(digits)
}

#[derive(Deserialize)]
struct StoredContainer {
    id: String,
    #[serde(default)]
    image: String,
    #[serde(default)]
    metadata: String,
}

#[derive(Deserialize)]
struct StoredMetadata {
    #[serde(rename = "image-name", default)]
    image_name: String,
}

#[derive(Deserialize)]
struct StoredImage {
    id: String,
    #[serde(default)]
    names: Vec<String>,
}

/// podman keeps its containers in one JSON file per storage driver; reading it needs no lock, asking podman does.
fn podman(graphroot: &Path, id: &str) -> Result<ImageRef, LookupError> {
    for path in storage_files(graphroot, "-containers", &["containers.json", "volatile-containers.json"])? {
        let containers: Vec<StoredContainer> = read_json(&path)?;
        let Some(found) = containers.into_iter().find(|c| c.id == id) else { continue };
        let config: Digest =
            format!("sha256:{}", found.image).parse().map_err(|_| LookupError::Unknown(id.into()))?;
        let metadata: Option<StoredMetadata> = serde_json::from_str(&found.metadata).ok();
        let named = metadata.map(|m| m.image_name).filter(|name| !name.is_empty() && !is_bare_id(name, &config));
        let name = match named {
            Some(name) => name,
            None => podman_tag(graphroot, &found.image)?.unwrap_or_else(|| config.to_string()),
        };
        let reference = name.strip_prefix(PODMAN_LOCAL).unwrap_or(&name).to_owned();
        return Ok(ImageRef { reference, config });
    }
    Err(LookupError::Unknown(id.into()))
}

fn podman_tag(graphroot: &Path, image: &str) -> Result<Option<String>, LookupError> {
    for path in storage_files(graphroot, "-images", &["images.json"])? {
        let images: Vec<StoredImage> = read_json(&path)?;
        if let Some(found) = images.into_iter().find(|i| i.id == image) {
            return Ok(found.names.into_iter().next());
        }
    }
    Ok(None)
}

fn storage_files(graphroot: &Path, suffix: &str, names: &[&str]) -> Result<Vec<PathBuf>, LookupError> {
    let entries =
        std::fs::read_dir(graphroot).map_err(|source| LookupError::Podman { path: graphroot.into(), source })?;
    let drivers = entries.flatten().filter(|e| e.file_name().to_string_lossy().ends_with(suffix));
    let files = drivers.flat_map(|driver| names.iter().map(move |name| driver.path().join(name)));
    Ok(files.filter(|path| path.exists()).collect())
}

fn read_json<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T, LookupError> {
    let read = || -> io::Result<Vec<u8>> {
        let file = hone_files::open_regular(path)?;
        let mut bytes = Vec::new();
        file.take(MAX_STORAGE + 1).read_to_end(&mut bytes)?;
        match bytes.len() as u64 > MAX_STORAGE {
            true => Err(io::Error::other(format!("want at most {MAX_STORAGE} bytes"))),
            false => Ok(bytes),
        }
    };
    let bytes = read().map_err(|source| LookupError::Podman { path: path.into(), source })?;
    Ok(serde_json::from_slice(&bytes)?)
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::net::{UnixListener, UnixStream};
    use std::time::Instant;

    use super::*;

    const ID: &str = "c0ffee";
    const IMAGE: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

    /// Answers one question after the other, as dockerd would.
    fn daemon(answers: Vec<String>) -> (tempfile::TempDir, String) {
        let dir = tempfile::tempdir().expect("tempdir");
        let socket = dir.path().join("sock");
        let listener = UnixListener::bind(&socket).expect("bind");
        std::thread::spawn(move || {
            for answer in answers {
                let (mut stream, _) = listener.accept().expect("accept");
                let mut buffer = [0; 4096];
                let _ = stream.read(&mut buffer).expect("read");
                stream.write_all(format!("HTTP/1.0 {answer}").as_bytes()).expect("write");
            }
        });
        let host = format!("unix://{}", socket.display());
        (dir, host)
    }

    fn listed(image: &str) -> String {
        format!(
            r#"200 OK

[{{"Id":"{ID}","Image":"{image}","ImageID":"sha256:{IMAGE}"}}]"#
        )
        .replace('\n', "\r\n")
    }

    #[test]
    fn docker_names_the_image() {
        let (_dir, host) = daemon(vec![listed("assistant:base")]);
        let got = image_of(&Engine::Docker { host }, ID).expect("lookup").expect("image");
        assert_eq!(got.reference, "assistant:base");
        assert_eq!(got.config.hex(), IMAGE);
    }

    #[test]
    fn an_image_named_by_id_gets_its_tag() {
        let tags = "200 OK\r\n\r\n{\"RepoTags\":[\"assistant:base\"]}".to_owned();
        let (_dir, host) = daemon(vec![listed(&IMAGE[..12]), tags]);
        let got = image_of(&Engine::Docker { host }, ID).expect("lookup").expect("image");
        assert_eq!(got.reference, "assistant:base");
    }

    #[test]
    fn an_error_of_docker_is_told() {
        let (_dir, host) = daemon(vec!["500 Internal Server Error\r\n\r\n".to_owned()]);
        let error = image_of(&Engine::Docker { host }, ID).expect_err("500");
        assert!(error.to_string().contains("500 Internal"), "{error}");
    }

    #[test]
    fn podman_is_read_from_its_storage() {
        let dir = tempfile::tempdir().expect("tempdir");
        let put = |name: &str, text: String| {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().expect("parent")).expect("mkdir");
            std::fs::write(path, text).expect("write");
        };
        let metadata = r#"{\"image-name\":\"\"}"#;
        put(
            "overlay-containers/containers.json",
            format!(r#"[{{"id":"{ID}","image":"{IMAGE}","metadata":"{metadata}"}}]"#),
        );
        put("overlay-images/images.json", format!(r#"[{{"id":"{IMAGE}","names":["localhost/assistant:base"]}}]"#));
        let engine = Engine::Podman { graphroot: dir.path().display().to_string(), runroot: String::new() };
        let got = image_of(&engine, ID).expect("lookup").expect("image");
        assert_eq!(got.reference, "assistant:base");
        assert!(matches!(image_of(&engine, "other"), Err(LookupError::Unknown(_))));
    }

    fn at(host: &str) -> Address {
        host.parse().expect("an address")
    }

    /// Serves one connection with `serve`, and holds it.
    fn stuck(serve: fn(&mut UnixStream)) -> (tempfile::TempDir, String) {
        let dir = tempfile::tempdir().expect("tempdir");
        let socket = dir.path().join("sock");
        let listener = UnixListener::bind(&socket).expect("bind");
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("accept");
            serve(&mut stream);
            std::thread::sleep(Duration::from_secs(120));
        });
        (dir, format!("unix://{}", socket.display()))
    }

    #[test]
    fn a_daemon_that_hangs_is_not_waited_for() {
        let drip = |stream: &mut UnixStream| {
            while stream.write_all(b"H").is_ok() {
                std::thread::sleep(Duration::from_millis(50));
            }
        };
        let half = |stream: &mut UnixStream| drop(stream.write_all(b"HTTP/1.0 200 OK\r\n\r\n["));
        for serve in [(|_| {}) as fn(&mut UnixStream), drip, half] {
            let (_dir, host) = stuck(serve);
            let begin = Instant::now();
            let error = Docker { address: at(&host), within: Duration::from_millis(500) }.image_of(ID);
            let LookupError::Docker(error) = error.expect_err("silence") else { panic!("docker was asked") };
            assert!(error.is_silence(), "{error:?}");
            assert!(begin.elapsed() < Duration::from_secs(10));
        }
    }

    #[test]
    fn a_daemon_that_is_slow_is_waited_for_and_its_words_are_quoted() {
        let slow = |stream: &mut UnixStream| {
            for part in listed("assistant:base").as_bytes().chunks(40) {
                std::thread::sleep(Duration::from_millis(100));
                let text = [if part.starts_with(b"200") { &b"HTTP/1.0 "[..] } else { b"" }, part].concat();
                stream.write_all(&text).expect("write");
            }
            stream.shutdown(std::net::Shutdown::Both).expect("shutdown");
        };
        let (_dir, host) = stuck(slow);
        let got = Docker { address: at(&host), within: Duration::from_secs(30) }.image_of(ID).expect("lookup");
        assert_eq!(got.reference, "assistant:base");
        let (_dir, host) = daemon(vec!["500 \u{1b}[2Jgone\r\n\r\n".to_owned()]);
        let error = image_of(&Engine::Docker { host }, ID).expect_err("500");
        let error = std::error::Error::source(&error).expect("a cause").to_string();
        assert!(error.ends_with(r"HTTP/1.0 500 \u{1b}[2Jgone"), "{error}");
    }

    #[test]
    fn a_list_of_podman_that_is_no_file_is_not_waited_for() {
        let dir = tempfile::tempdir().expect("tempdir");
        let lists = dir.path().join("overlay-containers");
        std::fs::create_dir(&lists).expect("mkdir");
        let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
        let fifo = rustix::fs::FileType::Fifo;
        rustix::fs::mknodat(rustix::fs::CWD, lists.join("containers.json"), fifo, mode, 0).expect("mkfifo");
        let engine = Engine::Podman { graphroot: dir.path().display().to_string(), runroot: String::new() };
        assert!(matches!(image_of(&engine, ID), Err(LookupError::Podman { .. })));
    }
}
