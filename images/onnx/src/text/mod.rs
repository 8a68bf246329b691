//! Text to tokens and back, as the base model knows it.

mod gguf;
mod template;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokenizers::Tokenizer;

use crate::error::{Result, TrainError};
use crate::weights::{Source, Weights, read_file};
use template::Template;

/// One turn of a conversation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// `system`, `user` or `assistant`.
    pub role: String,
    /// What was said.
    pub content: String,
}

impl Message {
    /// A turn.
    pub fn new(role: &str, content: &str) -> Self {
        Self { role: role.to_owned(), content: content.to_owned() }
    }
}

/// A token and the bytes of the text it stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Token {
    /// Its id.
    pub id: u32,
    /// First byte.
    pub start: usize,
}

/// A tokenizer with what belongs to it.
pub struct Text {
    tokenizer: Tokenizer,
    template: Option<Template>,
    ends: BTreeSet<u32>,
    end: Option<u32>,
    begin: Option<u32>,
}

/// Tokens that end a turn in the templates of the known families, whatever the configuration says.
const TURN_ENDS: [&str; 2] = ["<|im_end|>", "<|eot_id|>"];

impl Text {
    /// Opens the tokenizer at `path` (a directory with tokenizer.json, that file, or a GGUF); without a path, the one
    /// in the model's directory, or inside the model's GGUF.
    ///
    /// # Errors
    /// There is none, it is of an unknown kind, or it has more tokens than the model.
    pub fn open(path: Option<&Path>, weights: &Weights) -> Result<Self> {
        let text = match (path, weights.source()) {
            (Some(path), source) => Self::open_given(path, source, weights)?,
            (None, Source::Directory(dir)) => Self::from_directory(dir)?,
            (None, Source::Gguf { file }) => match file.parent().map(|dir| dir.join("tokenizer.json")) {
                Some(beside) if beside.is_file() => Self::from_directory(beside.parent().unwrap_or(file))?,
                _ => gguf::open(&file.display().to_string(), &weights.gguf_tokenizer()?)?,
            },
        };
        let (have, most) = (text.tokenizer.get_vocab_size(true) as u64, weights.config().vocab);
        if have > most {
            let problem = format!("does not fit the model: it has {have} tokens, the model {most}");
            return Err(TrainError::tokenizer(path.unwrap_or(Path::new("of the model")).display(), problem));
        }
        Ok(text)
    }

    fn open_given(path: &Path, source: &Source, weights: &Weights) -> Result<Self> {
        if path.is_dir() && (path.join("tokenizer.json").is_file() || matches!(source, Source::Directory(_))) {
            return Self::from_directory(path);
        }
        if path.file_name().is_some_and(|name| name == "tokenizer.json") {
            return Self::from_directory(path.parent().unwrap_or(Path::new(".")));
        }
        let inside = matches!(source, Source::Gguf { file } if file == path || file.parent() == Some(path));
        let name = path.display().to_string();
        match inside {
            true => gguf::open(&name, &weights.gguf_tokenizer()?),
            false => gguf::open(&name, &Weights::open(path, 1)?.gguf_tokenizer()?),
        }
    }

    /// The tokenizer that a tokenizer.json called `file` in errors describes, with no configuration beside it.
    ///
    /// # Errors
    /// It describes none.
    pub fn from_json(file: &str, bytes: Vec<u8>) -> Result<Self> {
        Self::new(parse(file, bytes)?, None, BTreeSet::new(), None, None)
    }

    fn from_directory(dir: &Path) -> Result<Self> {
        let file = dir.join("tokenizer.json");
        let tokenizer = parse(&file.display().to_string(), read_file(&file)?)?;
        let config = optional_json(&dir.join("tokenizer_config.json"))?;
        let named = |key: &str| token_text(&config[key]).and_then(|text| tokenizer.token_to_id(&text));
        let (begin, end) = (named("bos_token"), named("eos_token"));
        let mut ends: BTreeSet<u32> = end.into_iter().collect();
        for name in ["generation_config.json", "config.json"] {
            ends.extend(ids(&optional_json(&dir.join(name))?["eos_token_id"]));
        }
        let template = template_of(dir, &config)?;
        Self::new(tokenizer, template, ends, end, begin)
    }

    fn new(
        mut tokenizer: Tokenizer,
        template: Option<String>,
        mut ends: BTreeSet<u32>,
        end: Option<u32>,
        begin: Option<u32>,
    ) -> Result<Self> {
        // A configuration for batches (padding, cutting) would change single texts.
        tokenizer.with_padding(None);
        let cleared = tokenizer.with_truncation(None).map(|_| ());
        cleared.map_err(|e| TrainError::tokenizer("truncation", e))?;
        ends.extend(TURN_ENDS.iter().filter_map(|name| tokenizer.token_to_id(name)));
        let spell = |id: Option<u32>| id.and_then(|id| tokenizer.id_to_token(id)).unwrap_or_default();
        let template = template.map(|source| Template::new(source, spell(begin), spell(end))).transpose()?;
        let end = end.or_else(|| ends.first().copied());
        Ok(Self { tokenizer, template, ends, end, begin })
    }

