//! Manual pages: one for a program and one for each of its verbs, of the same definitions that read the command line.

use std::fs;
use std::io::{self, Write as _};
use std::path::Path;

use clap::Command;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

/// Exit codes and what they say, as a page lists them.
pub type ExitStatus = &'static [(&'static str, &'static str)];

/// Writes the page of `program` and of each verb that is not hidden, as `NAME-VERB.SECTION`. The exit codes are those
/// that `exit_status` has for a page's name.
///
/// # Errors
/// When a page cannot be written.
pub fn write(
    program: Command,
    section: &str,
    exit_status: &dyn Fn(&str) -> ExitStatus,
    dir: &Path,
) -> io::Result<()> {
    fs::create_dir_all(dir)?;
    // A page `hone-help` would say nothing; `--help` is on every page.
    let mut program = program.disable_help_subcommand(true);
    program.build();
    pages(&program, section, exit_status, dir)
}

fn pages(command: &Command, section: &str, exit_status: &dyn Fn(&str) -> ExitStatus, dir: &Path) -> io::Result<()> {
    for verb in command.get_subcommands().filter(|verb| !verb.is_hide_set()) {
        pages(verb, section, exit_status, dir)?;
    }
    let name = command.get_display_name().unwrap_or_else(|| command.get_name()).to_owned();
    let source = concat!("hone ", env!("CARGO_PKG_VERSION"));
    let man = Man::new(command.clone()).section(section).source(source).manual("Hone");
    let mut file = fs::File::create(dir.join(man.get_filename()))?;
    man.render(&mut file)?;
    file.write_all(codes(exit_status(&name)).as_bytes())
}

fn codes(list: ExitStatus) -> String {
    let mut roff = Roff::new();
    roff.control("SH", ["EXIT STATUS"]);
    for (code, meaning) in list {
        roff.control("TP", []).text([bold(*code)]).text([roman(*meaning)]);
    }
    roff.to_roff()
}

#[cfg(test)]
mod tests {
    use super::*;

    const CODES: ExitStatus = &[("0", "done"), ("125", ".so it ended")];

    #[test]
    fn every_verb_has_a_page_but_the_hidden() {
        let pack = Command::new("pack").about("Packs");
        let program = Command::new("tool").about("Does").version("9").subcommands([
            Command::new("trainer").about("Makes trainers").subcommand(pack),
            Command::new("inner").about("Not for people").hide(true),
        ]);
        let dir = tempfile::tempdir().expect("tempdir");
        write(program, "8", &|page| if page == "tool-trainer-pack" { CODES } else { &[] }, dir.path())
            .expect("write");
        let mut names: Vec<_> =
            fs::read_dir(dir.path()).expect("list").map(|e| e.expect("entry").file_name()).collect();
        names.sort();
        assert_eq!(names, ["tool-trainer-pack.8", "tool-trainer.8", "tool.8"]);
        let page = fs::read_to_string(dir.path().join("tool-trainer-pack.8")).expect("read");
        assert!(page.contains("tool\\-trainer\\-pack \\- Packs"), "{page}");
        // What begins with a dot would be a command to the formatter.
        assert!(page.contains(".SH \"EXIT STATUS\"") && page.contains("\\&.so it ended"), "{page}");
        let page = fs::read_to_string(dir.path().join("tool.8")).expect("read");
        assert!(page.contains("trainer(8)") && !page.contains("inner"), "{page}");
    }
}
