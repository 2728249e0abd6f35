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
use std::path::{Path, PathBuf};

use oci_spec::runtime::Spec;

pub use create::{Create, create};
pub use delete::delete;
pub use exec::{Exec, exec};
pub use kill::{kill, parse_signal};
pub use list::{Format, list};
pub use pause::{pause, resume};
pub use ps::{ps, rows as ps_rows};
pub use run::{Run, run};
pub use spec::spec;
pub use start::start;
pub use state::state;

use crate::{Error, Result};

/// Longest configuration that is read; docker's are some ten kB.
const MAX_CONFIG: u64 = 16 << 20;
/// A bundle's configuration, and our copy of it beside the state.
const CONFIG: &str = "config.json";

/// Compiled system call filters, beside the containers' directories: no id has an `@`.
const SECCOMP_CACHE: &str = "@seccomp";

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

/// The directory of compiled filters, made when it is missing. None where it cannot be, or is not only ours: what is in
/// it is loaded, and compiling again costs but time.
fn seccomp_cache(root: &Path) -> Option<PathBuf> {
    use std::os::unix::fs::{DirBuilderExt, MetadataExt};
    let dir = root.join(SECCOMP_CACHE);
    let made = std::fs::DirBuilder::new().mode(0o700).create(&dir);
    let own = rustix::process::geteuid().as_raw();
    let private = |path: &Path, others: u32| {
        let found = std::fs::symlink_metadata(path);
        found.is_ok_and(|meta| meta.is_dir() && meta.uid() == own && meta.mode() & others == 0)
    };
    let there = made.is_ok() || made.is_err_and(|error| error.kind() == ErrorKind::AlreadyExists);
    // Who may write to the root could put another directory in its place.
    (there && private(root, 0o022) && private(&dir, 0o077)).then_some(dir)
}

/// Writes a small file so that a reader sees all of it or none.
fn write_atomically(path: &Path, text: &[u8]) -> Result<()> {
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(".new");
    let new = path.with_file_name(name);
    std::fs::write(&new, text).and_then(|()| std::fs::rename(&new, path)).map_err(|e| file_error(path, e))
}
