use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::config::architecture;
use crate::{Error, Result};

/// What an image runs on, in Go's names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Platform {
    /// `linux`.
    pub os: String,
    /// `amd64`, `arm64`, ...
    pub architecture: String,
    /// `v7` of `arm`, ...
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
}

impl Default for Platform {
    /// The host's.
    fn default() -> Self {
        Self { os: "linux".into(), architecture: architecture().into(), variant: None }.normal()
    }
}

impl Platform {
    /// The same in the one spelling: `aarch64` and `arm64/v8` are `arm64`, `arm` is `arm/v7` (containerd's rules).
    fn normal(mut self) -> Self {
        let (architecture, variant) = match (&*self.architecture, self.variant.as_deref()) {
            ("x86_64" | "x86-64" | "amd64", None | Some("" | "v1")) => ("amd64", None),
            ("x86_64" | "x86-64" | "amd64", variant) => ("amd64", variant),
            ("aarch64" | "arm64", None | Some("" | "v8" | "8")) => ("arm64", None),
            ("aarch64" | "arm64", variant) => ("arm64", variant),
            ("armhf", _) | ("arm", None | Some("" | "7")) => ("arm", Some("v7")),
            ("armel", _) | ("arm", Some("6")) => ("arm", Some("v6")),
            ("i386" | "i686" | "386", _) => ("386", None),
            (other, variant) => (other, variant.filter(|v| !v.is_empty())),
        };
        (self.architecture, self.variant) = (architecture.to_owned(), variant.map(str::to_owned));
        self
    }

    /// How well an image for `offered` runs here: 0 is what was asked for, more is an older variant; none is not at all.
    pub(crate) fn fit(&self, offered: &Platform) -> Option<u32> {
        let (here, there) = (self.clone().normal(), offered.clone().normal());
        if here.os != there.os || here.architecture != there.architecture {
            return None;
        }
        let level = |variant: &Option<String>| match (variant.as_deref(), &*here.architecture) {
            (None, "arm64") => Some(8),
            (None, _) => Some(1),
            (Some(variant), _) => variant.strip_prefix('v').and_then(|digits| digits.parse::<u32>().ok()),
        };
        if here.variant == there.variant {
            return Some(0);
        }
        level(&here.variant)?.checked_sub(level(&there.variant)?).filter(|&older| older > 0)
    }
}

impl FromStr for Platform {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let word = |part: &&str| {
            (1..=32).contains(&part.len())
                && part.starts_with(|c: char| c.is_ascii_alphanumeric())
                && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"_-.".contains(&b))
        };
        let parts: Vec<&str> = text.split('/').collect();
        match &parts[..] {
            _ if !parts.iter().all(word) => {}
            [os, architecture] => {
                return Ok(
                    Self { os: (*os).into(), architecture: (*architecture).into(), variant: None }.normal()
                );
            }
            [os, architecture, variant] => {
                let (os, architecture) = ((*os).into(), (*architecture).into());
                return Ok(Self { os, architecture, variant: Some((*variant).into()) }.normal());
            }
            _ => {}
        }
        Err(Error::Platform(text.chars().take(80).collect()))
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        self.variant.iter().try_for_each(|variant| write!(f, "/{variant}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_spellings() {
        for (text, shown) in [
            ("linux/arm64/v8", "linux/arm64"),
            ("linux/aarch64", "linux/arm64"),
            ("linux/x86_64", "linux/amd64"),
            ("linux/arm", "linux/arm/v7"),
            ("linux/arm/v6", "linux/arm/v6"),
            ("linux/riscv64", "linux/riscv64"),
        ] {
            assert_eq!(text.parse::<Platform>().unwrap().to_string(), shown, "{text}");
        }
        for bad in
            ["", "linux", "linux/", "/amd64", "linux/a/b/c", "Linux/amd64", "linux/am d64", "linux/../x"]
        {
            assert!(bad.parse::<Platform>().is_err(), "{bad}");
        }
    }

    #[test]
    fn older_variants_run_and_newer_ones_do_not() {
        let fit = |here: &str, there: &str| {
            here.parse::<Platform>().unwrap().fit(&there.parse::<Platform>().unwrap())
        };
        assert_eq!(fit("linux/arm/v7", "linux/arm/v7"), Some(0));
        assert_eq!(fit("linux/arm/v7", "linux/arm/v6"), Some(1));
        assert_eq!(fit("linux/arm/v6", "linux/arm/v7"), None);
        assert_eq!(fit("linux/arm64", "linux/arm64/v8"), Some(0));
        assert_eq!(fit("linux/amd64", "linux/amd64/v3"), None);
        assert_eq!(fit("linux/amd64", "linux/arm64"), None);
        assert_eq!(fit("linux/amd64", "windows/amd64"), None);
    }
}
