//! How every error is classified and rendered.
//!
//! Each crate has its own typed error and implements [`Fault`] for it once. An edge (command line, HTTP, gRPC) renders
//! a `&dyn Fault` once: the command line with [`Report`], a server by mapping [`Kind`] to its status codes.
#![forbid(unsafe_code)]

use std::fmt;

/// What a caller can do about an error; the edges map it to exit codes, HTTP statuses and gRPC codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The request itself is wrong: bad flag, bad name, bad file. Retrying the same will fail the same way.
    Invalid,
    /// The thing named does not exist.
    NotFound,
    /// The thing named exists already, or is in a state that forbids the request.
    Conflict,
    /// The caller may not do this.
    Denied,
    /// This kernel, host or version cannot do it.
    Unsupported,
    /// Out of space, inodes, memory, ids, processes or descriptors.
    Exhausted,
    /// Something needed is not there right now; a retry may work.
    Unavailable,
    /// It took longer than allowed.
    Timeout,
    /// The caller gave it up.
    Cancelled,
    /// Stored data contradicts itself.
    Corrupt,
    /// The system refused for a reason that fits none of the above.
    System,
}

impl Kind {
    /// The kind that an errno stands for when nothing more is known (`ENOENT` is [`Kind::NotFound`], and so on).
    pub fn of_io(error: &std::io::Error) -> Kind {
        use std::io::ErrorKind as E;
        match error.kind() {
            E::NotFound => Kind::NotFound,
            E::PermissionDenied | E::ReadOnlyFilesystem => Kind::Denied,
            E::AlreadyExists => Kind::Conflict,
            E::InvalidInput | E::InvalidFilename => Kind::Invalid,
            E::StorageFull | E::QuotaExceeded | E::OutOfMemory => Kind::Exhausted,
            E::Unsupported => Kind::Unsupported,
            E::TimedOut => Kind::Timeout,
            E::WouldBlock | E::ResourceBusy => Kind::Unavailable,
            E::InvalidData | E::UnexpectedEof => Kind::Corrupt,
            _ => Kind::System,
        }
    }
}

/// An error that knows its class and, where there is one, the next thing to try.
pub trait Fault: std::error::Error + Send + Sync + 'static {
    /// The class of this error.
    fn kind(&self) -> Kind;
    /// One sentence, imperative, without a full stop: what the user can do.
    fn hint(&self) -> Option<String> {
        None
    }
}

impl Fault for std::io::Error {
    fn kind(&self) -> Kind {
        Kind::of_io(self)
    }
}

/// Renders an error for a terminal: `error:`, one `cause:` line per source, and `hint:`.
pub struct Report<'a>(pub &'a dyn Fault);

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: {}", self.0)?;
        let mut source = self.0.source();
        while let Some(cause) = source {
            write!(f, "\ncause: {cause}")?;
            source = cause.source();
        }
        if let Some(hint) = self.0.hint() {
            write!(f, "\nhint: {hint}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Outer(std::io::Error);
    impl fmt::Display for Outer {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("cannot open the store")
        }
    }
    impl std::error::Error for Outer {
        fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
            Some(&self.0)
        }
    }
    impl Fault for Outer {
        fn kind(&self) -> Kind {
            Kind::of_io(&self.0)
        }
        fn hint(&self) -> Option<String> {
            Some("run as root".into())
        }
    }

    #[test]
    fn report_lists_error_causes_and_hint() {
        let fault = Outer(std::io::Error::from_raw_os_error(13));
        assert_eq!(fault.kind(), Kind::Denied);
        assert_eq!(
            Report(&fault).to_string(),
            "error: cannot open the store\ncause: Permission denied (os error 13)\nhint: run as root"
        );
    }
}
