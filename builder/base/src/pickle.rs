//! Pickle is refused: loading it runs whatever code it holds.

use std::path::Path;

use hone_image::hub::Model;

use crate::BaseError;
use crate::model::{WEIGHTS, ending};

/// Endings under which pickled weights are kept.
const ENDINGS: [&str; 6] = ["bin", "ckpt", "pickle", "pkl", "pt", "pth"];

/// Refuses a file that is, by its name or its first bytes, a pickle or a zip of pickles (PyTorch's format).
pub(crate) fn refuse(name: &Path, head: &[u8]) -> Result<(), BaseError> {
    let named = ENDINGS.contains(&ending(&name.to_string_lossy()).as_str());
    // Protocol 2 and later begin with PROTO, which is 0x80 and the version (pickletools).
    let pickled = matches!(head, [0x80, 2..=5, ..]);
    let zipped = head.starts_with(b"PK\x03\x04");
    if named || pickled || zipped { Err(BaseError::Pickle(name.to_owned())) } else { Ok(()) }
}

/// Refuses a hub's model that has its weights as pickles only.
///
/// # Errors
/// With the first of them.
pub fn refuse_pickled(model: &Model) -> Result<(), BaseError> {
    if model.wanted().iter().any(|file| WEIGHTS.contains(&ending(&file.path).as_str())) {
        return Ok(());
    }
    model.files.iter().try_for_each(|file| refuse(Path::new(&file.path), &[]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pickles_are_known_by_name_and_by_content() {
        for (name, head) in [
            ("pytorch_model.bin", &b""[..]),
            ("x.PT", b""),
            ("weights", b"\x80\x02}q"),
            ("model.safetensors", b"PK\x03\x04...."),
        ] {
            assert!(refuse(Path::new(name), head).is_err(), "{name} was accepted");
        }
        assert!(refuse(Path::new("model.safetensors"), &[0x80, 0, 0, 0]).is_ok());
        assert!(refuse(Path::new("tokenizer.json"), b"{").is_ok());
    }
}
