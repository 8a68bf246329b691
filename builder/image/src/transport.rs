//! Where an image is, or goes, as one word of a command line. The words are skopeo's where skopeo has the transport, docker's
//! and git's rule for the rest: what begins with no transport is a name of the store (docs/transports.md).
//!
//! Words become values here, and nothing is looked at: who reads and writes is hone-archive, hone-engines and hone-registry.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use hone_contract::reference::{BadReference, split_tag};
use hone_contract::{Pinned, Reference, quoted};

/// Standard input or output, as every tool of the field names it.
pub const STANDARD: &str = "-";
/// The longest name of an image in a layout: the longest reference with a tag of its own.
const MAX_NAME: usize = 512;
/// The namespace of containerd that `ctr` takes without `-n`.
const NAMESPACE: &str = "default";

/// The transports, for help and errors.
pub const WORDS: &str = "docker://NAME, oci:DIR or oci:DIR:TAG, oci-archive:FILE or oci-archive:FILE:NAME, \
                         docker-archive:FILE or docker-archive:FILE:NAME (FILE may be `-`: standard input \
                         or output; `-` alone is an archive there), or an engine: docker, docker=ADDRESS, podman, containerd or \
                         containerd=NAMESPACE, with a colon and the name of an image in it: docker:NAME, podman:NAME, containerd:NAME or containerd=NAMESPACE:NAME";

/// Where an image is, or goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Transport {
    /// A name of a registry.
    Registry(Pinned),
    /// A name in an OCI layout, which keeps its others.
    Layout(Place),
    /// An OCI layout as one file.
    OciArchive(ArchiveFile),
    /// What `docker save` writes.
    DockerArchive(ArchiveFile),
    /// An engine, and what the image is called there; without, as here.
    Engine(EngineName, Option<String>),
    /// Whatever the store knows by this text.
    Store(String),
}

/// An engine as named on the command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EngineName {
    /// docker, at an address or at the user's own.
    Docker(Option<String>),
    /// The user's podman.
    Podman,
    /// A namespace of the containerd that `ctr` reaches (CONTAINERD_ADDRESS).
    Containerd(String),
}

/// A layout, and which image of it: `DIR[:TAG]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The layout.
    pub dir: PathBuf,
    /// The name of an image in it.
    pub tag: Option<String>,
}

/// Of the entries of a layout those that `tag` names: what is called just so, else what is called `NAME:tag`.
pub fn called<'e, T>(entries: &'e [T], tag: &str, name: impl Fn(&T) -> Option<&str>) -> Vec<&'e T> {
    let named = |fits: &dyn Fn(&str) -> bool| -> Vec<&'e T> {
        entries.iter().filter(|entry| name(entry).is_some_and(fits)).collect()
    };
    match named(&|name| name == tag) {
        none if none.is_empty() => named(&|name| split_tag(name).1 == Some(tag)),
        some => some,
    }
}

/// An archive, and which image of it: `FILE[:NAME]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArchiveFile {
    /// The file; [`STANDARD`] is standard input or output.
    pub path: PathBuf,
    /// The name of an image in it.
    pub name: Option<Reference>,
}

/// A text that names no place for an image.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadTransport {
    /// None of the transports.
    #[error("want {WORDS}")]
    Unknown,
    /// No engine.
    #[error("want docker, docker=ADDRESS, podman, containerd or containerd=NAMESPACE, got `{}`", quoted(.0))]
    Engine(String),
    /// Neither a directory nor a directory and a name.
    #[error("want oci:DIR or oci:DIR:TAG, got `oci:{}`; a path ends at its first colon", quoted(.0))]
    Layout(String),
    /// Neither a file nor a file and a name.
    #[error("want {word}:FILE or {word}:FILE:NAME, got `{word}:{}`; a path ends at its first colon", quoted(rest))]
    Archive {
        /// The transport.
        word: &'static str,
        /// What follows its colon.
        rest: String,
    },
    /// A name that is none.
    #[error(transparent)]
    Reference(#[from] BadReference),
}

