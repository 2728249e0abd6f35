//! `kill`: a signal to the first process, or to all.

use std::path::Path;

use rustix::process::Signal;

use crate::state::StateDir;
use crate::{Error, Result};

/// Names in the order of their numbers on Linux (signal(7)), from 1.
const NAMES: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE",
    "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ",
    "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
];

/// A signal by number or by name, with or without `SIG`, in any case.
///
/// # Errors
/// [`Error::Argument`].
pub fn parse_signal(text: &str) -> Result<i32> {
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let by_name = || NAMES.iter().position(|n| *n == name).and_then(|i| i32::try_from(i + 1).ok());
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let number = if digits { text.parse().ok() } else { by_name() };
    number.filter(|n| (0..=linux::signals::MAX).contains(n)).ok_or_else(|| Error::Argument {
        what: "signal",
        value: text.to_owned(),
        reason: "is no signal's name or number",
    })
}

/// Sends a signal to the first process by its pidfd, or with `all` to every process of the cgroup.
///
/// # Errors
/// [`Error::Wrong`] when the container has ended; with `all` that is no error, since others may be left.
pub fn kill(root: &Path, id: &str, signal: i32, all: bool) -> Result<()> {
    let dir = StateDir::at(root, id)?;
    let state = dir.read()?;
    let cgroup = state.open_cgroup()?;
    match Signal::from_named_raw(signal) {
        Some(named) if all => cgroup.signal_all(named)?,
        _ => state.running_process()?.signal(signal)?,
    }
    // A frozen process dies only when it is thawed on v1.
    if signal == Signal::KILL.as_raw() && cgroup.is_frozen()? {
        cgroup.thaw()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_by_name_and_number() {
        for (text, number) in [("KILL", 9), ("SIGTERM", 15), ("sigusr1", 10), ("9", 9), ("0", 0), ("64", 64)]
        {
            assert_eq!(parse_signal(text).unwrap(), number, "{text}");
        }
        for wrong in ["", "SIG", "65", "-9", "+9", "9 ", "0x9", "NOPE", "4294967305"] {
            assert!(parse_signal(wrong).is_err(), "{wrong}");
        }
    }
}
