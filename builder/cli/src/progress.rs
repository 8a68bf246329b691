//! How far a verb is: a bar on a terminal, plain lines elsewhere, JSON lines for programs; on standard error.
//!
//! Whether anybody looks decides nothing: bars and lines that cannot be written are lost, and the work goes on.

use std::io::IsTerminal;
use std::time::Duration;

use clap::{Args, ValueEnum};
use hone_contract::{Digest, progress, quoted};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use crate::output::{size, tell};

/// How to show progress.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Mode {
    /// A bar on a terminal, plain lines elsewhere.
    Auto,
    /// One line a step.
    Plain,
    /// One JSON object a line.
    Json,
    /// Nothing.
    None,
}

/// Arguments of every verb that may take long and answers with an image.
#[derive(Debug, Clone, Copy, Args)]
pub struct ProgressArgs {
    /// How to show progress
    #[arg(long, value_enum, default_value = "auto")]
    pub progress: Mode,
    /// Show no progress, and print nothing but a digest, where there is one
    #[arg(short, long, conflicts_with = "json")]
    pub quiet: bool,
}

impl ProgressArgs {
    /// As asked for.
    pub fn show(&self) -> Progress {
        Progress::new(self.progress, self.quiet)
    }
}

/// Shows steps.
#[derive(Debug, Clone, Copy)]
pub struct Progress {
    show: Show,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Show {
    Bars,
    Lines,
    Json,
    Nothing,
}

/// A step that is being done.
#[derive(Debug)]
struct Step {
    show: Show,
    label: String,
    bar: Option<ProgressBar>,
}

impl Progress {
    /// As asked for.
    pub fn new(mode: Mode, quiet: bool) -> Self {
        let show = match mode {
            Mode::None => Show::Nothing,
            _ if quiet => Show::Nothing,
            Mode::Json => Show::Json,
            Mode::Auto if std::io::stderr().is_terminal() => Show::Bars,
            Mode::Auto | Mode::Plain => Show::Lines,
        };
        Self { show }
    }
}

impl progress::Progress for Progress {
    fn step(&self, label: &str, total: Option<u64>) -> Box<dyn progress::Step> {
        let bar = (self.show == Show::Bars).then(|| bar(label, total));
        if self.show == Show::Json {
            tell_json(&json!({"event": "begin", "step": label, "bytes": total}));
        }
        Box::new(Step { show: self.show, label: label.to_owned(), bar })
    }

    fn note(&self, text: &str) {
        match self.show {
            Show::Nothing => {}
            Show::Json => tell_json(&json!({"event": "note", "text": text})),
            Show::Bars | Show::Lines => tell(&format!("note: {text}")),
        }
    }
}

impl progress::Step for Step {
    fn seen(&self, bytes: u64) {
        if let Some(bar) = &self.bar {
            bar.set_position(bytes);
        }
    }

    fn end(self: Box<Self>, bytes: u64, digest: Option<Digest>, note: Option<&str>) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        match self.show {
            Show::Bars | Show::Lines => {
                let what = match (digest, note) {
                    (Some(digest), Some(note)) => format!("{digest} {note}"),
                    (Some(digest), None) => digest.to_string(),
                    (None, note) => note.unwrap_or_default().to_owned(),
                };
                tell(&format!("{:<34} {:>9}  {what}", quoted(&self.label).to_string(), size(bytes)));
            }
            Show::Json => {
                let end = json!({"event": "end", "step": self.label, "bytes": bytes, "digest": digest, "note": note});
                tell_json(&end);
            }
            Show::Nothing => {}
        }
    }
}

fn bar(label: &str, total: Option<u64>) -> ProgressBar {
    let (bar, template) = match total {
        Some(total) => (ProgressBar::new(total), "{msg:<34} {bar:30} {bytes}/{total_bytes} {bytes_per_sec} {eta}"),
        None => (ProgressBar::new_spinner(), "{msg:<34} {spinner} {bytes}"),
    };
    // The template is one of the two above, and both parse.
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    bar.set_style(style);
    bar.set_message(quoted(label).to_string());
    bar.enable_steady_tick(Duration::from_millis(100));
    bar
}

/// One event on a line: for programs, so never cut.
fn tell_json(event: &serde_json::Value) {
    hone_contract::tell_json(std::io::stderr(), &event.to_string());
}
