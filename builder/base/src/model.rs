//! What is understood of a model: which files are weights, and whether the trainer can work with them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use hone_contract::identity;
use hone_contract::job::{Base, BaseFile};
use hone_image::modelpack::ModelFacts;
use hone_model::{GgufTokenizer, Model, ModelConfig, adapter_tensors, shards_of_index};
use hone_plan::{BuildPlan, TrainerPlan};

use crate::headers::{Header, parse};
use crate::{BaseError, SourceFile, Sources, content, facts, read, split, tokenizer};

/// Endings of files that are weights: each gets a layer of its own.
pub(crate) const WEIGHTS: [&str; 5] = ["gguf", "safetensors", "onnx", "onnx_data", "data"];
/// A file of another ending is a weight, too, from this size (bytes).
const LARGE: u64 = 64 << 20;
/// Hugging Face's index of a sharded model.
const SHARDS: &str = "model.safetensors.index.json";

/// A model that was looked at and can be packed.
#[derive(Debug, Clone)]
pub struct BaseModel {
    /// Its directory in the image, without the leading slash.
    pub dir: String,
    /// `gguf`, `safetensors`, `onnx` or `other`.
    pub format: String,
    /// The family, when the trainer knows it.
    pub family: Option<String>,
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
    /// How many positions it has, when Hone's own trainer is to use it.
    pub positions: Option<u64>,
    /// What the user should know before the image is on a device.
    pub notes: Vec<String>,
    /// What its own files say of it, for ModelPack.
    pub facts: ModelFacts,
}

impl BaseModel {
    /// What the job says of it, from the size and digest of each of its files; those of a file that was left out of it are
    /// left out, too.
    pub fn job(&self, mut files: Vec<BaseFile>) -> Base {
        let packed: BTreeSet<&str> = self.weights.iter().chain(&self.texts).map(|file| file.name.as_str()).collect();
        files.retain(|file| packed.contains(file.path.as_str()));
        files.sort_by(|a, b| a.path.cmp(&b.path));
        Base {
            identity: identity::of_base(&files),
            path: format!("/{}", self.dir),
            format: self.format.clone(),
            family: self.family.clone(),
            files,
            tokenizer: self.tokenizer.clone(),
        }
    }

    /// Every directory that its files lie in, and those above.
    pub fn dirs(&self) -> BTreeSet<String> {
        let mut dirs: BTreeSet<String> = parents(&self.dir).into_iter().chain([self.dir.clone()]).collect();
        for file in self.weights.iter().chain(&self.texts) {
            dirs.extend(parents(&format!("{}/{}", self.dir, file.name)));
        }
        dirs
    }
}

/// The directories above a path, highest first.
pub fn parents(path: &str) -> Vec<String> {
    path.match_indices('/').map(|(at, _)| path[..at].to_owned()).collect()
}

/// What is understood of a model.
struct Understood {
    config: ModelConfig,
    gguf_tokenizer: Option<(String, Result<GgufTokenizer, hone_model::ModelError>)>,
}

