//! Numbers as people write them: counts, amounts, byte sizes. Each error says what would have been right, in the words of
//! the rule ([`hone_contract::rules`]).

use hone_contract::rules::{Amount, MEMORY, Whole};
use hone_contract::size::in_units;

/// A whole number between `least` and `most`; `_` may group digits.
pub(crate) fn whole(text: &str, least: u64, most: u64) -> Result<u64, String> {
    let want = || Whole { key: "", least, most }.want(text);
    let number = text.replace('_', "").parse().map_err(|_| want())?;
    if (least..=most).contains(&number) { Ok(number) } else { Err(want()) }
}

/// A number above 0 and at most `most`.
pub(crate) fn amount(text: &str, most: f64) -> Result<f64, String> {
    let want = || Amount { key: "", most }.want(text);
    let number: f64 = text.parse().map_err(|_| want())?;
    if number > 0.0 && number <= most { Ok(number) } else { Err(want()) }
}

/// Bytes, with docker's suffixes: `b`, `k`, `m`, `g` (powers of 1024, also `Ki`, `MiB` and the like).
pub(crate) fn memory(text: &str) -> Result<u64, String> {
    let want = || MEMORY.want(text);
    let (number, shift) = in_units(text).ok_or_else(want)?;
    let number: f64 = number.parse().map_err(|_| want())?;
    let bytes = number * f64::from(1u32 << (shift / 2)) * f64::from(1u32 << (shift - shift / 2));
    if bytes.is_finite() && bytes >= MEMORY.least as f64 && bytes <= MEMORY.most as f64 {
        Ok(bytes as u64)
    } else {
        Err(want())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_docker_reads_them() {
        for (text, want) in [
            ("512M", 512 << 20),
            ("512m", 512 << 20),
            ("1.5G", 3 << 29),
            ("2GiB", 2 << 30),
            ("64Mi", 64 << 20),
            ("4194304", 4 << 20),
            ("8192 kb", 8 << 20),
        ] {
            assert_eq!(memory(text), Ok(want), "{text}");
        }
        for text in ["", "M", "-1G", "12X", "1e400", "nan", "1M", "9999999T", "1..5G"] {
            assert!(memory(text).is_err(), "{text} was accepted");
        }
    }

    #[test]
    fn numbers_out_of_range_are_refused_with_the_range() {
        assert_eq!(whole("1_000", 1, 5000), Ok(1000));
        assert_eq!(whole("0", 1, 5), Err("want a whole number from 1 to 5, got `0`".to_owned()));
        for text in ["-1", "1.5", "x", "", "6"] {
            assert!(whole(text, 1, 5).is_err(), "{text} was accepted");
        }
        assert_eq!(amount("2e-4", 1.0), Ok(2e-4));
        for text in ["0", "-1", "1.1", "nan", ".nan", "inf", "x"] {
            assert!(amount(text, 1.0).is_err(), "{text} was accepted");
        }
    }
}
