//! The tokenizer inside a GGUF file's metadata, as values.

use std::collections::HashSet;

use hone_contract::quoted;

use crate::ModelError;
use crate::gguf::{Header, Value};
use crate::gguf_config::Fields;

/// The kind of tokenizer that the trainer computes: byte-level BPE.
const KIND: &str = "gpt2";
/// The pre-tokenizers that the trainer knows. llama.cpp names them instead of describing them.
pub const PRE_TOKENIZERS: [&str; 5] = ["smollm", "gpt-2", "qwen2", "llama-bpe", "llama3"];
/// What can be done about a tokenizer inside a GGUF that the trainer does not compute.
const WAY_OUT: &str = "or give the model's tokenizer.json beside it (base.tokenizer)";

/// What GGUF says about its tokenizer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GgufTokenizer {
    /// `gpt2` for byte-level BPE, `llama` for SentencePiece, ...
    pub model: String,
    /// Name of the pre-tokenizer, e.g. `smollm`, `qwen2`.
    pub pre: Option<String>,
    /// Token texts, by id.
    pub tokens: Vec<String>,
    /// GGUF's kinds (1 normal, 3 control, 4 user defined, ...), by id.
    pub kinds: Vec<i32>,
    /// BPE merges, `left right`, best first.
    pub merges: Vec<String>,
    /// Beginning of text.
    pub bos: Option<u32>,
    /// End of text or turn.
    pub eos: Option<u32>,
    /// Padding.
    pub pad: Option<u32>,
    /// Text begins with [`Self::bos`].
    pub add_bos: bool,
    /// The chat template, Jinja.
    pub chat_template: Option<String>,
}

impl GgufTokenizer {
    /// Reads it from the header of `file`.
    ///
    /// # Errors
    /// A field of the wrong type, ids outside the vocabulary, or no tokenizer at all.
    pub fn from_header(file: &str, header: &Header) -> Result<Self, ModelError> {
        let fields = Fields { file, header };
        let Some(model) = fields.text("tokenizer.ggml.model")? else {
            let want = "a tokenizer in the file, or one given apart";
            return Err(ModelError::header(file, "metadata tokenizer.ggml.model", "nothing", want));
        };
        let tokens = texts(&fields, "tokenizer.ggml.tokens")?;
        let kinds = kinds(&fields, tokens.len())?;
        let id = |key: &str| -> Result<Option<u32>, ModelError> {
            match fields.integer(key)? {
                Some(n) if n >= tokens.len() as u64 => {
                    Err(ModelError::header(file, key, n, format!("an id below {}", tokens.len())))
                }
                n => Ok(n.and_then(|n| u32::try_from(n).ok())),
            }
        };
        Ok(Self {
            model: model.to_owned(),
            pre: fields.text("tokenizer.ggml.pre")?.map(str::to_owned),
            bos: id("tokenizer.ggml.bos_token_id")?,
            eos: id("tokenizer.ggml.eos_token_id")?,
            pad: id("tokenizer.ggml.padding_token_id")?,
            add_bos: fields.flag("tokenizer.ggml.add_bos_token")?.unwrap_or(false),
            chat_template: fields.text("tokenizer.chat_template")?.map(str::to_owned),
            kinds,
            merges: match header.metadata.contains_key("tokenizer.ggml.merges") {
                true => texts(&fields, "tokenizer.ggml.merges")?,
                false => Vec::new(),
            },
            tokens,
        })
    }

    /// Refuses what the trainer cannot compute: asked at build, and once more on the device, in the same words.
    ///
    /// # Errors
    /// Another kind of tokenizer or of pre-tokenizer, a token that is there twice, or a merge that is not one of two
    /// tokens into a third.
    pub fn check(&self, file: &str) -> Result<(), ModelError> {
        let unsupported = |what, got: &str, known: String| Err(ModelError::unsupported(file, what, got, known));
        if self.model != KIND {
            return unsupported("tokenizer kind", &self.model, format!("{KIND}, {WAY_OUT}"));
        }
        let pre = self.pre.as_deref().unwrap_or("default");
        if !PRE_TOKENIZERS.contains(&pre) {
            return unsupported("pre-tokenizer", pre, format!("{}, {WAY_OUT}", PRE_TOKENIZERS.join(", ")));
        }
        let mut known = HashSet::new();
        for (id, token) in self.tokens.iter().enumerate() {
            if !known.insert(token.as_str()) {
                let got = format!("{}, which is there twice", shown(token));
                return Err(ModelError::header(file, format!("token {id}"), got, "each token once"));
            }
        }
        for (number, merge) in self.merges.iter().enumerate() {
            let wrong = |got: String, want| Err(ModelError::header(file, format!("merge {number}"), got, want));
            let Some((left, right)) = merge.split_once(' ') else {
                return wrong(format!("{}, not two tokens", shown(merge)), "two, with a space between");
            };
            if ![left, right, &format!("{left}{right}")].iter().all(|token| known.contains(token)) {
                let got = format!("{}, which does not fit its vocabulary", shown(merge));
                return wrong(got, "two tokens whose sum is a token");
            }
        }
        Ok(())
    }
}

/// Short, so that what is wrong with it is not cut off behind it.
fn shown(token: &str) -> String {
    format!("\"{}\"", quoted(token).at_most(24))
}

/// One kind for each token.
fn kinds(fields: &Fields<'_>, tokens: usize) -> Result<Vec<i32>, ModelError> {
    let key = "tokenizer.ggml.token_type";
    let kinds: Vec<i32> = match fields.header.metadata.get(key) {
        None => vec![1; tokens],
        Some(Value::Numbers(4 | 5, bytes)) => {
            bytes.as_chunks::<4>().0.iter().map(|b| i32::from_le_bytes(*b)).collect()
        }
        Some(other) => return Err(fields.wrong(key, other, "an array of 32-bit integers")),
    };
    if kinds.len() == tokens {
        return Ok(kinds);
    }
    Err(ModelError::header(fields.file, key, kinds.len(), format!("{tokens}, one for each token")))
}

fn texts(fields: &Fields<'_>, key: &str) -> Result<Vec<String>, ModelError> {
    match fields.header.metadata.get(key) {
        Some(Value::Texts(texts)) => Ok(texts.clone()),
        Some(other) => Err(fields.wrong(key, other, "an array of strings")),
        None => Err(ModelError::header(fields.file, format!("metadata {key}"), "nothing", "an array of strings")),
    }
}
