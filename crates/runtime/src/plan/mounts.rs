//! `mounts`: the option words of runtime-spec config.md ("Linux mount options") as attributes and data.

use std::path::{Path, PathBuf};

use linux::Propagation;
use oci_spec::runtime::Mount as SpecMount;
use rustix::mount::MountAttrFlags;

use super::{IdMaps, NamespacePlan, absolute, budget};
use crate::{Error, Result};

/// One mount of the container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// Where, inside the root.
    pub destination: PathBuf,
    /// What.
    pub kind: MountKind,
    /// Attributes to set on the mount.
    pub set: MountAttrFlags,
    /// Attributes to clear (a bind mount inherits its source's).
    pub clear: MountAttrFlags,
    /// Attributes to set on the mount and everything below (`rro`, `rnosuid`, ...).
    pub set_recursive: MountAttrFlags,
    /// Attributes to clear likewise.
    pub clear_recursive: MountAttrFlags,
    /// How events pass, and whether that is for the tree below too.
    pub propagation: Option<(Propagation, bool)>,
    /// `tmpcopyup`: fill a tmpfs with what it hides.
    pub copy_up: bool,
    /// `idmap`, `ridmap`: show owners through a mapping.
    pub idmap: Option<MountIdmap>,
}

/// How a mount maps the owners of its files (config.md, "Linux mount options": `idmap`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountIdmap {
    /// `uidMappings` and `gidMappings` of the mount: what is owned by `inside` on the filesystem is owned by `outside`, as
    /// the host numbers ids, in the mount. Empty: the mapping of the container's user namespace.
    pub maps: IdMaps,
    /// The mounts below it too.
    pub recursive: bool,
}

/// What is mounted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MountKind {
    /// A copy of a host path's mount.
    Bind {
        /// The host path; a relative one is under the bundle.
        source: PathBuf,
        /// With the mounts below it.
        recursive: bool,
    },
    /// The container's view of its own cgroups.
    Cgroup,
    /// A new instance of a filesystem.
    Filesystem {
        /// Its type.
        fs_type: String,
        /// Its source, which most types ignore.
        source: Option<String>,
        /// Its keys and values, in order.
        data: Vec<(String, Option<String>)>,
    },
}

impl Mount {
    /// Whether it is the pseudo-terminals' filesystem.
    pub fn is_devpts(&self) -> bool {
        matches!(&self.kind, MountKind::Filesystem { fs_type, .. } if fs_type == "devpts")
    }

    /// The filesystem's type as people write it.
    pub fn type_name(&self) -> &str {
        match &self.kind {
            MountKind::Bind { .. } => "bind",
            MountKind::Cgroup => "cgroup",
            MountKind::Filesystem { fs_type, .. } => fs_type,
        }
    }
}

pub(super) fn plan(
    list: &[SpecMount],
    namespaces: &NamespacePlan,
    warnings: &mut Vec<String>,
) -> Result<Vec<Mount>> {
    budget("mounts", list.len())?;
    list.iter().enumerate().map(|(i, entry)| one(i, entry, namespaces, warnings)).collect()
}

fn one(
    index: usize,
    entry: &SpecMount,
    namespaces: &NamespacePlan,
    warnings: &mut Vec<String>,
) -> Result<Mount> {
    let field = format!("mounts[{index}]");
    let destination = match entry.destination() {
        // runc accepts and warns too: the specification says absolute, old bundles have relative ones.
        path if path.is_relative() && !path.as_os_str().is_empty() => {
            warnings.push(format!("{field}.destination {path:?} is relative; taken as below /"));
            absolute(&field, &Path::new("/").join(path))?
        }
        path => absolute(&format!("{field}.destination"), path)?,
    };
    if destination == Path::new("/") {
        return Err(Error::spec(format!("{field}.destination"), "must not be the root itself"));
    }
    let mut words = Words::new();
    let options = entry.options().as_deref().unwrap_or_default();
    budget(&format!("{field}.options"), options.len())?;
    for option in options {
        words.take(option).map_err(|reason| Error::spec(format!("{field}.options"), reason))?;
    }
    let idmap = idmap(&field, entry, &words, namespaces, warnings)?;
    let fs_type = entry.typ().clone().unwrap_or_default();
    let source = entry.source().clone();
    let kind = if words.bind || fs_type == "bind" {
        let source = source
            .filter(|s| !s.as_os_str().is_empty())
            .ok_or_else(|| Error::spec(format!("{field}.source"), "a bind mount needs a source"))?;
        MountKind::Bind { source, recursive: words.recursive_bind }
    } else if fs_type == "cgroup" || fs_type == "cgroup2" {
        MountKind::Cgroup
    } else if fs_type.is_empty() {
        return Err(Error::spec(format!("{field}.type"), "is missing and the options have no bind or rbind"));
    } else {
        let source = source.map(|s| s.to_string_lossy().into_owned()).filter(|s| !s.is_empty());
        MountKind::Filesystem { fs_type, source, data: words.data }
    };
    if idmap.is_some() && !matches!(kind, MountKind::Bind { .. }) {
        return Err(Error::spec(format!("{field}.options"), "only a bind mount can be idmapped"));
    }
    Ok(Mount {
        destination,
        kind,
        idmap,
        set: words.set,
        clear: words.clear,
        set_recursive: words.set_recursive,
        clear_recursive: words.clear_recursive,
        propagation: words.propagation,
        copy_up: words.copy_up,
    })
}

