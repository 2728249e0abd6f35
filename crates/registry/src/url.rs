//! Addresses: http and https only, without user, password and fragment.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::{Error, Result};

/// How much of an address is read.
const LONGEST: usize = 8192;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Scheme {
    Http,
    Https,
}

impl Scheme {
    fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    fn port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

/// What credentials are bound to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Origin {
    pub(crate) scheme: Scheme,
    /// Lower case; an IPv6 address in brackets.
    pub(crate) host: String,
    pub(crate) port: u16,
}

impl Origin {
    /// `host`, or `host:port` where it is not the scheme's own.
    pub(crate) fn authority(&self) -> String {
        if self.port == self.scheme.port() {
            self.host.clone()
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }

    pub(crate) fn ip(&self) -> Option<IpAddr> {
        match self.host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
            Some(v6) => v6.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
            None => self.host.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
        }
        .map(|ip| ip.to_canonical())
    }

    pub(crate) fn is_loopback(&self) -> bool {
        self.host == "localhost" || self.ip().is_some_and(|ip| ip.is_loopback())
    }

    /// An address that a registry has no business to send us to: of the link (cloud metadata among them), of no host.
    pub(crate) fn is_internal(&self) -> bool {
        match self.ip() {
            Some(IpAddr::V4(ip)) => {
                ip.is_link_local() || ip.is_unspecified() || ip.is_broadcast() || ip.is_multicast()
            }
            Some(IpAddr::V6(ip)) => ip.is_unicast_link_local() || ip.is_unspecified() || ip.is_multicast(),
            // Numbers that are no dotted quad are read as addresses by some resolvers: 2852039166, 0xa9fea9fe.
            None => {
                self.host.starts_with(|c: char| c.is_ascii_digit())
                    && self.host.rsplit('.').next().is_some_and(numeric)
            }
        }
    }
}

fn numeric(label: &str) -> bool {
    let hex = label.strip_prefix("0x").filter(|hex| hex.bytes().all(|b| b.is_ascii_hexdigit()));
    hex.is_some() || (!label.is_empty() && label.bytes().all(|b| b.is_ascii_digit()))
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Url {
    pub(crate) origin: Origin,
    /// Begins with a slash; no question mark.
    pub(crate) path: String,
    /// Without the question mark.
    pub(crate) query: Option<String>,
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}{}", self.origin.scheme.name(), self.origin.authority(), self.path)?;
        self.query.as_ref().map_or(Ok(()), |query| write!(f, "?{query}"))
    }
}

impl Url {
    pub(crate) fn parse(text: &str) -> Result<Self> {
        Self::split(text).map_err(|why| Error::invalid("address", text, why))
    }

    fn split(text: &str) -> Result<Self, &'static str> {
        checked(text)?;
        let (scheme, rest) = text.split_once("://").ok_or("it needs http:// or https://")?;
        let scheme = match scheme.to_ascii_lowercase().as_str() {
            "http" => Scheme::Http,
            "https" => Scheme::Https,
            _ => return Err("only http and https are spoken"),
        };
        let rest = rest.split('#').next().unwrap_or_default();
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let origin = authority(scheme, &rest[..end])?;
        let (path, query) = path_and_query(&rest[end..]);
        Ok(Self { origin, path: if path.is_empty() { "/".to_owned() } else { path }, query })
    }

    /// An address from `host[:port]`.
    pub(crate) fn of_host(scheme: Scheme, host: &str) -> Result<Self> {
        checked(host)
            .and_then(|()| authority(scheme, host))
            .map(|origin| Self { origin, path: "/".to_owned(), query: None })
            .map_err(|why| Error::invalid("registry", host, why))
    }

    /// What `location` means on a page with this address.
    pub(crate) fn join(&self, location: &str) -> Result<Self> {
        let invalid = |why| Error::invalid("location", location, why);
        checked(location).map_err(invalid)?;
        if location.is_empty() {
            return Err(invalid("it is empty"));
        }
        if location.starts_with("//") {
            return Self::parse(&format!("{}:{location}", self.origin.scheme.name()));
        }
        let scheme_end = location.find(':').filter(|end| {
            location[..*end].starts_with(|c: char| c.is_ascii_alphabetic())
                && location[..*end].bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b))
        });
        if scheme_end.is_some() {
            return Self::parse(location);
        }
        let location = location.split('#').next().unwrap_or_default();
        let (path, query) = path_and_query(location);
        let path = if path.starts_with('/') {
            path
        } else if path.is_empty() {
            self.path.clone()
        } else {
            let parent = self.path.rfind('/').map_or("", |end| &self.path[..end]);
            format!("{parent}/{path}")
        };
        if path.split('/').any(|part| part == ".." || part == ".") {
            return Err(invalid("it has dots for a component"));
        }
        Ok(Self { origin: self.origin.clone(), path, query })
    }

    /// This address with one more `key=value` in its query; the value is escaped.
    pub(crate) fn with(mut self, key: &str, value: &str) -> Self {
        let query = self.query.get_or_insert_default();
        if !query.is_empty() {
            query.push('&');
        }
        query.push_str(key);
        query.push('=');
        query.push_str(&escape(value));
        self
    }

    /// This address with `more` behind its path.
    pub(crate) fn below(&self, more: &str) -> Self {
        let path = format!("{}/{}", self.path.trim_end_matches('/'), more.trim_start_matches('/'));
        Self { origin: self.origin.clone(), path, query: None }
    }
}

