//! Which hosts stand for a registry: containerd's `hosts.toml`.

use std::path::{Path, PathBuf};

use crate::url::{Scheme, Url};
use crate::{Error, Result};

/// How long a `hosts.toml` may be.
const LONGEST: u64 = 1 << 20;
/// How many hosts it may have.
const HOSTS: usize = 64;

/// One host to ask, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Host {
    /// Where its API begins, `/v2` with it.
    pub(crate) base: Url,
    /// Whether somebody wrote the scheme down; http is then asked for.
    pub(crate) scheme_given: bool,
    /// Whether it is the registry itself and no mirror.
    pub(crate) is_server: bool,
    pub(crate) pull: bool,
    pub(crate) resolve: bool,
    pub(crate) push: bool,
    pub(crate) skip_verify: bool,
    pub(crate) ca: Vec<PathBuf>,
    /// Certificate chains of ours, and their keys; the key may stand in the same file.
    pub(crate) client: Vec<(PathBuf, PathBuf)>,
    pub(crate) headers: Vec<(String, String)>,
}

impl Host {
    fn new(base: Url, scheme_given: bool, is_server: bool) -> Self {
        Self {
            base,
            scheme_given,
            is_server,
            pull: true,
            resolve: true,
            push: true,
            skip_verify: false,
            ca: Vec::new(),
            client: Vec::new(),
            headers: Vec::new(),
        }
    }
}

/// The hosts of `registry` in the order to ask them; the registry itself is the last.
pub(crate) fn of(dirs: &[PathBuf], registry: &str) -> Result<Vec<Host>> {
    // Also the check that makes `registry` fit for a path: a host has neither a slash nor an empty label.
    let name = Url::of_host(Scheme::Https, registry)?;
    for dir in dirs {
        let host = registry.to_ascii_lowercase();
        let bare = name.origin.host.clone();
        for name in [host.as_str(), bare.as_str(), "_default"] {
            let path = dir.join(name).join("hosts.toml");
            if let Some(text) = read(&path)? {
                let failed = |why| Error::Hosts { path: path.display().to_string(), why };
                return parse(&text, registry, path.parent().unwrap_or(dir)).map_err(failed);
            }
            let mut server = server(registry)?;
            if certificates(&dir.join(name), &mut server)? {
                return Ok(vec![server]);
            }
        }
    }
    Ok(vec![server(registry)?])
}

/// The registry itself, without any `hosts.toml`.
fn server(registry: &str) -> Result<Host> {
    let host = match registry {
        "docker.io" | "index.docker.io" => "registry-1.docker.io",
        other => other,
    };
    Ok(Host::new(Url::of_host(Scheme::Https, host)?.below("v2"), false, true))
}

fn read(path: &Path) -> Result<Option<String>> {
    use std::io::Read as _;
    let failed = |why: String| Error::Hosts { path: path.display().to_string(), why };
    let file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(error)
            if matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory) =>
        {
            return Ok(None);
        }
        Err(error) => return Err(failed(error.to_string())),
    };
    let mut text = String::new();
    file.take(LONGEST + 1).read_to_string(&mut text).map_err(|error| failed(error.to_string()))?;
    if text.len() as u64 > LONGEST {
        return Err(failed("it is longer than 1 MiB".into()));
    }
    Ok(Some(text))
}

/// The hosts of a `hosts.toml` that stands in `dir`.
fn parse(text: &str, registry: &str, dir: &Path) -> Result<Vec<Host>, String> {
    let table: toml::Table = toml::from_str(text).map_err(|error| error.message().to_owned())?;
    let mut hosts = Vec::new();
    if let Some(named) = table.get("host") {
        let named = named.as_table().ok_or("`host` is not a table")?;
        if named.len() > HOSTS {
            return Err(format!("it has more than {HOSTS} hosts"));
        }
        for (address, fields) in named {
            let fields = fields.as_table().ok_or_else(|| format!("host {address:?} is not a table"))?;
            hosts.push(host(address, fields, dir, false)?);
        }
    }
    let last = match table.get("server") {
        None => {
            let mut last = server(registry).map_err(|error| error.to_string())?;
            fill(&mut last, &table, dir)?;
            last
        }
        Some(address) => {
            let address = address.as_str().ok_or("`server` is not a string")?;
            host(address, &table, dir, true)?
        }
    };
    // A server that is listed as a host too has its place and fields there.
    match hosts.iter_mut().find(|host| host.base == last.base) {
        Some(listed) => listed.is_server = true,
        None => hosts.push(last),
    }
    Ok(hosts)
}

fn host(address: &str, fields: &toml::Table, dir: &Path, is_server: bool) -> Result<Host, String> {
    let scheme_given = address.contains("://");
    let full = if scheme_given { address.to_owned() } else { format!("https://{address}") };
    let mut url = Url::parse(&full).map_err(|error| error.to_string())?;
    if url.query.is_some() {
        return Err(format!("host {address:?} has a query"));
    }
    url.path.truncate(url.path.trim_end_matches('/').len());
    if !flag(fields, "override_path")? && !url.path.ends_with("/v2") {
        url = url.below("v2");
    }
    let mut host = Host::new(url, scheme_given, is_server);
    fill(&mut host, fields, dir)?;
    Ok(host)
}

