use fault::{Fault, Kind};

/// Why a profile cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The document is longer than this parser reads.
    #[error("the seccomp profile is {size} bytes long; the limit is {limit}")]
    TooLong {
        /// Its size in bytes.
        size: usize,
        /// The most that is read, in bytes.
        limit: usize,
    },
    /// The document is not JSON of the profile's shape.
    #[error("the seccomp profile is not valid JSON of a profile")]
    Json(#[source] serde_json::Error),
    /// A value at a position is not one the format knows.
    #[error("seccomp profile: {at}: `{value}` is not a known {what}")]
    Unknown {
        /// The position, e.g. `syscalls[3].args[0].op`.
        at: String,
        /// What was expected there, e.g. `operator`.
        what: &'static str,
        /// What was found.
        value: String,
    },
    /// A value at a position is of the right form but out of range or contradicts another.
    #[error("seccomp profile: {at}: {why}")]
    Value {
        /// The position.
        at: String,
        /// What is wrong with it.
        why: String,
    },
    /// Two rules of one system call have the same conditions and different actions; libseccomp refuses that too.
    #[error(
        "seccomp profile: two rules of system call {name} have the same conditions and different actions"
    )]
    Conflict {
        /// The system call.
        name: String,
    },
    /// The program is longer than the kernel takes.
    #[error("the seccomp profile compiles to {len} instructions; the kernel takes {limit}")]
    TooLarge {
        /// Its length in instructions.
        len: usize,
        /// `BPF_MAXINSNS`.
        limit: usize,
    },
    /// This kernel lacks an action that the profile uses.
    #[error("this kernel does not know the seccomp action {0}")]
    ActionUnsupported(&'static str),
    /// This kernel lacks a filter flag that the profile names.
    #[error("this kernel does not know the seccomp filter flag {0}")]
    FlagUnsupported(&'static str),
    /// There are no system call tables for the machine.
    #[error("seccomp filters cannot be compiled for the machine `{0}`")]
    Machine(String),
    /// A stored program fails its checks.
    #[error("the compiled seccomp program is damaged: {0}")]
    Corrupt(&'static str),
    /// The kernel refused.
    #[error("cannot set up the seccomp filter")]
    Kernel(#[from] linux::Error),
    /// The cache directory could not be read or written.
    #[error("cannot {action} the compiled seccomp program {name}")]
    Cache {
        /// `read`, `write` or `rename`.
        action: &'static str,
        /// The file name inside the cache directory.
        name: String,
        /// The system's answer.
        #[source]
        source: std::io::Error,
    },
}

impl Error {
    pub(crate) fn value(at: impl Into<String>, why: impl Into<String>) -> Self {
        Error::Value { at: at.into(), why: why.into() }
    }
}

impl Fault for Error {
    fn kind(&self) -> Kind {
        match self {
            Error::TooLong { .. }
            | Error::Json(_)
            | Error::Unknown { .. }
            | Error::Value { .. }
            | Error::Conflict { .. }
            | Error::TooLarge { .. } => Kind::Invalid,
            Error::ActionUnsupported(_) | Error::FlagUnsupported(_) | Error::Machine(_) => Kind::Unsupported,
            Error::Corrupt(_) => Kind::Corrupt,
            Error::Kernel(error) => Kind::of_io(&error.errno.into()),
            Error::Cache { source, .. } => Kind::of_io(source),
        }
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            Error::Unknown { .. } | Error::Value { .. } => {
                "correct the profile at the position named, or use the default profile".into()
            }
            Error::Conflict { name } => format!("keep one of the two rules of {name}"),
            Error::TooLarge { .. } => {
                "merge rules that differ only in argument values, or name fewer architectures".into()
            }
            Error::Kernel(error) if error.errno == rustix::io::Errno::ACCESS => {
                "set no_new_privs or keep CAP_SYS_ADMIN until the filter is loaded".into()
            }
            Error::ActionUnsupported(_) | Error::FlagUnsupported(_) => {
                "see /proc/sys/kernel/seccomp/actions_avail, or remove it from the profile".into()
            }
            _ => return None,
        })
    }
}
