//! `hosts`, `resolv.conf` and `hostname` of a container, which are mounted into its `/etc`.

use std::fmt::Write;
use std::net::IpAddr;
use std::path::Path;

use rustix::fs::CWD;

use crate::spec::{ContainerSpec, NamespaceMode, NetworkMode};
use crate::{ContainerId, Engine, Error, Result, files};

/// Most bytes of a file of the host's that is copied.
const MAX_FILE: usize = 1 << 20;
const LOCALHOST: &str = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nfe00::\tip6-localnet\n\
                         ff00::\tip6-mcastprefix\nff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n";

/// The container's host name: its own, the host's on the host's network, another container's on its network.
pub(crate) fn hostname(engine: &Engine, id: &ContainerId, spec: &ContainerSpec) -> Result<Option<String>> {
    if let Some(name) = &spec.hostname {
        check_hostname(name)?;
        return Ok(Some(name.clone()));
    }
    let host = || rustix::system::uname().nodename().to_string_lossy().into_owned();
    match (&spec.namespaces.uts, &spec.network) {
        (NamespaceMode::Host, _) | (_, NetworkMode::Host) => Ok(Some(host())),
        (NamespaceMode::Container(_), _) => Ok(None),
        (NamespaceMode::Private, NetworkMode::Container(other)) => {
            let config = engine.config(&other.parse()?)?;
            Ok(config["hostname"].as_str().map(str::to_owned))
        }
        (NamespaceMode::Private, NetworkMode::None) => Ok(Some(id.short().to_owned())),
    }
}

/// It becomes a line of files, so it must not be able to begin another one.
fn check_hostname(name: &str) -> Result<()> {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    if !name.is_empty() && name.len() <= 64 && name.bytes().all(good) {
        return Ok(());
    }
    Err(Error::invalid("hostname", name, "it must be 1 to 64 letters, digits, `-`, `.` and `_`"))
}

/// Writes the three files into a new container's directory.
pub(crate) fn write(dir: &Path, spec: &ContainerSpec, hostname: Option<&str>) -> Result<()> {
    let host_network = spec.network == NetworkMode::Host;
    let mut hosts = if host_network { of_host("/etc/hosts")? } else { LOCALHOST.to_owned() };
    if !hosts.is_empty() && !hosts.ends_with('\n') {
        hosts.push('\n');
    }
    let mut line = |address: &dyn std::fmt::Display, name: &str| {
        // Writing to a String cannot fail.
        let _ = writeln!(hosts, "{address}\t{name}");
    };
    if let (false, Some(name)) = (host_network, hostname) {
        line(&"127.0.1.1", name);
    }
    for (name, address) in &spec.extra_hosts {
        check_hostname(name)?;
        let parsed: IpAddr = address
            .parse()
            .map_err(|_| Error::invalid("add-host address", address, "it must be an IPv4 or IPv6 address"))?;
        line(&parsed, name);
    }
    // World-readable: the container's users read them.
    files::write_new_bytes(dir, "hosts", hosts.as_bytes(), 0o644)?;
    files::write_new_bytes(dir, "resolv.conf", of_host("/etc/resolv.conf")?.as_bytes(), 0o644)?;
    files::write_new_bytes(dir, "hostname", format!("{}\n", hostname.unwrap_or_default()).as_bytes(), 0o644)
}

fn of_host(path: &str) -> Result<String> {
    // The host's own file, which may be a link.
    let real = match std::fs::canonicalize(path) {
        Ok(real) => real,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(String::new()),
        Err(error) => return Err(Error::file("find", path)(error)),
    };
    Ok(String::from_utf8_lossy(&linux::tree::read_small(CWD, &real, MAX_FILE)?).into_owned())
}
