use std::path::PathBuf;

use fault::{Fault, Kind};

use crate::protocol::Failure;

/// What can go wrong in a monitor or between it and its client.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A kernel call.
    #[error(transparent)]
    Kernel(#[from] linux::Error),
    /// A file could not be read, written or made.
    #[error("{action} {}: {source}", .path.display())]
    File {
        /// What was tried, e.g. `read`.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// A document is not what it should be.
    #[error("{} is not a valid document: {source}", .path.display())]
    Document {
        /// Which.
        path: PathBuf,
        /// Where and why.
        source: serde_json::Error,
    },
    /// A document is larger than it may be.
    #[error("{} is larger than {limit} bytes", .path.display())]
    TooLarge {
        /// Which.
        path: PathBuf,
        /// The budget.
        limit: u64,
    },
    /// The monitor program could not be started.
    #[error("cannot start the monitor {}: {source}", .program.display())]
    Spawn {
        /// The program.
        program: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// A packet that the protocol does not know.
    #[error("the monitor's answer cannot be read: {0}")]
    Protocol(String),
    /// Another monitor holds the container's lock.
    #[error("container {id} has a monitor already")]
    Locked {
        /// The container.
        id: String,
    },
    /// The monitor ended in the middle of a conversation.
    #[error("the container's monitor has ended")]
    Gone,
    /// The other side was too slow.
    #[error("the container's monitor did not answer in time")]
    Timeout,
    /// The container's log.
    #[error(transparent)]
    Log(#[from] logs::Error),
    /// What the monitor reported.
    #[error(transparent)]
    Reported(#[from] Failure),
    /// The command line of `monitor`.
    #[error("monitor: {0}")]
    Usage(String),
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
            Self::Kernel(error) => Kind::of_io(&error.errno.into()),
            Self::File { source, .. } | Self::Spawn { source, .. } => Kind::of_io(source),
            Self::Document { .. } | Self::TooLarge { .. } | Self::Protocol(_) => Kind::Corrupt,
            Self::Locked { .. } => Kind::Conflict,
            Self::Gone => Kind::Unavailable,
            Self::Timeout => Kind::Timeout,
            Self::Log(error) => error.kind(),
            Self::Reported(failure) => failure.class(),
            Self::Usage(_) => Kind::Invalid,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Spawn { .. } => Some("install sampan-runtime beside sampan".into()),
            Self::Reported(failure) => failure.hint.clone(),
            _ => None,
        }
    }
}
