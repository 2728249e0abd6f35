//! Signals by name and number; the numbers are those of x86, arm and riscv.

/// `SIGKILL`.
pub const KILL: i32 = 9;
/// `SIGTERM`.
pub const TERM: i32 = 15;
/// The first real-time signal that C libraries leave to programs, as `kill -l` counts.
const RTMIN: i32 = 34;
/// The last one.
const RTMAX: i32 = 64;

const NAMES: [(&str, i32); 35] = [
    ("HUP", 1),
    ("INT", 2),
    ("QUIT", 3),
    ("ILL", 4),
    ("TRAP", 5),
    ("ABRT", 6),
    ("IOT", 6),
    ("BUS", 7),
    ("FPE", 8),
    ("KILL", 9),
    ("USR1", 10),
    ("SEGV", 11),
    ("USR2", 12),
    ("PIPE", 13),
    ("ALRM", 14),
    ("TERM", 15),
    ("STKFLT", 16),
    ("CHLD", 17),
    ("CLD", 17),
    ("CONT", 18),
    ("STOP", 19),
    ("TSTP", 20),
    ("TTIN", 21),
    ("TTOU", 22),
    ("URG", 23),
    ("XCPU", 24),
    ("XFSZ", 25),
    ("VTALRM", 26),
    ("PROF", 27),
    ("WINCH", 28),
    ("IO", 29),
    ("POLL", 29),
    ("PWR", 30),
    ("SYS", 31),
    ("UNUSED", 31),
];

/// A signal's number, from a name with or without `SIG` in any case (`RTMIN+3`, too) or a number of 1 to 64.
pub fn parse(text: &str) -> Option<i32> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        return text.parse().ok().filter(|number| (1..=RTMAX).contains(number));
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    if let Some((_, number)) = NAMES.iter().find(|(known, _)| *known == name) {
        return Some(*number);
    }
    let number = match (name.strip_prefix("RTMIN"), name.strip_prefix("RTMAX")) {
        (Some(rest), _) => RTMIN + offset(rest, '+')?,
        (_, Some(rest)) => RTMAX - offset(rest, '-')?,
        _ => return None,
    };
    (RTMIN..=RTMAX).contains(&number).then_some(number)
}

/// How far from the end of the range: nothing, or a sign and one or two digits.
fn offset(text: &str, sign: char) -> Option<i32> {
    if text.is_empty() {
        return Some(0);
    }
    let digits = text.strip_prefix(sign)?;
    let fine = (1..=2).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit());
    if fine { digits.parse().ok() } else { None }
}

/// Its name with `SIG`; the number for one without a name.
pub fn name(number: i32) -> String {
    match NAMES.iter().find(|(_, known)| *known == number) {
        Some((name, _)) => format!("SIG{name}"),
        None => number.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_and_numbers() {
        for (text, number) in [
            ("TERM", Some(15)),
            ("SIGTERM", Some(15)),
            ("sigkill", Some(9)),
            ("1", Some(1)),
            ("64", Some(64)),
            ("RTMIN", Some(34)),
            ("SIGRTMIN+3", Some(37)),
            ("RTMAX-1", Some(63)),
            ("RTMAX", Some(64)),
            ("Hup", Some(1)),
            ("IOT", Some(6)),
            ("POLL", Some(29)),
            ("rtmin+30", Some(64)),
            ("RTMIN+31", None),
            ("RTMIN-1", None),
            ("RTMIN+", None),
            ("RTMIN++1", None),
            ("RTMIN+-1", None),
            ("RTMIN+999999999999", None),
            ("RTMAX+1", None),
            ("RTMAX-31", None),
            ("0", None),
            ("65", None),
            ("", None),
            ("SIG", None),
            ("-9", None),
            ("+9", None),
            ("9x", None),
            ("99999999999999", None),
            ("SIGSIGKILL", None),
            ("KILLED", None),
            ("é", None),
            ("FOO", None),
        ] {
            assert_eq!(parse(text), number, "{text:?}");
        }
        assert_eq!((name(15).as_str(), name(37).as_str()), ("SIGTERM", "37"));
    }

    proptest! {
        #[test]
        fn any_text_is_a_signal_or_none(text in any::<String>(), name in "(SIG)?(RTM(IN|AX)[+-]?)?[0-9]{0,12}") {
            for text in [text, name] {
                prop_assert!(parse(&text).is_none_or(|number| (1..=64).contains(&number)));
            }
        }
    }
}
