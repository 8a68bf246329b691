//! Setting and removing one member of a JSON object as text: everything else keeps its bytes, order and spacing.
//!
//! The text has been parsed by serde_json before it comes here, so the scanner may rely on its being valid JSON.

use std::ops::Range;

/// One member of an object, as byte ranges of the text.
struct Member {
    key: Range<usize>,
    value: Range<usize>,
}

/// The object whose `{` is at `open`: its members and the place of its `}`.
fn members(text: &str, open: usize) -> (Vec<Member>, usize) {
    let mut members = Vec::new();
    let mut at = blank(text, open + 1);
    while text.as_bytes()[at] == b'"' {
        let key = at..skip(text, at);
        let colon = blank(text, key.end);
        let start = blank(text, colon + 1);
        let value = start..skip(text, start);
        at = blank(text, value.end);
        members.push(Member { key, value });
        if text.as_bytes()[at] == b',' {
            at = blank(text, at + 1);
        }
    }
    (members, at)
}

/// The first byte from `at` on that is not white space.
fn blank(text: &str, at: usize) -> usize {
    text[at..].find(|c: char| !c.is_ascii_whitespace()).map_or(text.len(), |n| at + n)
}

/// The end of the value that starts at `at`.
fn skip(text: &str, at: usize) -> usize {
    let (mut depth, mut quoted, mut escaped) = (0, false, false);
    for (n, byte) in text.bytes().enumerate().skip(at) {
        if quoted {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => {
                    quoted = false;
                    if depth == 0 {
                        return n + 1;
                    }
                }
                _ => {}
            }
            continue;
        }
        match byte {
            b'"' => quoted = true,
            b'{' | b'[' => depth += 1,
            b'}' | b']' if depth == 0 => return n,
            b'}' | b']' => {
                depth -= 1;
                if depth == 0 {
                    return n + 1;
                }
            }
            b',' if depth == 0 => return n,
            byte if depth == 0 && byte.is_ascii_whitespace() => return n,
            _ => {}
        }
    }
    text.len()
}

fn find<'a>(text: &str, members: &'a [Member], name: &str) -> Option<&'a Member> {
    let same = |m: &&Member| serde_json::from_str::<String>(&text[m.key.clone()]).is_ok_and(|key| key == name);
    // Of a key given twice the last one counts, as in encoding/json, which reads daemon.json.
    members.iter().rfind(same)
}

/// Sets the member that `path` names, making the objects on the way; `value` is JSON text.
pub(super) fn set(text: &str, path: &[&str], value: &str) -> String {
    let open = blank(text, 0);
    if open == text.len() {
        return format!("{}\n", nest(path, value, 0));
    }
    set_in(text, open, path, value, 1)
}

fn set_in(text: &str, open: usize, path: &[&str], value: &str, depth: usize) -> String {
    let (members, close) = members(text, open);
    let [name, rest @ ..] = path else { return text.to_owned() };
    let mut out = text.to_owned();
    match find(text, &members, name) {
        Some(member) if !rest.is_empty() && text.as_bytes()[member.value.start] == b'{' => {
            return set_in(text, member.value.start, rest, value, depth + 1);
        }
        Some(member) => out.replace_range(member.value.clone(), &nest(rest, value, depth)),
        None => {
            let indent = "  ".repeat(depth);
            let entry = format!("\n{indent}{}: {}", quote(name), nest(rest, value, depth));
            match members.last() {
                Some(last) => out.insert_str(last.value.end, &format!(",{entry}")),
                None => out.replace_range(open + 1..close, &format!("{entry}\n{}", "  ".repeat(depth - 1))),
            }
        }
    }
    out
}

/// `value` inside an object for each name of `path`.
fn nest(path: &[&str], value: &str, depth: usize) -> String {
    let [name, rest @ ..] = path else { return value.to_owned() };
    let (inner, outer) = ("  ".repeat(depth + 1), "  ".repeat(depth));
    format!("{{\n{inner}{}: {}\n{outer}}}", quote(name), nest(rest, value, depth + 1))
}

