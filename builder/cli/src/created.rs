//! When an image says that it was made: the start of 1970, unless somebody asks for another time.
//!
//! Engines show as an image's age what its configuration has under `created`, and nothing else: an annotation or a label
//! cannot stand in for it. The configuration is part of what the digest is of, so a time that passes in it would give
//! every build another digest.

use std::env;
use std::str::FromStr;
use std::time::{SystemTime, UNIX_EPOCH};

use hone_sbom::date;

/// Whose seconds are the date that a build may use (reproducible-builds.org, "SOURCE_DATE_EPOCH").
pub const EPOCH: &str = "SOURCE_DATE_EPOCH";

/// A moment that a configuration can have: seconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Created(pub u64);

impl FromStr for Created {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let seconds =
            match text {
                "now" => SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs(),
                EPOCH => epoch()?.ok_or_else(|| format!("the variable {EPOCH} is not set"))?,
                text => text.parse().ok().or_else(|| seconds(text)).ok_or_else(|| {
                    format!("want now, {EPOCH}, seconds since 1970, or a time as 2026-11-23T03:00:00Z")
                })?,
            };
        // What is later than the last second that can be written would silently become that.
        if self::seconds(&date(seconds)) == Some(seconds) {
            Ok(Self(seconds))
        } else {
            Err("want a time before the year 10000".to_owned())
        }
    }
}

/// What the variable says; `None` without it.
pub fn epoch() -> Result<Option<u64>, String> {
    match env::var(EPOCH) {
        Ok(text) => {
            let seconds = text.trim().parse();
            seconds.map(Some).map_err(|_| format!("{EPOCH}: want seconds since 1970, got {text:?}"))
        }
        Err(_) => Ok(None),
    }
}

/// Of `2026-11-23T03:00:00Z`, from 1970 on.
fn seconds(text: &str) -> Option<u64> {
    let (day, time) = text.strip_suffix('Z')?.split_once('T')?;
    let parts = |text: &str, by: char| -> Option<[u64; 3]> {
        let numbers: Vec<u64> = text.split(by).map(|n| n.parse().ok()).collect::<Option<_>>()?;
        numbers.try_into().ok()
    };
    let ([year, month, day], [hour, minute, second]) = (parts(day, '-')?, parts(time, ':')?);
    if !(1970..10_000).contains(&year) || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    // Days since 1970 of a year that begins in March, so that a leap day is its last.
    let (y, m) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = y * 365 + y / 4 - y / 100 + y / 400 + (m * 153 + 2) / 5 + day - 1 - 719_468;
    let seconds =
        days * 86_400 + hour.checked_mul(3600)?.checked_add(minute.checked_mul(60)?)?.checked_add(second)?;
    // The thirty-first of a month that has none, or the 25th hour, comes out as another time.
    (date(seconds) == text).then_some(seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_seconds_or_dates() {
        for (text, want) in [
            ("0", "1970-01-01T00:00:00Z"),
            ("951782399", "2000-02-28T23:59:59Z"),
            ("2000-02-29T00:00:00Z", "2000-02-29T00:00:00Z"),
            ("2026-11-23T03:00:00Z", "2026-11-23T03:00:00Z"),
            ("9999-12-31T23:59:59Z", "9999-12-31T23:59:59Z"),
        ] {
            assert_eq!(date(text.parse::<Created>().expect(text).0), want, "{text}");
        }
        for day in 0..40_000 {
            let seconds = day * 86_400 + day % 86_400;
            assert_eq!(self::seconds(&date(seconds)), Some(seconds));
        }
        assert!("now".parse::<Created>().expect("now").0 > 1_735_689_600, "later than 2024");
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in [
            "",
            "yesterday",
            "-1",
            "1.5",
            "2026-02-30T00:00:00Z",
            "2026-13-01T00:00:00Z",
            "2026-00-01T00:00:00Z",
            "2026-01-01T24:00:00Z",
            "2026-01-01T00:00:00",
            "2026-1-1T0:0:0Z",
            "2026-01-01T00:00:00+01:00",
            "10000-01-01T00:00:00Z",
            "1969-12-31T23:59:59Z",
            "2026-01-01T18446744073709551615:00:00Z",
            "18446744073709551615",
            "253402300800",
        ] {
            assert!(text.parse::<Created>().is_err(), "{text}");
        }
    }
}
