use std::fmt;
use std::str::FromStr;

use crate::digest::shorten;
use crate::{Digest, Error, Result};

/// docker's registry, and the name under which references to it are normalised.
const DOCKER: &str = "docker.io";
/// Longest repository name, registry included (distribution's `NameTotalLengthMax`).
const MAX_NAME: usize = 255;

/// A normalised image reference: `registry/repository[:tag][@digest]` (distribution's reference grammar).
///
/// `redis` is `docker.io/library/redis:latest`; a reference with a digest gets no default tag.
#[derive(Clone, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub struct Reference {
    registry: String,
    repository: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

impl Reference {
    /// `docker.io`, `localhost:5000`, ...
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// The repository inside the registry, e.g. `library/redis`.
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// The tag, `latest` where neither tag nor digest was given.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest after `@`.
    pub fn digest(&self) -> Option<Digest> {
        self.digest
    }

    /// The same repository with another tag.
    pub fn with_tag(&self, tag: &str) -> Result<Self> {
        check_tag(tag).map_err(|why| invalid(tag, why))?;
        Ok(Self { tag: Some(tag.to_owned()), digest: None, ..self.clone() })
    }

    /// The same repository by digest.
    pub fn with_digest(&self, digest: Digest) -> Self {
        Self { tag: None, digest: Some(digest), ..self.clone() }
    }

    /// The repository as docker shows it: `redis`, `user/app`, `localhost:5000/x`.
    pub fn familiar_name(&self) -> String {
        if self.registry != DOCKER {
            return format!("{}/{}", self.registry, self.repository);
        }
        self.repository.strip_prefix("library/").unwrap_or(&self.repository).to_owned()
    }

    /// The whole reference as docker shows it, e.g. `redis:latest`.
    pub fn familiar(&self) -> String {
        format!("{}{}", self.familiar_name(), self.suffix())
    }

    fn suffix(&self) -> String {
        let tag = self.tag.as_ref().map(|t| format!(":{t}")).unwrap_or_default();
        let digest = self.digest.map(|d| format!("@{d}")).unwrap_or_default();
        tag + &digest
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}{}", self.registry, self.repository, self.suffix())
    }
}

impl FromStr for Reference {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        parse(text).map_err(|why| invalid(text, why))
    }
}

fn invalid(text: &str, why: &'static str) -> Error {
    Error::Reference { text: shorten(text), why }
}

fn parse(text: &str) -> Result<Reference, &'static str> {
    if text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
        return Err("64 hexadecimal digits are an image id, not a name");
    }
    let (name, digest) = match text.split_once('@') {
        Some((name, digest)) => (
            name,
            Some(digest.parse::<Digest>().map_err(|_| "the digest after `@` is not sha256:<64 digits>")?),
        ),
        None => (text, None),
    };
    // A colon after the last slash begins a tag; one before it belongs to the registry's port.
    let (name, tag) = match name.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
        _ => (name, None),
    };
    if let Some(tag) = tag {
        check_tag(tag)?;
    }
    let (registry, repository) = match name.split_once('/') {
        Some((first, rest))
            if first.contains(['.', ':']) || first == "localhost" || first != first.to_lowercase() =>
        {
            (first, rest)
        }
        _ => (DOCKER, name),
    };
    let registry = if registry == "index.docker.io" { DOCKER } else { registry };
    check_registry(registry)?;
    let repository = match registry == DOCKER && !repository.contains('/') {
        true => format!("library/{repository}"),
        false => repository.to_owned(),
    };
    repository.split('/').try_for_each(check_component)?;
    if registry.len() + 1 + repository.len() > MAX_NAME {
        return Err("the name is longer than 255 characters");
    }
    let tag = tag.or(if digest.is_none() { Some("latest") } else { None }).map(str::to_owned);
    Ok(Reference { registry: registry.to_owned(), repository, tag, digest })
}

/// `[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}`
fn check_tag(tag: &str) -> Result<(), &'static str> {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    match tag.as_bytes() {
        [first, rest @ ..]
            if word(*first)
                && rest.len() < 128
                && rest.iter().all(|&b| word(b) || b == b'.' || b == b'-') =>
        {
            Ok(())
        }
        _ => Err("a tag is 1 to 128 of A-Z a-z 0-9 _ . - and begins with neither . nor -"),
    }
}

/// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`: so no component begins with `_` or `.`.
fn check_component(component: &str) -> Result<(), &'static str> {
    const WHY: &str = "a repository's components are a-z and 0-9, separated by one of . _ __ or dashes";
    let mut separator = "".to_owned();
    let mut word = false;
    for c in component.chars() {
        match c {
            'a'..='z' | '0'..='9' => {
                let fine = separator.chars().all(|s| s == '-') || matches!(&*separator, "." | "_" | "__");
                if !fine || (!word && !separator.is_empty()) {
                    return Err(WHY);
                }
                separator.clear();
                word = true;
            }
            '.' | '_' | '-' => separator.push(c),
            'A'..='Z' => return Err("repository name must be lowercase"),
            _ => return Err(WHY),
        }
    }
    if word && separator.is_empty() { Ok(()) } else { Err(WHY) }
}

/// A domain name or IPv4/IPv6 address with an optional port.
fn check_registry(registry: &str) -> Result<(), &'static str> {
    const WHY: &str = "the registry is not a host name with an optional port";
    let (host, port) = match registry.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (registry, None),
    };
    if port.is_some_and(|p| p.is_empty() || p.len() > 5 || !p.bytes().all(|b| b.is_ascii_digit())) {
        return Err(WHY);
    }
    if let Some(address) = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')) {
        return address.parse::<std::net::Ipv6Addr>().map(drop).map_err(|_| WHY);
    }
    let label = |l: &str| {
        !l.is_empty()
            && l.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !l.starts_with('-')
            && !l.ends_with('-')
    };
    if host.split('.').all(label) { Ok(()) } else { Err(WHY) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn normalises_as_docker_does() {
        let digest = Digest::of(b"");
        for (text, full, familiar) in [
            ("redis", "docker.io/library/redis:latest", "redis:latest"),
            ("user/app:1.0", "docker.io/user/app:1.0", "user/app:1.0"),
            ("docker.io/redis", "docker.io/library/redis:latest", "redis:latest"),
            ("index.docker.io/library/redis:7", "docker.io/library/redis:7", "redis:7"),
            ("localhost/x", "localhost/x:latest", "localhost/x:latest"),
            ("localhost:5000/x", "localhost:5000/x:latest", "localhost:5000/x:latest"),
            ("localhost:5000", "docker.io/library/localhost:5000", "localhost:5000"),
            ("[::1]:5000/x:y", "[::1]:5000/x:y", "[::1]:5000/x:y"),
            ("ghcr.io/a/b/c:T_1", "ghcr.io/a/b/c:T_1", "ghcr.io/a/b/c:T_1"),
            ("a__b/c-d.e", "docker.io/a__b/c-d.e:latest", "a__b/c-d.e:latest"),
            ("host/sh", "docker.io/host/sh:latest", "host/sh:latest"),
        ] {
            let reference: Reference = text.parse().unwrap();
            assert_eq!(reference.to_string(), full);
            assert_eq!(reference.familiar(), familiar);
        }
        let by_digest: Reference = format!("redis@{digest}").parse().unwrap();
        assert_eq!((by_digest.tag(), by_digest.digest()), (None, Some(digest)));
        let both: Reference = format!("redis:7@{digest}").parse().unwrap();
        assert_eq!(both.to_string(), format!("docker.io/library/redis:7@{digest}"));
    }

    #[test]
    fn refuses_what_docker_refuses() {
        for bad in [
            "",
            "Redis",
            "a//b",
            "../x",
            "a/../b",
            "_a",
            "a___b",
            "a_-b",
            "-a",
            "a-",
            "a:",
            "a:.x",
            "a@sha256:x",
            "a b",
            "a\0b",
            "x.y:port/z",
            "[zz]/x",
            "a/_tags/b",
            "host_name.x/y",
            &"a".repeat(300),
            &format!("a:{}", "t".repeat(129)),
            &"a".repeat(64),
            "/a",
            "a/",
            "é",
        ] {
            assert!(bad.parse::<Reference>().is_err(), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_shown_parses_to_the_same(text in "([a-z0-9.:]{1,9}/)?[a-z0-9._/-]{1,20}(:[A-Za-z0-9_.-]{1,9})?") {
            if let Ok(reference) = text.parse::<Reference>() {
                prop_assert_eq!(&reference.to_string().parse::<Reference>().unwrap(), &reference);
                prop_assert_eq!(&reference.familiar().parse::<Reference>().unwrap(), &reference);
            }
        }

        #[test]
        fn any_text_is_parsed_or_refused(text in any::<String>()) {
            let _ = text.parse::<Reference>();
        }
    }
}
