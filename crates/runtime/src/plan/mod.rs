//! From an OCI configuration to a [`Plan`]: validated, in the kernel's own terms, without touching the system.

mod devices;
mod mounts;
mod namespaces;
mod process;
mod resources;
mod sysctl;

use std::path::{Component, Path, PathBuf};

use linux::{Namespaces, Propagation};
use oci_spec::runtime::{Hooks, Linux, Process, Spec};

use crate::{Error, Result};

pub use devices::{Device, default_devices};
pub use mounts::{Mount, MountIdmap, MountKind};
pub(crate) use namespaces::map_text;
pub use namespaces::{IdMap, IdMaps, NamespacePlan, TimeOffset};
pub use process::{CapPlan, ProcessPlan, Rlimit};
pub use resources::limits;

/// The most entries that any list of the configuration may have; runc's own lists are far below.
const MAX_ENTRIES: usize = 4096;

/// Everything that a start of a container does, decided.
#[derive(Debug)]
pub struct Plan {
    /// Which namespaces are made, joined, and how the user namespace maps ids.
    pub namespaces: NamespacePlan,
    /// `root.readonly`.
    pub read_only_root: bool,
    /// `linux.rootfsPropagation`.
    pub root_propagation: Option<Propagation>,
    /// `mounts`, in order.
    pub mounts: Vec<Mount>,
    /// The default devices and `linux.devices`.
    pub devices: Vec<Device>,
    /// Whether device nodes and links are made: not when `/dev` is a bind mount.
    pub setup_dev: bool,
    /// `linux.maskedPaths`.
    pub masked: Vec<PathBuf>,
    /// `linux.readonlyPaths`.
    pub read_only: Vec<PathBuf>,
    /// `linux.sysctl`, as paths under `/proc/sys` and values.
    pub sysctl: Vec<(String, String)>,
    /// `hostname`.
    pub hostname: Option<String>,
    /// `domainname`.
    pub domainname: Option<String>,
    /// `linux.cgroupsPath`.
    pub cgroup_path: Option<PathBuf>,
    /// `linux.resources`.
    pub limits: cgroup::Limits,
    /// `process`.
    pub process: ProcessPlan,
    /// `hooks`.
    pub hooks: Option<Hooks>,
    /// What was asked for and is ignored, for the user.
    pub warnings: Vec<String>,
}

impl Plan {
    /// Checks a configuration and turns it into a plan. Reads no file and changes nothing.
    ///
    /// # Errors
    /// [`Error::Spec`] naming the field.
    pub fn new(spec: &Spec) -> Result<Self> {
        check_version(spec.version())?;
        let linux = spec.linux().clone().unwrap_or_default();
        let process = spec.process().as_ref().ok_or_else(|| Error::spec("process", "is missing"))?;
        let mut warnings = Vec::new();
        not_built_in(process, &linux, &mut warnings)?;
        let namespaces = NamespacePlan::new(&linux)?;
        let mounts = mounts::plan(spec.mounts().as_deref().unwrap_or_default(), &namespaces, &mut warnings)?;
        let devices = devices::plan(linux.devices().as_deref().unwrap_or_default())?;
        let setup_dev = !mounts.iter().any(|m| {
            m.destination.as_path() == Path::new("/dev") && matches!(m.kind, MountKind::Bind { .. })
        });
        let process = ProcessPlan::new(process, linux.personality().as_ref(), &mut warnings)?;
        if process.terminal && !mounts.iter().any(|m| m.is_devpts()) {
            return Err(Error::spec("process.terminal", "needs a devpts mount in mounts"));
        }
        check_names(spec, &namespaces)?;
        Ok(Self {
            sysctl: sysctl::plan(linux.sysctl().as_ref(), &namespaces)?,
            read_only_root: spec.root().as_ref().is_some_and(|r| r.readonly().unwrap_or(false)),
            root_propagation: root_propagation(linux.rootfs_propagation().as_deref())?,
            masked: paths("linux.maskedPaths", linux.masked_paths().as_deref())?,
            read_only: paths("linux.readonlyPaths", linux.readonly_paths().as_deref())?,
            hostname: spec.hostname().clone().filter(|s| !s.is_empty()),
            domainname: spec.domainname().clone().filter(|s| !s.is_empty()),
            cgroup_path: linux.cgroups_path().clone().filter(|p| !p.as_os_str().is_empty()),
            limits: resources::limits(linux.resources().as_ref(), true)?,
            hooks: spec.hooks().clone(),
            namespaces,
            mounts,
            devices,
            setup_dev,
            process,
            warnings,
        })
    }
}

