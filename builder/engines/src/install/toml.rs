//! One runtime more in a containers.conf that somebody else wrote, and out again: lines are added and removed, everything
//! else keeps its bytes.
//!
//! Crate `toml_edit` tells on which lines a table begins and a key stands. What is no TOML is refused: podman reads none
//! of it, and nobody knows what a line in it would be a part of.

use std::ops::Range;

use hone_contract::quoted;
use toml_edit::{Document, Key, Table};

/// By it a line is known as Hone's.
const MARK: &str = "# by `hone install podman`";
const TABLE: &str = "engine.runtimes";
const RUNTIME: &str = "engine.runtimes.hone";

/// A table's beginning, or a key in it.
struct Item {
    /// Its whole name, with the table's before it.
    name: String,
    is_table: bool,
    /// Where it stands: bytes of the text.
    lines: Range<usize>,
}

/// Adds `hone = VALUE` to the runtimes.
pub(super) fn add(text: &str, value: &str) -> Result<String, String> {
    let text = remove(text)?;
    let line = format!("hone = {value} {MARK}\n");
    let items = items(&text)?;
    if items.iter().any(|item| item.name == RUNTIME) {
        return Err("it has a runtime hone already, which is not of `hone install`".to_owned());
    }
    if let Some(table) = items.iter().find(|item| item.is_table && item.name == TABLE) {
        let newline = if text[..table.lines.end].ends_with('\n') { "" } else { "\n" };
        return Ok(format!("{}{newline}{line}{}", &text[..table.lines.end], &text[table.lines.end..]));
    }
    // `[engine]` with `runtimes.x = ...`, or `engine = {...}`: a table of that name would be there twice.
    let inside = |name: &str| name == "engine" || name == TABLE || name.starts_with("engine.runtimes.");
    if items.iter().any(|item| !item.is_table && inside(&item.name)) {
        return Err(format!("its runtimes are in no table [{TABLE}] of their own; add there: hone = {value}"));
    }
    let newline = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
    Ok(format!("{text}{newline}[{TABLE}] {MARK}\n{line}"))
}

/// The text without Hone's lines; a table that was made for them stays when somebody has put more into it.
pub(super) fn remove(text: &str) -> Result<String, String> {
    let items = items(text)?;
    let ours = |item: &Item| text[item.lines.clone()].trim_end().ends_with(MARK);
    let others = |table: &Item| {
        let start = format!("{}.", table.name);
        items.iter().any(|item| !item.is_table && item.name.starts_with(&start) && !ours(item))
    };
    let mut left = text.to_owned();
    for item in items.iter().rev().filter(|item| ours(item) && !(item.is_table && others(item))) {
        left.replace_range(item.lines.clone(), "");
    }
    Ok(left)
}

/// Whether the runtime `hone` is the one that podman takes when none is named.
pub(super) fn is_default(text: &str) -> Result<bool, String> {
    let document = parsed(text)?;
    let runtime = document.get("engine").and_then(|engine| engine.get("runtime"));
    Ok(runtime.and_then(toml_edit::Item::as_str) == Some("hone"))
}

/// Whether the text has a runtime `hone` that Hone did not write.
pub(super) fn has_other(text: &str) -> Result<bool, String> {
    Ok(items(&remove(text)?)?.iter().any(|item| item.name == RUNTIME))
}

fn parsed(text: &str) -> Result<Document<&str>, String> {
    Document::parse(text).map_err(|error| {
        let line = error.span().map_or(1, |at| text.bytes().take(at.start).filter(|byte| *byte == b'\n').count() + 1);
        format!("not TOML: line {line}: {}", quoted(error.message()))
    })
}

/// What is in the text, in its order.
fn items(text: &str) -> Result<Vec<Item>, String> {
    let mut items = Vec::new();
    visit(text, parsed(text)?.as_table(), "", &mut items);
    items.sort_by_key(|item| item.lines.start);
    Ok(items)
}

fn visit(text: &str, table: &Table, above: &str, items: &mut Vec<Item>) {
    for (key, item) in table {
        let name = format!("{above}{key}");
        let below = format!("{name}.");
        let begin = table.key(key).and_then(Key::span).unwrap_or_default().start;
        match item {
            toml_edit::Item::None => {}
            toml_edit::Item::Value(value) => {
                let end = value.span().unwrap_or_default().end;
                items.push(Item { name, is_table: false, lines: lines(text, begin..end) });
            }
            toml_edit::Item::Table(table) => {
                if let Some(header) = table.span().filter(|_| !table.is_implicit() && !table.is_dotted()) {
                    items.push(Item { name, is_table: true, lines: lines(text, header) });
                }
                visit(text, table, &below, items);
            }
            // A list of tables: no table of that name can be beside it.
            toml_edit::Item::ArrayOfTables(tables) => {
                for table in tables {
                    let header = table.span().unwrap_or_default();
                    items.push(Item { name: name.clone(), is_table: false, lines: lines(text, header) });
                    visit(text, table, &below, items);
                }
            }
        }
    }
}

