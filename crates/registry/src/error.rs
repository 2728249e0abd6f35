use std::time::Duration;

use fault::{Fault, Kind};

/// What a registry said when it refused.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Refusal {
    /// The host asked.
    pub host: String,
    /// What was asked, for a sentence: `manifest v1 of library/busybox`.
    pub what: String,
    /// The HTTP status.
    pub status: u16,
    /// The code of the registry's own error, such as `MANIFEST_UNKNOWN`.
    pub code: Option<String>,
    /// The registry's own message, without control characters.
    pub message: Option<String>,
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} at {}", self.what, self.host)?;
        match (&self.message, &self.code) {
            (Some(message), _) if !message.is_empty() => write!(f, ": {message}"),
            (_, Some(code)) => write!(f, ": {code}"),
            _ => write!(f, ": HTTP status {}", self.status),
        }
    }
}

/// What can go wrong between here and a registry.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A name, digest, address or option that is not one.
    #[error("invalid {what} {text:?}: {why}")]
    Invalid {
        /// What it should have been.
        what: &'static str,
        /// The text, shortened.
        text: String,
        /// What is wrong with it.
        why: String,
    },
    /// The registry does not have it.
    #[error("not found: {0}")]
    NotFound(Refusal),
    /// The registry wants credentials, or others.
    #[error("unauthorized: {0}")]
    Unauthorized(Refusal),
    /// The registry knows who asks, and refuses.
    #[error("denied: {0}")]
    Denied(Refusal),
    /// The registry had too many requests, for longer than a call waits.
    #[error("too many requests: {0}")]
    RateLimited(Refusal),
    /// Any other status.
    #[error("the registry refused: {0}")]
    Status(Refusal),
    /// The TLS handshake failed: a certificate that is not trusted, or a server that does not speak TLS.
    #[error("TLS with {host} failed, asking for {what}: {why}")]
    Tls {
        /// The host asked.
        host: String,
        /// What was asked.
        what: String,
        /// What is wrong.
        why: String,
    },
    /// The connection could not be made, or broke.
    #[error("no connection to {host}, asking for {what}: {why}")]
    Network {
        /// The host asked.
        host: String,
        /// What was asked.
        what: String,
        /// What is wrong.
        why: String,
    },
    /// The registry was silent for too long.
    #[error("{host} did not answer in time, asking for {what}")]
    Timeout {
        /// The host asked.
        host: String,
        /// What was asked.
        what: String,
    },
    /// The answer breaks the protocol, or a rule of this crate.
    #[error("{host} answered wrongly, asking for {what}: {why}")]
    Protocol {
        /// The host asked.
        host: String,
        /// What was asked.
        what: String,
        /// What is wrong.
        why: String,
    },
    /// The content to upload could not be read.
    #[error("the content to upload cannot be read: {0}")]
    Source(std::io::Error),
    /// A credential helper or the configuration of credentials does not work.
    #[error("credentials: {path}: {why}")]
    Credentials {
        /// The file or helper.
        path: String,
        /// What is wrong.
        why: String,
    },
    /// A `hosts.toml` that cannot be used.
    #[error("{path}: {why}")]
    Hosts {
        /// The file.
        path: String,
        /// What is wrong.
        why: String,
    },
    /// The caller gave it up.
    #[error("cancelled, asking {host} for {what}")]
    Cancelled {
        /// The host asked.
        host: String,
        /// What was asked.
        what: String,
    },
}

impl Error {
    pub(crate) fn invalid(what: &'static str, text: &str, why: impl Into<String>) -> Self {
        Self::Invalid { what, text: shorten(text), why: why.into() }
    }

    /// The error for a status that is none of success.
    pub(crate) fn of_status(refusal: Refusal) -> Self {
        match refusal.status {
            401 => Self::Unauthorized(refusal),
            403 => Self::Denied(refusal),
            404 => Self::NotFound(refusal),
            429 => Self::RateLimited(refusal),
            _ => Self::Status(refusal),
        }
    }

    /// Whether the same request may succeed when it is sent again at once.
    pub(crate) fn is_passing(&self) -> bool {
        matches!(self, Self::Network { .. })
    }
}

impl Fault for Error {
    fn kind(&self) -> Kind {
        match self {
            Self::Invalid { .. } | Self::Hosts { .. } | Self::Credentials { .. } => Kind::Invalid,
            Self::NotFound(_) => Kind::NotFound,
            Self::Unauthorized(_) | Self::Denied(_) | Self::Tls { .. } => Kind::Denied,
            Self::RateLimited(_) | Self::Network { .. } => Kind::Unavailable,
            Self::Status(refusal) if refusal.status >= 500 => Kind::Unavailable,
            Self::Status(refusal) if refusal.status == 409 => Kind::Conflict,
            Self::Status(_) => Kind::Invalid,
            Self::Timeout { .. } => Kind::Timeout,
            Self::Protocol { .. } => Kind::Corrupt,
            Self::Source(source) => Kind::of_io(source),
            Self::Cancelled { .. } => Kind::Cancelled,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::NotFound(_) => {
                Some("check the name and the tag; a private repository also needs a login".into())
            }
            Self::Unauthorized(refusal) => Some(format!("log in to {}", refusal.host)),
            Self::Denied(_) => Some("log in as a user who may do this".into()),
            Self::RateLimited(_) => Some("log in, use a mirror, or try again later".into()),
            Self::Tls { .. } => Some(
                "trust the registry's certificate with `ca` in its hosts.toml, or ask for plain http".into(),
            ),
            Self::Network { .. } => Some("check the registry's name and the network".into()),
            Self::Timeout { .. } => Some("try again, or give a longer timeout".into()),
            _ => None,
        }
    }
}

/// At most 200 characters of outside text, for messages, without control characters.
pub(crate) fn shorten(text: &str) -> String {
    clean(text, 200)
}

/// At most `limit` characters of outside text; control characters and those that change the direction become spaces.
pub(crate) fn clean(text: &str, limit: usize) -> String {
    let hidden = |c: char| {
        c.is_control()
            || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    text.chars().take(limit).map(|c| if hidden(c) { ' ' } else { c }).collect::<String>().trim().to_owned()
}

/// Seconds, for messages.
pub(crate) fn seconds(duration: Duration) -> String {
    format!("{} s", duration.as_secs())
}
