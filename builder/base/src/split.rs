//! GGUF models that are split into several files: all of them, or none.

use hone_contract::quoted;
use hone_model::gguf::Value;

use crate::headers::Header;
use crate::{BaseError, SourceFile, Sources};

/// The key that every part has (llama.cpp, `LLM_KV_SPLIT_COUNT`).
const COUNT: &str = "split.count";
/// Longest number of parts (digits); llama.cpp writes five.
const DIGITS: usize = 9;

/// Refuses some of the parts of a model without the others, and all of them where the trainer takes `one` file.
pub(crate) fn check(model: &Sources, weights: &[SourceFile], headers: &[Header], one: bool) -> Result<(), BaseError> {
    for (file, header) in weights.iter().zip(headers) {
        let Header::Gguf(header) = header else { continue };
        let said = match header.metadata.get(COUNT) {
            Some(Value::Unsigned(count)) => *count,
            _ => 0,
        };
        let named = part(&file.name);
        let parts = named.as_ref().map_or(said, |(_, parts)| *parts);
        if parts < 2 {
            continue;
        }
        let split = |why: String| Err(BaseError::Split { path: file.source.clone(), parts, why });
        match named {
            _ if one => return split("the onnx trainer reads one .gguf file".to_owned()),
            None => {
                return split("its name does not say which part it is, as NAME-00001-of-00002.gguf does".to_owned());
            }
            Some((stem, parts)) => {
                let name = |n: &u64| format!("{stem}-{n:05}-of-{parts:05}.gguf");
                let there = |n: &u64| model.get(&name(n)).is_some();
                if let Some(absent) = (1..=parts).find(|n| !there(n)) {
                    let absent = name(&absent);
                    return split(format!("{} is not with it, name the directory that has all", quoted(&absent)));
                }
            }
        }
    }
    Ok(())
}

/// What comes before the part's number in a part's name, and how many parts there are.
fn part(name: &str) -> Option<(&str, u64)> {
    let (rest, parts) = name.strip_suffix(".gguf")?.rsplit_once("-of-")?;
    let (stem, number) = rest.rsplit_once('-')?;
    let count = |text: &str| {
        let plain = (5..=DIGITS).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
        text.parse::<u64>().ok().filter(|_| plain)
    };
    count(number)?;
    Some((stem, count(parts)?))
}

#[cfg(test)]
mod tests {
    use super::part;

    #[test]
    fn parts_are_told_by_their_names() {
        assert_eq!(part("m-00001-of-00003.gguf"), Some(("m", 3)));
        assert_eq!(part("dir/m-x-00002-of-00010.gguf"), Some(("dir/m-x", 10)));
        for name in
            ["m.gguf", "m-1-of-3.gguf", "m-00001-of-00003.safetensors", "m-of-00003.gguf", "m-0000a-of-00003.gguf"]
        {
            assert_eq!(part(name), None, "{name}");
        }
    }
}
