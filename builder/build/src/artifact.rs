//! A model artifact or an image, of a registry or a layout, as the files of a model.
//!
//! Blobs lie where they are: the store's, for a registry's; the layout's own. Tars that are not compressed are not
//! unpacked either: a file is a place in its blob.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use hone_base::{Provenance, SourceFile, Sources};
use hone_contract::progress::Progress;
use hone_contract::{Digest, quoted};
use hone_files::open_regular;
use hone_image::foreign::{Form, Maker, maker, parts};
use hone_image::layer::Compression;
use hone_image::oci::{Descriptor, Index, MAX_DOCUMENT_BYTES, Manifest, Sealed};
use hone_image::platform::best;
use hone_image::untar::{self, Kind, MAX_ENTRIES};
use hone_image::walk::{Documents, Follow, Node, Part, Refusal, Walk};
use hone_image::whiteout::{BadWhiteout, Whiteout, whiteout};
use hone_image::{Document, media, tar::check_path};
use hone_registry::Repository;
use hone_store::{Budget, Ingest, Store, this_machine};

use crate::error::{ArtifactError, BuildError, at, io_at};
use crate::fetch::Model;

/// Where manifests and blobs come from.
pub trait Origin: Documents<Error = BuildError> {
    /// What the reference stands for.
    fn root(&self) -> Result<Document, BuildError>;
    /// The file that holds a blob's bytes, verified.
    fn blob(&self, blob: &Descriptor) -> Result<PathBuf, BuildError>;
    /// The same for a blob whose digest is checked when it is packed: it need not be read twice.
    fn place(&self, blob: &Descriptor) -> Result<PathBuf, BuildError> {
        self.blob(blob)
    }
}

/// A repository's; its blobs are downloaded into the store.
pub struct Remote<'a> {
    /// The repository.
    pub repository: Repository,
    /// A tag or a digest.
    pub target: String,
    /// The store that is downloaded into.
    pub ingest: &'a Ingest<'a>,
    /// Is told of downloads.
    pub progress: &'a dyn Progress,
}

/// A layout's; its blobs stay there.
pub struct Local {
    /// The layout.
    pub layout: Store,
    /// What of it.
    pub root: Descriptor,
}

impl Documents for Remote<'_> {
    type Error = BuildError;

    fn document(&self, descriptor: &Descriptor) -> Result<Option<Vec<u8>>, BuildError> {
        Ok(self.repository.document(descriptor)?)
    }

    fn refused(&self, descriptor: &Descriptor, why: Refusal) -> BuildError {
        self.repository.refused(descriptor, why).into()
    }
}

impl Origin for Remote<'_> {
    fn root(&self) -> Result<Document, BuildError> {
        let root = self.repository.manifest(&self.target)?;
        Ok(Document::parse(Some(&root.media_type), root.bytes)?)
    }

    fn blob(&self, blob: &Descriptor) -> Result<PathBuf, BuildError> {
        Ok(hone_remote::blob(self.ingest, &self.repository, blob, self.progress)?)
    }
}

impl Documents for Local {
    type Error = BuildError;

    fn document(&self, descriptor: &Descriptor) -> Result<Option<Vec<u8>>, BuildError> {
        Ok(self.layout.document(descriptor)?)
    }

    fn refused(&self, descriptor: &Descriptor, why: Refusal) -> BuildError {
        self.layout.refused(descriptor, why).into()
    }
}

impl Origin for Local {
    fn root(&self) -> Result<Document, BuildError> {
        Ok(Document::of(&self.root, self.layout.read_blob(self.root.digest, MAX_DOCUMENT_BYTES)?)?)
    }

    fn blob(&self, blob: &Descriptor) -> Result<PathBuf, BuildError> {
        let path = self.layout.blob_path(blob.digest);
        let mut reader = self.layout.open_blob(blob.digest, blob.size)?;
        io::copy(&mut reader, &mut io::sink()).map_err(io_at(format!("read {}", path.display())))?;
        Ok(path)
    }

