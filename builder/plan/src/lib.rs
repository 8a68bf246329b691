//! A Honefile: as written -> checked -> [`BuildPlan`] -> the job.
//!
//! Pure: text in, plan or one [`HonefileError`] out. Paths stay as written; whether anything is there is for the
//! builder to find out. docs/honefile.md documents every key.
//!
//! ```
//! let text = "apiVersion: hone.dev/v1\nname: tiny\nbase: {model: m.gguf}\ntrainer: none\n";
//! let plan = hone_plan::parse("Honefile", text)?;
//! assert_eq!(plan.base.map(|b| b.model), Some(hone_plan::ModelSource::Path("m.gguf".to_owned())));
//! let error = hone_plan::parse("Honefile", "nmae: tiny\n").unwrap_err();
//! assert!(error.to_string().contains("did you mean `name`?"));
//! # Ok::<(), hone_plan::HonefileError>(())
//! ```

mod address;
mod check;
pub mod convert;
mod error;
mod job_parts;
mod plan;
mod quantity;
mod raw;
mod text;
mod trainer;

pub use check::API_VERSION;
pub use error::HonefileError;
pub use job_parts::JobParts;
pub use plan::{AdapterPlan, BasePlan, BuildPlan, ModelSource, Origin, OwnTrainer, Said, TrainerPlan, TrainerSource};

pub use address::platform;
pub use text::text;
pub use trainer::ROOTFS;

/// A Honefile larger than this is refused unread (bytes).
pub const MAX_HONEFILE: usize = 1 << 20;

/// Parses and checks a Honefile called `file` in errors.
///
/// # Errors
/// The first thing that is wrong, with its place.
pub fn parse(file: &str, text: &str) -> Result<BuildPlan, HonefileError> {
    let source = error::Source { file, text };
    if text.len() > MAX_HONEFILE {
        let message = format!("it has {} bytes, want at most {MAX_HONEFILE}", text.len());
        return Err(source.whole(message));
    }
    let raw = serde_saphyr::from_str(text).map_err(|e| source.yaml(&e))?;
    check::check(&source, raw)
}
