//! The base model on disk: which files it has, which are weights, and whether the trainer can work with it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use hone_model::{GgufTokenizer, Model, ModelConfig, adapter_tensors, shards_of_index};
use hone_plan::{BasePlan, BuildPlan, TrainerPlan};

use super::{pickle, tokenizer, weights};
use crate::failure::{Failure, because};

/// Endings of files that are weights: each gets a layer of its own.
const WEIGHTS: [&str; 5] = ["gguf", "safetensors", "onnx", "onnx_data", "data"];
/// A file of another ending is a weight, too, from this size (bytes).
const LARGE: u64 = 64 << 20;
/// Files in one model directory.
const MAX_FILES: usize = 10_000;

/// One file of the model.
#[derive(Debug, Clone)]
pub struct SourceFile {
    /// Name relative to the model's directory.
    pub name: String,
    /// Where it is now.
    pub source: PathBuf,
    /// Bytes.
    pub size: u64,
}

/// A model that was looked at and can be packed.
#[derive(Debug)]
pub struct BaseModel {
    /// Its directory in the image, without the leading slash.
    pub dir: String,
    /// `gguf`, `safetensors`, `onnx` or `other`.
    pub format: &'static str,
    /// The family, when the trainer knows it.
    pub family: Option<&'static str>,
    /// Weight files, by name.
    pub weights: Vec<SourceFile>,
    /// Its other files, by name.
    pub texts: Vec<SourceFile>,
    /// Files of a tokenizer that came apart.
    pub tokenizer_files: Vec<SourceFile>,
    /// Where the tokenizer is in the image.
    pub tokenizer: Option<String>,
    /// The tensors of an adapter for it, when it is understood and something trains.
    pub tensors: Option<BTreeMap<String, Vec<u64>>>,
}

#[derive(Debug, thiserror::Error)]
enum BaseError {
    #[error("base.model {}: it does not exist; the path is relative to the Honefile", .0.display())]
    Missing(PathBuf),
    #[error("base.model {}: no weight file in it; want .gguf or .safetensors", .0.display())]
    NoWeights(PathBuf),
    #[error("base.model {}: the onnx trainer reads one .gguf file, or a directory with config.json and model.safetensors; got {got}", path.display())]
    Format { path: PathBuf, got: String },
    #[error("base.model {}: {shard} is missing; model.safetensors.index.json names it", path.display())]
    Shard { path: PathBuf, shard: String },
    #[error("base.model {}: no tokenizer in it; give one as base.tokenizer", .0.display())]
    NoTokenizer(PathBuf),
    #[error("{}: its name is not UTF-8, and an image's names are", .0.display())]
    Name(PathBuf),
    #[error("base.model {}: more than {MAX_FILES} files", .0.display())]
    TooMany(PathBuf),
}

/// What is understood of a model.
struct Understood {
    config: ModelConfig,
    gguf_tokenizer: Option<(String, Result<GgufTokenizer, hone_model::ModelError>)>,
}