    fn place(&self, blob: &Descriptor) -> Result<PathBuf, BuildError> {
        self.layout.open_blob(blob.digest, blob.size)?;
        Ok(self.layout.blob_path(blob.digest))
    }
}

/// A model's files by name, each with its digest where that is known before it is read.
type Files = BTreeMap<String, (SourceFile, Option<Digest>)>;

/// Finds the content of a digest under a file's name, when it is here already.
pub type Known<'a> = &'a dyn Fn(&str, Digest) -> Option<SourceFile>;

/// The model that an artifact or an image holds. Files that are `known` are not fetched.
pub fn model(origin: &dyn Origin, shown: &str, ingest: &Ingest<'_>, known: Known<'_>) -> Result<Model, BuildError> {
    let reading = |error: BuildError| at(format!("base.model {}", quoted(shown)))(error);
    let root = origin.root().map_err(reading)?;
    let digest = root.descriptor().digest;
    let manifest = manifest_of(origin, root).map_err(reading)?;
    let scratch = ingest.scratch_dir()?;
    let files = files_of(origin, manifest.value(), scratch.path(), known).map_err(reading)?;
    let mut model = split(shown, files).map_err(|e| reading(e.into()))?;
    let said = Provenance::annotated(&manifest.value().annotations);
    model.provenance = Provenance { name: None, digest: Some(digest), ..said };
    model.scratch = Some(scratch);
    Ok(model)
}

/// The files of the parts that are wanted, those of a later part in the place of an earlier one's.
fn files_of(origin: &dyn Origin, manifest: &Manifest, scratch: &Path, known: Known<'_>) -> Result<Files, BuildError> {
    let wanted = parts(manifest).map_err(ArtifactError::from)?;
    let image = maker(manifest) == Maker::Image;
    let raw: Vec<&str> =
        wanted.iter().filter_map(|p| if let Form::Raw(n) = &p.form { Some(&**n) } else { None }).collect();
    // A file's name in the image is known before the others are there only when no tar can change it.
    let common = (raw.len() == wanted.len()).then(|| common_dir(raw.iter().copied()));
    let budget = Budget::of(wanted.iter().map(|part| &part.blob));
    let mut files = Files::new();
    for part in &wanted {
        let digest = part.blob.digest;
        match &part.form {
            Form::Raw(name) => {
                let here = common.and_then(|at| known(&name[at..], digest)).filter(|f| f.size == part.blob.size);
                let file = match here {
                    Some(here) => SourceFile { name: name.clone(), ..here },
                    None => SourceFile::whole(name.clone(), origin.place(&part.blob)?, part.blob.size),
                };
                files.insert(name.clone(), (file, Some(digest)));
            }
            Form::Tar(compression) => {
                let tar = plain_tar(&origin.blob(&part.blob)?, *compression, &part.blob, &budget, scratch)?;
                refuse_no_tar(&tar, &part.blob)?;
                add_entries(&tar, image, &mut files)?;
            }
        }
    }
    Ok(files)
}

/// The manifest that says most about the model.
fn manifest_of(origin: &dyn Origin, root: Document) -> Result<Sealed<Manifest>, BuildError> {
    let mut follow = Follow::named();
    if let Document::Index(index) = &root {
        follow = follow.only(vec![best_of(index.value()).ok_or(ArtifactError::Index)?.clone()]);
    }
    for node in Walk::from(origin, root, follow).strict() {
        match node? {
            Node { part: Part::Manifest(manifest, _), .. } => return Ok(*manifest),
            Node { part: Part::Absent, descriptor, .. } => {
                return Err(ArtifactError::Absent(descriptor.digest).into());
            }
            _ => {}
        }
    }
    Err(ArtifactError::Index.into())
}

