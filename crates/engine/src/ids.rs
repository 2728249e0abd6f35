//! What names a container: an id of ours, and a name of the user's (SECURITY.md R11).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize};

use crate::{Error, Result};

/// Most characters of a name; it becomes one file name.
const MAX_NAME: usize = 128;

/// 64 lower-case hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct ContainerId(String);

impl ContainerId {
    /// A new one, of 256 random bits.
    ///
    /// # Errors
    /// [`Error::Kernel`] from getrandom(2).
    pub fn random() -> Result<Self> {
        let mut bytes = [0u8; 32];
        rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())
            .map_err(|errno| linux::Error::new("getrandom", errno))?;
        Ok(Self(bytes.iter().map(|byte| format!("{byte:02x}")).collect()))
    }

    /// The whole id.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first 12 digits, as lists show it.
    pub fn short(&self) -> &str {
        &self.0[..12]
    }
}

impl fmt::Display for ContainerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for ContainerId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let digits = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        if text.len() == 64 && digits {
            return Ok(Self(text.to_owned()));
        }
        Err(Error::invalid("container id", text, "it must be 64 lower-case hexadecimal digits"))
    }
}

impl<'de> Deserialize<'de> for ContainerId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// A container's or volume's name: `[a-zA-Z0-9][a-zA-Z0-9_.-]+`, as docker has it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Name(String);

impl Name {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name that a container without one gets: two words, and four digits of its id, so that a clash is as unlikely
    /// as it is with docker's longer lists of words.
    pub fn generated(id: &ContainerId) -> Self {
        const HOW: [&str; 16] = [
            "brisk", "calm", "clear", "deft", "eager", "fair", "fleet", "gentle", "keen", "light", "nimble",
            "quick", "quiet", "steady", "swift", "trim",
        ];
        const WHAT: [&str; 16] = [
            "anchor", "bow", "buoy", "cargo", "delta", "ferry", "harbor", "keel", "lantern", "mast", "oar",
            "pier", "reed", "river", "rudder", "tide",
        ];
        let digit = |at: usize| usize::from_str_radix(&id.0[at..=at], 16).unwrap_or(0);
        Self(format!("{}_{}_{}", HOW[digit(62)], WHAT[digit(63)], &id.0[..6]))
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Name {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        // docker's API has the names with a slash before them.
        let plain = text.strip_prefix('/').unwrap_or(text);
        let mut bytes = plain.bytes();
        let first = bytes.next().is_some_and(|byte| byte.is_ascii_alphanumeric());
        let rest = bytes.all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte));
        if first && rest && (2..=MAX_NAME).contains(&plain.len()) {
            return Ok(Self(plain.to_owned()));
        }
        Err(Error::invalid("name", text, "only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed, 2 to 128 of them"))
    }
}

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_as_docker_has_them() {
        for good in ["ab", "a1", "redis", "/redis", "A.b_c-d", "0x", &"a".repeat(128)] {
            assert!(good.parse::<Name>().is_ok(), "{good}");
        }
        for bad in ["", "a", "-a", ".a", "_a", "a b", "a/b", "../a", "a\0", "a\n", "é1", &"a".repeat(129)] {
            assert!(bad.parse::<Name>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn ids_and_generated_names() {
        let id = ContainerId::random().unwrap();
        assert_eq!(id.to_string().parse::<ContainerId>().unwrap(), id);
        assert!(Name::generated(&id).to_string().parse::<Name>().is_ok());
        assert!("ABC".parse::<ContainerId>().is_err());
        assert!("g".repeat(64).parse::<ContainerId>().is_err());
    }

    proptest! {
        #[test]
        fn a_name_is_one_safe_file_name(text in any::<String>()) {
            if let Ok(name) = text.parse::<Name>() {
                prop_assert!(!name.as_str().contains(['/', '\0']) && name.as_str() != "." && name.as_str() != "..");
            }
        }
    }
}
