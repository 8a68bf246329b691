//! The part of Go's templates that `docker images --format` and `docker inspect --format` are used with.
//!
//! A field is called as `--json` calls it, in docker's spelling or in ours: `.OwnSize` and `.own_size` are the same. What a
//! person reads (sizes, moments, short digests) stands in for a number's or digest's plain form, which `json .Field` gives.

use std::str::FromStr;

use hone_contract::{Digest, quoted};
use serde_json::Value;

use crate::output;

/// Templates nobody types are refused (bytes).
const MAX_TEMPLATE: usize = 64 << 10;
/// What stands in a table for what there is not.
const NOTHING: &str = "-";

/// A template that was understood.
#[derive(Debug, Clone, PartialEq)]
pub struct Template {
    pieces: Vec<Piece>,
    /// Columns with headings.
    table: bool,
}

#[derive(Debug, Clone, PartialEq)]
enum Piece {
    Text(String),
    /// A field of a field; the whole when it is empty.
    Field {
        path: Vec<String>,
        json: bool,
    },
}

/// Why a template cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// An action that this part of the language has not.
    #[error(
        "{{{{{0}}}}}: want .Field, .Field.Field, json .Field or json .; for more, use --json and a program such as jq"
    )]
    Action(String),
    /// `{{` without its end.
    #[error("an action without its end: want }}}} after {{{{")]
    Open,
    /// Longer than anybody writes.
    #[error("{0} bytes, want at most {MAX_TEMPLATE}")]
    Long(usize),
    /// A field that the answer has not.
    #[error("no field .{got}; there is {known}")]
    Field {
        /// As written.
        got: String,
        /// What there is.
        known: String,
    },
}

impl FromStr for Template {
    type Err = TemplateError;

    fn from_str(text: &str) -> Result<Self, TemplateError> {
        if text.len() > MAX_TEMPLATE {
            return Err(TemplateError::Long(text.len()));
        }
        let (table, text) = match text.strip_prefix("table") {
            Some(rest) if rest.starts_with(char::is_whitespace) => (true, rest.trim_start()),
            _ => (false, text),
        };
        if text.trim() == "json" {
            return Ok(Self { pieces: vec![Piece::Field { path: Vec::new(), json: true }], table });
        }
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("{{") {
            let (action, after) = after.split_once("}}").ok_or(TemplateError::Open)?;
            pieces.push(Piece::Text(unescaped(before)));
            pieces.push(action_of(action)?);
            rest = after;
        }
        pieces.push(Piece::Text(unescaped(rest)));
        pieces.retain(|piece| *piece != Piece::Text(String::new()));
        Ok(Self { pieces, table })
    }
}

/// docker's shells pass `\t` and `\n` as two characters.
fn unescaped(text: &str) -> String {
    text.replace("\\t", "\t").replace("\\n", "\n")
}

fn action_of(action: &str) -> Result<Piece, TemplateError> {
    let wrong = || TemplateError::Action(action.to_owned());
    let trimmed = action.trim();
    if let Some(text) = trimmed.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).filter(|t| !t.contains('"'))
    {
        return Ok(Piece::Text(unescaped(text)));
    }
    let (json, field) = match trimmed.strip_prefix("json") {
        Some(rest) if rest.starts_with(char::is_whitespace) => (true, rest.trim_start()),
        _ => (false, trimmed),
    };
    let path = field.strip_prefix('.').ok_or_else(wrong)?;
    let path: Vec<String> = path.split('.').filter(|_| !path.is_empty()).map(str::to_owned).collect();
    let named = |name: &String| !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || c == '_');
    if path.iter().all(named) { Ok(Piece::Field { path, json }) } else { Err(wrong()) }
}

impl Template {
    /// The rows as text, a line each; in a table, columns with headings.
    ///
    /// # Errors
    /// A field that a row has not.
    pub fn fill(&self, rows: &[Value], whole: bool) -> Result<String, TemplateError> {
        let lines: Result<Vec<String>, _> = rows.iter().map(|row| self.line(row, whole)).collect();
        let lines = lines?;
        if !self.table {
            return Ok(lines.iter().map(|line| format!("{line}\n")).collect());
        }
        let cells = |line: &String| line.split('\t').map(str::to_owned).collect::<Vec<_>>();
        let table: Vec<Vec<String>> = [self.heading()].iter().chain(&lines).map(cells).collect();
        Ok(output::table(&table))
    }

    fn line(&self, row: &Value, whole: bool) -> Result<String, TemplateError> {
        let piece = |piece: &Piece| match piece {
            Piece::Text(text) => Ok(text.clone()),
            Piece::Field { path, json: true } => Ok(found(row, path)?.1.to_string()),
            Piece::Field { path, json: false } => {
                let (name, value) = found(row, path)?;
                Ok(shown(name, value, whole))
            }
        };
        self.pieces.iter().map(piece).collect()
    }

    /// docker's headings: the field's words in capitals.
    fn heading(&self) -> String {
        let piece = |piece: &Piece| match piece {
            Piece::Text(text) => text.clone(),
            Piece::Field { path, .. } => path.last().map_or(String::new(), |name| words(name).to_uppercase()),
        };
        self.pieces.iter().map(piece).collect()
    }
}