/// Of an index the ModelPack artifact, else the image for this machine, else what may be the model.
fn best_of(index: &Index) -> Option<&Descriptor> {
    let all = &index.manifests;
    let model = all.iter().find(|d| d.artifact_type.as_deref() == Some(media::MODEL_MANIFEST));
    let here = || best(&this_machine(), all, |d| d.platform.clone());
    // A model's manifest need not say that it is one; that it is for no processor tells it from an image.
    let plain = || all.iter().find(|d| d.is_manifest() && d.platform.is_none());
    // The model is the same in an image for another processor; in one for another system it may not be.
    let other = || all.iter().find(|d| d.is_manifest() && !d.is_attestation() && d.is_for_linux_or_nobody());
    model.or_else(here).or_else(plain).or_else(other)
}

/// A tar as a file: the blob itself, or what it holds, unpacked into `scratch`.
fn plain_tar(
    blob: &Path,
    compression: Compression,
    of: &Descriptor,
    budget: &Budget,
    scratch: &Path,
) -> Result<PathBuf, BuildError> {
    if compression == Compression::None {
        return Ok(blob.to_owned());
    }
    let file = open_regular(blob)?;
    let reader: Box<dyn Read> = match compression {
        Compression::Gzip => Box::new(flate2::read::MultiGzDecoder::new(file)),
        _ => Box::new(hone_store::zstd_reader(file)?),
    };
    let path = scratch.join(of.digest.hex());
    let unpacking = io_at(format!("layer {}", of.digest));
    io::copy(&mut budget.meter(of, reader), &mut File::create(&path)?).map_err(unpacking)?;
    Ok(path)
}

/// Refuses what is called a tar and is none: its first bytes tell what it is, the reader of tars would not.
fn refuse_no_tar(tar: &Path, of: &Descriptor) -> Result<(), ArtifactError> {
    let mut head = Vec::new();
    open_regular(tar)?.take(512).read_to_end(&mut head)?;
    if untar::begins(&head) {
        return Ok(());
    }
    let like = match head.starts_with(b"GGUF") {
        true => {
            ", it is a GGUF file; push it with the name of its file, as `oras push` does, or as a raw layer of ModelPack"
        }
        false => "",
    };
    Err(ArtifactError::NoTar { digest: of.digest, media_type: of.media_type.clone(), like })
}

/// What an entry is that is no file.
fn words(kind: Kind) -> &'static str {
    match kind {
        Kind::HardLink => "hard link",
        Kind::Symlink => "symbolic link",
        Kind::CharDevice => "character device",
        Kind::BlockDevice => "block device",
        Kind::Fifo => "FIFO",
        _ => "entry of another kind",
    }
}

/// Adds a tar's files, as places in it; of an image's layer only what is a model's, with what it hides taken away.
fn add_entries(tar: &Path, image: bool, files: &mut Files) -> Result<(), ArtifactError> {
    let (mut found, mut hidden) = (Vec::new(), Vec::new());
    untar::places(&mut open_regular(tar)?, MAX_ENTRIES, &mut |entry| -> Result<(), ArtifactError> {
        let Ok(name) = std::str::from_utf8(entry.path()) else {
            return if image { Ok(()) } else { Err(ArtifactError::NotUtf8) };
        };
        // A ModelKit that was packed on Windows; no model has such a name elsewhere.
        let name = if image { name.to_owned() } else { name.replace('\\', "/") };
        let name = untar::clean(&name)?;
        if let Some(what) = if image { Hidden::by(&name)? } else { None } {
            hidden.push(what);
            return Ok(());
        }
        if name.is_empty() || image && !["models/", "hone/tokenizer/"].iter().any(|p| name.starts_with(p)) {
            return Ok(());
        }
        check_path(&name).map_err(ArtifactError::Name)?;
        match entry.kind() {
            Kind::File => {
                let (offset, size) = (entry.position(), entry.size());
                found.push(SourceFile::part(name, tar.to_owned(), offset, size));
            }
            Kind::Directory => drop(files.remove(&name)),
            Kind::Global => {}
            other => {
                return Err(ArtifactError::NoFile { name, kind: words(other) });
            }
        }
        Ok(())
    })?;
    // A whiteout hides what the layers below have, never what is beside it, in whatever order they are written.
    hidden.iter().for_each(|what| what.take_from(files));
    for file in found {
        Hidden::Path(file.name.clone()).take_from(files);
        files.insert(file.name.clone(), (file, None));
    }
    Ok(())
}

