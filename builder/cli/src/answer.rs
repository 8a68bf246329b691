//! How a verb answers: sentences and tables for people, `--json` for programs, `--format` for scripts.
//!
//! Every verb has `--json`, and its keys are in snake_case, as in all that Hone writes (docs/cli.md).

use clap::Args;
use serde::Serialize;

use crate::failure::{Failure, because};
use crate::output;
use crate::template::Template;

/// What every verb that does something can be told of its answer.
#[derive(Debug, Clone, Copy, Default, Args)]
pub struct Form {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Form {
    /// Prints what came of work that is done; nobody has to read it.
    pub fn report<T: Serialize>(self, answer: &T, text: impl FnOnce(&T) -> String) -> Result<(), Failure> {
        if self.json { output::report_raw(&output::pretty(answer)?) } else { output::report(&text(answer)) }
    }

    /// Prints what was asked for, and nothing else was done.
    pub fn print<T: Serialize>(self, answer: &T, text: impl FnOnce(&T) -> String) -> Result<(), Failure> {
        if self.json { output::json(answer) } else { output::print(&text(answer)) }
    }

    /// Whether a program reads it.
    pub fn is_json(self) -> bool {
        self.json
    }
}

/// What a verb that lists can be told, as docker's `images` and `ps` can.
#[derive(Debug, Args)]
pub struct Listing {
    /// Print JSON
    #[arg(long, conflicts_with = "format")]
    json: bool,
    /// Print with a template: fields as '{{.Reference}}' or '{{json .Size}}', the whole as '{{json .}}', \t and \n;
    /// 'table TEMPLATE' makes columns with headings, 'json' prints one object a line
    #[arg(long, value_name = "TEMPLATE")]
    format: Option<Template>,
    /// Show digests and ids whole
    #[arg(long)]
    no_trunc: bool,
    /// Show digests or ids alone
    #[arg(short, long, conflicts_with_all = ["json", "format"])]
    quiet: bool,
}

impl Listing {
    /// Prints rows: as JSON or by the template where one is asked for, by `id` alone, or as `table` makes them, which is
    /// told whether they are to be whole.
    pub fn print<T: Serialize>(
        &self,
        rows: &[T],
        id: impl Fn(&T, bool) -> String,
        table: impl FnOnce(&[T], bool) -> String,
    ) -> Result<(), Failure> {
        if self.json {
            return output::json(&rows);
        }
        if let Some(template) = &self.format {
            return by_template(rows, template, self.no_trunc);
        }
        if !self.quiet {
            return output::print(&table(rows, self.no_trunc));
        }
        output::print(&rows.iter().map(|row| format!("{}\n", id(row, self.no_trunc))).collect::<String>())
    }
}

/// Prints values as a template says; `whole` leaves digests as long as they are.
pub fn by_template<T: Serialize>(rows: &[T], template: &Template, whole: bool) -> Result<(), Failure> {
    let rows: Result<Vec<_>, _> = rows.iter().map(serde_json::to_value).collect();
    let rows = rows.map_err(because("write JSON"))?;
    output::print(&template.fill(&rows, whole).map_err(because("--format"))?)
}
