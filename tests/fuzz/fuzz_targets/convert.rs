//! Other tools' files: what is converted is a Honefile that is accepted.
#![no_main]

use hone_plan::convert::{Converted, Dialect, Options, aikit, detect, modelfile};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    for exists in [false, true] {
        let always = |_: &str| exists;
        let options = Options { exists: &always, ..Options::of("other") };
        let both = [(Dialect::Aikit, aikit(text, &options)), (Dialect::Modelfile, modelfile(text, &options))];
        for (dialect, converted) in both {
            match converted {
                Ok(Converted { honefile, notes }) => {
                    if let Err(error) = hone_plan::parse("Honefile", &honefile) {
                        panic!("converted from {dialect:?}, and refused: {error}\n{honefile}");
                    }
                    assert!(notes.iter().all(|note| note.line >= 1 && note.line <= text.lines().count() + 1));
                }
                Err(error) => {
                    let said = error.report(None, false);
                    assert!(!said.is_empty() && said.len() < 8192, "{} bytes", said.len());
                    assert!(!said.contains(|c: char| c.is_control() && c != '\n' && c != '\t'), "{said:?}");
                }
            }
        }
    }
    let _ = detect(text);
    if let Ok(read) = hone_plan::text("other", bytes) {
        let _ = detect(&read);
    }
});
