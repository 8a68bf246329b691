//! Lines of the runtime's log, in the two formats of runc's `--log-format`.

use std::io::Write as _;
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Serialize;

/// `--log-format`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// `time="..." level=error msg="..."`.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// How much it matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// Progress, for whoever asked with `--debug`.
    Debug,
    /// Worth knowing.
    Info,
    /// Something was given up.
    Warning,
    /// The operation failed.
    Error,
}

impl Level {
    fn name(self) -> &'static str {
        match self {
            Level::Debug => "debug",
            Level::Info => "info",
            Level::Warning => "warning",
            Level::Error => "error",
        }
    }
}

/// Where lines go.
#[derive(Debug, Clone, Default)]
pub struct Log {
    /// The file, appended to; nowhere when absent.
    pub path: Option<PathBuf>,
    /// Its format.
    pub format: Format,
}

#[derive(Serialize)]
struct Line<'a> {
    level: &'a str,
    msg: &'a str,
    time: String,
}

impl Log {
    /// Appends one line; returns whether it could be.
    ///
    /// A log that cannot be written must not fail the operation it tells about, so the caller may go on.
    pub fn write(&self, level: Level, message: &str) -> bool {
        let Some(path) = &self.path else { return false };
        let opened = std::fs::File::options().append(true).create(true).open(path);
        opened.and_then(|mut file| file.write_all(line(self.format, level, message).as_bytes())).is_ok()
    }
}

/// One line, with its newline; engines read it into memory whole, so a message has a bound.
pub fn line(format: Format, level: Level, message: &str) -> String {
    let (time, message) = (rfc3339(SystemTime::now(), false), &*hone_contract::cut(message));
    match format {
        Format::Text => {
            let message = serde_json::to_string(message).unwrap_or_default();
            format!("time=\"{time}\" level={} msg={message}\n", level.name())
        }
        Format::Json => {
            let line = serde_json::to_string(&Line { level: level.name(), msg: message, time });
            line.unwrap_or_default() + "\n"
        }
    }
}

/// A point in time as RFC 3339 in UTC, to the second or with nanoseconds.
pub fn rfc3339(at: SystemTime, nanoseconds: bool) -> String {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    let (days, second) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
    let (year, month, day) = civil(days);
    let fraction = if nanoseconds { format!(".{:09}", since.subsec_nanos()) } else { String::new() };
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}{fraction}Z")
}

/// Days since 1970 as a date of the Gregorian calendar.
///
/// Years are counted from March, so that the leap day is the last of its year, and in eras of 400 years, which all
/// have the same number of days.
fn civil(days: u64) -> (u64, u64, u64) {
    const DAYS_OF_ERA: u64 = 146_097;
    const DAYS_BEFORE_1970: u64 = 719_468;
    let days = days + DAYS_BEFORE_1970;
    let (era, day) = (days / DAYS_OF_ERA, days % DAYS_OF_ERA);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (era * 400 + year + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates() {
        let at = |seconds| rfc3339(UNIX_EPOCH + Duration::from_secs(seconds), false);
        assert_eq!(at(0), "1970-01-01T00:00:00Z");
        assert_eq!(at(951_827_696), "2000-02-29T12:34:56Z");
        assert_eq!(at(1_798_761_599), "2026-12-31T23:59:59Z");
        let fine = rfc3339(UNIX_EPOCH + Duration::new(1, 5), true);
        assert_eq!(fine, "1970-01-01T00:00:01.000000005Z");
    }

    #[test]
    fn a_message_without_end_is_cut_and_stays_a_line() {
        for format in [Format::Json, Format::Text] {
            let line = line(format, Level::Error, &"\u{1b}ü".repeat(1 << 20));
            assert!(line.len() < 200_000 && line.contains("(cut: the message has 3145728 bytes)"), "{}", line.len());
        }
        let json = line(Format::Json, Level::Error, &"\"\n".repeat(1 << 20));
        serde_json::from_str::<serde_json::Value>(&json).expect("JSON");
    }

    #[test]
    fn lines_are_runcs() {
        let json = line(Format::Json, Level::Error, "exec: \"x\"");
        assert!(json.starts_with(r#"{"level":"error","msg":"exec: \"x\"","time":""#), "{json}");
        let text = line(Format::Text, Level::Warning, "exec: \"x\"");
        assert!(text.ends_with("level=warning msg=\"exec: \\\"x\\\"\"\n"), "{text}");
    }
}
