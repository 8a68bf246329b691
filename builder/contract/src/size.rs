//! Sizes as docker shows and reads them.

/// Bytes in powers of 1000, about three digits: `98.8 MB`.
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["B", "kB", "MB", "GB", "TB", "PB"];
    let (mut value, mut unit) = (bytes as f64, 0);
    while value >= 999.5 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    match unit {
        0 => format!("{bytes} B"),
        _ if value < 9.995 => format!("{value:.2} {}", UNITS[unit]),
        _ if value < 99.95 => format!("{value:.1} {}", UNITS[unit]),
        _ => format!("{value:.0} {}", UNITS[unit]),
    }
}

/// A number, as it is written, and how far its unit shifts it: `64M`, `2 GiB`, `1k`, docker's suffixes in powers of 1024.
/// Whether there may be a sign or a point is the number's type.
pub fn in_units(text: &str) -> Option<(&str, u32)> {
    let split = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let shift = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kb" | "ki" | "kib" => 10,
        "m" | "mb" | "mi" | "mib" => 20,
        "g" | "gb" | "gi" | "gib" => 30,
        "t" | "tb" | "ti" | "tib" => 40,
        _ => return None,
    };
    Some((number.trim(), shift))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_read_as_docker_writes_them() {
        for (bytes, want) in [
            (0, "0 B"),
            (7, "7 B"),
            (1_800, "1.80 kB"),
            (1_800_000, "1.80 MB"),
            (133_000_000, "133 MB"),
            (999, "999 B"),
            (1000, "1.00 kB"),
            (98_765_432, "98.8 MB"),
            (999_999, "1.00 MB"),
            (135_000_000, "135 MB"),
            (2_500_000_000, "2.50 GB"),
        ] {
            assert_eq!(size(bytes), want);
        }
    }

    #[test]
    fn units_are_docker_s_and_numbers_are_left_as_written() {
        for (text, want) in [
            ("64M", ("64", 20)),
            ("1.5 GiB", ("1.5", 30)),
            ("-1", ("-1", 0)),
            ("7b", ("7", 0)),
            ("2t", ("2", 40)),
            ("", ("", 0)),
        ] {
            assert_eq!(in_units(text), Some(want), "{text}");
        }
        for text in ["12X", "1e400", "nan", "1mm", "1 k k"] {
            assert_eq!(in_units(text), None, "{text}");
        }
    }
}
