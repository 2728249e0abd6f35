//! The verbs of the runc command line, one file each. They print nothing: what is to be printed is returned.

mod console;
mod create;
mod delete;
mod exec;
mod kill;
mod list;
mod pause;
mod ps;
mod run;
mod spec;
mod start;
mod state;

use std::io::{ErrorKind, Read};
use std::path::Path;

use oci_spec::runtime::Spec;

pub use create::{Create, create};
pub use delete::delete;
pub use exec::{Exec, exec};
pub use kill::{kill, parse_signal};
pub use list::{Format, list};
pub use pause::{pause, resume};
pub use ps::ps;
pub use run::{Run, run};
pub use spec::spec;
pub use start::start;
pub use state::state;

use crate::{Error, Result};

/// Longest configuration that is read; docker's are some ten kB.
const MAX_CONFIG: u64 = 16 << 20;
/// A bundle's configuration, and our copy of it beside the state.
const CONFIG: &str = "config.json";

fn file_error(path: &Path, source: impl Into<std::io::Error>) -> Error {
    Error::File { path: path.to_owned(), source: source.into() }
}

/// Reads a document of bounded size.
fn read_bounded(path: &Path) -> Result<Vec<u8>> {
    // As large as most are, since reading to an end that is not known begins with 32 bytes.
    let mut text = Vec::with_capacity(16 << 10);
    let file = std::fs::File::open(path).map_err(|e| file_error(path, e))?;
    file.take(MAX_CONFIG + 1).read_to_end(&mut text).map_err(|e| file_error(path, e))?;
    if text.len() as u64 > MAX_CONFIG {
        return Err(file_error(path, std::io::Error::new(ErrorKind::FileTooLarge, "more than 16 MiB")));
    }
    Ok(text)
}

fn parse_spec(path: &Path, text: &[u8]) -> Result<Spec> {
    serde_json::from_slice(text).map_err(|e| file_error(path, e))
}

/// Writes a small file so that a reader sees all of it or none.
fn write_atomically(path: &Path, text: &[u8]) -> Result<()> {
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(".new");
    let new = path.with_file_name(name);
    std::fs::write(&new, text).and_then(|()| std::fs::rename(&new, path)).map_err(|e| file_error(path, e))
}
