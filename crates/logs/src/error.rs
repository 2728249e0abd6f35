use std::path::PathBuf;

use fault::{Fault, Kind};

/// What can go wrong with a log.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A log file or its directory could not be opened, read or made.
    #[error("{action} {}: {source}", .path.display())]
    File {
        /// What was tried, e.g. `open`.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The log could not be watched.
    #[error("cannot watch {}: {source}", .path.display())]
    Watch {
        /// The log's directory.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
}

/// Result of this crate's calls.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// For `map_err` on file operations.
    pub(crate) fn file(
        action: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { action, path, source }
    }
}

impl Fault for Error {
    fn kind(&self) -> Kind {
        match self {
            Self::File { source, .. } | Self::Watch { source, .. } => Kind::of_io(source),
        }
    }
}
