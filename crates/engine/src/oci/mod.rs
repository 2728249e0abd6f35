//! From what a user asked for and what the image says to an OCI runtime configuration (`config.json`).
//!
//! Pure: everything that depends on the host was looked up before and comes in as [`Facts`].

mod mounts;
mod process;
mod resources;
mod security;

use std::path::PathBuf;

use serde_json::{Value, json};

use crate::spec::{ContainerSpec, NamespaceMode, NetworkMode, Profile, Ulimit, UserNamespace};
use crate::{ContainerId, Error, Result};

pub(crate) use mounts::{ReadyMount, ReadySource};
pub(crate) use process::{Merged, merge, set_env};
pub(crate) use resources::controllers;
pub(crate) use security::default_filter;

/// First host id of the range that a container with users of its own gets: far above what people, distributions and
/// `/etc/subuid` hand out by default, and below the ids that need 32 signed bits.
const USER_RANGE_BASE: u64 = 1_500_000_000;
/// Ids in a range.
const USER_RANGE: u64 = 65_536;
/// Ranges; which one is a container's follows from its id, so that two rarely share one and nothing has to be recorded.
const USER_RANGES: u64 = 8192;

/// What was found out about host, image and mounts.
#[derive(Debug, Default)]
pub(crate) struct Facts {
    /// Mounts with their sources made, in the user's order.
    pub mounts: Vec<ReadyMount>,
    /// The host name, if the container has one of its own.
    pub hostname: Option<String>,
    /// Devices to be made, with their numbers.
    pub devices: Vec<Device>,
    /// The container's directory, where `hosts`, `resolv.conf` and `hostname` stand; none where it has no such files.
    pub files: Option<PathBuf>,
    /// The capabilities that can be given at all.
    pub possible: linux::CapSet,
    /// The limits of processes where nobody says, as far as this host can give them.
    pub default_limits: Vec<Ulimit>,
}

/// A device node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Device {
    pub path: String,
    /// `c` or `b`.
    pub kind: char,
    pub major: u32,
    pub minor: u32,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    /// Letters of `rwm`.
    pub access: String,
}

/// Whether the container gets users of its own.
pub(crate) fn own_users(spec: &ContainerSpec) -> bool {
    match spec.namespaces.user {
        UserNamespace::Host => false,
        UserNamespace::Auto => true,
        // As SECURITY.md 3a: not where it would take away what was asked for.
        UserNamespace::Profile => {
            spec.security.profile == Profile::Hardened
                && !spec.security.privileged
                && !shares_hosts(spec)
                && !shares(spec)
        }
    }
}

fn shares_hosts(spec: &ContainerSpec) -> bool {
    spec.network == NetworkMode::Host
        || spec.namespaces.pid == NamespaceMode::Host
        || spec.namespaces.ipc == NamespaceMode::Host
}

fn shares(spec: &ContainerSpec) -> bool {
    let other = |mode: &NamespaceMode| matches!(mode, NamespaceMode::Container(_));
    matches!(spec.network, NetworkMode::Container(_))
        || other(&spec.namespaces.pid)
        || other(&spec.namespaces.ipc)
}

/// A network namespace is made for the container.
pub(crate) fn own_network(spec: &ContainerSpec) -> bool {
    spec.network == NetworkMode::None
}

/// The whole configuration.
pub(crate) fn config(
    id: &ContainerId,
    spec: &ContainerSpec,
    merged: &Merged,
    facts: &Facts,
    cgroup: &str,
) -> Result<Value> {
    let mut linux = json!({
        "namespaces": namespaces(spec),
        "cgroupsPath": cgroup,
        "resources": resources::resources(spec, facts)?,
        "sysctl": resources::sysctls(spec)?,
        "devices": facts.devices.iter().map(node).collect::<Vec<_>>(),
        "rootfsPropagation": mounts::root_propagation(spec),
        "maskedPaths": security::masked(&spec.security),
        "readonlyPaths": security::read_only(&spec.security),
    });
    let caps = security::capabilities(&spec.security, facts.possible)?;
    if let Some(filter) = security::filter(&spec.security, caps)? {
        linux["seccomp"] = filter;
    }
    if own_users(spec) {
        let map = user_map(id);
        linux["uidMappings"] = map.clone();
        linux["gidMappings"] = map;
    }
    let mut config = json!({
        "ociVersion": "1.2.0",
        "process": process::process(spec, merged, facts, caps)?,
        "root": { "path": "rootfs", "readonly": spec.read_only },
        "mounts": mounts::mounts(spec, facts)?,
        "linux": linux,
    });
    if let Some(name) = &facts.hostname {
        config["hostname"] = name.as_str().into();
    }
    if let Some(name) = &spec.domainname {
        config["domainname"] = name.as_str().into();
    }
    Ok(config)
}

/// The runtime adds the path of a namespace that is another container's at each start (`monitor::Task::join`).
fn namespaces(spec: &ContainerSpec) -> Vec<Value> {
    let modes = &spec.namespaces;
    let mut kinds = vec!["mount"];
    let mut unless_host = |mode: &NamespaceMode, kind| {
        if *mode != NamespaceMode::Host {
            kinds.push(kind);
        }
    };
    unless_host(&modes.pid, "pid");
    unless_host(&modes.ipc, "ipc");
    unless_host(&modes.uts, "uts");
    unless_host(&modes.cgroup, "cgroup");
    if spec.network != NetworkMode::Host {
        kinds.push("network");
    }
    // The host's clocks cannot be set through it, and its boot time is not told.
    if !spec.security.privileged {
        kinds.push("time");
    }
    if own_users(spec) {
        kinds.push("user");
    }
    kinds.into_iter().map(|kind| json!({ "type": kind })).collect()
}

fn user_map(id: &ContainerId) -> Value {
    let range = u64::from_str_radix(&id.as_str()[..8], 16).unwrap_or(0) % USER_RANGES;
    json!([{ "containerID": 0, "hostID": USER_RANGE_BASE + range * USER_RANGE, "size": USER_RANGE }])
}

fn node(device: &Device) -> Value {
    json!({
        "path": device.path, "type": device.kind.to_string(), "major": device.major, "minor": device.minor,
        "fileMode": device.mode, "uid": device.uid, "gid": device.gid,
    })
}

/// Combinations that docker refuses, too.
pub(crate) fn check(spec: &ContainerSpec) -> Result<()> {
    let refuse = |text: &str| Err(Error::Request(format!("conflicting options: {text}")));
    if spec.hostname.is_some() || spec.domainname.is_some() {
        if spec.namespaces.uts == NamespaceMode::Host {
            return refuse("hostname and the UTS mode");
        }
        if matches!(spec.network, NetworkMode::Container(_)) {
            return refuse("hostname and the network mode");
        }
    }
    if spec.auto_remove && spec.restart.policy != monitor::RestartOn::No {
        return Err(Error::Request("can't create 'AutoRemove' container with restart policy".into()));
    }
    if spec.namespaces.user == UserNamespace::Auto && spec.security.privileged {
        return refuse("a privileged container has the host's users");
    }
    // Its root may mount neither procfs nor the message queues of a namespace that is not its users'.
    if spec.namespaces.user == UserNamespace::Auto && (shares_hosts(spec) || shares(spec)) {
        return refuse("a container with users of its own cannot share the namespaces of others");
    }
    if spec.security.seccomp == crate::spec::SeccompSpec::Unconfined
        && spec.security.profile == Profile::Hardened
    {
        return refuse("the hardened profile and no system call filter");
    }
    resources::check(&spec.resources)
}

#[cfg(test)]
mod tests;
