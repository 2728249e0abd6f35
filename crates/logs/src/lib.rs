//! Write, rotate, follow and decode container logs.
//!
//! A log is a directory: `json.log` is written, `json.log.1` is the one before it, and so on. The lines are docker's
//! json-file format, byte for byte; see [`encode`].
#![forbid(unsafe_code)]

mod error;
mod line;
mod reader;
mod time;
mod writer;

use std::path::{Path, PathBuf};

pub use error::{Error, Result};
pub use line::{Entry, PIECE, Stream, decode, encode};
pub use reader::{LogReader, ReadOptions};
pub use time::Timestamp;
pub use writer::LogWriter;

/// Bytes after which a log file is rotated, unless something else is asked for.
pub const DEFAULT_MAX_SIZE: u64 = 10_000_000;
/// Log files kept, the current one included, unless something else is asked for.
pub const DEFAULT_MAX_FILE: u32 = 3;
/// The file that is written now.
pub const CURRENT: &str = "json.log";
/// Most files of one log that are looked at.
const MAX_FILES: u32 = 1000;

/// The `number`th file before the current one.
fn rotated(dir: &Path, number: u32) -> PathBuf {
    dir.join(format!("{CURRENT}.{number}"))
}
