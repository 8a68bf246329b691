//! The user's data: JSON lines -> tokenized sequences.
//!
//! Every line is an example or an error that names file and line: a silent loss of data would be worse. The loss is
//! on the answer only for `chat` and `alpaca`, and on everything for `text`.

use std::fs::FileType;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use hone_contract::quoted;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use crate::batch::Sequence;
use crate::error::{Result, TrainError};
use crate::text::{Message, Text, Token};
use crate::weights::files_ending;

/// The shape of the lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// `{"text": ...}`
    Text,
    /// `{"messages": [{"role": ..., "content": ...}, ...]}`
    Chat,
    /// `{"instruction": ..., "input": ..., "output": ...}`
    Alpaca,
}

impl Format {
    /// From a job's name for it.
    pub fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "text" => Self::Text,
            "chat" => Self::Chat,
            "alpaca" => Self::Alpaca,
            _ => return None,
        })
    }

    fn example(self) -> &'static str {
        match self {
            Self::Text => r#"{"text": "..."}"#,
            Self::Chat => {
                r#"{"messages": [{"role": "user", "content": "..."}, {"role": "assistant", "content": "..."}]}"#
            }
            Self::Alpaca => r#"{"instruction": "...", "input": "...", "output": "..."}"#,
        }
    }
}

/// How lines become tokens.
pub struct Reading<'a> {
    /// The shape of the lines.
    pub format: Format,
    /// A system message for every chat that has none of its own.
    pub system: Option<&'a str>,
    /// The tokenizer.
    pub text: &'a Text,
}

/// The data, tokenized.
#[derive(Debug)]
pub struct Data {
    /// Examples, in the order of files and lines.
    pub sequences: Vec<Sequence>,
    /// Examples left out because `max_length` leaves nothing of their answer.
    pub left_out: usize,
    /// FIFOs, sockets and devices beside the files: reading one would wait for somebody, or never end.
    pub special: Vec<PathBuf>,
    /// sha256 of all files' bytes, in order.
    pub digest: String,
}

/// A line longer than this is refused (bytes).
const MAX_LINE: u64 = 16 << 20;

/// Reads the file, or all `*.jsonl` files of the directory, at `path`.
///
/// # Errors
/// Nothing to read, something unreadable, or a line that is no example.
pub fn load(path: &Path, reading: &Reading<'_>, max_length: usize) -> Result<Data> {
    let (files, special) = files(path)?;
    let mut data = Data { sequences: Vec::new(), left_out: 0, special, digest: String::new() };
    let mut hash = Sha256::new();
    for file in files {
        load_file(&file, reading, max_length, &mut data, &mut hash)?;
    }
    data.digest = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    if data.sequences.is_empty() {
        let got = match data.left_out {
            0 => "no example".to_owned(),
            n => format!("{n} examples, none with an answer within {max_length} tokens"),
        };
        let want = format!("at least one line such as {}", reading.format.example());
        return Err(TrainError::setting(format!("data {}", path.display()), got, want));
    }
    Ok(data)
}

/// What to read, and what lies beside it that cannot be read as a file.
fn files(path: &Path) -> Result<(Vec<PathBuf>, Vec<PathBuf>)> {
    let meta = std::fs::metadata(path).map_err(|source| TrainError::io("open data", path, source))?;
    if !meta.is_dir() {
        return Ok((vec![path.to_owned()], Vec::new()));
    }
    // What is not there behind its link is told when it is opened.
    let kind = |file: &PathBuf| std::fs::metadata(file).map(|meta| meta.file_type());
    let is_special = |kind: FileType| hone_files::special(kind).is_some();
    let (special, files): (Vec<_>, Vec<_>) =
        files_ending(path, ".jsonl")?.into_iter().partition(|file| kind(file).is_ok_and(is_special));
    if files.is_empty() {
        let got = match special.len() {
            0 => "no *.jsonl file".to_owned(),
            n => format!("no *.jsonl file ({n} that are a FIFO, socket or device)"),
        };
        return Err(TrainError::setting(format!("data {}", path.display()), got, "at least one"));
    }
    Ok((files, special))
}

fn load_file(
    file: &Path,
    reading: &Reading<'_>,
    max_length: usize,
    data: &mut Data,
    hash: &mut Sha256,
) -> Result<()> {
    let fail = |source| TrainError::io("read data", file, source);
    let mut reader = BufReader::new(hone_files::open_regular(file).map_err(fail)?);
    let mut line = Vec::new();
    for number in 1.. {
        line.clear();
        let got = (&mut reader).take(MAX_LINE + 1).read_until(b'\n', &mut line).map_err(fail)?;
        if got == 0 {
            break;
        }
        hash.update(&line);
        let place = Place { file, line: number };
        if got as u64 > MAX_LINE {
            return Err(place.error(format!("the line is longer than {MAX_LINE} bytes")));
        }
        let words = std::str::from_utf8(&line).map_err(|_| place.error("not UTF-8".to_owned()))?;
        let words = words.trim_start_matches('\u{feff}').trim();
        if words.is_empty() {
            continue;
        }
        let mut sequence = example(words, reading, &place)?;
        sequence.ids.truncate(max_length);
        sequence.scored.truncate(max_length);
        match sequence.targets() {
            0 => data.left_out += 1,
            _ => data.sequences.push(sequence),
        }
    }
    Ok(())
}

/// Where a line is.
struct Place<'a> {
    file: &'a Path,
    line: usize,
}

