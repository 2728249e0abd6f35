//! Capabilities, the system call filter, and what is hidden (SECURITY.md 3a).

use std::collections::BTreeSet;

use linux::CapSet;
use oci_spec::runtime::LinuxSeccomp;
use seccomp::{Arch, DockerProfile, KernelVersion, ProfileSet};
use serde_json::Value;

use crate::spec::{Profile, SeccompSpec, Security};
use crate::{Error, Result};

/// What ordinary images need: sshd, postfix and package managers work with these.
const CAPS: &[&str] = &[
    "CHOWN",
    "DAC_OVERRIDE",
    "FSETID",
    "FOWNER",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "NET_BIND_SERVICE",
    "KILL",
    "SYS_CHROOT",
];
/// docker's.
const DOCKER_CAPS: &[&str] = &[
    "CHOWN",
    "DAC_OVERRIDE",
    "FSETID",
    "FOWNER",
    "MKNOD",
    "NET_RAW",
    "SETGID",
    "SETUID",
    "SETFCAP",
    "SETPCAP",
    "NET_BIND_SERVICE",
    "SYS_CHROOT",
    "KILL",
    "AUDIT_WRITE",
];

/// Hidden by docker.
const DOCKER_MASKED: &[&str] = &[
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
];
/// Hidden in addition: kernel addresses, messages and allocators, and the file systems that show other processes' doings.
const MORE_MASKED: &[&str] = &[
    "/proc/config.gz",
    "/proc/kallsyms",
    "/proc/kmsg",
    "/proc/pagetypeinfo",
    "/proc/slabinfo",
    "/proc/vmallocinfo",
    "/sys/fs/bpf",
    "/sys/fs/selinux",
    "/sys/kernel/debug",
    "/sys/kernel/security",
    "/sys/kernel/tracing",
];
/// Kept from being written.
const READ_ONLY: &[&str] = &["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// The capabilities the container's root has. `possible` are those that this process could give.
pub(crate) fn capabilities(security: &Security, possible: CapSet) -> Result<CapSet> {
    if security.privileged {
        return Ok(possible);
    }
    let base = if security.profile == Profile::Docker { DOCKER_CAPS } else { CAPS };
    let mut set = CapSet::EMPTY;
    if security.cap_drop.iter().any(|name| is_all(name)) {
        // Only what is added by name is left.
    } else if security.cap_add.iter().any(|name| is_all(name)) {
        set = possible;
    } else {
        for name in base {
            set = set.or(capability(name)?);
        }
    }
    for name in security.cap_add.iter().filter(|name| !is_all(name)) {
        set = set.or(capability(name)?);
    }
    for name in security.cap_drop.iter().filter(|name| !is_all(name)) {
        set = set.without(capability(name)?);
    }
    Ok(set)
}

fn is_all(name: &str) -> bool {
    name.eq_ignore_ascii_case("ALL") || name.eq_ignore_ascii_case("CAP_ALL")
}

fn capability(name: &str) -> Result<CapSet> {
    let upper = name.to_ascii_uppercase();
    let whole = if upper.starts_with("CAP_") { upper } else { format!("CAP_{upper}") };
    CapSet::from_name(&whole)
        .ok_or_else(|| Error::invalid("capability", name, "the kernel has none of this name"))
}

fn native() -> Result<Arch> {
    Arch::NATIVE.ok_or_else(|| Error::Unsupported {
        what: "a system call filter".into(),
        why: "its tables do not know this machine; use --security-opt seccomp=unconfined".into(),
    })
}

/// The built-in filter; none for no filter, and where the user has brought one.
pub(crate) fn default_filter(security: &Security) -> Result<Option<ProfileSet>> {
    if security.seccomp != SeccompSpec::Default || security.privileged {
        return Ok(None);
    }
    native()?;
    let docker = security.profile == Profile::Docker;
    Ok(Some(if docker { ProfileSet::Docker } else { ProfileSet::Sampan }))
}

/// The user's own filter, in OCI's form.
pub(super) fn filter(security: &Security, caps: CapSet) -> Result<Option<Value>> {
    let SeccompSpec::Custom(text) = &security.seccomp else { return Ok(None) };
    let names: BTreeSet<String> = caps.names().into_iter().collect();
    let kernel = KernelVersion::running().unwrap_or(KernelVersion { version: 5, major: 15 });
    let profile = DockerProfile::parse(text.as_bytes())?.resolve(&names, native()?, kernel)?;
    let oci = LinuxSeccomp::try_from(&profile)?;
    serde_json::to_value(oci).map(Some).map_err(|error| Error::Request(error.to_string()))
}

/// Hidden paths.
pub(super) fn masked(security: &Security) -> Vec<&'static str> {
    if security.privileged || security.unmasked {
        return Vec::new();
    }
    let more: &[&str] = if security.profile == Profile::Docker { &[] } else { MORE_MASKED };
    DOCKER_MASKED.iter().chain(more).copied().collect()
}

/// Paths that cannot be written.
pub(super) fn read_only(security: &Security) -> Vec<&'static str> {
    if security.privileged || security.unmasked { Vec::new() } else { READ_ONLY.to_vec() }
}

/// The label of the container's processes: SELinux' container policy with the parts asked for; none where nobody asked.
pub(super) fn selinux_label(security: &Security) -> Option<String> {
    if security.label.is_empty() || security.label.iter().any(|part| part == "disable") {
        return None;
    }
    let part = |name: &str, default: &str| {
        let found = security.label.iter().rev().find_map(|part| part.strip_prefix(name)?.strip_prefix(':'));
        found.unwrap_or(default).to_owned()
    };
    let parts = [
        part("user", "system_u"),
        part("role", "system_r"),
        part("type", "container_t"),
        part("level", "s0"),
    ];
    Some(parts.join(":"))
}
