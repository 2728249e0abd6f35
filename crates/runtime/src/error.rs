//! What can go wrong in the life of a container.

use std::path::PathBuf;

use fault::{Fault, Kind};
use rustix::io::Errno;

/// An error of this crate.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The bundle's configuration is wrong; nothing has been touched.
    #[error("config.json: {field}: {reason}")]
    Spec {
        /// The field's path in the document, e.g. `linux.namespaces[2].path`.
        field: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A step of the start failed; what had been made is undone.
    #[error("{what}: {call}: {}", .errno.map_or_else(|| .detail.clone(), |e| if .detail.is_empty() { e.to_string() } else { format!("{}: {e}", .detail) }))]
    Step {
        /// What the step does.
        what: String,
        /// The kernel call.
        call: String,
        /// What it was applied to, or the reason where there is no errno.
        detail: String,
        /// The kernel's answer.
        errno: Option<Errno>,
    },
    /// The user's program cannot be executed: `ENOENT` becomes exit code 127, others 126.
    #[error("cannot execute {path:?}: {}", exec_reason(*.errno))]
    Exec {
        /// The program as asked for.
        path: String,
        /// The kernel's answer.
        errno: Errno,
    },
    /// A hook failed or ran out of its time.
    #[error("hook {path:?} ({kind}): {reason}", path = .path.display())]
    Hook {
        /// Which list it is in, e.g. `createRuntime`.
        kind: &'static str,
        /// The program.
        path: PathBuf,
        /// How it failed, with the end of its stderr.
        reason: String,
    },
    /// The container's first process ended before it said that it was ready.
    #[error("the container's init ended before it was ready: {0}")]
    InitGone(String),
    /// An id that is no plain name.
    #[error("container id {0:?}: it must be letters, digits and _ + - . only")]
    Id(String),
    /// The id is taken.
    #[error("container {0} already exists")]
    Exists(String),
    /// There is no container of this id.
    #[error("container {0} does not exist")]
    NotFound(String),
    /// The container is in a state that forbids this.
    #[error("container {id} is {status}: {reason}")]
    Wrong {
        /// Which container.
        id: String,
        /// Its status.
        status: crate::state::Status,
        /// What it must be.
        reason: &'static str,
    },
    /// A request that makes no sense whatever the container.
    #[error("{what} {value:?}: {reason}")]
    Argument {
        /// Which argument.
        what: &'static str,
        /// As given.
        value: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The container's cgroup.
    #[error(transparent)]
    Cgroup(#[from] cgroup::Error),
    /// The system call filter.
    #[error("linux.seccomp: {0}")]
    Seccomp(#[from] seccomp::Error),
    /// A kernel call outside the numbered steps.
    #[error(transparent)]
    Kernel(#[from] linux::Error),
    /// Reading or writing one of our own files.
    #[error("{path:?}: {source}", path = .path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

/// Result with [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

fn exec_reason(errno: Errno) -> String {
    match errno {
        Errno::NOENT => "no such file, or its interpreter is missing".into(),
        Errno::NOEXEC => "exec format error".into(),
        other => other.to_string(),
    }
}

impl Error {
    /// A wrong field of the configuration.
    pub(crate) fn spec(field: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Spec { field: field.into(), reason: reason.into() }
    }
}

impl Fault for Error {
    fn kind(&self) -> Kind {
        let of = |errno: Errno| Kind::of_io(&errno.into());
        match self {
            Self::Spec { .. } => Kind::Invalid,
            Self::Step { errno, .. } => errno.map_or(Kind::System, of),
            Self::Exec { errno, .. } => of(*errno),
            Self::Hook { .. } | Self::InitGone(_) => Kind::System,
            Self::Id(_) | Self::Argument { .. } => Kind::Invalid,
            Self::Wrong { .. } => Kind::Conflict,
            Self::Exists(_) => Kind::Conflict,
            Self::NotFound(_) => Kind::NotFound,
            Self::Cgroup(error) => error.kind(),
            Self::Seccomp(error) => error.kind(),
            Self::Kernel(error) => of(error.errno),
            Self::File { source, .. } => Kind::of_io(source),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Cgroup(error) => error.hint(),
            Self::Exists(_) => Some("choose another id, or delete that container first".into()),
            // clone3 and unshare say so of namespaces only (user_namespaces(7)).
            Self::Step { call, errno: Some(Errno::NOSPC), .. }
                if call.starts_with("clone3") || call == "unshare" =>
            {
                Some("the limit of namespaces is reached: see the sysctl keys user.max_*_namespaces".into())
            }
            Self::Exec { errno: Errno::NOENT, .. } => {
                Some("check that the program is in the container's root filesystem and in its PATH".into())
            }
            Self::Exec { errno: Errno::ACCESS, .. } => {
                Some("check the file's mode and the container's user".into())
            }
            Self::Seccomp(error) => error.hint(),
            _ => None,
        }
    }
}
