//! `list`: every container under the root, broken ones too.

use std::path::Path;

use serde_json::Value;

use super::state::{document, owner};
use crate::state::{StateDir, ids};
use crate::{Error, Result};

/// How lists are printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// Columns.
    #[default]
    Table,
    /// JSON.
    Json,
}

impl std::str::FromStr for Format {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "table" => Ok(Self::Table),
            "json" => Ok(Self::Json),
            _ => Err(Error::Argument {
                what: "--format",
                value: text.to_owned(),
                reason: "must be table or json",
            }),
        }
    }
}

/// The list of containers. One whose state cannot be read is a warning: the others are listed.
///
/// # Errors
/// [`Error::File`] when the root cannot be read.
pub fn list(root: &Path, format: Format, quiet: bool) -> Result<(String, Vec<String>)> {
    let mut warnings = Vec::new();
    let mut found = Vec::new();
    for id in ids(root)? {
        let dir = StateDir::at(root, &id)?;
        match dir.read().and_then(|state| Ok((dir.status(&state)?, state))) {
            Ok((status, state)) => found.push((status, state)),
            // Deleted since the directory was listed.
            Err(_) if !dir.exists() => {}
            Err(error) => warnings.push(format!("{id}: {error}; `delete --force {id}` removes it")),
        }
    }
    if quiet {
        return Ok((found.iter().map(|(_, state)| format!("{}\n", state.id)).collect(), warnings));
    }
    if format == Format::Json {
        let all: Vec<Value> = found.iter().map(|(status, state)| document(state, *status)).collect();
        let text = if all.is_empty() { "null".to_owned() } else { Value::Array(all).to_string() };
        return Ok((text, warnings));
    }
    let mut rows = vec![["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"].map(str::to_owned)];
    for (status, state) in &found {
        let pid = document(state, *status)["pid"].to_string();
        rows.push([
            state.id.clone(),
            pid,
            status.to_string(),
            state.bundle.display().to_string(),
            state.created.clone(),
            owner(state.owner),
        ]);
    }
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0).max(9) + 3;
    let widths: [usize; 6] = std::array::from_fn(width);
    let line = |row: &[String; 6]| {
        let text: String = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        format!("{}\n", text.trim_end())
    };
    Ok((rows.iter().map(line).collect(), warnings))
}