/// What the specification has and this runtime has not: a promise that cannot be kept is refused, advice is not followed
/// with a warning.
fn not_built_in(process: &Process, linux: &Linux, warnings: &mut Vec<String>) -> Result<()> {
    let promises = [
        ("linux.intelRdt", linux.intel_rdt().is_some()),
        ("linux.netDevices", linux.net_devices().as_ref().is_some_and(|devices| !devices.is_empty())),
        ("linux.memoryPolicy", linux.memory_policy().is_some()),
    ];
    if let Some((field, _)) = promises.iter().find(|(_, asked)| *asked) {
        return Err(Error::spec(*field, "is not built in yet"));
    }
    let advice = [
        ("linux.mountLabel", linux.mount_label().as_ref().is_some_and(|label| !label.is_empty())),
        ("process.execCPUAffinity", process.exec_cpu_affinity().is_some()),
    ];
    let ignored = advice.iter().filter(|(_, asked)| *asked);
    warnings.extend(ignored.map(|(field, _)| format!("{field} is not built in yet, and was ignored")));
    Ok(())
}

/// Runtime-spec 1.0 to 1.3: later minor versions may add meaning that would be ignored silently.
fn check_version(version: &str) -> Result<()> {
    let mut numbers = version.split(['.', '-', '+']);
    let major = numbers.next().and_then(|n| n.parse::<u32>().ok());
    let minor = numbers.next().and_then(|n| n.parse::<u32>().ok());
    match (major, minor) {
        (Some(1), Some(0..=3)) => Ok(()),
        _ => Err(Error::spec("ociVersion", format!("{version:?} is not 1.0 to 1.3"))),
    }
}

fn check_names(spec: &Spec, namespaces: &NamespacePlan) -> Result<()> {
    for (field, name) in [("hostname", spec.hostname()), ("domainname", spec.domainname())] {
        let Some(name) = name.as_deref().filter(|n| !n.is_empty()) else { continue };
        if !namespaces.has(Namespaces::UTS) {
            return Err(Error::spec(field, "needs a uts namespace, else it would change the host's"));
        }
        if name.len() > 64 || name.bytes().any(|b| b.is_ascii_control()) {
            return Err(Error::spec(field, "must be at most 64 bytes without control characters"));
        }
    }
    Ok(())
}

fn root_propagation(name: Option<&str>) -> Result<Option<Propagation>> {
    let Some(name) = name.filter(|n| !n.is_empty()) else { return Ok(None) };
    Ok(Some(match name.strip_prefix('r').filter(|n| *n != "ivate").unwrap_or(name) {
        "shared" => Propagation::Shared,
        "slave" => Propagation::Slave,
        "private" => Propagation::Private,
        "unbindable" => Propagation::Unbindable,
        _ => {
            return Err(Error::spec(
                "linux.rootfsPropagation",
                format!("{name:?} is none of shared, slave, private, unbindable"),
            ));
        }
    }))
}

fn paths(field: &str, list: Option<&[String]>) -> Result<Vec<PathBuf>> {
    let list = list.unwrap_or_default();
    budget(field, list.len())?;
    list.iter().enumerate().map(|(i, p)| absolute(&format!("{field}[{i}]"), Path::new(p))).collect()
}

/// An absolute path without NUL; `.` and `..` are resolved as text, as for a path that begins at a root.
fn absolute(field: &str, path: &Path) -> Result<PathBuf> {
    if !path.is_absolute() {
        return Err(Error::spec(field, format!("{path:?} must be an absolute path")));
    }
    if path.as_os_str().len() > 4095 || path.as_os_str().as_encoded_bytes().contains(&0) {
        return Err(Error::spec(field, "has a NUL byte or is longer than 4095 bytes"));
    }
    let mut clean = PathBuf::from("/");
    for part in path.components() {
        match part {
            Component::Normal(name) => clean.push(name),
            Component::ParentDir => {
                clean.pop();
            }
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    Ok(clean)
}

/// Refuses a list that is longer than any honest one.
fn budget(field: &str, len: usize) -> Result<()> {
    if len > MAX_ENTRIES {
        return Err(Error::spec(field, format!("has {len} entries; at most {MAX_ENTRIES} are accepted")));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
