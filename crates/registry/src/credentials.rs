//! Who asks.

use std::fmt;

use base64::Engine as _;

use crate::{Error, Result};

/// A password or token. It is never shown: `Debug` prints dots, and there is neither `Display` nor a serializer.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Takes a secret.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text, to be sent where it belongs.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("\"...\"")
    }
}

/// What tells a registry who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credential {
    /// A user and a password.
    Password {
        /// The user.
        username: String,
        /// The password.
        password: Secret,
    },
    /// A token that the registry's token server takes in exchange for others.
    IdentityToken(Secret),
}

impl Credential {
    /// The value of `Authorization`, where there is a user.
    pub(crate) fn basic(&self) -> Option<Secret> {
        let Self::Password { username, password } = self else { return None };
        // A colon ends the user (RFC 7617, 2): sent on, it would be a part of the password.
        if username.contains(':') {
            return None;
        }
        let text = format!("{username}:{}", password.expose());
        Some(Secret(format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(text))))
    }
}

/// Where credentials come from.
pub trait Credentials: Send + Sync {
    /// The credential for `registry`, which is `host` or `host:port`; docker's hub is `docker.io`.
    fn get(&self, registry: &str) -> Result<Option<Credential>>;
}

/// Nobody.
#[derive(Clone, Copy, Debug, Default)]
pub struct Anonymous;

impl Credentials for Anonymous {
    fn get(&self, _registry: &str) -> Result<Option<Credential>> {
        Ok(None)
    }
}

/// One credential for one registry.
#[derive(Clone, Debug)]
pub struct Fixed {
    registry: String,
    credential: Credential,
}

impl Fixed {
    /// `credential`, for `registry` alone.
    pub fn new(registry: impl Into<String>, credential: Credential) -> Self {
        Self { registry: registry.into(), credential }
    }
}

impl Credentials for Fixed {
    fn get(&self, registry: &str) -> Result<Option<Credential>> {
        Ok((registry == self.registry).then(|| self.credential.clone()))
    }
}

/// The user and password of a `base64(user:password)`.
pub(crate) fn decode(text: &str) -> Result<(String, Secret), &'static str> {
    let bytes =
        base64::engine::general_purpose::STANDARD.decode(text.trim()).map_err(|_| "`auth` is not base64")?;
    let text = String::from_utf8(bytes).map_err(|_| "`auth` is not UTF-8")?;
    let (user, password) = text.split_once(':').ok_or("`auth` has no colon")?;
    Ok((user.to_owned(), Secret::new(password.trim_end_matches('\0'))))
}

/// `user:password` in base64.
pub(crate) fn encode(user: &str, password: &Secret) -> Result<String> {
    if user.contains(':') {
        return Err(Error::invalid("user", user, "a user has no colon"));
    }
    Ok(base64::engine::general_purpose::STANDARD.encode(format!("{user}:{}", password.expose())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_not_shown() {
        let credential = Credential::Password { username: "u".into(), password: Secret::new("canary") };
        assert!(!format!("{credential:?}").contains("canary"));
        assert_eq!(credential.basic().unwrap().expose(), "Basic dTpjYW5hcnk=");
        assert!(!format!("{:?}", credential.basic()).contains("dTpj"));
        assert_eq!(decode("dTpjYW5hcnk=").unwrap(), ("u".into(), Secret::new("canary")));
        assert!(decode("dQ==").is_err() && decode("!").is_err());
        assert!(encode("a:b", &Secret::new("x")).is_err());
    }
}
