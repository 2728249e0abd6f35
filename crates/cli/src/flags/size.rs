//! Sizes and processor counts as docker's flags take them: exact, by integer arithmetic.

use super::Parsed;

/// Most digits behind the decimal point; more cannot change a result that fits 64 bits.
const MAX_FRACTION: usize = 18;

/// An amount of memory: `64m`, `1.5GiB`, `512 kb`. Units are powers of 1024, their case does not matter.
pub(crate) fn parse(text: &str) -> Parsed<u64> {
    with_units(text, 1024)
}

/// A size of a file, whose units are powers of 1000 in docker's log options.
pub(crate) fn parse_decimal(text: &str) -> Parsed<u64> {
    with_units(text, 1000)
}

/// `--cpus`: a decimal number of processors, in thousand-millionths.
pub(crate) fn nano_cpus(text: &str) -> Parsed<u64> {
    let (number, zeros) = text.split_once('.').map_or((text, ""), |(_, fraction)| (text, fraction));
    if zeros.trim_end_matches('0').len() > 9 {
        return Err("value is too precise".into());
    }
    scaled(number, 1_000_000_000).ok_or_else(|| format!("failed to parse {text} as a decimal number"))
}

fn with_units(text: &str, base: u64) -> Parsed<u64> {
    let invalid = || format!("invalid size: '{text}'");
    let end = text.rfind(|c: char| c.is_ascii_digit() || c == '.' || c == ' ').ok_or_else(invalid)?;
    let (number, suffix) = text.split_at(end + 1);
    let number = number.strip_suffix(' ').unwrap_or(number);
    let factor = factor(suffix, base).ok_or_else(|| format!("invalid suffix: '{suffix}'"))?;
    scaled(number, factor).ok_or_else(invalid)
}

/// What a unit stands for: nothing, `b`, or a letter with `b` or `ib` behind it or not.
fn factor(suffix: &str, base: u64) -> Option<u64> {
    let suffix = suffix.to_ascii_lowercase();
    if matches!(suffix.as_str(), "" | "b") {
        return Some(1);
    }
    let mut letters = suffix.chars();
    let power = "kmgtp".find(letters.next()?)? as u32 + 1;
    matches!(letters.as_str(), "" | "b" | "ib").then(|| base.pow(power))
}

/// A decimal number times a factor, rounded down; none when it is no number or more than an `i64` holds.
fn scaled(number: &str, factor: u64) -> Option<u64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if !(whole.bytes().chain(fraction.bytes())).all(|byte| byte.is_ascii_digit())
        || (whole.is_empty() && fraction.is_empty())
    {
        return None;
    }
    let whole: u128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let fraction = &fraction[..fraction.len().min(MAX_FRACTION)];
    let parts: u128 = if fraction.is_empty() { 0 } else { fraction.parse().ok()? };
    let factor = u128::from(factor);
    let total = whole.checked_mul(factor)? + parts * factor / 10u128.pow(fraction.len() as u32);
    i64::try_from(total).ok().and_then(|total| u64::try_from(total).ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn memory() {
        for (text, bytes) in [
            ("0", 0),
            ("32", 32),
            ("32b", 32),
            ("32B", 32),
            ("32k", 32 << 10),
            ("32K", 32 << 10),
            ("32kb", 32 << 10),
            ("32KiB", 32 << 10),
            ("32 kb", 32 << 10),
            ("32m", 32 << 20),
            ("1.5g", 3 << 29),
            (".5g", 1 << 29),
            ("5.", 5),
            ("32.5 kB", 33_280),
            ("0.3k", 307),
            ("2T", 2 << 40),
            ("1p", 1 << 50),
            ("9223372036854775807", i64::MAX as u64),
            ("0.1000000000000000000000000000000000000001k", 102),
        ] {
            assert_eq!(parse(text), Ok(bytes), "{text}");
        }
        for bad in [
            "",
            " ",
            "hello",
            "k",
            "-32",
            "+32",
            "32x",
            "32mm",
            "32bb",
            "32kbb",
            "32kib!",
            "1..5",
            "1.2.3",
            " 32",
            "32  m",
            "1e3",
            "0x10",
            "9223372036854775808",
            "9999999999999999999999999999999999999999t",
            "32é",
            "３２",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn files() {
        assert_eq!(parse_decimal("10m"), Ok(10_000_000));
        assert_eq!(parse_decimal("1.5kb"), Ok(1500));
    }

    #[test]
    fn processors() {
        for (text, nano) in [
            ("1", 1_000_000_000),
            ("0.5", 500_000_000),
            (".25", 250_000_000),
            ("1.50000000000000", 1_500_000_000),
            ("0.000000001", 1),
        ] {
            assert_eq!(nano_cpus(text), Ok(nano), "{text}");
        }
        for bad in ["", ".", "-1", "1/2", "one", "1.0000000001", "10000000000", "1 "] {
            assert!(nano_cpus(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in any::<String>(), number in "[0-9. ]{0,40}[a-zA-Z]{0,4}") {
            for text in [text, number] {
                let _ = (parse(&text), parse_decimal(&text), nano_cpus(&text));
            }
        }

        #[test]
        fn plain_numbers_are_themselves(bytes in 0..=i64::MAX as u64) {
            prop_assert_eq!(parse(&bytes.to_string()), Ok(bytes));
        }
    }
}