/// `OwnSize` and `own_size` as words.
fn words(name: &str) -> String {
    let mut words = String::new();
    let mut before = '_';
    for c in name.chars() {
        if c.is_uppercase() && before.is_lowercase() {
            words.push(' ');
        }
        words.push(if c == '_' { ' ' } else { c });
        before = c;
    }
    words
}

/// The value at a path, and the key that it has.
fn found<'a>(row: &'a Value, path: &[String]) -> Result<(&'a str, &'a Value), TemplateError> {
    let plain = |name: &str| name.replace('_', "").to_lowercase();
    let (mut key, mut value) = ("", row);
    for name in path {
        // docker calls the configuration's digest the image's id.
        let wanted = plain(name);
        let fields = value.as_object();
        let here = |wanted: &str| fields.and_then(|fields| fields.iter().find(|(key, _)| plain(key) == wanted));
        let Some((k, v)) = here(&wanted).or_else(|| (wanted == "id").then(|| here("config")).flatten()) else {
            let known = fields.map(|fields| fields.keys().map(|k| format!(".{k}")).collect::<Vec<_>>().join(" "));
            let known = known.filter(|known| !known.is_empty()).unwrap_or_else(|| "none below it".to_owned());
            return Err(TemplateError::Field { got: path.join("."), known: quoted(&known).to_string() });
        };
        (key, value) = (k, v);
    }
    Ok((key, value))
}

/// A value as a person reads it.
fn shown(key: &str, value: &Value, whole: bool) -> String {
    match value {
        Value::Null => NOTHING.to_owned(),
        Value::String(text) => match text.parse::<Digest>() {
            Ok(digest) if !whole => digest.short(),
            _ => text.clone(),
        },
        Value::Number(number) => match number.as_u64() {
            Some(bytes) if key == "size" || key.ends_with("_size") || key.ends_with("_bytes") => output::size(bytes),
            Some(moment) if key.ends_with("_ms") => output::moment(moment),
            _ => number.to_string(),
        },
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn filled(template: &str, rows: &[Value]) -> Result<String, String> {
        let template: Template = template.parse().map_err(|error: TemplateError| error.to_string())?;
        template.fill(rows, false).map_err(|error| error.to_string())
    }

    fn row() -> Value {
        let digest = format!("sha256:{}", "ab".repeat(32));
        json!({"reference": "a:b", "config": digest, "own_size": 1000, "version": null, "finished_ms": 0,
               "labels": {"x": "y"}, "layers": [1]})
    }

    #[test]
    fn docker_s_templates_are_filled() {
        for (template, want) in [
            ("{{.Reference}}", "a:b\n"),
            ("{{ .Reference }}:{{.ID}}", "a:b:abababababab\n"),
            ("{{.OwnSize}}\\t{{.own_size}}", "1.00 kB\t1.00 kB\n"),
            ("{{json .OwnSize}} {{json .Version}}", "1000 null\n"),
            ("{{.Version}} {{.FinishedMs}}", "- 1970-01-01 00:00\n"),
            ("{{.Labels.x}}{{\"\\t\"}}{{.Layers}}", "y\t[1]\n"),
            ("plain", "plain\n"),
            ("{{json .Labels}}", "{\"x\":\"y\"}\n"),
            ("table {{.Reference}}\\t{{.OwnSize}}", "REFERENCE  OWN SIZE\na:b        1.00 kB\n"),
            ("", "\n"),
        ] {
            assert_eq!(filled(template, &[row()]), Ok(want.to_owned()), "{template}");
        }
        let lines = filled("json", &[row(), row()]).expect("two objects");
        assert!(lines.lines().all(|line| serde_json::from_str::<Value>(line).is_ok_and(|value| value == row())));
        assert_eq!(lines.lines().count(), 2);
        assert_eq!(filled("{{.Reference}}", &[]), Ok(String::new()));
    }

    #[test]
    fn digests_are_whole_when_that_is_asked_for() {
        let template: Template = "{{.Config}}".parse().expect("a template");
        assert_eq!(template.fill(&[row()], true), Ok(format!("sha256:{}\n", "ab".repeat(32))));
    }

    #[test]
    fn the_rest_of_the_language_is_refused_by_name() {
        for template in [
            "{{range .Layers}}{{.}}{{end}}",
            "{{if .Version}}x{{end}}",
            "{{upper .Reference}}",
            "{{.A..B}}",
            "{{}}",
            "{{.A|json}}",
        ] {
            let said = filled(template, &[row()]).expect_err(template);
            assert!(said.starts_with("{{") && said.contains("want .Field"), "{said}");
        }
        assert!(filled("{{.Reference", &[row()]).is_err_and(|said| said.contains("without its end")));
        let said = filled("{{.Nonsense}}", &[row()]).expect_err("no field");
        assert!(said.starts_with("no field .Nonsense; there is .") && said.contains(".own_size"), "{said}");
        assert!(filled("{{.Reference.Deep}}", &[row()]).is_err_and(|said| said.contains("none below it")));
        assert!(filled(&"x".repeat(MAX_TEMPLATE + 1), &[]).is_err_and(|said| said.contains("at most")));
    }
}