    /// Tokens of `text`; `whole` adds what the tokenizer puts around a whole text.
    ///
    /// # Errors
    /// The tokenizer fails.
    pub fn encode(&self, text: &str, whole: bool) -> Result<Vec<Token>> {
        let encoding = self.tokenizer.encode(text, whole).map_err(|e| TrainError::tokenizer("encode", e))?;
        let tokens = encoding.get_ids().iter().zip(encoding.get_offsets());
        Ok(tokens.map(|(&id, &(start, _))| Token { id, start }).collect())
    }

    /// Text of `ids`, without special tokens.
    ///
    /// # Errors
    /// The tokenizer fails.
    pub fn decode(&self, ids: &[u32]) -> Result<String> {
        self.tokenizer.decode(ids, true).map_err(|e| TrainError::tokenizer("decode", e))
    }

    /// The conversation as the model was taught to read it; `answer` opens the assistant's next turn.
    ///
    /// # Errors
    /// There is no chat template, or it refuses the conversation.
    pub fn render(&self, messages: &[Message], answer: bool) -> Result<String> {
        match &self.template {
            Some(template) => template.render(messages, answer),
            None => {
                let want = "one, for data of format chat; or use format text or alpaca";
                Err(TrainError::setting("chat template of the tokenizer", "none", want))
            }
        }
    }

    /// Whether conversations can be rendered.
    pub fn has_template(&self) -> bool {
        self.template.is_some()
    }

    /// Whether generation stops here.
    pub fn is_end(&self, id: u32) -> bool {
        self.ends.contains(&id)
    }

    /// The token that ends a text, if there is one.
    pub fn end(&self) -> Option<u32> {
        self.end
    }

    /// The token that begins a text, if there is one.
    pub fn begin(&self) -> Option<u32> {
        self.begin
    }
}

/// By way of a value: crate `tokenizers` expects parts of a document to be JSON, and ends the program when they are not.
fn parse(file: &str, bytes: Vec<u8>) -> Result<Tokenizer> {
    let unusable = |e: serde_json::Error| TrainError::tokenizer(file, format!("is not usable: {e}"));
    let value: Value = serde_json::from_slice(&bytes).map_err(unusable)?;
    drop(bytes);
    tokenizer_of(file, value)
}

/// The tokenizer that `description`, a tokenizer.json's content, describes.
fn tokenizer_of(file: &str, description: Value) -> Result<Tokenizer> {
    check_merges(file, &description["model"])?;
    serde_json::from_value(description).map_err(|e| TrainError::tokenizer(file, format!("is not usable: {e}")))
}

/// Crate `tokenizers` joins the halves of a merge where the longest token has room, and ends the program when they
/// have none.
fn check_merges(file: &str, model: &Value) -> Result<()> {
    let longest = model["vocab"].as_object().and_then(|vocab| vocab.keys().map(String::len).max()).unwrap_or(0);
    let prefix = model["continuing_subword_prefix"].as_str().unwrap_or_default();
    for merge in model["merges"].as_array().into_iter().flatten() {
        let halves = match merge {
            Value::String(text) => text.split_once(' '),
            Value::Array(pair) => pair.first().and_then(Value::as_str).zip(pair.get(1).and_then(Value::as_str)),
            _ => None,
        };
        let joined = halves.and_then(|(left, right)| Some(left.len() + right.strip_prefix(prefix)?.len()));
        if joined.is_none_or(|length| length > longest) {
            return Err(TrainError::tokenizer(file, format!("merge {merge} does not fit its vocabulary")));
        }
    }
    Ok(())
}

/// A JSON file that may be absent: null then.
fn optional_json(path: &Path) -> Result<Value> {
    if !path.is_file() {
        return Ok(Value::Null);
    }
    let parsed = serde_json::from_slice(&read_file(path)?);
    Ok(parsed.map_err(|source| hone_model::ModelError::Json { file: path.display().to_string(), source })?)
}

/// A token written as text, or as an object with its content.
fn token_text(value: &Value) -> Option<String> {
    value.as_str().or_else(|| value["content"].as_str()).map(str::to_owned)
}

fn ids(value: &Value) -> Vec<u32> {
    let one = |v: &Value| v.as_u64().and_then(|id| u32::try_from(id).ok());
    match value {
        Value::Array(all) => all.iter().filter_map(one).collect(),
        value => one(value).into_iter().collect(),
    }
}

/// chat_template.jinja, or what tokenizer_config.json has: a template, or several by name.
fn template_of(dir: &Path, config: &Value) -> Result<Option<String>> {
    let file: PathBuf = dir.join("chat_template.jinja");
    if file.is_file() {
        let text = String::from_utf8(read_file(&file)?);
        return text.map(Some).map_err(|_| TrainError::tokenizer(file.display(), "is not UTF-8"));
    }
    Ok(match &config["chat_template"] {
        Value::String(text) => Some(text.clone()),
        Value::Array(all) => {
            let default = all.iter().find(|one| one["name"] == "default").or(all.first());
            default.and_then(|one| one["template"].as_str()).map(str::to_owned)
        }
        _ => None,
    })
}
