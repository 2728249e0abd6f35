//! `ps`: the processes of a container.

use std::path::Path;
use std::process::Command;

use super::list::Format;
use crate::state::StateDir;
use crate::{Error, Result};

/// The processes: pids as JSON, or the rows that the host's `ps` has for them (`-ef`, or `options`).
///
/// # Errors
/// [`Error::File`] where there is no `ps`.
pub fn ps(root: &Path, id: &str, format: Format, options: &[String]) -> Result<String> {
    let state = StateDir::at(root, id)?.read()?;
    let pids: Vec<i32> = state.open_cgroup()?.pids()?.iter().map(|pid| pid.as_raw_nonzero().get()).collect();
    if format == Format::Json {
        return Ok(serde_json::json!(pids).to_string());
    }
    rows(&pids, options)
}

/// What the host's `ps` says of these processes, with its header.
///
/// # Errors
/// [`Error::File`] where there is no `ps`, [`Error::Argument`] for options that leave out the pids.
pub fn rows(pids: &[i32], options: &[String]) -> Result<String> {
    let default = ["-ef".to_owned()];
    let options = if options.is_empty() { &default[..] } else { options };
    let output =
        Command::new("ps").args(options).output().map_err(|e| super::file_error(Path::new("ps"), e))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let mut lines = text.lines();
    let header = lines.next().unwrap_or_default();
    let column = header.split_whitespace().position(|name| name == "PID").ok_or_else(|| Error::Argument {
        what: "ps options",
        value: options.join(" "),
        reason: "the output has no PID column",
    })?;
    let ours = |line: &&str| {
        let pid = line.split_whitespace().nth(column).and_then(|pid| pid.parse().ok());
        pid.is_some_and(|pid| pids.contains(&pid))
    };
    Ok(std::iter::once(header).chain(lines.filter(ours)).map(|line| format!("{line}\n")).collect())
}