impl Transport {
    /// Where an image comes from.
    ///
    /// # Errors
    /// When a transport is followed by what it does not take.
    pub fn source(text: &str) -> Result<Self, BadTransport> {
        match known(text)? {
            // `docker` is an image of that name, too.
            None | Some(Self::Engine(_, None)) => Ok(Self::Store(text.to_owned())),
            Some(transport) => Ok(transport),
        }
    }

    /// Where an image goes.
    ///
    /// # Errors
    /// When it is no transport, or followed by what the transport does not take.
    pub fn sink(text: &str) -> Result<Self, BadTransport> {
        known(text)?.ok_or(BadTransport::Unknown)
    }

    /// Where a copy goes: out, or to a name of the store.
    ///
    /// # Errors
    /// When it is neither, or a transport is followed by what it does not take.
    pub fn destination(text: &str) -> Result<Self, BadTransport> {
        match Self::sink(text) {
            Err(BadTransport::Unknown) if text.parse::<Reference>().is_ok() => Ok(Self::Store(text.to_owned())),
            found => found,
        }
    }

    /// The name in a registry that a text says it is, for who takes no other place than that and the store.
    ///
    /// # Errors
    /// When what follows `docker://` is no name.
    pub fn in_registry(text: &str) -> Result<Option<Pinned>, BadReference> {
        text.strip_prefix("docker://").map(str::parse).transpose()
    }

    /// Whether it is standard input or output, which then has room for nothing else.
    pub fn is_standard(&self) -> bool {
        matches!(self, Self::OciArchive(file) | Self::DockerArchive(file) if file.path.as_os_str() == STANDARD)
    }
}

/// What a text is that begins with a transport.
fn known(text: &str) -> Result<Option<Transport>, BadTransport> {
    if let Some(name) = Transport::in_registry(text)? {
        return Ok(Some(Transport::Registry(name)));
    }
    // Of what is read either form is known by what is in it; what is written docker reads, too.
    if text == STANDARD {
        return Ok(Some(Transport::OciArchive(ArchiveFile { path: STANDARD.into(), name: None })));
    }
    if let Ok(engine) = text.parse() {
        return Ok(Some(Transport::Engine(engine, None)));
    }
    let Some((word, rest)) = text.split_once(':') else { return Ok(None) };
    // skopeo's names of the two.
    let word = match word {
        "docker-daemon" => "docker",
        "containers-storage" => "podman",
        word => word,
    };
    let archive = |word| ArchiveFile::parse(word, rest);
    Ok(Some(match word {
        "oci" => Transport::Layout(rest.parse()?),
        "oci-archive" => Transport::OciArchive(archive("oci-archive")?),
        "docker-archive" => Transport::DockerArchive(archive("docker-archive")?),
        engine => match engine.parse() {
            Ok(engine) if !rest.is_empty() => Transport::Engine(engine, Some(rest.to_owned())),
            Ok(_) => return Err(BadTransport::Unknown),
            Err(_) => return Ok(None),
        },
    }))
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Registry(name) => write!(f, "docker://{name}"),
            Self::Layout(place) => write!(f, "{place}"),
            Self::OciArchive(file) => write!(f, "oci-archive:{file}"),
            Self::DockerArchive(file) => write!(f, "docker-archive:{file}"),
            Self::Engine(engine, None) => write!(f, "{engine}"),
            Self::Engine(engine, Some(name)) => write!(f, "{name} in {engine}"),
            Self::Store(name) => f.write_str(name),
        }
    }
}

impl FromStr for EngineName {
    type Err = BadTransport;

    fn from_str(text: &str) -> Result<Self, BadTransport> {
        let (word, of) = text.split_once('=').map_or((text, None), |(word, of)| (word, Some(of)));
        match (word, of) {
            ("docker", None | Some("")) => Ok(Self::Docker(None)),
            ("docker", Some(address)) => Ok(Self::Docker(Some(address.to_owned()))),
            ("podman", None | Some("")) => Ok(Self::Podman),
            ("containerd", None | Some("")) => Ok(Self::Containerd(NAMESPACE.to_owned())),
            ("containerd", Some(namespace)) if !namespace.contains(':') => Ok(Self::Containerd(namespace.to_owned())),
            _ => Err(BadTransport::Engine(text.to_owned())),
        }
    }
}

