//! Which run this is: the same image, name and data make the same run, and find the same checkpoint.

use hone_contract::Digest;

use crate::data::DataFile;

/// Changes when the meaning of a run's identity does.
const FORM: &str = "hone run 1";

/// The id of a training run: a digest of image, reference and data.
///
/// The image's configuration covers job, base and adapter; the data counts by content and name, not by place or
/// time.
pub(crate) fn run_id(config: Digest, reference: &str, data: &[DataFile]) -> String {
    let mut text = format!("{FORM}\n{config}\n{reference}\n");
    for file in data {
        text.push_str(&format!("{} {} {:?}\n", file.digest, file.size, file.name));
    }
    format!("run-{}", &Digest::of(text.as_bytes()).hex()[..16])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str, text: &str) -> DataFile {
        DataFile { name: name.into(), size: text.len() as u64, digest: Digest::of(text.as_bytes()) }
    }

    #[test]
    fn image_name_and_data_count_and_nothing_else() {
        let config = Digest::of(b"image");
        let id = run_id(config, "a:base", &[file("x.jsonl", "1")]);
        assert_eq!(id, run_id(config, "a:base", &[file("x.jsonl", "1")]));
        for other in [
            run_id(Digest::of(b"other"), "a:base", &[file("x.jsonl", "1")]),
            run_id(config, "b:base", &[file("x.jsonl", "1")]),
            run_id(config, "a:base", &[file("y.jsonl", "1")]),
            run_id(config, "a:base", &[file("x.jsonl", "2")]),
            run_id(config, "a:base", &[]),
        ] {
            assert_ne!(id, other);
        }
    }
}
