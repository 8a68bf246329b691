//! YAML text that reads back as exactly what went in (YAML 1.2.2, chapters 5 and 7).

use std::fmt::Write as _;

/// Words that some reader takes for something else than text.
const TAKEN: [&str; 9] = ["null", "true", "false", "yes", "no", "on", "off", "y", "n"];
/// A line of a comment is wrapped here (characters).
const WIDTH: usize = 110;

/// One value after `key: `, the key standing at `indent`: plain where nobody could misread it, a block where it has
/// lines to show, else quoted.
pub(super) fn scalar(text: &str, indent: usize) -> String {
    match text {
        _ if is_plain(text) => text.to_owned(),
        _ if is_block(text) => block(text, indent + 2),
        _ => quoted(text),
    }
}

/// Letters, digits and what paths and addresses are made of; no number but what is written as one.
fn is_plain(text: &str) -> bool {
    let word = |c: char| c.is_ascii_alphanumeric() || "._/@+-:".contains(c);
    let begins = |c: char| c.is_ascii_alphanumeric() || "./".contains(c);
    text.starts_with(begins)
        && text.chars().all(word)
        && !text.ends_with(':')
        && !TAKEN.contains(&text.to_ascii_lowercase().as_str())
        && !text.starts_with("...")
}

/// Several lines, each of which stays as it is in a literal block.
fn is_block(text: &str) -> bool {
    let body = text.strip_suffix('\n').unwrap_or(text);
    let plain = |line: &str| !line.ends_with([' ', '\t']) && line.chars().all(is_printable);
    body.contains('\n') && !body.ends_with('\n') && body.split('\n').all(plain)
}

fn block(text: &str, indent: usize) -> String {
    // Where the first line does not show the indentation, it is said.
    let said = if text.starts_with([' ', '\t', '\n']) { "2" } else { "" };
    let mut out = format!("|{said}{}", if text.ends_with('\n') { "" } else { "-" });
    for line in text.strip_suffix('\n').unwrap_or(text).split('\n') {
        out.push('\n');
        if !line.is_empty() {
            out.push_str(&" ".repeat(indent));
            out.push_str(line);
        }
    }
    out
}

fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if is_printable(c) => out.push(c),
            c => _ = write!(out, "\\U{:08X}", u32::from(c)),
        }
    }
    out.push('"');
    out
}

/// What may stand in a YAML stream as itself and looks like something; line breaks and tabs are for the caller.
fn is_printable(c: char) -> bool {
    let unseen = matches!(c, '\u{85}' | '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}');
    !c.is_control() && !unseen
}

/// Comment lines that hold `text`, wrapped between words.
pub(super) fn comment(text: &str, indent: usize) -> String {
    let start = format!("{}#", " ".repeat(indent));
    let mut lines = vec![start.clone()];
    for word in text.split_whitespace() {
        let word: String = word.chars().map(|c| if is_printable(c) { c } else { '\u{fffd}' }).collect();
        let line = lines.last().map_or(0, |line| line.chars().count());
        if line > start.len() && line + 1 + word.chars().count() > WIDTH {
            lines.push(start.clone());
        }
        if let Some(line) = lines.last_mut() {
            line.push(' ');
            line.push_str(&word);
        }
    }
    lines.join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads `k: VALUE` as a Honefile's reader does.
    fn read(value: &str) -> String {
        #[derive(serde::Deserialize)]
        struct Outer {
            a: Inner,
        }
        #[derive(serde::Deserialize)]
        struct Inner {
            k: serde_saphyr::Spanned<String>,
            z: serde_saphyr::Spanned<String>,
        }
        let text = format!("a:\n  k: {value}\n  z: end\n");
        let outer: Outer = serde_saphyr::from_str(&text).unwrap_or_else(|e| panic!("{e}\n{text}"));
        assert_eq!(outer.a.z.value, "end");
        outer.a.k.value
    }

    /// What YAML has another meaning for, and what it has none for; one a line, or with its escapes.
    const WORDS: &str = "null ~ true No 1 1e3 - ? : # ! & * @ ` % { [ ' \" \\ | > --- ... << = 0x10 .inf a: \
        ./m.gguf hf://org/name@main oci://h:5000/a/b:c ?a :a #a !x &a *a @a %a a#b";
    const LINES: [&str; 34] = [
        "",
        "- a",
        "a: b",
        "a #b",
        "--- a",
        "a\tb",
        "\ta",
        " a",
        "a ",
        "a\n",
        "\na",
        "a\nb",
        "a\n\nb\n",
        "a\n b",
        "a \nb",
        "a\nb\n\n",
        "a\r\nb",
        "\r",
        "a\0b",
        "\u{7f}",
        "\u{85}",
        "\u{a0}",
        "\u{2028}x",
        "\u{feff}x",
        "h\u{e9}llo\nw\u{f6}rld",
        "\u{1f600}",
        "a\n---\nb",
        "a\n#b",
        "a\n\tb",
        "|-\na",
        "a\u{1}b\nc",
        "\u{fffd}",
        "a\n...\nb",
        "---\na",
    ];

    #[test]
    fn any_text_reads_back_as_itself() {
        for text in WORDS.split_whitespace().chain(LINES) {
            let value = scalar(text, 2);
            assert_eq!(read(&value), text, "{value}");
        }
    }

    #[test]
    fn seeded_nonsense_reads_back_as_itself() {
        let pieces = [
            "a", " ", "\n", "\t", ":", "#", "-", "\"", "'", "\\", "{", "|", ">", "\u{2029}", "\u{e9}", "\0", "\r",
            "%",
        ];
        let mut state = 11u32;
        for _ in 0..4000 {
            let mut text = String::new();
            for _ in 0..8 {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                text.push_str(pieces[(state >> 16) as usize % pieces.len()]);
            }
            assert_eq!(read(&scalar(&text, 2)), text, "{text:?}");
        }
    }

    #[test]
    fn a_comment_stays_one() {
        let text = comment(&format!("a\nb: c \u{feff}d {} {}", "w".repeat(300), "x ".repeat(200)), 2);
        assert!(text.lines().all(|line| line.starts_with("  # ")), "{text}");
        assert!(text.starts_with("  # a b: c \u{fffd}d") && text.lines().count() > 3, "{text}");
    }
}
