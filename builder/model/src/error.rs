//! Why bytes are not a model or an adapter that can be used. Each error names the file, the object, what was
//! found and what was wanted.

/// A model, or an adapter, that is refused.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// The file ends before what its header promises.
    #[error("{file}: truncated: {what} ends at byte {need}, file has {have} bytes")]
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
    #[error("{file}: {what}: got {got}, want {want}")]
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
    #[error("{file}: not the JSON that is expected there")]
    Json {
        /// The file.
        file: String,
        /// Where and why.
        #[source]
        source: serde_json::Error,
    },
    /// A tensor that the model family needs is not there.
    #[error("{file}: tensor {tensor} is missing; a {family} model of this size has one of shape {want:?}")]
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
    #[error("{file}: tensor {tensor}: got shape {got:?}, want {want:?}")]
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
    #[error("{file}: {what} {got} is not supported; supported: {known}")]
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
    #[error("finetune target {got} is unknown; known: {known}")]
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
    /// A tensor holds a value that is not a number, or infinite.
    #[error("{file}: tensor {tensor}: element {index} is {value}, want finite numbers only")]
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

    pub(crate) fn truncated(file: &str, what: impl Into<String>, need: u64, have: u64) -> Self {
        Self::Truncated { file: file.to_owned(), what: what.into(), need, have }
    }
}
