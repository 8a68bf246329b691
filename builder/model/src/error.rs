//! Why bytes are not a model or an adapter that can be used. Each error names the file, the object, what was
//! found and what was wanted. Names and values are a stranger's words: they are shown escaped, and cut where they are long.

use hone_contract::quoted;

/// A model, or an adapter, that is refused.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// The file ends before what its header promises.
    #[error("{}: truncated: {} ends at byte {need}, file has {have} bytes", quoted(file), quoted(what))]
    Truncated {
        /// The file.
        file: String,
        /// What does not fit, e.g. `tensor X`.
        what: String,
        /// Where it ends.
        need: u64,
        /// The file's size.
        have: u64,
    },
    /// The header itself is wrong.
    #[error("{}: {}: got {}, want {}", quoted(file), quoted(what), quoted(got), quoted(want))]
    Header {
        /// The file.
        file: String,
        /// The field or the tensor.
        what: String,
        /// What was found.
        got: String,
        /// What would be right.
        want: String,
    },
    /// The bytes are not the JSON that is asked for.
    #[error("{}: not the JSON that is expected there", quoted(file))]
    Json {
        /// The file.
        file: String,
        /// Where and why.
        #[source]
        source: serde_json::Error,
    },
    /// A tensor that the model family needs is not there.
    #[error(
        "{}: tensor {} is missing; a {family} model of this size has one of shape {}",
        quoted(file),
        quoted(tensor),
        shape_words(want)
    )]
    Missing {
        /// The file, or the first of several.
        file: String,
        /// Its Hugging Face name.
        tensor: String,
        /// The model family.
        family: &'static str,
        /// The shape expected.
        want: Vec<u64>,
    },
    /// A tensor of another shape than the configuration says.
    #[error(
        "{}: tensor {}: got shape {}, want {}",
        quoted(file),
        quoted(tensor),
        shape_words(got),
        shape_words(want)
    )]
    Shape {
        /// The file.
        file: String,
        /// The tensor.
        tensor: String,
        /// The shape found.
        got: Vec<u64>,
        /// The shape expected.
        want: Vec<u64>,
    },
    /// An architecture, setting or element type that the trainer cannot compute.
    #[error("{}: {} {} is not supported; supported: {known}", quoted(file), quoted(what), quoted(got))]
    Unsupported {
        /// The file.
        file: String,
        /// What it is about, e.g. `architecture`.
        what: String,
        /// The value found.
        got: String,
        /// The values that would do.
        known: String,
    },
    /// A LoRA target this model family does not have.
    #[error("finetune target {} is unknown; known: {known}", quoted(got))]
    Target {
        /// The name given.
        got: String,
        /// All names, comma separated.
        known: String,
    },
    /// A rank that no adapter can have.
    #[error("finetune rank: got {got}, want 1 to {most}")]
    Rank {
        /// The rank given.
        got: u64,
        /// The largest that makes sense for this model.
        most: u64,
    },
    /// An adapter's configuration that is not that of plain LoRA.
    #[error("{file}: {why}")]
    Peft {
        /// The file.
        file: String,
        /// The key, what it says, and what it may say.
        why: String,
    },
    /// A tensor holds a value that is not a number, or infinite.
    #[error("{}: tensor {}: element {index} is {value}, want finite numbers only", quoted(file), quoted(tensor))]
    NotFinite {
        /// The file.
        file: String,
        /// The tensor.
        tensor: String,
        /// Which element.
        index: u64,
        /// Its value.
        value: f32,
    },
}

impl ModelError {
    pub(crate) fn header(file: &str, what: impl Into<String>, got: impl ToString, want: impl Into<String>) -> Self {
        Self::Header { file: file.to_owned(), what: what.into(), got: got.to_string(), want: want.into() }
    }

    pub(crate) fn unsupported(
        file: &str,
        what: impl Into<String>,
        got: impl ToString,
        known: impl Into<String>,
    ) -> Self {
        Self::Unsupported { file: file.to_owned(), what: what.into(), got: got.to_string(), known: known.into() }
    }

    pub(crate) fn json(file: &str, source: serde_json::Error) -> Self {
        Self::Json { file: file.to_owned(), source: bounded(source) }
    }

    pub(crate) fn truncated(file: &str, what: impl Into<String>, need: u64, have: u64) -> Self {
        Self::Truncated { file: file.to_owned(), what: what.into(), need, have }
    }
}

/// Dimensions of a shape that are shown.
const SHOWN_DIMENSIONS: usize = 8;

/// A shape in a message: a header may give one of a million dimensions.
pub(crate) fn shape_words(shape: &[u64]) -> String {
    let first: Vec<String> = shape.iter().take(SHOWN_DIMENSIONS).map(u64::to_string).collect();
    match shape.len() > SHOWN_DIMENSIONS {
        true => format!("[{}, ... {} in all]", first.join(", "), shape.len()),
        false => format!("[{}]", first.join(", ")),
    }
}

/// The same error, its text escaped and cut: serde repeats whatever words it did not expect, and they may have megabytes.
pub fn bounded(error: serde_json::Error) -> serde_json::Error {
    let text = error.to_string();
    let place = format!(" at line {} column {}", error.line(), error.column());
    match text.strip_suffix(&place) {
        Some(words) => serde::de::Error::custom(format!("{}{place}", quoted(words))),
        None => serde::de::Error::custom(quoted(&text)),
    }
}
