use std::path::PathBuf;

use fault::{Fault, Kind};
use rustix::io::Errno;

/// Result of a cgroup operation.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What can go wrong with a cgroup.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// `/proc/self/mountinfo` shows no cgroup file system.
    #[error("no cgroup file system is mounted")]
    NotMounted,
    /// The path is not one of ours to make.
    #[error("cgroup path {path:?}: {reason}")]
    Path {
        /// As it was given.
        path: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A mount point of the mount table is no cgroup file system.
    #[error("{} is not a cgroup file system", .0.display())]
    ForeignMount(PathBuf),
    /// A limit needs a controller that this host does not offer.
    #[error("cannot set {file}: the {controller} controller is not available")]
    NoController {
        /// Its name, as in `/proc/cgroups`.
        controller: &'static str,
        /// The file that would be written.
        file: String,
    },
    /// A limit that this version of cgroups does not have.
    #[error("{limit} cannot be set on cgroup {version}")]
    NoSuchLimit {
        /// The limit's name in the runtime-spec.
        limit: &'static str,
        /// `v1` or `v2`.
        version: &'static str,
    },
    /// A value that the kernel would misread or that makes no sense.
    #[error("{limit} {value:?}: {reason}")]
    Value {
        /// The limit's name in the runtime-spec.
        limit: &'static str,
        /// As it was given.
        value: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The kernel refused.
    #[error("{action} {}: {errno}", .path.display())]
    System {
        /// What was tried, e.g. `write "max" to`.
        action: String,
        /// On which file or directory.
        path: PathBuf,
        /// The kernel's answer.
        errno: Errno,
    },
    /// A kernel call on no file of a cgroup failed.
    #[error(transparent)]
    Kernel(#[from] linux::Error),
    /// Processes did not freeze, thaw or die in time.
    #[error("cgroup {path}: {what} within {seconds} s")]
    Timeout {
        /// The cgroup.
        path: String,
        /// What did not happen, e.g. `not frozen`.
        what: &'static str,
        /// How long was waited.
        seconds: u64,
    },
}

impl Error {
    pub(crate) fn system(action: impl Into<String>, path: impl Into<PathBuf>, errno: Errno) -> Self {
        Self::System { action: action.into(), path: path.into(), errno }
    }
}

impl Fault for Error {
    fn kind(&self) -> Kind {
        match self {
            Self::NotMounted
            | Self::ForeignMount(_)
            | Self::NoController { .. }
            | Self::NoSuchLimit { .. } => Kind::Unsupported,
            Self::Path { .. } | Self::Value { .. } => Kind::Invalid,
            Self::System { errno, .. } => Kind::of_io(&(*errno).into()),
            Self::Kernel(error) => Kind::of_io(&error.errno.into()),
            Self::Timeout { .. } => Kind::Timeout,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::NotMounted => Some("mount cgroup2 on /sys/fs/cgroup".into()),
            Self::NoController { controller, .. } => {
                Some(format!("enable {controller} on the kernel command line, or leave the limit out"))
            }
            Self::System { errno: Errno::BUSY, path, .. } if path.ends_with("cgroup.subtree_control") => {
                Some(
                    "a cgroup with processes of its own cannot pass controllers on: choose another parent"
                        .into(),
                )
            }
            _ => None,
        }
    }
}