impl fmt::Display for EngineName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Docker(_) => f.write_str("docker"),
            Self::Podman => f.write_str("podman"),
            Self::Containerd(namespace) => write!(f, "containerd, namespace {namespace}"),
        }
    }
}

impl FromStr for Place {
    type Err = BadTransport;

    fn from_str(text: &str) -> Result<Self, BadTransport> {
        let (dir, tag) = text.split_once(':').map_or((text, None), |(dir, tag)| (dir, Some(tag)));
        if dir.is_empty() || dir.contains('\0') || !tag.is_none_or(is_name) {
            return Err(BadTransport::Layout(text.to_owned()));
        }
        Ok(Self { dir: dir.into(), tag: tag.map(str::to_owned) })
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.tag {
            Some(tag) => write!(f, "oci:{}:{tag}", self.dir.display()),
            None => write!(f, "oci:{}", self.dir.display()),
        }
    }
}

/// What a layout may call an image: a tag, or a whole name with one (image-spec, annotations.md).
fn is_name(text: &str) -> bool {
    let part = |part: &str| {
        let ends = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
        let mut chars = part.chars();
        ends(chars.clone().next())
            && ends(chars.clone().next_back())
            && chars.all(|c| c.is_ascii_alphanumeric() || "-._:@+".contains(c))
    };
    text.len() <= MAX_NAME && text.split('/').all(part)
}

impl ArchiveFile {
    fn parse(word: &'static str, text: &str) -> Result<Self, BadTransport> {
        let (path, name) = text.split_once(':').map_or((text, None), |(path, name)| (path, Some(name)));
        if path.is_empty() || name == Some("") {
            return Err(BadTransport::Archive { word, rest: text.to_owned() });
        }
        Ok(Self { path: path.into(), name: name.map(str::parse).transpose()? })
    }
}