/// Looks at a model, and at its tokenizer when that came apart, for the plan that wants it.
///
/// # Errors
/// When the plan's trainer cannot use the model, or the model lies about itself.
pub fn understand(model: &Sources, apart: Option<&Sources>, plan: &BuildPlan) -> Result<BaseModel, BaseError> {
    let (model, left_out) = content::of_model(model)?;
    let model = &model;
    let (weights, texts): (Vec<_>, Vec<_>) = model.files.iter().cloned().partition(is_weight);
    if weights.is_empty() && plan.trainer != TrainerPlan::None {
        return Err(BaseError::NoWeights(model.shown.clone()));
    }
    // A lone file is a weight, whatever it is called.
    let (weights, texts) = if model.lone { ([weights, texts].concat(), vec![]) } else { (weights, texts) };
    let format = format_of(&weights);
    // A file that lies about itself is refused whoever trains.
    let parsed = weights.iter().map(parse).collect::<Result<Vec<_>, _>>()?;
    split::check(model, &weights, &parsed, matches!(plan.trainer, TrainerPlan::BuiltIn(_)))?;
    let facts = facts::of(&plan.name, format, &parsed, model);
    let understood = headers(model, format, &weights, parsed);
    let mut understood = match &plan.trainer {
        TrainerPlan::BuiltIn(_) => Some(understood?),
        // Others may use what this program does not know.
        _ => understood.ok(),
    };
    let mut base = BaseModel {
        dir: format!("models/{}", plan.name),
        format: format.to_owned(),
        family: understood.as_ref().map(|u| u.config.family.name().to_owned()),
        weights,
        texts,
        tokenizer_files: Vec::new(),
        tokenizer: None,
        tensors: None,
        positions: None,
        notes: left_out.into_iter().collect(),
        facts,
    };
    base.facts.family = base.family.clone();
    settle_training(&mut base, apart, understood.as_ref(), plan)?;
    settle_tokenizer(&mut base, model, apart, understood.as_mut(), plan)?;
    if let (Some(known), Some(finetune)) = (&understood, &plan.finetune) {
        let tensors = adapter_tensors(&known.config, &finetune.targets, u64::from(finetune.rank));
        base.tensors = match plan.trainer {
            TrainerPlan::BuiltIn(_) => Some(tensors?),
            _ => tensors.ok(),
        };
    }
    Ok(base)
}

/// Refuses what Hone's own trainer would refuse on the device; notes what it will refuse if the data is what nobody said
/// that it is.
fn trainable(
    plan: &BuildPlan,
    known: &Understood,
    texts: &[SourceFile],
    apart: Option<&Sources>,
) -> Result<Option<String>, BaseError> {
    let Some(finetune) = &plan.finetune else { return Ok(None) };
    let positions = known.config.max_positions;
    if plan.said.max_length && u64::from(finetune.max_length) > positions {
        return Err(BaseError::MaxLength { got: finetune.max_length, positions });
    }
    if finetune.dataset.format != "chat" {
        return Ok(None);
    }
    let inside = known.gguf_tokenizer.as_ref().and_then(|(_, tokenizer)| tokenizer.as_ref().ok());
    if apart.is_none() && inside.is_some_and(|tokenizer| tokenizer.chat_template.is_some()) {
        return Ok(None);
    }
    for file in apart.map_or(texts, |apart| &apart.files) {
        if tokenizer::has_template(file)? {
            return Ok(None);
        }
    }
    if plan.said.format {
        return Err(BaseError::NoTemplate);
    }
    let what = "the model has no chat template, so data of format chat, the default, will be refused on the device";
    Ok(Some(format!(
        "{what}; say finetune.dataset.format: alpaca or text, or put chat_template.jinja beside its tokenizer.json"
    )))
}

/// What Hone's own trainer can do with it.
fn settle_training(
    base: &mut BaseModel,
    apart: Option<&Sources>,
    understood: Option<&Understood>,
    plan: &BuildPlan,
) -> Result<(), BaseError> {
    if let (TrainerPlan::BuiltIn(_), Some(known)) = (&plan.trainer, understood) {
        base.notes.extend(trainable(plan, known, &base.texts, apart)?);
        base.positions = Some(known.config.max_positions);
    }
    Ok(())
}

