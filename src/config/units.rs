//! Quantities as people write them: `500ms`, `4MiB`.

use std::time::Duration;

/// A duration: a decimal number and one of `us`, `ms`, `s`, `m`, `h`; a bare `0` is nothing. At most 365 days.
pub fn parse_duration(text: &str) -> Option<Duration> {
    let (value, unit) = split(text)?;
    let seconds = match unit {
        "us" => value / 1e6,
        "ms" => value / 1e3,
        "s" => value,
        "m" => value * 60.0,
        "h" => value * 3600.0,
        "" if value == 0.0 => 0.0,
        _ => return None,
    };
    (seconds <= 365.0 * 86_400.0).then(|| Duration::from_secs_f64(seconds))
}

/// A number of bytes: a decimal number and nothing, `B`, `kB`, `MB`, `GB`, `TB` (powers of 1,000), `KiB`, `MiB`,
/// `GiB`, `TiB` (powers of 1,024). At most 2^53, above which a decimal number is no longer exact.
pub fn parse_size(text: &str) -> Option<u64> {
    let (value, unit) = split(text)?;
    let factor: f64 = match unit {
        "" | "B" => 1.0,
        "kB" | "KB" => 1e3,
        "MB" => 1e6,
        "GB" => 1e9,
        "TB" => 1e12,
        "KiB" => 1024.0,
        "MiB" => 1_048_576.0,
        "GiB" => 1_073_741_824.0,
        "TiB" => 1_099_511_627_776.0,
        _ => return None,
    };
    let bytes = value * factor;
    (bytes <= 9_007_199_254_740_992.0 && (factor > 1.0 || bytes.fract() == 0.0)).then_some(bytes as u64)
}

/// Bytes per second: a size as [`parse_size`] takes it with `/s`, such as `50MB/s`; or bits, such as `400Mbit/s`.
pub fn parse_rate(text: &str) -> Option<u64> {
    let text = text.trim().strip_suffix("/s")?;
    let Some(bits) = text.strip_suffix("bit") else { return parse_size(text) };
    let (value, unit) = split(bits)?;
    let factor = match unit {
        "k" => 1e3,
        "M" => 1e6,
        "G" => 1e9,
        _ => return None,
    };
    let bytes = value * factor / 8.0;
    (bytes <= 9_007_199_254_740_992.0).then_some(bytes as u64)
}

/// A duration as [`parse_duration`] reads it, in the largest unit that needs no fraction.
pub fn format_duration(duration: Duration) -> String {
    let micros = duration.as_micros();
    match [("h", 3_600_000_000), ("m", 60_000_000), ("s", 1_000_000), ("ms", 1_000)]
        .into_iter()
        .find(|(_, unit)| micros >= *unit && micros.is_multiple_of(*unit))
    {
        _ if micros == 0 => "0".into(),
        Some((name, unit)) => format!("{}{name}", micros / unit),
        None => format!("{micros}us"),
    }
}

/// A number of bytes as [`parse_size`] reads it, in the largest binary unit that needs no fraction.
pub fn format_size(bytes: u64) -> String {
    let units = [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1u64 << 10)];
    match units.into_iter().find(|(_, unit)| bytes >= *unit && bytes.is_multiple_of(*unit)) {
        Some((name, unit)) => format!("{}{name}", bytes / unit),
        None => bytes.to_string(),
    }
}

/// A rate as [`parse_rate`] reads it: `50MB/s`, or in bytes.
pub fn format_rate(bytes_per_second: u64) -> String {
    let units = [("GB", 1_000_000_000), ("MB", 1_000_000), ("kB", 1_000)];
    match units.into_iter().find(|(_, unit)| bytes_per_second >= *unit && bytes_per_second.is_multiple_of(*unit)) {
        Some((name, unit)) => format!("{}{name}/s", bytes_per_second / unit),
        None => format!("{bytes_per_second}B/s"),
    }
}

/// Number and unit, with at most a space between. Digits and one point only: no sign, no exponent, no `inf`.
fn split(text: &str) -> Option<(f64, &str)> {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    if !number.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    Some((number.parse().ok()?, unit.trim_start()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_units() {
        let ms = |n| Some(Duration::from_millis(n));
        for (text, expected) in [
            ("500ms", ms(500)),
            ("2s", ms(2_000)),
            ("1.5s", ms(1_500)),
            ("5 m", ms(300_000)),
            ("1h", ms(3_600_000)),
            ("0", ms(0)),
            ("2", None),
            ("", None),
            ("s", None),
            ("-1s", None),
            ("1e3s", None),
            ("infs", None),
            ("1..5s", None),
            ("9999999h", None),
            ("2 sec", None),
        ] {
            assert_eq!(parse_duration(text), expected, "{text:?}");
        }
    }

    #[test]
    fn sizes_have_binary_and_decimal_units() {
        for (text, expected) in [
            ("4MiB", Some(4 << 20)),
            ("4 MB", Some(4_000_000)),
            ("1.2GiB", Some(1_288_490_188)),
            ("65536", Some(65_536)),
            ("0.5", None),
            ("4mib", None),
            ("99999TiB", None),
            ("", None),
            ("-4", None),
        ] {
            assert_eq!(parse_size(text), expected, "{text:?}");
        }
    }

    #[test]
    fn what_is_formatted_is_read_as_the_same() {
        for (duration, text) in [(0, "0"), (1, "1us"), (15_600, "15600us"), (500_000, "500ms"), (2_000_000, "2s")] {
            let duration = Duration::from_micros(duration);
            assert_eq!(format_duration(duration), text);
            assert_eq!(parse_duration(text), Some(duration));
        }
        assert_eq!(format_duration(Duration::from_secs(300)), "5m");
        assert_eq!(format_duration(Duration::from_secs(7_200)), "2h");
        for (bytes, text) in
            [(0, "0"), (1_000, "1000"), (4 << 20, "4MiB"), ((1 << 30) + 1024, "1048577KiB"), (1 << 30, "1GiB")]
        {
            assert_eq!(format_size(bytes), text);
            assert_eq!(parse_size(text), Some(bytes));
        }
        for (rate, text) in [(50_000_000, "50MB/s"), (1_572_864, "1572864B/s"), (1_500, "1500B/s"), (3_000, "3kB/s")] {
            assert_eq!(format_rate(rate), text);
            assert_eq!(parse_rate(text), Some(rate));
        }
    }

    #[test]
    fn rates_are_bytes_or_bits_a_second() {
        assert_eq!(parse_rate("50MB/s"), Some(50_000_000));
        assert_eq!(parse_rate("1.5 MiB/s"), Some(1_572_864));
        assert_eq!(parse_rate("400Mbit/s"), Some(50_000_000));
        assert_eq!(parse_rate("2.5Gbit/s"), Some(312_500_000));
        for wrong in ["50MB", "50", "bit/s", "8bit/s", "fastMB/s", "-1MB/s", ""] {
            assert_eq!(parse_rate(wrong), None, "{wrong}");
        }
    }
}