/// What a whiteout hides.
#[derive(Debug, PartialEq, Eq)]
enum Hidden {
    /// A file, or a directory with everything in it.
    Path(String),
    /// Everything in a directory.
    Inside(String),
    /// Nothing: a record of aufs.
    Nothing,
}

impl Hidden {
    /// What the entry `name` hides; `None` when it is no whiteout.
    fn by(name: &str) -> Result<Option<Self>, BadWhiteout> {
        let (dir, last) = name.rsplit_once('/').unwrap_or(("", name));
        Ok(whiteout(last)?.map(|found| match found {
            Whiteout::Opaque => Self::Inside(dir.to_owned()),
            Whiteout::Name(hidden) if dir.is_empty() => Self::Path(hidden.to_owned()),
            Whiteout::Name(hidden) => Self::Path(format!("{dir}/{hidden}")),
            Whiteout::Aufs => Self::Nothing,
        }))
    }

    fn take_from(&self, files: &mut Files) {
        let dir = match self {
            Self::Nothing => return,
            Self::Inside(dir) if dir.is_empty() => return files.clear(),
            Self::Inside(dir) => dir,
            Self::Path(path) => {
                files.remove(path);
                path
            }
        };
        // '0' comes after '/'.
        let inside: Vec<String> = files.range(format!("{dir}/")..format!("{dir}0")).map(|(n, _)| n.clone()).collect();
        inside.iter().for_each(|name| drop(files.remove(name)));
    }
}

/// The model's files under names relative to their common directory; the tokenizer's apart.
fn split(shown: &str, files: Files) -> Result<Model, ArtifactError> {
    let (mut model, mut tokenizer) = (Vec::new(), Vec::new());
    for (name, (file, digest)) in files {
        match name.strip_prefix("hone/") {
            Some(rest) => {
                if let Some(inner) = rest.strip_prefix("tokenizer/") {
                    tokenizer.push(SourceFile { name: inner.to_owned(), ..file });
                }
            }
            None => model.push((file, digest)),
        }
    }
    if model.is_empty() {
        return Err(ArtifactError::NoModel);
    }
    let common = common_dir(model.iter().map(|(file, _)| file.name.as_str()));
    let mut found = Model::new(shown);
    for (mut file, digest) in model {
        file.name = file.name[common..].to_owned();
        found.digests.extend(digest.map(|d| (file.name.clone(), d)));
        found.sources.files.push(file);
    }
    found.sources.lone = found.sources.files.len() == 1;
    if !tokenizer.is_empty() {
        found.tokenizer = Some(Sources { shown: PathBuf::from(shown), files: tokenizer, lone: false });
    }
    Ok(found)
}