/// Looks at the model that `base` names, relative to `dir`.
pub fn find(dir: &Path, base: &BasePlan, plan: &BuildPlan) -> Result<BaseModel, Failure> {
    let path = dir.join(&base.model);
    let files = files(&path)?;
    for file in &files {
        pickle::refuse(&file.source, &weights::head(&file.source)?)?;
    }
    let (weight_files, texts): (Vec<_>, Vec<_>) = files.into_iter().partition(is_weight);
    if weight_files.is_empty() && plan.trainer != TrainerPlan::None {
        return Err(BaseError::NoWeights(path).into());
    }
    // A lone file is a weight, whatever it is called.
    let (weight_files, texts) =
        if path.is_file() { ([weight_files, texts].concat(), vec![]) } else { (weight_files, texts) };
    let format = format_of(&weight_files);
    let understood = understand(&path, format, &weight_files);
    let understood = match &plan.trainer {
        TrainerPlan::BuiltIn(_) => Some(understood?),
        // Others may use what this program does not know; a file that lies about itself is refused all the same.
        TrainerPlan::None | TrainerPlan::Rootfs(_) => {
            check_headers(&weight_files)?;
            understood.ok()
        }
    };
    let mut model = BaseModel {
        dir: format!("models/{}", plan.name),
        format,
        family: understood.as_ref().map(|u| u.config.family.name()),
        weights: weight_files,
        texts,
        tokenizer_files: Vec::new(),
        tokenizer: None,
        tensors: None,
    };
    settle_tokenizer(&mut model, &path, dir, base, &understood, plan)?;
    if let (Some(known), Some(finetune)) = (&understood, &plan.finetune) {
        let tensors = adapter_tensors(&known.config, &finetune.targets, u64::from(finetune.rank));
        model.tensors = match plan.trainer {
            TrainerPlan::BuiltIn(_) => Some(tensors?),
            _ => tensors.ok(),
        };
    }
    Ok(model)
}

fn settle_tokenizer(
    model: &mut BaseModel,
    path: &Path,
    dir: &Path,
    base: &BasePlan,
    understood: &Option<Understood>,
    plan: &BuildPlan,
) -> Result<(), Failure> {
    let vocabulary = understood.as_ref().map(|u| u.config.vocab);
    let inside = format!("/{}", model.dir);
    if let Some(apart) = &base.tokenizer {
        model.tokenizer_files = tokenizer::find(&dir.join(apart), vocabulary)?;
        model.tokenizer = Some("/hone/tokenizer".to_owned());
        return Ok(());
    }
    if let Some(json) = model.texts.iter().find(|f| f.name == tokenizer::FILE) {
        tokenizer::check(&json.source, vocabulary)?;
        model.tokenizer = Some(inside);
        return Ok(());
    }
    let needed = matches!(plan.trainer, TrainerPlan::BuiltIn(_));
    match understood.as_ref().and_then(|u| u.gguf_tokenizer.as_ref()) {
        Some((name, Ok(tokenizer))) => {
            tokenizer::fits(path, tokenizer.tokens.len() as u64, vocabulary)?;
            model.tokenizer = Some(format!("{inside}/{name}"));
            Ok(())
        }
        Some((_, Err(error))) if needed => Err(error.to_string().into()),
        _ if needed => Err(BaseError::NoTokenizer(path.to_owned()).into()),
        _ => Ok(()),
    }
}

/// What the built-in trainers can work with.
fn understand(path: &Path, format: &str, files: &[SourceFile]) -> Result<Understood, Failure> {
    match (format, files) {
        ("gguf", [only]) => {
            let header = weights::gguf(&only.source)?;
            let shown = only.source.display().to_string();
            let config = Model::from_gguf(&shown, &header)?.config;
            let tokenizer = GgufTokenizer::from_header(&shown, &header);
            Ok(Understood { config, gguf_tokenizer: Some((only.name.clone(), tokenizer)) })
        }
        ("safetensors", _) if path.is_dir() => {
            let file = path.join("config.json");
            if !file.is_file() {
                return Err(BaseError::Format { path: path.to_owned(), got: "no config.json".to_owned() }.into());
            }
            let config = ModelConfig::from_json(&file.display().to_string(), &weights::small(&file)?)?;
            let config = Model::from_safetensors(config, &shards(path, files)?)?.config;
            Ok(Understood { config, gguf_tokenizer: None })
        }
        _ => {
            let names: Vec<&str> = files.iter().map(|f| f.name.as_str()).collect();
            Err(BaseError::Format { path: path.to_owned(), got: names.join(", ") }.into())
        }
    }
}

