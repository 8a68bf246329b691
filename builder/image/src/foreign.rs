//! Model artifacts of others, read as what they hold: ModelPack (CNCF, and its older CNAI names), KitOps, Docker's model
//! artifacts, Ollama's, files as `oras push` sends them, and plain images with a model under `/models`.
//!
//! Pure: a manifest in, its parts out. What is taken is what a fine-tune base needs: weights, small files beside them,
//! licences. Code, datasets and other models' adapters and projectors are left out. A layer of a type that nobody has
//! described is refused in an artifact: half a model is none.

use std::collections::BTreeMap;

use hone_contract::quoted;

use crate::image;
use crate::layer::{Compression, compression};
use crate::media;
use crate::oci::{Descriptor, Manifest};
use crate::tar::check_path;

/// Layers looked at in one artifact.
const MAX_LAYERS: usize = 4096;
/// The name of the file that a blob is (image-spec, annotations.md).
const TITLE: &str = "org.opencontainers.image.title";
/// What `oras push` says of a directory: the blob is a tar of it.
const UNPACK: &str = "io.deis.oras.content.unpack";

/// Whose artifact it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Maker {
    /// CNCF ModelPack.
    ModelPack,
    /// KitOps' ModelKit.
    KitOps,
    /// Docker Model Runner.
    Docker,
    /// Ollama.
    Ollama,
    /// Files under their names: ORAS.
    Files,
    /// An image of containers.
    Image,
}

/// How a part's files lie in its blob.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Form {
    /// The blob is the file of this name.
    Raw(String),
    /// The blob is a tar of files.
    Tar(Compression),
}

/// One blob that is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// The blob.
    pub blob: Descriptor,
    /// What is in it.
    pub form: Form,
}

/// An artifact that is no model, or one that is not understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ForeignError {
    /// Nothing in it is a model's.
    #[error("it holds no model: its layers are {}", quoted(.0))]
    NoModel(String),
    /// A layer type that nobody has described.
    #[error(
        "layer {digest} has the media type {}, which is no part of a model that is known here",
        quoted(media_type)
    )]
    Unknown {
        /// The layer's digest.
        digest: String,
        /// Its media type.
        media_type: String,
    },
    /// A file name that leaves the model.
    #[error("layer {digest} names its file \"{}\"; want a plain relative path", quoted(path))]
    Path {
        /// The layer's digest.
        digest: String,
        /// The name.
        path: String,
    },
    /// More layers than any model has.
    #[error("it has {got} layers, want at most {want}")]
    TooMany {
        /// How many.
        got: usize,
        /// What would do.
        want: usize,
    },
}

/// Whose artifact a manifest is.
pub fn maker(manifest: &Manifest) -> Maker {
    let kind = manifest.artifact_type.as_deref().unwrap_or(&manifest.config.media_type);
    let layers = |prefix: &str| manifest.layers.iter().any(|l| l.media_type.starts_with(prefix));
    match () {
        () if model_pack_kind(kind) || model_pack_kind(&manifest.config.media_type) => Maker::ModelPack,
        // It need not say so: what it is made of does.
        () if manifest.layers.iter().any(|l| model_pack_kind(&l.media_type)) => Maker::ModelPack,
        () if layers("application/vnd.kitops.") => Maker::KitOps,
        () if layers("application/vnd.docker.ai.") => Maker::Docker,
        () if layers("application/vnd.ollama.") => Maker::Ollama,
        () if !is_image(manifest) && manifest.layers.iter().any(|l| l.annotations.contains_key(TITLE)) => {
            Maker::Files
        }
        () => Maker::Image,
    }
}

fn is_image(manifest: &Manifest) -> bool {
    [media::CONFIG, media::DOCKER_CONFIG].contains(&manifest.config.media_type.as_str())
}