/// Length of the directory, with its slash, that all names begin with.
fn common_dir<'a>(mut names: impl Iterator<Item = &'a str>) -> usize {
    let first = names.next().unwrap_or_default();
    let mut dir = first.rfind('/').map_or("", |at| &first[..=at]);
    for name in names {
        while !name.starts_with(dir) {
            dir = dir[..dir.len() - 1].rfind('/').map_or("", |at| &dir[..=at]);
        }
    }
    dir.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_common_directory_is_taken_off() {
        let common = |names: &[&str]| names[0][..common_dir(names.iter().copied())].to_owned();
        assert_eq!(common(&["models/a/x", "models/a/b/y"]), "models/a/");
        assert_eq!(common(&["models/a/x", "models/b/y"]), "models/");
        assert_eq!(common(&["x", "models/b/y"]), "");
        assert_eq!(common(&["models/m.gguf"]), "models/");
        assert_eq!(common(&["ab/x", "abc/y"]), "");
    }

    #[test]
    fn whiteouts_hide_what_is_below_them() {
        let file = |name: &str| (name.to_owned(), (SourceFile::whole(name, "x".into(), 0), None));
        let all = || BTreeMap::from(["models/a/x", "models/a/y", "models/ab", "models/b"].map(file));
        let left = |whiteout: &str| {
            let mut files = all();
            Hidden::by(whiteout).expect("a good one").expect("a whiteout").take_from(&mut files);
            files.into_keys().collect::<Vec<_>>()
        };
        assert_eq!(left("models/.wh.a"), ["models/ab", "models/b"]);
        assert_eq!(left("models/a/.wh..wh..opq"), ["models/ab", "models/b"]);
        assert_eq!(left("models/a/.wh.x"), ["models/a/y", "models/ab", "models/b"]);
        assert!(left(".wh.models").is_empty() && left(".wh..wh..opq").is_empty());
        assert_eq!(left(".wh.model").len(), 4);
        assert_eq!(left("models/.wh..wh.plnk").len(), 4);
        assert_eq!(Hidden::by("models/a/x"), Ok(None));
        for above in ["models/a/.wh...", "models/.wh..", "models/a/.wh."] {
            assert!(Hidden::by(above).is_err(), "{above}");
        }
    }

    /// Documents by digest; the first is what the reference stands for.
    struct Memory(Vec<Vec<u8>>);

    impl Documents for Memory {
        type Error = BuildError;

        fn document(&self, descriptor: &Descriptor) -> Result<Option<Vec<u8>>, BuildError> {
            Ok(self.0.iter().find(|bytes| Digest::of(bytes) == descriptor.digest).cloned())
        }

        fn refused(&self, _: &Descriptor, why: Refusal) -> BuildError {
            panic!("{why}")
        }
    }

    impl Origin for Memory {
        fn root(&self) -> Result<Document, BuildError> {
            Ok(Document::parse(None, self.0[0].clone())?)
        }

        fn blob(&self, _: &Descriptor) -> Result<PathBuf, BuildError> {
            Err(ArtifactError::Index.into())
        }
    }

    #[test]
    fn of_an_index_the_model_is_taken_though_it_does_not_say_that_it_is_one() {
        let manifest = |layer: &str| {
            let config = Descriptor::of("application/vnd.oci.empty.v1+json", Digest::of(b"{}"), 2);
            let layers = vec![Descriptor::of(layer, Digest::of(b"x"), 1)];
            serde_json::to_vec(&Manifest::new(config, layers, BTreeMap::new())).expect("JSON")
        };
        let (attested, pack) = (manifest(media::LAYER_TAR), manifest("application/vnd.cncf.model.weight.v1.raw"));
        let listed = |bytes: &[u8], platform: serde_json::Value| {
            serde_json::json!({"mediaType": media::MANIFEST, "digest": Digest::of(bytes), "size": bytes.len(),
                "platform": platform})
        };
        let unknown = serde_json::json!({"architecture": "unknown", "os": "unknown"});
        let index = serde_json::json!({"schemaVersion": 2, "mediaType": media::INDEX,
            "manifests": [listed(&attested, unknown), listed(&pack, serde_json::Value::Null)]});
        let documents = Memory(vec![index.to_string().into_bytes(), attested, pack]);
        let chosen = manifest_of(&documents, documents.root().expect("index")).expect("a manifest");
        assert_eq!(parts(chosen.value()).expect("a model")[0].form, Form::Raw("model".into()));
    }

    #[test]
    fn what_is_called_a_tar_and_is_none_is_told() {
        let dir = tempfile::tempdir().expect("directory");
        let path = dir.path().join("blob");
        let said = |content: &[u8]| {
            std::fs::write(&path, content).expect("write");
            let blob = Descriptor::of("application/vnd.cncf.model.weight.v1.tar", Digest::of(content), 1);
            refuse_no_tar(&path, &blob).err().map(|error| error.to_string())
        };
        let gguf = said(b"GGUF\x03\0\0\0").expect("no tar");
        assert!(
            gguf.contains("is called a tar (application/vnd.cncf.model.weight.v1.tar) and is none, it is a GGUF"),
            "{gguf}"
        );
        assert!(said(&[7; 2000]).expect("no tar").ends_with("and is none"));
        let mut tar = ::tar::Builder::new(Vec::new());
        let mut header = ::tar::Header::new_gnu();
        header.set_size(0);
        tar.append_data(&mut header, "a", &b""[..]).expect("memory");
        assert_eq!(said(&tar.into_inner().expect("memory")), None);
        assert_eq!(said(&[0; 1024]), None);
    }

    /// What a model's tar with these entries holds: kind, name, content.
    fn held(entries: &[(u8, &str, &str)]) -> Result<Vec<String>, String> {
        let mut tar = Vec::new();
        for (kind, name, content) in entries {
            let mut header = ::tar::Header::new_ustar();
            header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
            header.set_entry_type(::tar::EntryType::new(*kind));
            header.set_size(content.len() as u64);
            header.set_mode(0o644);
            header.set_cksum();
            tar.extend(header.as_bytes());
            tar.extend(content.as_bytes());
            tar.resize(tar.len().next_multiple_of(512), 0);
        }
        let dir = tempfile::tempdir().expect("directory");
        let path = dir.path().join("tar");
        std::fs::write(&path, tar).expect("write");
        let mut files = Files::new();
        add_entries(&path, false, &mut files).map_err(|e| e.to_string())?;
        let read = |file: &SourceFile| io::read_to_string(file.open().expect("open")).expect("read");
        Ok(files.values().map(|(file, _)| format!("{}={}", file.name, read(file))).collect())
    }

    #[test]
    fn a_model_s_tar_has_plain_files_under_plain_names() {
        assert_eq!(
            held(&[(b'0', "./a/w", "1"), (b'5', "a/", ""), (b'0', "b", "2")]),
            Ok(vec!["a/w=1".into(), "b=2".into()])
        );
        // As KitOps packs it on Windows.
        let kit = [(b'0', "model\\config.json", "1"), (b'5', "model\\onnx", ""), (b'0', ".\\model\\onnx\\w", "2")];
        assert_eq!(held(&kit), Ok(vec!["model/config.json=1".into(), "model/onnx/w=2".into()]));
        for name in ["..\\w", "a\\..\\..\\w"] {
            assert!(held(&[(b'0', name, "x")]).is_err(), "{name}");
        }
        // Who comes last is there, as when it is unpacked.
        assert_eq!(held(&[(b'0', "w", "old"), (b'0', "w", "new")]), Ok(vec!["w=new".into()]));
        for name in ["a//w", "/a/w", "./a/./w"] {
            assert_eq!(held(&[(b'0', "a/w", "old"), (b'0', name, "new")]), Ok(vec!["a/w=new".into()]), "{name}");
        }
        for name in ["../w", "a/../../w", "a/..", "a/../b"] {
            assert!(held(&[(b'0', name, "x")]).is_err(), "{name}");
        }
        for (kind, what) in [
            (b'1', "hard link"),
            (b'2', "symbolic link"),
            (b'3', "character device"),
            (b'4', "block device"),
            (b'6', "FIFO"),
        ] {
            let said = held(&[(b'0', "w", "x"), (kind, "v", "")]).expect_err(what);
            assert_eq!(said, format!("v: a model's files are regular files, this is a {what}"));
        }
        let name = "n".repeat(2 << 20);
        assert!(
            held(&[(b'L', "././@LongLink", &name), (b'0', "w", "x")])
                .expect_err("a name")
                .contains("headers of one entry")
        );
        let sparse = "22 GNU.sparse.major=1\n";
        assert!(held(&[(b'x', "pax", sparse), (b'0', "w", "x")]).expect_err("sparse").contains("sparse"));
    }
}
