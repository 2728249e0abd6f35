use std::path::PathBuf;

use fault::{Fault, Kind};

/// What can go wrong with containers.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No container has this name or id.
    #[error("No such container: {0}")]
    NotFound(String),
    /// No volume has this name.
    #[error("no such volume: {0}")]
    NoVolume(String),
    /// Several ids begin so.
    #[error("container id {0:?} is ambiguous: several containers begin with it")]
    Ambiguous(String),
    /// The name is another container's.
    #[error(
        "Conflict. The container name \"/{name}\" is already in use by container \"{owner}\". You have to remove (or rename) that container to be able to reuse that name."
    )]
    NameTaken {
        /// Which name.
        name: String,
        /// Whose id.
        owner: String,
    },
    /// A value of the request makes no sense.
    #[error("invalid {what} {value:?}: {why}")]
    Invalid {
        /// Which part of the request.
        what: &'static str,
        /// As given, shortened.
        value: String,
        /// What is wrong with it.
        why: String,
    },
    /// The request makes no sense as a whole.
    #[error("{0}")]
    Request(String),
    /// This host or version cannot do it.
    #[error("{what} is not supported here: {why}")]
    Unsupported {
        /// What was asked for.
        what: String,
        /// Why not.
        why: String,
    },
    /// The container's state forbids it.
    #[error("{0}")]
    Conflict(String),
    /// A document of ours cannot be read: the disk or somebody has damaged it.
    #[error("{} is damaged: {why}", .path.display())]
    Damaged {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// A file or directory.
    #[error("{action} {}: {source}", .path.display())]
    File {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// From the images.
    #[error(transparent)]
    Image(#[from] image::Error),
    /// From the layers.
    #[error(transparent)]
    Snapshot(#[from] snapshot::Error),
    /// From the container's monitor.
    #[error(transparent)]
    Monitor(#[from] monitor::Error),
    /// From the container's cgroup.
    #[error(transparent)]
    Cgroup(#[from] cgroup::Error),
    /// A system call filter.
    #[error("seccomp profile: {0}")]
    Seccomp(#[from] seccomp::Error),
    /// From the container's log.
    #[error(transparent)]
    Log(#[from] logs::Error),
    /// The kernel refused.
    #[error(transparent)]
    Kernel(#[from] linux::Error),
}

/// Result of an engine call.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// A value that makes no sense.
    pub(crate) fn invalid(what: &'static str, value: &str, why: impl Into<String>) -> Self {
        Self::Invalid { what, value: value.chars().take(120).collect(), why: why.into() }
    }

    /// For `map_err` on file operations.
    pub(crate) fn file(
        action: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { action, path, source }
    }

    /// The exit code that docker's command line gives for it: 126 and 127 for a program that cannot be executed or is
    /// not there, else 125.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Monitor(monitor::Error::Reported(failure)) => u8::try_from(failure.exit).unwrap_or(125),
            _ => 125,
        }
    }
}

impl Fault for Error {
    fn kind(&self) -> Kind {
        match self {
            Self::NotFound(_) | Self::NoVolume(_) => Kind::NotFound,
            Self::Ambiguous(_) | Self::Invalid { .. } | Self::Request(_) => Kind::Invalid,
            Self::NameTaken { .. } | Self::Conflict(_) => Kind::Conflict,
            Self::Unsupported { .. } => Kind::Unsupported,
            Self::Damaged { .. } => Kind::Corrupt,
            Self::File { source, .. } => Kind::of_io(source),
            Self::Image(error) => error.kind(),
            Self::Snapshot(error) => error.kind(),
            Self::Monitor(error) => error.kind(),
            Self::Cgroup(error) => error.kind(),
            Self::Seccomp(error) => error.kind(),
            Self::Log(error) => error.kind(),
            Self::Kernel(error) => Kind::of_io(&error.errno.into()),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::NameTaken { name, .. } => Some(format!("choose another name, or `rm -f {name}` first")),
            Self::Ambiguous(_) => Some("give more digits of the id".into()),
            Self::Image(error) => error.hint(),
            Self::Snapshot(error) => error.hint(),
            Self::Monitor(error) => error.hint(),
            Self::Cgroup(error) => error.hint(),
            Self::Seccomp(error) => error.hint(),
            Self::File { source, .. } if source.kind() == std::io::ErrorKind::PermissionDenied => {
                Some("run as root, or choose other directories with --data-root and --run-root".into())
            }
            _ => None,
        }
    }
}