/// The fields that a host and the server have in common.
fn fill(host: &mut Host, fields: &toml::Table, dir: &Path) -> Result<(), String> {
    if let Some(capabilities) = fields.get("capabilities") {
        (host.pull, host.resolve, host.push) = (false, false, false);
        for capability in strings("capabilities", capabilities)? {
            match capability.as_str() {
                "pull" => host.pull = true,
                "resolve" => host.resolve = true,
                "push" => host.push = true,
                other => return Err(format!("capability {other:?} is unknown")),
            }
        }
    }
    host.skip_verify = flag(fields, "skip_verify")?;
    if let Some(client) = fields.get("client") {
        host.client =
            pairs(client)?.into_iter().map(|(chain, key)| (dir.join(chain), dir.join(key))).collect();
    }
    if let Some(ca) = fields.get("ca") {
        host.ca = strings("ca", ca)?.iter().map(|path| dir.join(path)).collect();
    }
    if let Some(headers) = fields.get("header") {
        for (name, values) in headers.as_table().ok_or("`header` is not a table")? {
            let plain =
                !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
            if !plain {
                return Err(format!("header {name:?} has no name of a header"));
            }
            for value in strings("header", values)? {
                if !value.bytes().all(|b| b == b'\t' || (b' '..=b'~').contains(&b)) {
                    return Err(format!("header {name:?} has characters that a header has not"));
                }
                host.headers.push((name.clone(), value));
            }
        }
    }
    Ok(())
}

fn flag(fields: &toml::Table, name: &str) -> Result<bool, String> {
    match fields.get(name) {
        None => Ok(false),
        Some(value) => value.as_bool().ok_or_else(|| format!("`{name}` is neither true nor false")),
    }
}

/// A string, or strings.
fn strings(name: &str, value: &toml::Value) -> Result<Vec<String>, String> {
    let wrong = || format!("`{name}` is neither a string nor a list of strings");
    match value {
        toml::Value::String(text) => Ok(vec![text.clone()]),
        toml::Value::Array(values) => {
            values.iter().map(|value| value.as_str().map(str::to_owned).ok_or_else(wrong)).collect()
        }
        _ => Err(wrong()),
    }
}

/// A file, files, or lists of a certificate and its key.
fn pairs(value: &toml::Value) -> Result<Vec<(String, String)>, String> {
    let wrong = || "`client` is neither a file nor a list of certificates and keys".to_owned();
    let toml::Value::Array(values) = value else {
        let file = value.as_str().ok_or_else(wrong)?;
        return Ok(vec![(file.to_owned(), file.to_owned())]);
    };
    let pair = |value: &toml::Value| {
        let mut files = strings("client", value)?.into_iter();
        match (files.next(), files.next(), files.next()) {
            (Some(chain), None, None) => Ok((chain.clone(), chain)),
            (Some(chain), Some(key), None) if key.is_empty() => Ok((chain.clone(), chain)),
            (Some(chain), Some(key), None) => Ok((chain, key)),
            _ => Err(wrong()),
        }
    };
    values.iter().map(pair).collect()
}