/// The blobs of a model artifact that are wanted, in their order.
///
/// # Errors
/// See [`ForeignError`].
pub fn parts(manifest: &Manifest) -> Result<Vec<Part>, ForeignError> {
    let most = if maker(manifest) == Maker::Image { image::MAX_LAYERS + 1 } else { MAX_LAYERS };
    if manifest.layers.len() > most {
        return Err(ForeignError::TooMany { got: manifest.layers.len(), want: most });
    }
    let maker = maker(manifest);
    let classify = |layer: &Descriptor| match maker {
        Maker::ModelPack => model_pack(&layer.media_type),
        Maker::KitOps => kit_ops(&layer.media_type),
        Maker::Docker => docker(&layer.media_type),
        Maker::Ollama => ollama(&layer.media_type),
        Maker::Files => file(layer),
        Maker::Image => image_layer(&layer.media_type),
    };
    let mut parts: Vec<Part> = Vec::new();
    let mut unnamed: BTreeMap<&'static str, usize> = BTreeMap::new();
    for layer in &manifest.layers {
        let unknown =
            || ForeignError::Unknown { digest: layer.digest.to_string(), media_type: layer.media_type.clone() };
        let form = match classify(layer).ok_or_else(unknown)? {
            Class::Skip => continue,
            Class::Tar(compression) => Form::Tar(compression),
            Class::Raw(usual) => Form::Raw(name_of(layer, usual, &mut unnamed)?),
        };
        parts.push(Part { blob: layer.clone(), form });
    }
    if parts.is_empty() {
        let kinds: Vec<&str> = manifest.layers.iter().take(8).map(|l| l.media_type.as_str()).collect();
        return Err(ForeignError::NoModel(kinds.join(", ")));
    }
    Ok(parts)
}