impl fmt::Display for ArchiveFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.path.display())?;
        self.name.as_ref().map_or(Ok(()), |name| write!(f, ":{name}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn engine(engine: EngineName, name: Option<&str>) -> Transport {
        Transport::Engine(engine, name.map(str::to_owned))
    }

    fn archive(path: &str, name: Option<&str>) -> ArchiveFile {
        ArchiveFile { path: path.into(), name: name.map(|name| name.parse().expect(name)) }
    }

    #[test]
    fn a_whole_name_comes_before_the_end_of_one() {
        let find = |tag: &str, all: &[&'static str]| -> Vec<&str> {
            called(all, tag, |name| Some(*name).filter(|name| !name.is_empty())).into_iter().copied().collect()
        };
        assert_eq!(find("base", &["a:base", "base", "", "r.test:1/b:base"]), ["base"]);
        assert_eq!(find("base", &["a:base", "a:base-v1", "", "r.test:1/b:base"]), ["a:base", "r.test:1/b:base"]);
        assert_eq!(find("a:base", &["a:base", "b:base"]), ["a:base"]);
        assert!(find("1/b", &["r.test:1/b"]).is_empty(), "a port is no tag");
    }

    #[test]
    fn every_transport_has_its_words() {
        let containerd = |namespace: &str| EngineName::Containerd(namespace.to_owned());
        let unix = EngineName::Docker(Some("unix:///run/docker.sock".to_owned()));
        for (text, want) in [
            ("docker://r.test/a:1", Transport::Registry("r.test/a:1".parse().expect("a name"))),
            ("oci:d", Transport::Layout("d".parse().expect("a place"))),
            ("oci:d:team/a:1", Transport::Layout("d:team/a:1".parse().expect("a place"))),
            ("oci-archive:-", Transport::OciArchive(archive("-", None))),
            ("-", Transport::OciArchive(archive("-", None))),
            ("oci-archive:/a/b.tar:a:1", Transport::OciArchive(archive("/a/b.tar", Some("a:1")))),
            ("docker-archive:b.tar", Transport::DockerArchive(archive("b.tar", None))),
            ("docker-archive:b.tar:r.test:5000/a", Transport::DockerArchive(archive("b.tar", Some("r.test:5000/a")))),
            ("docker=unix:///run/docker.sock", engine(unix, None)),
            ("docker:a:1", engine(EngineName::Docker(None), Some("a:1"))),
            ("docker-daemon:a:1", engine(EngineName::Docker(None), Some("a:1"))),
            ("podman:localhost/a:1", engine(EngineName::Podman, Some("localhost/a:1"))),
            ("containers-storage:a:1", engine(EngineName::Podman, Some("a:1"))),
            ("containerd:a", engine(containerd("default"), Some("a"))),
            ("containerd=edge:a:1", engine(containerd("edge"), Some("a:1"))),
        ] {
            assert_eq!(Transport::sink(text), Ok(want.clone()), "{text}");
            // An address may have any number of colons: an image at one is not told apart from it.
            let source =
                if text.contains('=') && text.starts_with("docker") { Transport::Store(text.into()) } else { want };
            assert_eq!(Transport::source(text), Ok(source), "{text}");
        }
    }

    #[test]
    fn what_begins_with_no_transport_is_the_store_s_and_goes_nowhere() {
        for text in ["a", "a:1", "docker", "podman", "r.test:5000/a/b:1", "oci", "nonsense", "ocidir:x"] {
            assert_eq!(Transport::source(text), Ok(Transport::Store(text.to_owned())), "{text}");
        }
        for text in ["a", "a:1", "r.test:5000/a/b:1", "oci", "nonsense", "ocidir:x", ""] {
            assert_eq!(Transport::sink(text), Err(BadTransport::Unknown), "{text}");
        }
        assert_eq!(Transport::sink("podman"), Ok(engine(EngineName::Podman, None)));
    }

    #[test]
    fn a_copy_goes_out_or_to_a_name_here() {
        for text in ["a", "a:1", "r.test:5000/a/b:1", "oci", "ocidir:x"] {
            assert_eq!(Transport::destination(text), Ok(Transport::Store(text.to_owned())), "{text}");
        }
        assert_eq!(Transport::destination("podman"), Ok(engine(EngineName::Podman, None)));
        assert_eq!(Transport::destination("oci:d"), Ok(Transport::Layout("d".parse().expect("a place"))));
        for text in ["", "A", "docker:", "oci-archive:", "docker://A", "a@b"] {
            assert!(Transport::destination(text).is_err(), "{text}");
        }
        assert_eq!(Transport::in_registry("a:1"), Ok(None));
        assert_eq!(Transport::in_registry("docker://a:1"), Ok(Some("a:1".parse().expect("a name"))));
        assert!(Transport::in_registry("docker://").is_err());
    }

    #[test]
    fn what_a_transport_does_not_take_is_refused() {
        for text in ["docker://", "docker://A", "oci:", "oci::v1", "oci-archive:", "oci-archive:a:", "oci-archive::a"]
        {
            assert!(Transport::sink(text).is_err() && Transport::source(text).is_err(), "{text}");
        }
        for text in ["docker-archive:a.tar:@0", "docker:", "containerd=edge:", "podman:"] {
            assert!(Transport::sink(text).is_err() && Transport::source(text).is_err(), "{text}");
        }
        assert!(Transport::sink("oci-archive:-").expect("a stream").is_standard());
        assert!(!Transport::sink("oci:-").expect("a layout").is_standard());
    }

    #[test]
    fn a_path_ends_at_its_first_colon_and_a_name_follows() {
        let place = |text: &str| text.parse::<Place>();
        for (text, dir, tag) in [
            ("d", "d", None),
            ("/a b/d", "/a b/d", None),
            ("d:v1", "d", Some("v1")),
            ("d:assistant:base", "d", Some("assistant:base")),
            ("../d:r.test:5000/a/b__c:1", "../d", Some("r.test:5000/a/b__c:1")),
        ] {
            let want = Place { dir: dir.into(), tag: tag.map(str::to_owned) };
            assert_eq!(place(text), Ok(want.clone()), "{text}");
            assert_eq!(want.to_string(), format!("oci:{text}"));
        }
        for text in
            ["", ":v1", "d:", "d:/x", "d:a//b", "d:a b", "d:\u{1b}[2J", "d:a:", &format!("d:{}", "x".repeat(513))]
        {
            assert!(place(text).is_err(), "{text:?}");
        }
    }
}
