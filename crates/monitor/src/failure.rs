use std::fmt;

use fault::{Fault, Kind};

use crate::protocol::Failure;

const KINDS: [(Kind, &str); 11] = [
    (Kind::Invalid, "invalid"),
    (Kind::NotFound, "notfound"),
    (Kind::Conflict, "conflict"),
    (Kind::Denied, "denied"),
    (Kind::Unsupported, "unsupported"),
    (Kind::Exhausted, "exhausted"),
    (Kind::Unavailable, "unavailable"),
    (Kind::Timeout, "timeout"),
    (Kind::Cancelled, "cancelled"),
    (Kind::Corrupt, "corrupt"),
    (Kind::System, "system"),
];

impl Failure {
    /// A failure that is told here and has no error behind it.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        let name = KINDS.iter().find(|(k, _)| *k == kind).map_or("system", |(_, name)| name);
        Self { kind: name.into(), message: message.into(), causes: Vec::new(), hint: None, exit: 125 }
    }

    /// An error with all its causes.
    pub fn of(error: &dyn Fault) -> Self {
        let mut failure = Self::new(error.kind(), error.to_string());
        let mut source = error.source();
        while let Some(cause) = source {
            failure.causes.push(cause.to_string());
            source = cause.source();
        }
        failure.hint = error.hint();
        failure
    }

    /// The same with docker's exit code for it.
    pub fn with_exit(mut self, exit: i32) -> Self {
        self.exit = exit;
        self
    }

    /// The class; [`Kind::System`] for a name from a newer monitor.
    pub fn class(&self) -> Kind {
        KINDS.iter().find(|(_, name)| *name == self.kind).map_or(Kind::System, |(kind, _)| *kind)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        self.causes.iter().try_for_each(|cause| write!(f, ": {cause}"))
    }
}

impl std::error::Error for Failure {}

impl Fault for Failure {
    fn kind(&self) -> Kind {
        self.class()
    }
    fn hint(&self) -> Option<String> {
        self.hint.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_survives_the_wire() {
        for (kind, _) in KINDS {
            assert_eq!(Failure::new(kind, "x").class(), kind);
        }
    }

    #[test]
    fn causes_are_kept() {
        let failure = Failure::of(&std::io::Error::from_raw_os_error(13));
        assert_eq!(failure.class(), Kind::Denied);
        assert_eq!(failure.exit, 125);
    }
}
