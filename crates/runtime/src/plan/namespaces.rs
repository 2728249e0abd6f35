//! `linux.namespaces`, id mappings and time offsets.

use std::path::PathBuf;

use linux::Namespaces;
use oci_spec::runtime::{Linux, LinuxIdMapping, LinuxNamespaceType};

use super::{absolute, budget};
use crate::{Error, Result};

/// One line of `uid_map` or `gid_map`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdMap {
    /// First id inside.
    pub inside: u32,
    /// First id outside.
    pub outside: u32,
    /// How many.
    pub count: u32,
}

/// An offset of a time namespace's clock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimeOffset {
    /// `monotonic` or `boottime`.
    pub clock: String,
    /// Seconds, may be negative.
    pub secs: i64,
    /// Nanoseconds, below 10^9.
    pub nanosecs: u32,
}

/// Which namespaces a container gets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NamespacePlan {
    /// Made anew.
    pub new: Namespaces,
    /// Joined by path, in the order of joining.
    pub join: Vec<(Namespaces, PathBuf)>,
    /// `linux.uidMappings`.
    pub uid_map: Vec<IdMap>,
    /// `linux.gidMappings`.
    pub gid_map: Vec<IdMap>,
    /// `linux.timeOffsets`.
    pub time_offsets: Vec<TimeOffset>,
}

impl NamespacePlan {
    pub(super) fn new(linux: &Linux) -> Result<Self> {
        let mut plan = Self::default();
        let mut seen = Namespaces::EMPTY;
        let list = linux.namespaces().as_deref().unwrap_or_default();
        budget("linux.namespaces", list.len())?;
        for (i, entry) in list.iter().enumerate() {
            let kind = kind(entry.typ());
            if seen.contains(kind) {
                return Err(Error::spec(format!("linux.namespaces[{i}]"), "this type is listed twice"));
            }
            seen |= kind;
            match entry.path().as_ref().filter(|p| !p.as_os_str().is_empty()) {
                Some(path) => {
                    absolute(&format!("linux.namespaces[{i}].path"), path)?;
                    plan.join.push((kind, path.clone()));
                }
                None => plan.new |= kind,
            }
        }
        if !seen.contains(Namespaces::MOUNT) {
            return Err(Error::spec(
                "linux.namespaces",
                "must have a mount namespace: a container has its own root",
            ));
        }
        plan.join.sort_by_key(|(kind, _)| Namespaces::ALL.iter().position(|k| k == kind));
        plan.uid_map = id_maps("linux.uidMappings", linux.uid_mappings().as_deref())?;
        plan.gid_map = id_maps("linux.gidMappings", linux.gid_mappings().as_deref())?;
        let mapped = !plan.uid_map.is_empty() || !plan.gid_map.is_empty();
        if mapped && !seen.contains(Namespaces::USER) {
            return Err(Error::spec("linux.uidMappings", "needs a user namespace"));
        }
        if plan.new.contains(Namespaces::USER) && (plan.uid_map.is_empty() || plan.gid_map.is_empty()) {
            return Err(Error::spec(
                "linux.uidMappings",
                "a new user namespace needs uidMappings and gidMappings",
            ));
        }
        plan.time_offsets = time_offsets(linux, plan.new)?;
        Ok(plan)
    }

    /// Whether the container has its own namespace of this kind, new or joined.
    pub fn has(&self, kind: Namespaces) -> bool {
        self.new.contains(kind) || self.join.iter().any(|(k, _)| *k == kind)
    }

    /// Whether there is a user namespace.
    pub fn user(&self) -> bool {
        self.has(Namespaces::USER)
    }
}

fn kind(typ: LinuxNamespaceType) -> Namespaces {
    match typ {
        LinuxNamespaceType::Mount => Namespaces::MOUNT,
        LinuxNamespaceType::Cgroup => Namespaces::CGROUP,
        LinuxNamespaceType::Uts => Namespaces::UTS,
        LinuxNamespaceType::Ipc => Namespaces::IPC,
        LinuxNamespaceType::User => Namespaces::USER,
        LinuxNamespaceType::Pid => Namespaces::PID,
        LinuxNamespaceType::Network => Namespaces::NET,
        LinuxNamespaceType::Time => Namespaces::TIME,
    }
}

/// The kernel takes 340 lines (`user_namespaces(7)`).
fn id_maps(field: &str, list: Option<&[LinuxIdMapping]>) -> Result<Vec<IdMap>> {
    let list = list.unwrap_or_default();
    if list.len() > 340 {
        return Err(Error::spec(field, format!("has {} entries; the kernel takes 340", list.len())));
    }
    let mut maps = Vec::with_capacity(list.len());
    for (i, entry) in list.iter().enumerate() {
        let map = IdMap { inside: entry.container_id(), outside: entry.host_id(), count: entry.size() };
        let fits = |first: u32| first.checked_add(map.count).is_some();
        if map.count == 0 || !fits(map.inside) || !fits(map.outside) {
            return Err(Error::spec(format!("{field}[{i}]"), "the range is empty or beyond 32 bits"));
        }
        maps.push(map);
    }
    Ok(maps)
}

fn time_offsets(linux: &Linux, new: Namespaces) -> Result<Vec<TimeOffset>> {
    let Some(offsets) = linux.time_offsets().as_ref().filter(|o| !o.is_empty()) else {
        return Ok(Vec::new());
    };
    if !new.contains(Namespaces::TIME) {
        return Err(Error::spec("linux.timeOffsets", "needs a new time namespace"));
    }
    let mut list = Vec::new();
    for (clock, offset) in offsets {
        let nanosecs = offset.nanosecs().unwrap_or(0);
        if !matches!(clock.as_str(), "monotonic" | "boottime") || nanosecs >= 1_000_000_000 {
            return Err(Error::spec(
                format!("linux.timeOffsets.{clock}"),
                "the clock must be monotonic or boottime, nanosecs below 10^9",
            ));
        }
        list.push(TimeOffset { clock: clock.clone(), secs: offset.secs().unwrap_or(0), nanosecs });
    }
    list.sort_by(|a, b| a.clock.cmp(&b.clock));
    Ok(list)
}