fn settle_tokenizer(
    base: &mut BaseModel,
    model: &Sources,
    apart: Option<&Sources>,
    mut understood: Option<&mut Understood>,
    plan: &BuildPlan,
) -> Result<(), BaseError> {
    let vocabulary = understood.as_ref().map(|u| u.config.vocab);
    let inside = format!("/{}", base.dir);
    if let Some(apart) = apart {
        base.tokenizer_files = tokenizer::find(apart, vocabulary)?;
        base.tokenizer = Some("/hone/tokenizer".to_owned());
        return Ok(());
    }
    if let Some(json) = base.texts.iter().find(|f| f.name == tokenizer::FILE) {
        tokenizer::check(json, vocabulary)?;
        base.tokenizer = Some(inside);
        return Ok(());
    }
    let needed = matches!(plan.trainer, TrainerPlan::BuiltIn(_));
    match understood.as_mut().and_then(|u| u.gguf_tokenizer.take()) {
        Some((name, Ok(tokenizer))) => {
            tokenizer::fits(&model.shown, tokenizer.tokens.len() as u64, vocabulary)?;
            if let (true, Some(file)) = (needed, base.weights.first()) {
                tokenizer.check(&file.source.display().to_string())?;
            }
            base.tokenizer = Some(format!("{inside}/{name}"));
            Ok(())
        }
        Some((_, Err(error))) if needed => Err(error.into()),
        _ if needed => Err(BaseError::NoTokenizer(model.shown.clone())),
        _ => Ok(()),
    }
}

/// What the built-in trainers can work with.
fn headers(
    model: &Sources,
    format: &str,
    files: &[SourceFile],
    mut parsed: Vec<Header>,
) -> Result<Understood, BaseError> {
    match (format, files, parsed.as_mut_slice()) {
        ("gguf", [only], [header]) => {
            let shown = only.source.display().to_string();
            let header = header.gguf().ok_or_else(|| unknown(model, files))?;
            let config = Model::from_gguf(&shown, &header)?.config;
            let tokenizer = GgufTokenizer::from_header(&shown, &header);
            Ok(Understood { config, gguf_tokenizer: Some((only.name.clone(), tokenizer)) })
        }
        ("safetensors", ..) if !model.lone => {
            let Some(file) = model.get("config.json") else {
                let (path, got) = (model.shown.clone(), "no config.json".to_owned());
                return Err(BaseError::Format { path, got });
            };
            let config = ModelConfig::from_json(&file.source.display().to_string(), &read::small(file)?)?;
            let config = Model::from_safetensors(config, &shards(model, files, parsed)?)?.config;
            Ok(Understood { config, gguf_tokenizer: None })
        }
        _ => Err(unknown(model, files)),
    }
}

fn unknown(model: &Sources, files: &[SourceFile]) -> BaseError {
    let names: Vec<&str> = files.iter().map(|f| f.name.as_str()).collect();
    BaseError::Format { path: model.shown.clone(), got: names.join(", ") }
}

/// The headers of a Hugging Face directory's tensor files: those its index names, or the one there is.
fn shards(
    model: &Sources,
    files: &[SourceFile],
    parsed: Vec<Header>,
) -> Result<BTreeMap<String, hone_model::safetensors::Header>, BaseError> {
    let names = match model.get(SHARDS) {
        Some(index) => shards_of_index(&index.source.display().to_string(), &read::small(index)?)?,
        None => {
            files.iter().map(|f| f.name.clone()).filter(|n| n.ends_with(".safetensors") && !n.contains('/')).collect()
        }
    };
    let mut by_name: BTreeMap<&str, Header> = files.iter().map(|f| f.name.as_str()).zip(parsed).collect();
    let mut headers = BTreeMap::new();
    for name in names {
        let Some(header) = by_name.remove(name.as_str()) else {
            return Err(BaseError::Shard { path: model.shown.clone(), shard: name });
        };
        // By name, not by place: two shards may lie in one file.
        let shown = model.shown.join(&name).display().to_string();
        match header {
            Header::Safetensors(header) => drop(headers.insert(shown, header)),
            Header::Unsupported(error) => return Err(error.into()),
            _ => return Err(BaseError::Format { path: model.shown.clone(), got: name }),
        }
    }
    Ok(headers)
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

/// Whether a file gets a layer of its own.
pub fn is_weight(file: &SourceFile) -> bool {
    WEIGHTS.contains(&ending(&file.name).as_str()) || file.size >= LARGE
}

pub(crate) fn ending(name: &str) -> String {
    Path::new(name).extension().map(|e| e.to_string_lossy().to_ascii_lowercase()).unwrap_or_default()
}