enum Class {
    Skip,
    Tar(Compression),
    /// With the name its file has when nobody names it.
    Raw(&'static str),
}

fn model_pack_kind(media_type: &str) -> bool {
    ["application/vnd.cncf.model.", "application/vnd.cnai.model."].iter().any(|p| media_type.starts_with(p))
}

/// `application/vnd.{cncf,cnai}.model.{KIND}.v1.{FORM}`.
fn model_pack(media_type: &str) -> Option<Class> {
    let rest = media_type.strip_prefix("application/vnd.cncf.model.");
    let rest = rest.or_else(|| media_type.strip_prefix("application/vnd.cnai.model."))?;
    let (kind, form) = rest.split_once(".v1.")?;
    let usual = match kind {
        "weight" => "model",
        "weight.config" => "config.json",
        "doc" => "README.md",
        "code" | "dataset" => return Some(Class::Skip),
        _ => return None,
    };
    match form {
        "raw" => Some(Class::Raw(usual)),
        // As Docker Model Runner writes them.
        "gguf" => Some(Class::Raw("model.gguf")),
        "safetensors" => Some(Class::Raw("model.safetensors")),
        tar => tar_form(tar),
    }
}

/// `application/vnd.kitops.modelkit.{KIND}.v1.{FORM}`.
fn kit_ops(media_type: &str) -> Option<Class> {
    let (kind, form) = media_type.strip_prefix("application/vnd.kitops.modelkit.")?.split_once(".v1.")?;
    match kind {
        "model" | "modelpart" | "docs" => tar_form(form),
        "code" | "dataset" | "datasets" | "prompt" => Some(Class::Skip),
        _ => None,
    }
}

fn docker(media_type: &str) -> Option<Class> {
    match media_type.strip_prefix("application/vnd.docker.ai.")? {
        kind if kind.starts_with("gguf.v") => Some(Class::Raw("model.gguf")),
        "safetensors" => Some(Class::Raw("model.safetensors")),
        "license" => Some(Class::Raw("LICENSE")),
        "model.file" => Some(Class::Raw("config.json")),
        "chat.template.jinja" => Some(Class::Raw("chat_template.jinja")),
        "vllm.config.tar" | "dir.tar" => Some(Class::Tar(Compression::None)),
        "mmproj" | "lora" => Some(Class::Skip),
        _ => None,
    }
}

fn ollama(media_type: &str) -> Option<Class> {
    match media_type.strip_prefix("application/vnd.ollama.image.")? {
        "model" => Some(Class::Raw("model.gguf")),
        "license" => Some(Class::Raw("LICENSE")),
        "template" | "system" | "params" | "messages" | "adapter" | "projector" | "prompt" => Some(Class::Skip),
        _ => None,
    }
}

fn image_layer(media_type: &str) -> Option<Class> {
    compression(media_type).map(Class::Tar)
}

/// Whatever its media type, which with ORAS says nothing (`application/vnd.oci.image.layer.v1.tar` of a GGUF file).
fn file(layer: &Descriptor) -> Option<Class> {
    match layer.annotations.get(UNPACK).is_some_and(|unpack| unpack == "true") {
        true => image_layer(&layer.media_type),
        false => layer.annotations.contains_key(TITLE).then_some(Class::Raw("model")),
    }
}

fn tar_form(form: &str) -> Option<Class> {
    match form {
        "tar" => Some(Class::Tar(Compression::None)),
        "tar+gzip" => Some(Class::Tar(Compression::Gzip)),
        "tar+zstd" => Some(Class::Tar(Compression::Zstd)),
        _ => None,
    }
}

/// The name of a raw blob's file: as annotated, else the usual one (numbered from the second on).
fn name_of(
    layer: &Descriptor,
    usual: &'static str,
    unnamed: &mut BTreeMap<&'static str, usize>,
) -> Result<String, ForeignError> {
    let names = [media::WEIGHT_PATH, "org.cnai.model.filepath", TITLE];
    let named = names.iter().find_map(|name| layer.annotations.get(*name));
    let path = match named {
        // As tools on Windows write it.
        Some(path) => path.replace('\\', "/").trim_start_matches("./").to_owned(),
        None => {
            let n = unnamed.entry(usual).or_default();
            *n += 1;
            match (*n, usual.rsplit_once('.')) {
                (1, _) => usual.to_owned(),
                (n, Some((stem, ending))) => format!("{stem}-{n}.{ending}"),
                (n, None) => format!("{usual}-{n}"),
            }
        }
    };
    match check_path(&path) {
        Ok(()) => Ok(path),
        Err(_) => Err(ForeignError::Path { digest: layer.digest.to_string(), path }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hone_contract::Digest;

    fn artifact(kind: Option<&str>, config: &str, layers: &[(&str, Option<&str>)]) -> Manifest {
        let layer = |(media_type, path): &(&str, Option<&str>)| {
            let mut layer = Descriptor::of(media_type, Digest::of(media_type.as_bytes()), 1);
            layer.annotations.extend(path.map(|p| (media::WEIGHT_PATH.to_owned(), p.to_owned())));
            layer
        };
        let config = Descriptor::of(config, Digest::of(b"{}"), 2);
        let manifest = Manifest::new(config, layers.iter().map(layer).collect(), BTreeMap::new());
        Manifest { artifact_type: kind.map(str::to_owned), ..manifest }
    }

    fn forms(manifest: &Manifest) -> Vec<Form> {
        parts(manifest).expect("a model").into_iter().map(|p| p.form).collect()
    }

    fn raw(name: &str) -> Form {
        Form::Raw(name.to_owned())
    }

    #[test]
    fn model_pack_in_all_its_forms_and_its_older_names() {
        let new = artifact(
            Some(media::MODEL_MANIFEST),
            media::MODEL_CONFIG,
            &[
                ("application/vnd.cncf.model.weight.v1.raw", Some("a/m.safetensors")),
                ("application/vnd.cncf.model.weight.config.v1.tar+gzip", None),
                ("application/vnd.cncf.model.weight.v1.tar+zstd", None),
                ("application/vnd.cncf.model.dataset.v1.tar", None),
                ("application/vnd.cncf.model.weight.v1.gguf", None),
            ],
        );
        assert_eq!(maker(&new), Maker::ModelPack);
        let tar = Form::Tar;
        let want = vec![raw("a/m.safetensors"), tar(Compression::Gzip), tar(Compression::Zstd), raw("model.gguf")];
        assert_eq!(forms(&new), want);
        let old = artifact(
            Some("application/vnd.cnai.model.manifest.v1+json"),
            "application/vnd.cnai.model.config.v1+json",
            &[("application/vnd.cnai.model.weight.v1.tar", None)],
        );
        assert_eq!((maker(&old), forms(&old)), (Maker::ModelPack, vec![tar(Compression::None)]));
    }

    #[test]
    fn the_others_are_known_by_their_layers() {
        let kit = artifact(
            None,
            "application/vnd.kitops.modelkit.config.v1+json",
            &[
                ("application/vnd.kitops.modelkit.model.v1.tar+gzip", None),
                ("application/vnd.kitops.modelkit.code.v1.tar+gzip", None),
            ],
        );
        assert_eq!((maker(&kit), forms(&kit)), (Maker::KitOps, vec![Form::Tar(Compression::Gzip)]));
        let docker = artifact(
            None,
            "application/vnd.docker.ai.model.config.v0.1+json",
            &[("application/vnd.docker.ai.gguf.v3", None), ("application/vnd.docker.ai.license", None)],
        );
        assert_eq!((maker(&docker), forms(&docker)), (Maker::Docker, vec![raw("model.gguf"), raw("LICENSE")]));
        let ollama = artifact(
            None,
            media::DOCKER_CONFIG,
            &[
                ("application/vnd.ollama.image.model", None),
                ("application/vnd.ollama.image.template", None),
                ("application/vnd.ollama.image.params", None),
            ],
        );
        assert_eq!((maker(&ollama), forms(&ollama)), (Maker::Ollama, vec![raw("model.gguf")]));
        let image = artifact(None, media::CONFIG, &[(media::LAYER_GZIP, None), (media::LAYER_TAR, None)]);
        assert_eq!(maker(&image), Maker::Image);
        assert_eq!(forms(&image), [Form::Tar(Compression::Gzip), Form::Tar(Compression::None)]);
    }

    #[test]
    fn files_are_what_oras_calls_them() {
        let files = |config: &str, rows: &[(&str, &[(&str, &str)])]| {
            let mut manifest = artifact(None, config, &[]);
            for (media_type, words) in rows {
                let mut layer = Descriptor::of(media_type, Digest::of(media_type.as_bytes()), 1);
                layer.annotations.extend(words.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())));
                manifest.layers.push(layer);
            }
            manifest
        };
        let (empty, tar) = ("application/vnd.oci.empty.v1+json", media::LAYER_TAR);
        let one = files(empty, &[(tar, &[(TITLE, "m.gguf")]), ("text/plain", &[(TITLE, "sub/LICENSE")])]);
        assert_eq!((maker(&one), forms(&one)), (Maker::Files, vec![raw("m.gguf"), raw("sub/LICENSE")]));
        let dir = files(empty, &[(media::LAYER_GZIP, &[(TITLE, "dir"), (UNPACK, "true")])]);
        assert_eq!(forms(&dir), [Form::Tar(Compression::Gzip)]);
        assert!(parts(&files(empty, &[(tar, &[(TITLE, "a")]), (tar, &[])])).is_err());
        assert!(parts(&files(empty, &[(tar, &[(TITLE, "../../m.gguf")])])).is_err());
        assert!(parts(&files(empty, &[(tar, &[(TITLE, "..\\m.gguf")])])).is_err());
        let windows = files(empty, &[(tar, &[(TITLE, ".\\sub\\m.gguf")])]);
        assert_eq!(forms(&windows), [raw("sub/m.gguf")]);
        // An image's layers are tars, whatever they are called.
        let image = files(media::CONFIG, &[(tar, &[(TITLE, "m.gguf")])]);
        assert_eq!((maker(&image), forms(&image)), (Maker::Image, vec![Form::Tar(Compression::None)]));
    }

    #[test]
    fn a_model_pack_need_not_say_that_it_is_one() {
        for config in ["application/vnd.oci.empty.v1+json", media::CONFIG] {
            let pack = artifact(None, config, &[("application/vnd.cncf.model.weight.v1.raw", Some("m.gguf"))]);
            assert_eq!((maker(&pack), forms(&pack)), (Maker::ModelPack, vec![raw("m.gguf")]), "{config}");
            let old = artifact(None, config, &[("application/vnd.cnai.model.weight.v1.tar", None)]);
            assert_eq!(
                (maker(&old), forms(&old)),
                (Maker::ModelPack, vec![Form::Tar(Compression::None)]),
                "{config}"
            );
        }
    }

    #[test]
    fn words_of_an_artifact_are_shown_escaped_and_cut() {
        let long = format!("\u{1b}[2J{}", "n".repeat(100_000));
        let kind = format!("application/vnd.cncf.model.{long}");
        for evil in [
            artifact(None, media::MODEL_CONFIG, &[(&kind, None)]),
            artifact(
                None,
                media::MODEL_CONFIG,
                &[("application/vnd.cncf.model.weight.v1.raw", Some(&format!("/{long}")))],
            ),
            artifact(None, media::MODEL_CONFIG, &[("application/vnd.cncf.model.code.v1.tar", None); 100]),
        ] {
            let said = parts(&evil).expect_err("refused").to_string();
            assert!(!said.contains(char::is_control) && said.len() < 1500, "{} bytes", said.len());
        }
    }

    #[test]
    fn names_that_leave_the_model_and_types_nobody_described_are_refused() {
        for path in ["../m", "/etc/m", "a/../../m", ""] {
            let evil =
                artifact(None, media::MODEL_CONFIG, &[("application/vnd.cncf.model.weight.v1.raw", Some(path))]);
            assert!(matches!(parts(&evil), Err(ForeignError::Path { .. })), "{path:?}");
        }
        let odd = artifact(None, media::MODEL_CONFIG, &[("application/vnd.cncf.model.soul.v1.raw", None)]);
        assert!(matches!(parts(&odd), Err(ForeignError::Unknown { .. })));
        let only_code = artifact(None, media::MODEL_CONFIG, &[("application/vnd.cncf.model.code.v1.tar", None)]);
        assert!(matches!(parts(&only_code), Err(ForeignError::NoModel(_))));
    }
}
