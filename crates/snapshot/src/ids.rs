use std::fmt;
use std::str::FromStr;

use sha2::{Digest, Sha256};

use crate::{Error, Result};

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
        pub struct $name(String);

        impl $name {
            /// The 64 hexadecimal digits.
            pub fn hex(&self) -> &str {
                &self.0
            }

            fn of(hasher: Sha256) -> Self {
                Self(hasher.finalize().iter().map(|b| format!("{b:02x}")).collect())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "sha256:{}", self.0)
            }
        }

        impl FromStr for $name {
            type Err = Error;

            /// Takes `sha256:` and 64 lowercase hexadecimal digits.
            fn from_str(text: &str) -> Result<Self> {
                let hex = text.strip_prefix("sha256:").unwrap_or_default();
                if hex.len() == 64 && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
                    return Ok(Self(hex.to_owned()));
                }
                Err(Error::Id(text.chars().take(80).collect()))
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

id! {
    /// The sha256 of a layer's uncompressed tar.
    DiffId
}
id! {
    /// A layer on top of particular others.
    ChainId
}

impl DiffId {
    pub(crate) fn finish(hasher: Sha256) -> Self {
        Self::of(hasher)
    }
}

impl ChainId {
    /// The chain id of `diff` on top of `parent`.
    pub fn new(parent: Option<&ChainId>, diff: &DiffId) -> Self {
        match parent {
            None => Self(diff.0.clone()),
            Some(parent) => Self::of(Sha256::new_with_prefix(format!("{parent} {diff}"))),
        }
    }

    /// From the name of a layer's directory.
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        format!("sha256:{name}").parse().ok()
    }
}
