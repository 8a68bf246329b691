//! Signals by name and number, as `kill` takes them.

use crate::error::{Result, RuntimeError};

/// SIGKILL, which no process can hold off.
pub const KILL: i32 = 9;
/// SIGTERM, what `kill` sends when it is told no signal.
pub const TERM: i32 = 15;
/// SIGCHLD.
pub const CHILD: i32 = 17;
/// SIGWINCH.
pub const WINDOW: i32 = 28;
/// SIGURG, which runtimes raise for themselves and runc does not pass on.
pub const URGENT: i32 = 23;

/// Names of the signals 1 to 31 on Linux (signal(7); the numbers are those of x86, ARM and RISC-V).
const NAMES: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE", "ALRM",
    "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ", "VTALRM", "PROF",
    "WINCH", "IO", "PWR", "SYS",
];
/// First and last real-time signal as programs may use them (the C library keeps two for itself).
const REALTIME: (i32, i32) = (34, 64);

/// The number of `9`, `KILL`, `sigkill` or `RTMIN+3`.
///
/// # Errors
/// [`RuntimeError::UnknownSignal`].
pub fn parse(text: &str) -> Result<i32> {
    let found = text.parse::<i32>().ok().or_else(|| by_name(&text.to_ascii_uppercase()));
    found.filter(|n| (1..=REALTIME.1).contains(n)).ok_or_else(|| RuntimeError::UnknownSignal(text.into()))
}

fn by_name(upper: &str) -> Option<i32> {
    let name = upper.strip_prefix("SIG").unwrap_or(upper);
    if let Some(at) = NAMES.iter().position(|n| *n == name) {
        return i32::try_from(at + 1).ok();
    }
    match name {
        "IOT" => Some(6),
        "CLD" => Some(17),
        "POLL" => Some(29),
        "RTMIN" => Some(REALTIME.0),
        "RTMAX" => Some(REALTIME.1),
        _ => match (name.strip_prefix("RTMIN+"), name.strip_prefix("RTMAX-")) {
            (Some(n), _) => Some(REALTIME.0 + n.parse::<i32>().ok()?),
            (_, Some(n)) => Some(REALTIME.1 - n.parse::<i32>().ok()?),
            _ => None,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers() {
        for (text, want) in [("9", 9), ("KILL", 9), ("sigterm", 15), ("SIGSYS", 31), ("RTMIN+3", 37), ("RTMAX", 64)] {
            assert_eq!(parse(text).ok(), Some(want), "{text}");
        }
        for text in ["", "NOSIG", "0", "65", "-1", "RTMIN+x"] {
            let error = parse(text).expect_err(text);
            assert_eq!(error.to_string(), format!("unknown signal {text:?}"));
        }
    }
}
