//! One runtime more in a containers.conf that somebody else wrote, and out again: lines are added and removed, everything
//! else keeps its bytes.
//!
//! Only as much of TOML is read as tells where a table begins and which keys are in it.

/// By it a line is known as Hone's.
const MARK: &str = "# by `hone install podman`";
const TABLE: &str = "engine.runtimes";
const RUNTIME: &str = "engine.runtimes.hone";

/// A table's beginning, or a key in it.
struct Item {
    /// Its whole name, with the table's before it.
    name: String,
    is_table: bool,
    /// Where its line begins, and where what belongs to it ends.
    start: usize,
    end: usize,
}

/// Adds `hone = VALUE` to the runtimes.
pub(super) fn add(text: &str, value: &str) -> Result<String, String> {
    let text = remove(text);
    let line = format!("hone = {value} {MARK}\n");
    let items = items(&text);
    if items.iter().any(|item| item.name == RUNTIME) {
        return Err("it has a runtime hone already, which is not of `hone install`".to_owned());
    }
    if let Some(table) = items.iter().find(|item| item.is_table && item.name == TABLE) {
        let newline = if text[..table.end].ends_with('\n') { "" } else { "\n" };
        let with = format!("{}{newline}{line}{}", &text[..table.end], &text[table.end..]);
        return undone_by_removal(&text, with, value);
    }
    // `[engine]` with `runtimes.x = ...`, or `engine = {...}`: a table of that name would be there twice.
    let inside = |name: &str| name == "engine" || name == TABLE || name.starts_with("engine.runtimes.");
    if items.iter().any(|item| !item.is_table && inside(&item.name)) {
        return Err(format!("its runtimes are in no table [{TABLE}] of their own; add there: hone = {value}"));
    }
    let newline = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
    let with = format!("{text}{newline}[{TABLE}] {MARK}\n{line}");
    undone_by_removal(&text, with, value)
}

/// What was made, if the line is in it and its removal gives back what was there. Where a value has no end (the file is
/// broken, podman reads none of it) the line would be a part of that value.
fn undone_by_removal(text: &str, with: String, value: &str) -> Result<String, String> {
    let added = items(&with).iter().any(|item| item.name == RUNTIME && !item.is_table);
    match added && remove(&with).trim_end_matches('\n') == text.trim_end_matches('\n') {
        true => Ok(with),
        false => Err(format!("a value in it has no end; mend it, then come again, or add by hand: hone = {value}")),
    }
}

/// The text without Hone's lines; a table that was made for them stays when somebody has put more into it.
pub(super) fn remove(text: &str) -> String {
    let items = items(text);
    let ours = |item: &Item| text[item.start..item.end].trim_end().ends_with(MARK);
    let others = |table: &Item| {
        let start = format!("{}.", table.name);
        items.iter().any(|item| !item.is_table && item.name.starts_with(&start) && !ours(item))
    };
    let mut left = text.to_owned();
    for item in items.iter().rev().filter(|item| ours(item) && !(item.is_table && others(item))) {
        left.replace_range(item.start..item.end, "");
    }
    left
}

/// Whether the runtime `hone` is the one that podman takes when none is named.
pub(super) fn is_default(text: &str) -> bool {
    let value = |item: &Item| {
        let value = text[item.start..item.end].split_once('=').map_or("", |(_, value)| value.trim_start());
        ["\"hone\"", "'hone'"].iter().any(|name| value.starts_with(name))
    };
    items(text).iter().any(|item| !item.is_table && item.name == "engine.runtime" && value(item))
}

/// Whether the text has a runtime `hone` that Hone did not write.
pub(super) fn has_other(text: &str) -> bool {
    items(&remove(text)).iter().any(|item| item.name == RUNTIME)
}

fn items(text: &str) -> Vec<Item> {
    let (mut items, mut table, mut at) = (Vec::new(), String::new(), 0);
    while at < text.len() {
        let start = at;
        let line = text[at..].split_inclusive('\n').next().unwrap_or_default();
        let trimmed = line.trim_start();
        at += line.len();
        if trimmed.starts_with('#') {
            continue;
        }
        if let Some(inner) = trimmed.strip_prefix('[') {
            table = name(inner.trim_start_matches('[').split(']').next().unwrap_or_default());
            items.push(Item { name: table.clone(), is_table: true, start, end: at });
            continue;
        }
        let Some((key, value)) = line.split_once('=') else { continue };
        at = end_of_value(text, start + line.len() - value.len());
        let dot = if table.is_empty() { "" } else { "." };
        items.push(Item { name: format!("{table}{dot}{}", name(key)), is_table: false, start, end: at });
    }
    items
}

/// `engine . "runtimes"` is `engine.runtimes`.
fn name(text: &str) -> String {
    text.split('.').map(|part| part.trim().trim_matches(['"', '\''])).collect::<Vec<_>>().join(".")
}

/// Behind the line on which the value that begins at `at` ends: arrays, tables and long strings have several.
fn end_of_value(text: &str, mut at: usize) -> usize {
    let mut depth = 0_usize;
    while let Some(c) = text[at..].chars().next() {
        let rest = &text[at..];
        at += match c {
            '\n' if depth == 0 => return at + 1,
            '#' => rest.find('\n').unwrap_or(rest.len()),
            '"' | '\'' => string(rest),
            other => {
                match other {
                    '[' | '{' => depth += 1,
                    ']' | '}' => depth = depth.saturating_sub(1),
                    _ => {}
                }
                other.len_utf8()
            }
        };
    }
    at
}

/// The length of the string that begins here.
fn string(text: &str) -> usize {
    let long = ["\"\"\"", "'''"].into_iter().find(|quotes| text.starts_with(quotes));
    let quotes = long.unwrap_or(&text[..1]);
    let mut at = quotes.len();
    while at < text.len() {
        let rest = &text[at..];
        if rest.starts_with(quotes) {
            return at + quotes.len();
        }
        // A string on one line that has no end ends there: the file is broken, and podman will say so.
        if long.is_none() && rest.starts_with('\n') {
            return at;
        }
        let escaped = quotes.starts_with('"') && rest.starts_with('\\');
        at += rest.chars().take(1 + usize::from(escaped)).map(char::len_utf8).sum::<usize>();
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALUE: &str = "[\"/r/libexec/hone-podman\"]";

    #[test]
    fn nothing_is_added_behind_a_value_without_an_end() {
        for broken in ["[engine]\nx = [\n", "[engine]\nx = { a = 1\n", "x = \"\"\"y\n"] {
            assert!(add(broken, VALUE).expect_err(broken).contains("has no end"), "{broken}");
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
            assert_eq!(remove(&with), text);
            assert!(!has_other(&with));
        }
        let more = format!("{made}crun = [\"/c\"]\n");
        assert_eq!(remove(&more), format!("[engine.runtimes] {MARK}\ncrun = [\"/c\"]\n"), "others need the table");
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
            assert_eq!(has_other(text), want.contains("already"), "{text}");
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
            assert_eq!(remove(text), text);
            let endless = ["a = [", "a = '''", "a = \"\\"].contains(&text);
            assert_eq!(add(text, VALUE).is_ok(), !endless, "{text}");
        }
    }
}