/// The headers of a Hugging Face directory's tensor files: those its index names, or the one there is.
fn shards(path: &Path, files: &[SourceFile]) -> Result<BTreeMap<String, hone_model::safetensors::Header>, Failure> {
    let index = path.join("model.safetensors.index.json");
    let names = if index.is_file() {
        shards_of_index(&index.display().to_string(), &weights::small(&index)?)?
    } else {
        files.iter().map(|f| f.name.clone()).filter(|n| n.ends_with(".safetensors") && !n.contains('/')).collect()
    };
    let mut headers = BTreeMap::new();
    for name in names {
        let Some(file) = files.iter().find(|f| f.name == name) else {
            return Err(BaseError::Shard { path: path.to_owned(), shard: name }.into());
        };
        headers.insert(file.source.display().to_string(), weights::safetensors(&file.source)?);
    }
    Ok(headers)
}

fn check_headers(files: &[SourceFile]) -> Result<(), Failure> {
    for file in files {
        match ending(&file.name).as_str() {
            "gguf" => drop(weights::gguf(&file.source)?),
            // Element types that the trainer cannot compute are no fault of a file that is only carried.
            "safetensors" => match weights::safetensors(&file.source) {
                Err(error) if !is_unsupported(&*error) => return Err(error),
                _ => {}
            },
            _ => {}
        }
    }
    Ok(())
}

fn is_unsupported(error: &(dyn std::error::Error + 'static)) -> bool {
    matches!(error.downcast_ref(), Some(hone_model::ModelError::Unsupported { .. }))
}

fn format_of(files: &[SourceFile]) -> &'static str {
    let any = |wanted: &str| files.iter().any(|f| ending(&f.name) == wanted);
    match () {
        () if any("safetensors") => "safetensors",
        () if any("gguf") => "gguf",
        () if any("onnx") => "onnx",
        () => "other",
    }
}

fn is_weight(file: &SourceFile) -> bool {
    WEIGHTS.contains(&ending(&file.name).as_str()) || file.size >= LARGE
}

fn ending(name: &str) -> String {
    Path::new(name).extension().map(|e| e.to_string_lossy().to_ascii_lowercase()).unwrap_or_default()
}

/// Every file of the model, by name. Links to files are followed (Hugging Face's cache is made of them); names
/// that begin with a dot are not the model's.
fn files(path: &Path) -> Result<Vec<SourceFile>, Failure> {
    let meta = match fs::metadata(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(BaseError::Missing(path.to_owned()).into());
        }
        result => result.map_err(because(format!("read base.model {}", path.display())))?,
    };
    let mut found = Vec::new();
    if meta.is_dir() {
        walk(path, "", &mut found)?;
    } else {
        let name = path.file_name().and_then(|n| n.to_str()).ok_or_else(|| BaseError::Name(path.to_owned()))?;
        found.push(SourceFile { name: name.to_owned(), source: path.to_owned(), size: meta.len() });
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}

fn walk(root: &Path, inner: &str, found: &mut Vec<SourceFile>) -> Result<(), Failure> {
    let dir = root.join(inner);
    let reading = |p: &Path| because(format!("read {}", p.display()));
    for entry in fs::read_dir(&dir).map_err(reading(&dir))? {
        let entry = entry.map_err(reading(&dir))?;
        let file_name = entry.file_name();
        let Some(name) = file_name.to_str() else {
            return Err(BaseError::Name(entry.path()).into());
        };
        if name.starts_with('.') {
            continue;
        }
        let name = if inner.is_empty() { name.to_owned() } else { format!("{inner}/{name}") };
        let meta = fs::metadata(entry.path()).map_err(reading(&entry.path()))?;
        let linked = entry.file_type().map_err(reading(&dir))?.is_symlink();
        if meta.is_file() {
            found.push(SourceFile { name, source: entry.path(), size: meta.len() });
        } else if meta.is_dir() && !linked {
            walk(root, &name, found)?;
        }
        if found.len() > MAX_FILES {
            return Err(BaseError::TooMany(root.to_owned()).into());
        }
    }
    Ok(())
}