impl Place<'_> {
    fn error(&self, problem: String) -> TrainError {
        TrainError::Data { file: self.file.to_owned(), line: self.line, problem }
    }

    /// The same failure, with the line.
    fn within(&self, error: TrainError) -> TrainError {
        let cause = std::error::Error::source(&error)
            .map_or_else(String::new, |source| format!(": {}", quoted(&source.to_string())));
        self.error(format!("{error}{cause}"))
    }

    fn parse<'de, T: Deserialize<'de>>(&self, line: &'de str, format: Format) -> Result<T> {
        serde_json::from_str(line).map_err(|e| {
            // serde_json's own line number is that within the line.
            let problem = e.to_string();
            let problem = problem.split(" at line ").next().unwrap_or(&problem);
            self.error(format!("{} (column {}); want {}", quoted(problem), e.column(), format.example()))
        })
    }
}

#[derive(Deserialize)]
struct TextLine {
    text: String,
}

#[derive(Deserialize)]
struct ChatLine {
    messages: Vec<Message>,
}

#[derive(Deserialize)]
struct AlpacaLine {
    instruction: String,
    #[serde(default)]
    input: Option<String>,
    output: String,
}

fn example(line: &str, reading: &Reading<'_>, place: &Place<'_>) -> Result<Sequence> {
    let (format, text) = (reading.format, reading.text);
    match format {
        Format::Text => {
            let TextLine { text: words } = place.parse(line, format)?;
            plain(text, "", &words).map_err(|e| place.within(e))
        }
        Format::Chat => {
            let ChatLine { messages } = place.parse(line, format)?;
            chat(text, &with_system(reading.system, messages), place)
        }
        Format::Alpaca => alpaca(&place.parse(line, format)?, reading, place),
    }
}

/// The conversation, with the system message in front when it has none.
fn with_system(system: Option<&str>, mut messages: Vec<Message>) -> Vec<Message> {
    if let Some(system) = system.filter(|_| messages.iter().all(|m| m.role != "system")) {
        messages.insert(0, Message::new("system", system));
    }
    messages
}

/// `prompt` not scored, `answer` scored, then the end of the text.
fn plain(text: &Text, prompt: &str, answer: &str) -> Result<Sequence> {
    let mut tokens = text.encode(&format!("{prompt}{answer}"), true)?;
    if let Some(begin) = text.begin().filter(|begin| tokens.first().is_none_or(|t| t.id != *begin)) {
        tokens.insert(0, Token { id: begin, start: 0 });
    }
    let mut sequence = Sequence { ids: Vec::new(), scored: Vec::new() };
    for token in &tokens {
        sequence.ids.push(token.id);
        sequence.scored.push(token.start >= prompt.len());
    }
    if let Some(end) = text.end().filter(|end| sequence.ids.last() != Some(end)) {
        sequence.ids.push(end);
        sequence.scored.push(true);
    }
    Ok(sequence)
}

/// Scores what the template renders of each answer, up to the token that ends the turn.
fn chat(text: &Text, messages: &[Message], place: &Place<'_>) -> Result<Sequence> {
    if !messages.iter().any(|m| m.role == "assistant" && !m.content.is_empty()) {
        return Err(place.error("no message of role assistant with content: there is no answer to learn".to_owned()));
    }
    let render = |messages: &[Message], answer| text.render(messages, answer).map_err(|e| place.within(e));
    let whole = render(messages, false)?;
    let mut answers = Vec::new();
    for (i, _) in messages.iter().enumerate().filter(|(_, m)| m.role == "assistant") {
        let before = render(&messages[..i], true)?;
        let after = render(&messages[..=i], false)?;
        let after = after.trim_end();
        // Some templates render earlier answers differently once the conversation goes on: those are not scored.
        if whole.starts_with(&before) && whole.starts_with(after) && after.len() > before.len() {
            answers.push(before.len()..after.len());
        }
    }
    if answers.is_empty() {
        let problem = "the chat template does not show where the answer begins in this conversation";
        return Err(place.error(problem.to_owned()));
    }
    let tokens = text.encode(&whole, false).map_err(|e| place.within(e))?;
    let scored = |token: &Token| answers.iter().any(|answer| answer.contains(&token.start));
    Ok(Sequence { ids: tokens.iter().map(|t| t.id).collect(), scored: tokens.iter().map(scored).collect() })
}

fn alpaca(line: &AlpacaLine, reading: &Reading<'_>, place: &Place<'_>) -> Result<Sequence> {
    let text = reading.text;
    if line.output.is_empty() {
        return Err(place.error("output is empty: there is no answer to learn".to_owned()));
    }
    let input = line.input.as_deref().filter(|input| !input.is_empty());
    if text.has_template() {
        let question = input.map_or_else(|| line.instruction.clone(), |i| format!("{}\n\n{i}", line.instruction));
        let messages = vec![Message::new("user", &question), Message::new("assistant", &line.output)];
        return chat(text, &with_system(reading.system, messages), place);
    }
    let input = input.map_or_else(String::new, |i| format!("### Input:\n{i}\n\n"));
    // Where a model has no chat template, the Alpaca prompt has room for it: above the instruction.
    let system = reading.system.map_or_else(String::new, |s| format!("{s}\n\n"));
    let prompt = format!("{system}### Instruction:\n{}\n\n{input}### Response:\n", line.instruction);
    plain(text, &prompt, &line.output).map_err(|e| place.within(e))
}
