//! What FROM means: a path, a model of Ollama's library or of another registry, a repository of the hub.

use hone_contract::reference::{DEFAULT_TAG, split_tag};

use super::super::Options;

/// Ollama's registry, and the namespace of names that have none.
const REGISTRY: &str = "registry.ollama.ai";
/// How FROM names the hub.
const HUB: [&str; 4] = ["hf.co/", "huggingface.co/", "https://hf.co/", "https://huggingface.co/"];
/// What a file of weights is called.
const ENDINGS: [&str; 3] = [".gguf", ".safetensors", ".bin"];

/// A base as the Honefile names it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Base {
    /// `base.model`.
    pub model: String,
    /// What to call it.
    pub name: String,
    /// A file of the repository, by its quantization: what a Honefile cannot say of `hf://`.
    pub quantization: Option<String>,
}

/// `Err` says what would do.
pub(super) fn base(from: &str, options: &Options<'_>) -> Result<Base, String> {
    if from.is_empty() {
        return Err("want a model's name or a path".to_owned());
    }
    if from.starts_with('~') {
        return Err("`~` is the shell's; write the directory out".to_owned());
    }
    let base = match HUB.iter().find_map(|hub| from.strip_prefix(hub)) {
        _ if is_path(from) || (options.exists)(from) => of_path(from),
        Some(repository) => of_hub(repository),
        None => of_registry(from.trim_start_matches("https://").trim_start_matches("http://")),
    };
    crate::address::model(&base.model, None)?;
    Ok(base)
}

fn is_path(from: &str) -> bool {
    let lower = from.to_ascii_lowercase();
    from.starts_with(['/', '.']) || from.contains('\\') || ENDINGS.iter().any(|ending| lower.ends_with(ending))
}

fn of_path(path: &str) -> Base {
    let last = path.trim_end_matches('/').rsplit(['/', '\\']).next().unwrap_or_default();
    let stem = ENDINGS.iter().find_map(|ending| last.strip_suffix(ending)).unwrap_or(last);
    // What looks like another form is said to be a path.
    let model =
        if path.contains(':') && !path.starts_with(['/', '.']) { format!("./{path}") } else { path.to_owned() };
    Base { model, name: stem.to_owned(), quantization: None }
}

fn of_hub(repository: &str) -> Base {
    let (repository, quantization) = match repository.split_once(':') {
        Some((repository, quantization)) => (repository, Some(quantization.to_owned())),
        None => (repository, None),
    };
    let name = repository.rsplit('/').next().unwrap_or_default().to_owned();
    Base { model: format!("hf://{repository}"), name, quantization }
}

/// `[[HOST/]NAMESPACE/]NAME[:TAG]`. Ollama tells a host by the number of slashes, and not by its looks as docker does.
fn of_registry(from: &str) -> Base {
    let (path, tag) = split_tag(from);
    let tag = tag.unwrap_or(DEFAULT_TAG);
    let name = path.rsplit('/').next().unwrap_or_default().to_owned();
    let whole = match path.matches('/').count() {
        0 => format!("{REGISTRY}/library/{path}"),
        1 => format!("{REGISTRY}/{path}"),
        _ => path.to_owned(),
    };
    Base { model: format!("oci://{whole}:{tag}"), name, quantization: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_paths_are_told_apart_as_ollama_does() {
        for (from, model, name) in [
            ("llama3.2", "oci://registry.ollama.ai/library/llama3.2:latest", "llama3.2"),
            (
                "llama3.2:1b-instruct-q4_K_M",
                "oci://registry.ollama.ai/library/llama3.2:1b-instruct-q4_K_M",
                "llama3.2",
            ),
            ("someone/tiny", "oci://registry.ollama.ai/someone/tiny:latest", "tiny"),
            ("localhost:5000/a/b:c", "oci://localhost:5000/a/b:c", "b"),
            ("hf.co/org/Name-GGUF:Q4_K_M", "hf://org/Name-GGUF", "Name-GGUF"),
            ("https://huggingface.co/org/name", "hf://org/name", "name"),
            ("./m.gguf", "./m.gguf", "m"),
            ("dir/model.Q4_0.gguf", "dir/model.Q4_0.gguf", "model.Q4_0"),
            ("/a/b/", "/a/b/", "b"),
        ] {
            let base = base(from, &Options::of("Modelfile")).unwrap_or_else(|e| panic!("{from}: {e}"));
            assert_eq!((base.model.as_str(), base.name.as_str()), (model, name), "{from}");
        }
        let there = Options { exists: &|path| path == "llama3.2", ..Options::of("Modelfile") };
        assert_eq!(base("llama3.2", &there).map(|b| b.model).as_deref(), Ok("llama3.2"));
        for from in ["", "~/m.gguf", "UPPER:x y", "hf.co/name", "a b"] {
            assert!(base(from, &Options::of("Modelfile")).is_err(), "{from}");
        }
    }
}