fn quote(name: &str) -> String {
    serde_json::Value::from(name).to_string()
}

/// Removes the member that `path` names, with its comma; objects on the way stay, also when they are empty now.
pub(super) fn remove(text: &str, path: &[&str]) -> String {
    let open = blank(text, 0);
    if open == text.len() { text.to_owned() } else { remove_in(text, open, path) }
}

fn remove_in(text: &str, open: usize, path: &[&str]) -> String {
    let (members, close) = members(text, open);
    let [name, rest @ ..] = path else { return text.to_owned() };
    let Some(member) = find(text, &members, name) else { return text.to_owned() };
    if !rest.is_empty() {
        let object = text.as_bytes()[member.value.start] == b'{';
        return if object { remove_in(text, member.value.start, rest) } else { text.to_owned() };
    }
    let before = members.iter().rfind(|m| m.value.end <= member.key.start).map(|m| m.value.end);
    let after = members.iter().find(|m| m.key.start >= member.value.end).map(|m| m.key.start);
    let range = match (before, after) {
        (Some(before), _) => before..member.value.end,
        (None, Some(after)) => member.key.start..after,
        (None, None) => open + 1..close,
    };
    format!("{}{}", &text[..range.start], &text[range.end..])
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const PATH: [&str; 2] = ["runtimes", "hone"];

    #[test]
    fn an_empty_file_becomes_an_object() {
        let text = set("", &PATH, "1");
        assert_eq!(text, "{\n  \"runtimes\": {\n    \"hone\": 1\n  }\n}\n");
        assert_eq!(set("{}\n", &PATH, "1"), text);
    }

    #[test]
    fn other_members_keep_their_bytes() {
        let text = "{ \"z\":[1,2 ],\n\t\"a\" : \"}\\\"{\"\n}";
        let with = set(text, &PATH, "1");
        assert!(with.starts_with("{ \"z\":[1,2 ],\n\t\"a\" : \"}\\\"{\",\n"), "{with}");
        assert_eq!(serde_json::from_str::<Value>(&with).unwrap()["runtimes"]["hone"], json!(1));
    }

    #[test]
    fn set_then_remove_gives_the_same_value_for_every_place() {
        for text in [
            r#"{"runtimes":{}}"#,
            r#"{"runtimes": {"a": 1}, "b": 2}"#,
            r#"{"b": 2, "runtimes": {"a": {"hone": 3}, "c": [{}]} }"#,
            r#"{"runtimes": { }, "b": true}"#,
        ] {
            let with = set(text, &PATH, r#"{"path":"/x"}"#);
            let value: Value = serde_json::from_str(&with).unwrap();
            assert_eq!(value["runtimes"]["hone"]["path"], "/x", "{with}");
            let without: Value = serde_json::from_str(&remove(&with, &PATH)).unwrap();
            assert_eq!(without, serde_json::from_str::<Value>(text).unwrap());
        }
    }

    #[test]
    fn the_first_the_middle_and_the_last_member_can_go() {
        let text = r#"{"runtimes": {"a": 1, "b": 2, "c": 3}}"#;
        for name in ["a", "b", "c"] {
            let mut want: Value = serde_json::from_str(text).unwrap();
            want["runtimes"].as_object_mut().unwrap().remove(name);
            let got = remove(text, &["runtimes", name]);
            assert_eq!(serde_json::from_str::<Value>(&got).unwrap(), want, "{got}");
        }
        assert_eq!(remove(text, &["runtimes", "absent"]), text);
    }

    #[test]
    fn an_existing_member_is_replaced_in_place() {
        let text = r#"{"runtimes": {"hone": {"path": "/old"}, "b": 2}}"#;
        assert_eq!(set(text, &PATH, "1"), r#"{"runtimes": {"hone": 1, "b": 2}}"#);
    }
}
