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

/// How a user namespace, or an idmapped mount, maps users and groups.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IdMaps {
    /// `uidMappings`.
    pub uid: Vec<IdMap>,
    /// `gidMappings`.
    pub gid: Vec<IdMap>,
}

impl IdMaps {
    /// Takes both lists of the configuration, which must be there both or not at all.
    pub(super) fn new(
        field: &str,
        uid: Option<&[LinuxIdMapping]>,
        gid: Option<&[LinuxIdMapping]>,
    ) -> Result<Self> {
        let maps = Self {
            uid: id_maps(&format!("{field}.uidMappings"), uid)?,
            gid: id_maps(&format!("{field}.gidMappings"), gid)?,
        };
        if maps.uid.is_empty() != maps.gid.is_empty() {
            let missing = if maps.uid.is_empty() { "uidMappings" } else { "gidMappings" };
            return Err(Error::spec(format!("{field}.{missing}"), "is missing: both mappings or none"));
        }
        Ok(maps)
    }

    /// Whether nothing is mapped.
    pub fn is_empty(&self) -> bool {
        self.uid.is_empty() && self.gid.is_empty()
    }

    /// Whether every id is the same on both sides.
    pub fn is_identity(&self) -> bool {
        self.uid.iter().chain(&self.gid).all(|map| map.inside == map.outside)
    }

    /// The host's ids of a user and a group inside, where both are mapped.
    pub fn outside(&self, uid: u32, gid: u32) -> Option<(u32, u32)> {
        let of = |list: &[IdMap], id: u32| {
            list.iter().find_map(|map| {
                id.checked_sub(map.inside).filter(|at| *at < map.count).map(|at| map.outside + at)
            })
        };
        of(&self.uid, uid).zip(of(&self.gid, gid))
    }

    /// The host's ids of the user and group 0 inside.
    pub fn root(&self) -> Option<(u32, u32)> {
        self.outside(0, 0)
    }
}

/// A list as the kernel takes it in `uid_map` and `gid_map`.
pub(crate) fn map_text(list: &[IdMap]) -> String {
    list.iter().map(|map| format!("{} {} {}\n", map.inside, map.outside, map.count)).collect()
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
    /// `linux.uidMappings` and `linux.gidMappings`.
    pub maps: IdMaps,
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
        plan.maps = IdMaps::new("linux", linux.uid_mappings().as_deref(), linux.gid_mappings().as_deref())?;
        if !plan.maps.is_empty() && !seen.contains(Namespaces::USER) {
            return Err(Error::spec("linux.uidMappings", "needs a user namespace"));
        }
        if plan.new.contains(Namespaces::USER) && plan.maps.is_empty() {
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

/// The kernel takes 340 ranges, in one write that is shorter than a page, none of which overlaps another on either side
/// (`user_namespaces(7)`); what it would answer to others is a bare `EINVAL`.
fn id_maps(field: &str, list: Option<&[LinuxIdMapping]>) -> Result<Vec<IdMap>> {
    let list = list.unwrap_or_default();
    if list.len() > 340 {
        return Err(Error::spec(field, format!("has {} entries; the kernel takes 340", list.len())));
    }
    let mut maps: Vec<IdMap> = Vec::with_capacity(list.len());
    for (i, entry) in list.iter().enumerate() {
        let map = IdMap { inside: entry.container_id(), outside: entry.host_id(), count: entry.size() };
        let fits = |first: u32| first.checked_add(map.count).is_some();
        if map.count == 0 || !fits(map.inside) || !fits(map.outside) {
            return Err(Error::spec(format!("{field}[{i}]"), "the range is empty or beyond 32 bits"));
        }
        let meets = |a: u32, other: u32, count: u32| a < other + count && other < a + map.count;
        let clash =
            |m: &IdMap| meets(map.inside, m.inside, m.count) || meets(map.outside, m.outside, m.count);
        if let Some(other) = maps.iter().position(clash) {
            return Err(Error::spec(format!("{field}[{i}]"), format!("overlaps {field}[{other}]")));
        }
        maps.push(map);
    }
    let (bytes, page) = (map_text(&maps).len(), rustix::param::page_size());
    if bytes >= page {
        let reason = format!("is {bytes} bytes as text; the kernel takes less than a page, {page}");
        return Err(Error::spec(field, reason));
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
