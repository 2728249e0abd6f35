//! `state`: the runtime-spec's state document.

use std::path::Path;

use serde_json::{Value, json};

use crate::Result;
use crate::state::{State, StateDir, Status};

/// The state as runc prints it.
///
/// # Errors
/// [`crate::Error::NotFound`].
pub fn state(root: &Path, id: &str) -> Result<String> {
    let dir = StateDir::at(root, id)?;
    let state = dir.read()?;
    Ok(format!("{:#}", document(&state, dir.status(&state)?)))
}

/// runc's fields; the pid of what has ended is 0, because it may be another's by now.
pub(super) fn document(state: &State, status: Status) -> Value {
    let mut value = json!({
        "ociVersion": state.oci_version,
        "id": state.id,
        "pid": if status == Status::Stopped { 0 } else { state.pid },
        "status": status,
        "bundle": state.bundle,
        "rootfs": state.rootfs,
        "created": state.created,
        "owner": owner(state.owner),
    });
    if !state.annotations.is_empty() {
        value["annotations"] = json!(state.annotations);
    }
    value
}

/// The host's name of a user, or `#uid`.
pub(super) fn owner(uid: u32) -> String {
    let table = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let number = uid.to_string();
    let found = table.lines().find(|line| line.split(':').nth(2) == Some(&number));
    found.and_then(|line| line.split(':').next()).map_or_else(|| format!("#{uid}"), str::to_owned)
}