fn checked(text: &str) -> Result<(), &'static str> {
    if text.len() > LONGEST {
        return Err("it is too long");
    }
    if !text.bytes().all(|b| b.is_ascii_graphic() && !b"\"<>\\^`{|}".contains(&b)) {
        return Err("it has characters that no address has");
    }
    Ok(())
}

fn authority(scheme: Scheme, text: &str) -> Result<Origin, &'static str> {
    if text.contains('@') {
        return Err("a user in an address is refused");
    }
    let (host, port) = if let Some(rest) = text.strip_prefix('[') {
        let (v6, rest) = rest.split_once(']').ok_or("a bracket is open")?;
        let v6: Ipv6Addr = v6.parse().map_err(|_| "it has no IPv6 address in its brackets")?;
        let port = match rest {
            "" => None,
            _ => Some(rest.strip_prefix(':').ok_or("a colon is missing before the port")?),
        };
        (format!("[{v6}]"), port)
    } else {
        let (host, port) = match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        };
        let label = |label: &str| {
            !label.is_empty()
                && label.len() <= 63
                && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        };
        if host.len() > 253 || !host.split('.').all(label) {
            return Err("its host is not a host's name");
        }
        (host.to_ascii_lowercase(), port)
    };
    let port = match port {
        None => scheme.port(),
        Some(port) if port.len() <= 5 && !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()) => {
            port.parse().ok().filter(|port| *port != 0).ok_or("its port is out of range")?
        }
        Some(_) => return Err("its port is not a number"),
    };
    Ok(Origin { scheme, host, port })
}

fn path_and_query(text: &str) -> (String, Option<String>) {
    match text.split_once('?') {
        Some((path, query)) => (path.to_owned(), Some(query.to_owned())),
        None => (text.to_owned(), None),
    }
}

/// Percent-encoding of everything but unreserved characters.
pub(crate) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            escaped.push_str(&format!("%{byte:02X}"));
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn addresses() {
        for (text, expected) in [
            ("https://registry-1.docker.io", Some("https://registry-1.docker.io/")),
            ("HTTPS://Host.Example:443/v2/?a=b#c", Some("https://host.example/v2/?a=b")),
            ("http://[::1]:5000/x", Some("http://[::1]:5000/x")),
            ("http://[::0001]/x", Some("http://[::1]/x")),
            ("https://h?x", Some("https://h/?x")),
            ("ftp://h/", None),
            ("https://user:pw@h/", None),
            ("https://h:0/", None),
            ("https://h:65536/", None),
            ("https://h:+1/", None),
            ("https:///x", None),
            ("https://../x", None),
            ("https://h/ x", None),
            ("https://h/\r\nX: y", None),
            ("https://h\\@evil/", None),
        ] {
            assert_eq!(Url::parse(text).ok().map(|url| url.to_string()).as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn joined() {
        let base = Url::parse("https://h:5000/v2/a/blobs/uploads/?x=1").unwrap();
        for (location, expected) in [
            ("/v2/x?y", Some("https://h:5000/v2/x?y")),
            ("z", Some("https://h:5000/v2/a/blobs/uploads/z")),
            ("?n=2", Some("https://h:5000/v2/a/blobs/uploads/?n=2")),
            ("//other/x", Some("https://other/x")),
            ("http://other/x", Some("http://other/x")),
            ("/a/../b", None),
            ("", None),
            ("file:///etc/passwd", None),
        ] {
            assert_eq!(
                base.join(location).ok().map(|url| url.to_string()).as_deref(),
                expected,
                "{location}"
            );
        }
    }

    #[test]
    fn internal_addresses() {
        for (host, internal) in [
            ("169.254.169.254", true),
            ("[fe80::1]", true),
            ("[::ffff:169.254.169.254]", true),
            ("0.0.0.0", true),
            ("2852039166", true),
            ("0xa9fea9fe", true),
            ("0251.0376.0251.0376", true),
            ("10.0.0.1", false),
            ("1password.com", false),
            ("h", false),
        ] {
            let url = Url::of_host(Scheme::Https, host).unwrap();
            assert_eq!(url.origin.is_internal(), internal, "{host}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_an_address_or_refused(text in "(https?://)?[-a-z0-9.:/@?#\\[\\]%_ \\\\]{0,40}|\\PC{0,40}") {
            if let Ok(url) = Url::parse(&text) {
                prop_assert_eq!(Url::parse(&url.to_string()).unwrap(), url.clone());
                prop_assert!(!url.to_string().contains('@') || text.contains("/"));
            }
            let _ = Url::parse("https://h/a").unwrap().join(&text);
        }
    }
}
