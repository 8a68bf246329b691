//! The Honefile that is being written: keys with their comments, in the order in which people read them.

use std::fmt::Write as _;

use hone_contract::{Reference, quoted};

use super::{Converted, Note, Options, yaml};
use crate::error::HonefileError;

/// Longest name of a Honefile.
const MAX_NAME: usize = 63;
/// A value of the other file is shown up to here (characters).
pub(super) const SHOWN: usize = 60;

/// Where a key stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// Above all keys; comments only.
    Top,
    Base,
    Finetune,
    Dataset,
}

/// Keys, comments and notes so far.
#[derive(Debug, Default)]
pub(super) struct Draft {
    name: String,
    items: Vec<(Part, Item)>,
    notes: Vec<Note>,
}

#[derive(Debug)]
enum Item {
    Key(&'static str, Value),
    Comment(String),
}

#[derive(Debug)]
enum Value {
    Text(String),
    /// A flow sequence of plain words.
    List(&'static [&'static str]),
}

impl Draft {
    pub(super) fn key(&mut self, part: Part, key: &'static str, value: impl Into<String>) {
        self.items.push((part, Item::Key(key, Value::Text(value.into()))));
    }

    pub(super) fn list(&mut self, part: Part, key: &'static str, values: &'static [&'static str]) {
        self.items.push((part, Item::Key(key, Value::List(values))));
    }

    /// A remark for the reader that is no loss.
    pub(super) fn comment(&mut self, part: Part, text: &str) {
        self.items.push((part, Item::Comment(text.to_owned())));
    }

    /// What could not be carried over: a comment where it would stand, and a note.
    pub(super) fn note(&mut self, part: Part, line: usize, what: &str, why: &str, way_out: &str) {
        let note = Note {
            line,
            what: quoted(what).at_most(SHOWN).to_string(),
            why: why.to_owned(),
            way_out: way_out.to_owned(),
        };
        self.comment(part, &note.to_string());
        self.notes.push(note);
    }

    /// Takes the caller's name, else `wish`, or what is nearest to it that a Honefile may be called.
    pub(super) fn name(&mut self, options: &Options<'_>, line: usize, what: &str, wish: &str) {
        if let Some(name) = options.name {
            name.clone_into(&mut self.name);
            return;
        }
        self.name = name_of(wish);
        if self.name != wish {
            let way_out = format!("it is called `{}` here; `--name` gives it another", self.name);
            self.note(
                Part::Top,
                line,
                what,
                "a Honefile's name has lower case letters, digits and . _ - only",
                &way_out,
            );
        }
    }

    /// The text, and proof that it is a Honefile.
    pub(super) fn finish(mut self, of: &str) -> Result<Converted, HonefileError> {
        self.notes.sort_by_key(|note| note.line);
        let mut text = yaml::comment(
            &format!("Made by `hone convert` of {of}. What it could not carry over is in comments."),
            0,
        );
        self.items(&mut text, Part::Top, 0);
        let _ = writeln!(text, "apiVersion: {}\nname: {}", crate::API_VERSION, yaml::scalar(&self.name, 0));
        self.section(&mut text, Part::Base, "base", 0);
        let keys = |part: Part| self.items.iter().any(|(p, item)| *p == part && matches!(item, Item::Key(..)));
        if keys(Part::Finetune) || keys(Part::Dataset) {
            self.section(&mut text, Part::Finetune, "finetune", 0);
            self.section(&mut text, Part::Dataset, "dataset", 2);
        } else {
            self.items(&mut text, Part::Finetune, 0);
            self.items(&mut text, Part::Dataset, 0);
        }
        crate::parse("Honefile", &text)?;
        Ok(Converted { honefile: text, notes: self.notes })
    }

    fn section(&self, text: &mut String, part: Part, name: &str, indent: usize) {
        let mine = || self.items.iter().filter(|(p, _)| *p == part);
        // A section of comments alone would read as null; `finetune` may have its keys in `dataset`.
        let keys = part == Part::Finetune || mine().any(|(_, item)| matches!(item, Item::Key(..)));
        if keys {
            let _ = writeln!(text, "{}{name}:", " ".repeat(indent));
        }
        self.items(text, part, if keys { indent + 2 } else { indent });
    }

    fn items(&self, text: &mut String, part: Part, indent: usize) {
        for (_, item) in self.items.iter().filter(|(p, _)| *p == part) {
            match item {
                Item::Comment(words) => text.push_str(&yaml::comment(words, indent)),
                Item::Key(key, value) => {
                    let value = match value {
                        Value::Text(value) => yaml::scalar(value, indent),
                        Value::List(words) => format!("[{}]", words.join(", ")),
                    };
                    let _ = writeln!(text, "{}{key}: {value}", " ".repeat(indent));
                }
            }
        }
    }
}

/// The name nearest to `wish` that a Honefile may have; `model` when nothing of it is left.
fn name_of(wish: &str) -> String {
    let mut name = String::new();
    for c in wish.chars().flat_map(char::to_lowercase) {
        let plain = c.is_ascii_alphanumeric();
        let joins = name.ends_with(|last: char| last.is_ascii_alphanumeric());
        match c {
            _ if name.len() >= MAX_NAME => break,
            c if plain => name.push(c),
            '.' | '_' | '-' if joins => name.push(c),
            _ if joins => name.push('-'),
            _ => {}
        }
    }
    name.truncate(name.trim_end_matches(['.', '_', '-']).len());
    match name.parse::<Reference>() {
        Ok(_) => name,
        Err(_) => "model".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_what_a_honefile_accepts() {
        for (wish, want) in [
            ("model", "model"),
            ("aikit-model", "aikit-model"),
            ("Llama-3.2", "llama-3.2"),
            ("a__b--c", "a_b-c"),
            ("-x-", "x"),
            ("M\u{f6}dell", "m-dell"),
            ("", "model"),
            ("\u{f6}", "model"),
            ("a/b:c d", "a-b-c-d"),
        ] {
            assert_eq!(name_of(wish), want, "{wish}");
        }
        let long = name_of(&"x".repeat(200));
        assert_eq!(long.len(), MAX_NAME);
        for name in [long, name_of(&"a-".repeat(200))] {
            let text = format!("apiVersion: hone.dev/v1\nname: {name}\nbase: {{model: m}}\n");
            assert!(crate::parse("Honefile", &text).is_ok(), "{name}");
        }
    }
}
