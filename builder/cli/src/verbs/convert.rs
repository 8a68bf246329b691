//! `hone convert`: another tool's file as a Honefile.
//!
//! The Honefile goes to standard output or to a new file; what it could not take over goes to standard error.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use hone_plan::ModelSource;
use hone_plan::convert::{Converted, Dialect, MAX_INPUT, Options, aikit, detect, modelfile};
use hone_store::Store;
use serde_json::json;

use crate::answer::Form;
use crate::failure::{Failure, because};
use crate::layout::outside_of_stores;
use crate::output::tell;

/// Arguments of `hone convert`.
#[derive(Debug, Args)]
pub struct Convert {
    /// AIKit's fine-tune YAML, or Ollama's Modelfile
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Where to write the Honefile [default: standard output]
    #[arg(short, long, value_name = "HONEFILE")]
    output: Option<PathBuf>,
    /// The Honefile's name [default: what the file calls its model]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// What FILE is [default: told by its first words]
    #[arg(long, value_name = "FORMAT")]
    from: Option<From>,
    /// Replace HONEFILE when it is there
    #[arg(long, requires = "output")]
    force: bool,
    #[command(flatten)]
    form: Form,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum From {
    Aikit,
    Modelfile,
}

impl Convert {
    /// Converts.
    pub fn run(self, store: &Store) -> Result<(), Failure> {
        self.output.as_deref().map_or(Ok(()), |output| outside_of_stores(output, store))?;
        let shown = self.file.display().to_string();
        let mut bytes = Vec::new();
        let reading = || because(format!("read {shown}"));
        let file = File::open(&self.file).map_err(reading())?;
        // In UTF-16, as Windows' shells write it, a character has two bytes.
        file.take(2 * (MAX_INPUT as u64 + 2)).read_to_end(&mut bytes).map_err(reading())?;
        let text = hone_plan::text(&shown, &bytes)?;
        let dialect = match self.from {
            Some(From::Aikit) => Dialect::Aikit,
            Some(From::Modelfile) => Dialect::Modelfile,
            None => detect(&text).ok_or_else(|| {
                format!("{shown}: neither a fine-tune configuration of AIKit nor a Modelfile; if it is, say --from")
            })?,
        };
        let dir = directory(&self.file);
        let exists = |path: &str| dir.join(path).exists();
        let options = Options { file: &shown, name: self.name.as_deref(), exists: &exists };
        let converted = match dialect {
            Dialect::Aikit => aikit(&text, &options)?,
            Dialect::Modelfile => modelfile(&text, &options)?,
        };
        if let Some(output) = &self.output {
            write(output, &converted.honefile, self.force)?;
        }
        self.answer(&converted)?;
        for note in converted.notes.iter().filter(|_| !self.form.is_json()) {
            tell(&format!("hone: {shown}:{}: {}: {}; {}", note.line, note.what, note.why, note.way_out));
        }
        if let Some(path) = self.output.as_deref().and_then(|output| left_behind(output, dir, &converted)) {
            tell(&format!(
                "hone: base.model: {path} is beside {shown}, and a Honefile's paths are relative to it; mend the path"
            ));
        }
        Ok(())
    }
}

impl Convert {
    /// The Honefile, where it went to no file; for programs with what could not be taken over.
    fn answer(&self, converted: &Converted) -> Result<(), Failure> {
        let notes = converted
            .notes
            .iter()
            .map(|note| json!({"line": note.line, "what": note.what, "why": note.why, "way_out": note.way_out}));
        let answer =
            json!({"honefile": converted.honefile, "output": self.output, "notes": notes.collect::<Vec<_>>()});
        match &self.output {
            None => self.form.print(&answer, |_| converted.honefile.clone()),
            Some(_) => self.form.report(&answer, |_| String::new()),
        }
    }
}

fn directory(file: &Path) -> &Path {
    file.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// The whole file or none, and none in the place of another.
fn write(output: &Path, text: &str, force: bool) -> Result<(), Failure> {
    let writing = || because(format!("write {}", output.display()));
    let new = tempfile::Builder::new().prefix(".Honefile-").permissions(fs::Permissions::from_mode(0o666)).to_owned();
    let mut file = new.tempfile_in(directory(output)).map_err(writing())?;
    file.write_all(text.as_bytes()).map_err(writing())?;
    file.as_file().sync_all().map_err(writing())?;
    match force {
        true => file.persist(output).map(|_| ()).map_err(|e| writing()(e.error)),
        false if output.exists() => {
            Err(format!("write {}: it is there already; --force replaces it", output.display()).into())
        }
        false => file.persist_noclobber(output).map(|_| ()).map_err(|e| writing()(e.error)),
    }
}

/// A relative path to the model, when the Honefile went to another directory than the file it was made of.
fn left_behind(output: &Path, dir: &Path, converted: &Converted) -> Option<String> {
    let base = hone_plan::parse("Honefile", &converted.honefile).ok()?.base?;
    let same = fs::canonicalize(directory(output)).ok() == fs::canonicalize(dir).ok();
    match base.model {
        ModelSource::Path(path) if !same && Path::new(&path).is_relative() => Some(path),
        _ => None,
    }
}
