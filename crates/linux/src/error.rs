use rustix::io::Errno;

/// A kernel call that failed: which, on what, and why.
#[derive(Debug, thiserror::Error)]
#[error("{call}{}: {errno}", .subject.as_deref().map(|s| format!(" {s}")).unwrap_or_default())]
pub struct Error {
    /// The system call's name, e.g. `move_mount`.
    pub call: &'static str,
    /// What it was applied to, for people: a path, a name, a pid.
    pub subject: Option<String>,
    /// The kernel's answer.
    pub errno: Errno,
}

impl Error {
    /// An error of `call` without a subject.
    pub fn new(call: &'static str, errno: Errno) -> Self {
        Self { call, subject: None, errno }
    }

    /// An error of `call` on `subject`.
    pub fn on(call: &'static str, subject: impl Into<String>, errno: Errno) -> Self {
        Self { call, subject: Some(subject.into()), errno }
    }
}

/// Result of a kernel call.
pub type Result<T, E = Error> = std::result::Result<T, E>;