/// The mapping of a mount, by the rules of config.md: its own, else the container's, else an error.
fn idmap(
    field: &str,
    entry: &SpecMount,
    words: &Words,
    namespaces: &NamespacePlan,
    warnings: &mut Vec<String>,
) -> Result<Option<MountIdmap>> {
    let maps = IdMaps::new(field, entry.uid_mappings().as_deref(), entry.gid_mappings().as_deref())?;
    let recursive = match words.idmap {
        Some(recursive) => recursive,
        None if maps.is_empty() => return Ok(None),
        // runc does the same. The words are there so that a runtime that does not know the mappings fails.
        None => {
            let word = if words.recursive_bind { "ridmap" } else { "idmap" };
            warnings.push(format!("{field} has mappings but no idmap or ridmap option; taken as {word}"));
            words.recursive_bind
        }
    };
    if maps.is_empty() && !namespaces.user() {
        return Err(Error::spec(
            format!("{field}.options"),
            "idmap needs uidMappings and gidMappings, of the mount or of a user namespace",
        ));
    }
    Ok(Some(MountIdmap { maps, recursive }))
}

struct Words {
    idmap: Option<bool>,
    bind: bool,
    recursive_bind: bool,
    copy_up: bool,
    set: MountAttrFlags,
    clear: MountAttrFlags,
    set_recursive: MountAttrFlags,
    clear_recursive: MountAttrFlags,
    propagation: Option<(Propagation, bool)>,
    data: Vec<(String, Option<String>)>,
}

/// Attribute words: the name, what it sets, what it clears.
const ATTRIBUTES: [(&str, MountAttrFlags, MountAttrFlags); 18] = {
    const NONE: MountAttrFlags = MountAttrFlags::empty();
    const ATIME: MountAttrFlags = MountAttrFlags::MOUNT_ATTR__ATIME;
    [
        ("ro", MountAttrFlags::MOUNT_ATTR_RDONLY, NONE),
        ("rw", NONE, MountAttrFlags::MOUNT_ATTR_RDONLY),
        ("nosuid", MountAttrFlags::MOUNT_ATTR_NOSUID, NONE),
        ("suid", NONE, MountAttrFlags::MOUNT_ATTR_NOSUID),
        ("nodev", MountAttrFlags::MOUNT_ATTR_NODEV, NONE),
        ("dev", NONE, MountAttrFlags::MOUNT_ATTR_NODEV),
        ("noexec", MountAttrFlags::MOUNT_ATTR_NOEXEC, NONE),
        ("exec", NONE, MountAttrFlags::MOUNT_ATTR_NOEXEC),
        ("nosymfollow", MountAttrFlags::MOUNT_ATTR_NOSYMFOLLOW, NONE),
        ("symfollow", NONE, MountAttrFlags::MOUNT_ATTR_NOSYMFOLLOW),
        ("nodiratime", MountAttrFlags::MOUNT_ATTR_NODIRATIME, NONE),
        ("diratime", NONE, MountAttrFlags::MOUNT_ATTR_NODIRATIME),
        // An access-time mode replaces another, so the whole field is cleared first.
        ("noatime", MountAttrFlags::MOUNT_ATTR_NOATIME, ATIME),
        ("atime", NONE, ATIME),
        ("relatime", NONE, ATIME),
        ("norelatime", MountAttrFlags::MOUNT_ATTR_STRICTATIME, ATIME),
        ("strictatime", MountAttrFlags::MOUNT_ATTR_STRICTATIME, ATIME),
        ("nostrictatime", NONE, ATIME),
    ]
};

impl Words {
    fn new() -> Self {
        let none = MountAttrFlags::empty();
        Self {
            idmap: None,
            bind: false,
            recursive_bind: false,
            copy_up: false,
            set: none,
            clear: none,
            set_recursive: none,
            clear_recursive: none,
            propagation: None,
            data: Vec::new(),
        }
    }

    fn take(&mut self, option: &str) -> Result<(), String> {
        if option.len() > 4096 || option.bytes().any(|b| b == 0) {
            return Err("an option has a NUL byte or is longer than 4096 bytes".into());
        }
        if let Some((_, set, clear)) = ATTRIBUTES.iter().find(|(name, ..)| *name == option) {
            self.set = (self.set - *clear) | *set;
            self.clear = (self.clear - *set) | *clear;
            return Ok(());
        }
        let plain = option.strip_prefix('r').unwrap_or_default();
        if let Some((_, set, clear)) = ATTRIBUTES.iter().find(|(name, ..)| *name == plain) {
            self.set_recursive = (self.set_recursive - *clear) | *set;
            self.clear_recursive = (self.clear_recursive - *set) | *clear;
            return Ok(());
        }
        match option {
            "" | "defaults" | "async" | "nomand" | "nolazytime" | "loud" | "noiversion" => {}
            "bind" => self.bind = true,
            "rbind" => (self.bind, self.recursive_bind) = (true, true),
            "shared" => self.propagation = Some((Propagation::Shared, false)),
            "rshared" => self.propagation = Some((Propagation::Shared, true)),
            "slave" => self.propagation = Some((Propagation::Slave, false)),
            "rslave" => self.propagation = Some((Propagation::Slave, true)),
            "private" => self.propagation = Some((Propagation::Private, false)),
            "rprivate" => self.propagation = Some((Propagation::Private, true)),
            "unbindable" => self.propagation = Some((Propagation::Unbindable, false)),
            "runbindable" => self.propagation = Some((Propagation::Unbindable, true)),
            "tmpcopyup" => self.copy_up = true,
            "idmap" => self.idmap = Some(false),
            "ridmap" => self.idmap = Some(true),
            "remount" => return Err("\"remount\" has no meaning for a new mount".into()),
            data => {
                let (key, value) = match data.split_once('=') {
                    Some((key, value)) => (key, Some(value.to_owned())),
                    None => (data, None),
                };
                self.data.push((key.to_owned(), value));
            }
        }
        Ok(())
    }
}
