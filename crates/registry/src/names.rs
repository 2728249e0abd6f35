//! Names that become a part of an address.

use sha2::{Digest as _, Sha256};

use crate::{Error, Result};

/// A repository (distribution-spec, "Pulling manifests"): what it allows excludes `..`, `//` and everything to escape.
pub(crate) fn repository(name: &str) -> Result<()> {
    let invalid = |why: &str| Err(Error::invalid("repository", name, why));
    if name.is_empty() || name.len() > 255 {
        return invalid("it needs 1 to 255 characters");
    }
    if !name.split('/').all(component) {
        return invalid(
            "its parts are lowercase letters and digits, with single separators . _ __ or dashes between",
        );
    }
    Ok(())
}

fn component(part: &str) -> bool {
    let bytes = part.as_bytes();
    let plain = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    if !bytes.first().is_some_and(plain) || !bytes.last().is_some_and(plain) {
        return false;
    }
    let separator = |run: &&[u8]| !run.is_empty();
    bytes
        .split(plain)
        .filter(separator)
        .all(|run| matches!(run, b"." | b"_" | b"__") || run.iter().all(|b| *b == b'-'))
}

/// `sha256:` and 64 lowercase hexadecimal digits.
pub(crate) fn digest(text: &str) -> Result<()> {
    let hex = text.strip_prefix("sha256:");
    let digits = |hex: &str| hex.len() == 64 && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    if !hex.is_some_and(digits) {
        return Err(Error::invalid("digest", text, "it needs sha256: and 64 lowercase hexadecimal digits"));
    }
    Ok(())
}

/// A tag or a digest.
pub(crate) fn reference(text: &str) -> Result<()> {
    if text.contains(':') {
        return digest(text);
    }
    let first = |b: &u8| b.is_ascii_alphanumeric() || *b == b'_';
    if text.len() > 128
        || !text.as_bytes().first().is_some_and(first)
        || !text.bytes().all(|b| first(&b) || b == b'.' || b == b'-')
    {
        return Err(Error::invalid(
            "tag",
            text,
            "it needs 1 to 128 letters, digits, _ . or -, and starts with neither . nor -",
        ));
    }
    Ok(())
}

/// The digest of `bytes`.
pub(crate) fn digest_of(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    Sha256::digest(bytes).iter().fold("sha256:".to_owned(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for (name, good) in [
            ("busybox", true),
            ("library/busybox", true),
            ("a.b_c__d--e/f", true),
            ("a..b", false),
            ("a___b", false),
            ("../a", false),
            ("a//b", false),
            ("A", false),
            ("a/", false),
            ("-a", false),
            ("", false),
            ("a?b", false),
        ] {
            assert_eq!(repository(name).is_ok(), good, "{name}");
        }
        let hex = "0123456789abcdef".repeat(4);
        for (text, good) in [
            ("latest", true),
            ("_x.1-2", true),
            (".x", false),
            ("-x", false),
            ("", false),
            ("a/b", false),
            (&format!("sha256:{hex}"), true),
            (&format!("sha256:{}", hex.to_uppercase()), false),
            ("sha256:../../x", false),
            (&format!("md5:{hex}"), false),
            (&format!("sha512:{hex}"), false),
            (&"x".repeat(129), false),
        ] {
            assert_eq!(reference(text).is_ok(), good, "{text}");
        }
        assert_eq!(digest_of(b""), "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    }
}
