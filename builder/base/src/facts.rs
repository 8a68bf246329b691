//! What a model's own files say of it: element type, size, licence. Nothing is guessed; what is not said is left out.

use std::collections::BTreeMap;

use hone_image::modelpack::ModelFacts;
use hone_model::gguf::Value;

use crate::headers::Header;
use crate::{Sources, read};

/// Longest text that is taken from a file (characters).
const MAX_TEXT: usize = 200;
/// How far into a README its front matter is looked for (lines).
const FRONT_MATTER: usize = 200;

/// The facts of a model, as far as its headers can be read.
pub fn facts_of(name: &str, format: &str, model: &Sources) -> ModelFacts {
    let headers: Vec<Header> = model.files.iter().filter_map(|file| crate::headers::parse(file).ok()).collect();
    of(name, format, &headers, model)
}

/// The facts of a model with these headers.
pub(crate) fn of(name: &str, format: &str, headers: &[Header], model: &Sources) -> ModelFacts {
    let mut facts = ModelFacts { name: name.to_owned(), format: format.to_owned(), ..ModelFacts::default() };
    let mut elements: BTreeMap<String, u64> = BTreeMap::new();
    let mut count = |dtype: String, shape: &[u64]| {
        let n = shape.iter().fold(1u64, |n, d| n.saturating_mul(*d));
        let sum = elements.entry(dtype).or_default();
        *sum = sum.saturating_add(n);
    };
    for header in headers {
        match header {
            Header::Gguf(header) => {
                for tensor in header.tensors.values() {
                    count(hone_model::dtype::ggml_name(tensor.ggml_type), &tensor.shape);
                }
                let text = |key: &str| match header.metadata.get(key) {
                    Some(Value::Text(text)) => plain(text),
                    _ => None,
                };
                facts.licenses.extend(text("general.license"));
                facts.source = text("general.source.url").or_else(|| text("general.source.huggingface.repository"));
            }
            Header::Safetensors(header) => {
                header.tensors.values().for_each(|t| count(t.dtype.to_string(), &t.shape));
            }
            Header::Unsupported(_) | Header::Other => {}
        }
    }
    let total = elements.values().fold(0u64, |sum, n| sum.saturating_add(*n));
    facts.param_size = (total > 0).then(|| parameters(total));
    // The type that most elements have: norms are float in every quantization.
    if let Some((dtype, _)) = elements.iter().max_by_key(|(_, n)| **n) {
        match dtype.as_str() {
            "F32" | "F16" | "BF16" => facts.precision = Some(dtype.to_ascii_lowercase()),
            other => facts.quantization = Some(other.to_owned()),
        }
    }
    if facts.licenses.is_empty() {
        facts.licenses.extend(licence_of_readme(model));
    }
    facts
}

/// `135M`, `1.5B`: as model cards write it.
fn parameters(n: u64) -> String {
    let (value, unit) = match n {
        0..1_000_000 => (n as f64 / 1e3, "K"),
        1_000_000..1_000_000_000 => (n as f64 / 1e6, "M"),
        _ => (n as f64 / 1e9, "B"),
    };
    if value >= 10.0 || value.fract() < 0.05 { format!("{value:.0}{unit}") } else { format!("{value:.1}{unit}") }
}

/// `license:` in the front matter of a model card.
fn licence_of_readme(model: &Sources) -> Option<String> {
    let bytes = read::small(model.get("README.md")?).ok()?;
    let text = String::from_utf8_lossy(&bytes);
    let mut lines = text.lines();
    (lines.next()?.trim_end() == "---").then_some(())?;
    let matter = lines.take(FRONT_MATTER).take_while(|line| line.trim_end() != "---");
    let value = matter.filter_map(|line| line.strip_prefix("license:")).next()?;
    plain(value.trim().trim_matches(['"', '\'']))
}

fn plain(text: &str) -> Option<String> {
    let fits = !text.is_empty() && text.chars().count() <= MAX_TEXT && !text.contains(char::is_control);
    fits.then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SourceFile;

    #[test]
    fn sizes_read_as_model_cards_write_them() {
        for (n, want) in [(134_515_008, "135M"), (1_543_714_304, "1.5B"), (8_030_261_248, "8B"), (12_000, "12K")] {
            assert_eq!(parameters(n), want);
        }
    }

    #[test]
    fn a_licence_is_taken_from_front_matter_only() {
        let dir = tempfile::tempdir().expect("directory");
        let path = dir.path().join("README.md");
        let licence = |text: &str| {
            std::fs::write(&path, text).expect("write");
            let file = SourceFile::whole("README.md", path.clone(), text.len() as u64);
            licence_of_readme(&Sources { shown: "m".into(), files: vec![file], lone: false })
        };
        assert_eq!(licence("---\nlicense: apache-2.0\n---\n# x"), Some("apache-2.0".into()));
        assert_eq!(licence("---\ntags: [a]\n---\nlicense: mit"), None);
        assert_eq!(licence("license: mit\n"), None);
    }
}
