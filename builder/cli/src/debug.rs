//! `--debug` and RUST_LOG: what is done step by step, on standard error.

use std::env;
use std::io::{self, Write as _};

use env_logger::Builder;
use env_logger::fmt::Formatter;
use hone_contract::printable;
use log::{LevelFilter, Record};

/// The variable in which every Rust program looks.
const VARIABLE: &str = "RUST_LOG";

/// Has the steps told: those of Hone's own crates with `--debug`, whatever RUST_LOG names otherwise.
pub fn listen(debug: bool) {
    let mut builder = Builder::new();
    if debug {
        builder.filter_level(LevelFilter::Info);
        builder.filter_module("hone", LevelFilter::Debug);
    } else if env::var_os(VARIABLE).is_none() {
        // What is passed over is told where nobody asked for more or less.
        builder.filter_module("hone", LevelFilter::Warn);
    }
    builder.parse_env(VARIABLE).format(line);
    // Only a second logger could be an error, and this is the first.
    let _ = builder.try_init();
}

/// One line a step. It may repeat a server's words: a terminal must not obey them.
fn line(to: &mut Formatter, record: &Record<'_>) -> io::Result<()> {
    let text = record.args().to_string();
    let level = record.level().as_str().to_lowercase();
    writeln!(to, "hone: {level}: {}: {}", record.target(), printable(&text).replace('\n', "\\n"))
}