/// The lines on which something stands, whole.
fn lines(text: &str, at: Range<usize>) -> Range<usize> {
    let start = text[..at.start].rfind('\n').map_or(0, |newline| newline + 1);
    let end = text[at.end..].find('\n').map_or(text.len(), |newline| at.end + newline + 1);
    start..end
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALUE: &str = "[\"/r/libexec/hone-podman\"]";

    #[test]
    fn nothing_is_added_behind_a_value_without_an_end() {
        for broken in ["[engine]\nx = [\n", "[engine]\nx = { a = 1\n", "x = \"\"\"y\n"] {
            assert!(add(broken, VALUE).expect_err(broken).starts_with("not TOML: line "), "{broken}");
        }
        add("[engine]\nx = [\n]\n", VALUE).expect("an end");
    }

    #[test]
    fn a_line_is_added_and_taken_out_again_and_the_rest_keeps_its_bytes() {
        let line = format!("hone = {VALUE} {MARK}\n");
        let made = format!("[engine.runtimes] {MARK}\n{line}");
        let array = "crun = [\n  \"/a]\", # ]\n]\n[network]\n";
        let words = "a = \"\"\"\n[engine.runtimes]\n\\\"\"\"\"\n# [engine.runtimes]\n";
        for (text, want) in [
            (String::new(), made.clone()),
            ("[engine]\nruntime = \"crun\"\n".into(), format!("[engine]\nruntime = \"crun\"\n{made}")),
            (format!("[engine.runtimes] # mine\n{array}"), format!("[engine.runtimes] # mine\n{line}{array}")),
            ("[ engine . 'runtimes' ]\n".into(), format!("[ engine . 'runtimes' ]\n{line}")),
            // Only in words: strings and comments begin no table.
            (words.into(), format!("{words}{made}")),
        ] {
            let with = add(&text, VALUE).unwrap();
            assert_eq!(with, want);
            assert_eq!(add(&with, VALUE).as_deref(), Ok(want.as_str()), "twice is once");
            assert_eq!(remove(&with).as_deref(), Ok(text.as_str()));
            assert_eq!(has_other(&with), Ok(false));
        }
        let more = format!("{made}crun = [\"/c\"]\n");
        assert_eq!(
            remove(&more),
            Ok(format!("[engine.runtimes] {MARK}\ncrun = [\"/c\"]\n")),
            "others need the table"
        );
    }

    #[test]
    fn what_takes_no_line_more_is_refused() {
        for (text, want) in [
            ("[engine.runtimes]\nhone = [\"/other\"]\n", "has a runtime hone already"),
            ("[engine]\nruntimes.hone = [\"/other\"]\n", "has a runtime hone already"),
            ("[engine]\nruntimes = { crun = [\"/c\"] }\n", "no table [engine.runtimes]"),
            ("[engine]\nruntimes.crun = [\"/c\"]\n", "no table [engine.runtimes]"),
            ("engine.runtimes.crun = [\"/c\"]\n", "no table [engine.runtimes]"),
            ("engine = {}\n", "no table [engine.runtimes]"),
        ] {
            let said = add(text, VALUE).unwrap_err();
            assert!(said.contains(want), "{text}: {said}");
            assert_eq!(has_other(text), Ok(want.contains("already")), "{text}");
        }
    }

    #[test]
    fn any_text_is_read_to_its_end() {
        for text in [
            "a",
            "a =",
            "=",
            "[",
            "a = [",
            "a = \"",
            "a = '''",
            "a = \"\\",
            "é = \"ü\\é\"\n[ü",
            "\r\n[x]\r\n",
            "a = ]]}}\n",
        ] {
            match text {
                "\r\n[x]\r\n" => assert_eq!((remove(text).as_deref(), add(text, VALUE).is_ok()), (Ok(text), true)),
                _ => {
                    for refused in [remove(text), add(text, VALUE)] {
                        assert!(refused.unwrap_err().starts_with("not TOML: line "), "{text}");
                    }
                    assert!(has_other(text).is_err() && is_default(text).is_err(), "{text}");
                }
            }
        }
    }
}