/// The files of docker's `certs.d`: authorities in `*.crt`, and `*.cert` of ours with the same name's `.key`.
fn certificates(dir: &Path, host: &mut Host) -> Result<bool> {
    let failed =
        |error: std::io::Error| Error::Hosts { path: dir.display().to_string(), why: error.to_string() };
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error)
            if matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory) =>
        {
            return Ok(false);
        }
        Err(error) => return Err(failed(error)),
    };
    let mut files = entries
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<Vec<_>, _>>()
        .map_err(failed)?;
    files.sort();
    for file in files {
        match file.extension().and_then(|extension| extension.to_str()) {
            Some("crt") => host.ca.push(file),
            Some("cert") => host.client.push((file.clone(), file.with_extension("key"))),
            _ => {}
        }
    }
    Ok(!host.ca.is_empty() || !host.client.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_registry_itself() {
        for (registry, base) in [
            ("docker.io", "https://registry-1.docker.io/v2"),
            ("ghcr.io", "https://ghcr.io/v2"),
            ("localhost:5000", "https://localhost:5000/v2"),
            ("[::1]:5000", "https://[::1]:5000/v2"),
        ] {
            assert_eq!(of(&[], registry).unwrap()[0].base.to_string(), base);
        }
        for registry in ["", "a/b", "..", "user@host", "a b", "http://x"] {
            assert!(of(&[], registry).is_err(), "{registry}");
        }
    }

    #[test]
    fn mirrors_keep_their_order_and_the_server_is_the_last() {
        let text = r#"
            server = "https://up.example"
            skip_verify = true
            [host."https://z.example"]
              capabilities = ["pull"]
              ca = ["one.pem", "/two.pem"]
              [host."https://z.example".header]
                x-a = ["1", "2"]
            [host."http://a.example:5000/proxy"]
            [host."https://m.example/whole/path"]
              override_path = true
        "#;
        let hosts = parse(text, "docker.io", Path::new("/certs")).unwrap();
        let bases: Vec<String> = hosts.iter().map(|host| host.base.to_string()).collect();
        assert_eq!(
            bases,
            [
                "https://z.example/v2",
                "http://a.example:5000/proxy/v2",
                "https://m.example/whole/path",
                "https://up.example/v2"
            ]
        );
        assert_eq!((hosts[0].pull, hosts[0].resolve, hosts[0].push), (true, false, false));
        assert_eq!(hosts[0].ca, [PathBuf::from("/certs/one.pem"), PathBuf::from("/two.pem")]);
        assert_eq!(hosts[0].headers, [("x-a".into(), "1".into()), ("x-a".into(), "2".into())]);
        assert!(!hosts[0].skip_verify && hosts[3].skip_verify && hosts[3].is_server && hosts[1].push);
    }

    #[test]
    fn a_server_that_is_listed_keeps_its_place() {
        let text = "[host.\"https://h\"]\n[host.\"https://m\"]\ncapabilities = \"pull\"\n";
        let hosts = parse(text, "h", Path::new("/")).unwrap();
        let found: Vec<_> =
            hosts.iter().map(|host| (host.base.origin.host.as_str(), host.is_server)).collect();
        assert_eq!(found, [("h", true), ("m", false)]);
    }

    #[test]
    fn wrong_files_are_refused() {
        for text in [
            "server = 1",
            "server = \"ftp://x\"",
            "[host]\nx = 1",
            "[host.\"https://x\"]\ncapabilities = [\"fly\"]",
            "[host.\"https://x\"]\nskip_verify = \"yes\"",
            "[host.\"https://x\"]\n[host.\"https://x\".header]\nx = \"a\\r\\nb\"",
            "[host.\"https://x\"]\nclient = [[\"a\", \"b\", \"c\"]]",
            "[host.\"https://x\"]\nclient = 1",
            "= ",
        ] {
            assert!(parse(text, "docker.io", Path::new("/")).is_err(), "{text}");
        }
    }

    #[test]
    fn certificates_of_ours() {
        for (client, expected) in [
            ("\"c.pem\"", &[("/d/c.pem", "/d/c.pem")][..]),
            ("[\"a\", \"/b\"]", &[("/d/a", "/d/a"), ("/b", "/b")]),
            ("[[\"a\", \"b\"], [\"c\", \"\"]]", &[("/d/a", "/d/b"), ("/d/c", "/d/c")]),
        ] {
            let hosts = parse(&format!("client = {client}"), "h", Path::new("/d")).unwrap();
            let expected: Vec<_> =
                expected.iter().map(|(a, b)| (PathBuf::from(a), PathBuf::from(b))).collect();
            assert_eq!(hosts[0].client, expected, "{client}");
        }
        let dir = tempfile::tempdir().unwrap();
        let own = dir.path().join("h");
        std::fs::create_dir(&own).unwrap();
        for name in ["b.crt", "a.crt", "me.cert", "me.key"] {
            std::fs::write(own.join(name), "").unwrap();
        }
        let hosts = of(&[dir.path().into()], "h").unwrap();
        assert_eq!(hosts[0].ca, [own.join("a.crt"), own.join("b.crt")]);
        assert_eq!(hosts[0].client, [(own.join("me.cert"), own.join("me.key"))]);
    }

    #[test]
    fn the_directory_of_the_host_comes_before_the_default() {
        let dir = tempfile::tempdir().unwrap();
        let put = |name: &str, server: &str| {
            std::fs::create_dir_all(dir.path().join(name)).unwrap();
            std::fs::write(dir.path().join(name).join("hosts.toml"), format!("server = {server:?}")).unwrap();
        };
        let first = |registry: &str| of(&[dir.path().into()], registry).unwrap()[0].base.origin.host.clone();
        assert_eq!(first("h.example:5000"), "h.example");
        put("_default", "https://default");
        assert_eq!(first("h.example:5000"), "default");
        put("h.example", "https://bare");
        assert_eq!(first("h.example:5000"), "bare");
        put("h.example:5000", "https://full");
        assert_eq!(first("h.example:5000"), "full");
    }

    proptest! {
        #[test]
        fn any_text_is_hosts_or_refused(text in "\\PC{0,200}|(server|host|ca|header|=|\\[|\\]|\"|\n|https://x|true|\\.| ){0,40}") {
            if let Ok(hosts) = parse(&text, "docker.io", Path::new("/")) {
                prop_assert!(!hosts.is_empty());
            }
        }
    }
}
