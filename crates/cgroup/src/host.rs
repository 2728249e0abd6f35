use std::io::Read;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

use crate::{Error, Result};

/// Most bytes of a mount table that are read.
const MAX_MOUNTINFO: usize = 8 << 20;
/// `CGROUP_SUPER_MAGIC` and `CGROUP2_SUPER_MAGIC` of `linux/magic.h`.
const CGROUP_MAGIC: u64 = 0x0027_e0eb;
const CGROUP2_MAGIC: u64 = 0x6367_7270;
/// The controllers of v1; everything else among the super block's options is an option.
const V1_CONTROLLERS: &[&str] = &[
    "cpu",
    "cpuacct",
    "cpuset",
    "memory",
    "devices",
    "freezer",
    "blkio",
    "pids",
    "hugetlb",
    "net_cls",
    "net_prio",
    "perf_event",
    "rdma",
    "misc",
];

/// How cgroups are mounted here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// v1 hierarchies only.
    V1,
    /// The unified hierarchy only.
    V2,
    /// v1 hierarchies with the controllers, and a v2 hierarchy beside them.
    Hybrid,
}

/// One mounted hierarchy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hierarchy {
    /// v1: the controllers, or `name=…`. v2: empty (see `cgroup.controllers`).
    pub controllers: Vec<String>,
    /// Where it is mounted.
    pub mount: PathBuf,
    /// Whether it is the v2 hierarchy.
    pub unified: bool,
}

/// The hierarchies of this mount namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    hierarchies: Vec<Hierarchy>,
}

impl Host {
    /// Reads `/proc/self/mountinfo`.
    ///
    /// # Errors
    /// [`Error::NotMounted`] where there is no cgroup file system, [`Error::System`] when the table cannot be read.
    pub fn probe() -> Result<Host> {
        let path = "/proc/self/mountinfo";
        // A file of procfs has no size to reserve, and reading to the end would begin with 32 bytes.
        let mut table = Vec::with_capacity(16 << 10);
        let read = std::fs::File::open(path).and_then(|mut file| file.read_to_end(&mut table));
        read.map_err(|error| {
            let errno = rustix::io::Errno::from_io_error(&error).unwrap_or(rustix::io::Errno::IO);
            Error::system("read", path, errno)
        })?;
        let table = String::from_utf8_lossy(&table[..table.len().min(MAX_MOUNTINFO)]);
        let hierarchies = parse_mountinfo(&table);
        if hierarchies.is_empty() {
            return Err(Error::NotMounted);
        }
        Ok(Host { hierarchies })
    }

    /// Which versions are mounted.
    pub fn layout(&self) -> Layout {
        let unified = self.hierarchies.iter().any(|hierarchy| hierarchy.unified);
        let legacy = self.hierarchies.iter().any(|hierarchy| !hierarchy.unified);
        match (legacy, unified) {
            (true, true) => Layout::Hybrid,
            (false, true) => Layout::V2,
            _ => Layout::V1,
        }
    }

    /// Every hierarchy, in the order of the mount table.
    pub fn hierarchies(&self) -> &[Hierarchy] {
        &self.hierarchies
    }
}

impl Hierarchy {
    /// Opens the mount point, checked to be the file system that the mount table promised.
    pub(crate) fn open(&self) -> Result<OwnedFd> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::open(&self.mount, flags, Mode::empty())
            .map_err(|errno| Error::system("open", &self.mount, errno))?;
        let kind = rustix::fs::fstatfs(&root).map_err(|errno| Error::system("statfs", &self.mount, errno))?;
        let magic = if self.unified { CGROUP2_MAGIC } else { CGROUP_MAGIC };
        if kind.f_type as u64 != magic {
            return Err(Error::ForeignMount(self.mount.clone()));
        }
        Ok(root)
    }
}

/// The cgroup hierarchies that a `mountinfo(5)` table shows. A hierarchy that is mounted more than once counts once; of
/// a line that is not understood nothing is taken.
pub fn parse_mountinfo(table: &str) -> Vec<Hierarchy> {
    let mut found: Vec<Hierarchy> = Vec::new();
    for line in table.lines() {
        let Some(hierarchy) = parse_line(line) else { continue };
        let known = found
            .iter_mut()
            .find(|other| other.unified == hierarchy.unified && other.controllers == hierarchy.controllers);
        match known {
            // A later mount on the same point covers the earlier; elsewhere the first is as good.
            Some(other) if other.mount == hierarchy.mount => *other = hierarchy,
            Some(_) => {}
            None => found.push(hierarchy),
        }
    }
    found
}

fn parse_line(line: &str) -> Option<Hierarchy> {
    let (left, right) = line.split_once(" - ")?;
    let mount = unescape(left.split(' ').nth(4)?);
    let mut fields = right.split(' ');
    let fs_type = fields.next()?;
    let options = fields.nth(1)?;
    let unified = match fs_type {
        "cgroup2" => true,
        "cgroup" => false,
        _ => return None,
    };
    let is_controller = |option: &&str| V1_CONTROLLERS.contains(option) || option.starts_with("name=");
    let controllers = options.split(',').filter(is_controller).map(str::to_owned).collect::<Vec<_>>();
    if !unified && controllers.is_empty() {
        return None;
    }
    let controllers = if unified { Vec::new() } else { controllers };
    Some(Hierarchy { controllers, mount: Path::new(&mount).to_owned(), unified })
}

/// Undoes the octal escapes of `mountinfo` (`\040` for a space).
fn unescape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        let (before, from) = rest.split_at(at);
        out.push_str(before);
        let code = from.get(1..4).and_then(|digits| u8::from_str_radix(digits, 8).ok()).filter(u8::is_ascii);
        match code {
            Some(code) => {
                out.push(char::from(code));
                rest = &from[4..];
            }
            None => {
                out.push('\\');
                rest = &from[1..];
            }
        }
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HYBRID: &str = "\
24 1 0:22 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755
25 24 0:23 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu
26 24 0:24 / /sys/fs/cgroup/net\\040x rw,relatime shared:3 master:1 - cgroup cgroup rw,net_cls,net_prio
27 24 0:25 / /sys/fs/cgroup/systemd rw - cgroup systemd rw,xattr,name=systemd
28 24 0:26 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw,nsdelegate
29 24 0:23 / /other rw,relatime - cgroup cgroup rw,cpu
";

    #[test]
    fn hierarchies_of_a_hybrid_host() {
        let host = Host { hierarchies: parse_mountinfo(HYBRID) };
        assert_eq!(host.layout(), Layout::Hybrid);
        let shown: Vec<_> = host
            .hierarchies
            .iter()
            .map(|h| (h.controllers.join(","), h.mount.display().to_string()))
            .collect();
        assert_eq!(shown[0], ("cpu".into(), "/sys/fs/cgroup/cpu".into()));
        assert_eq!(shown[1], ("net_cls,net_prio".into(), "/sys/fs/cgroup/net x".into()));
        assert_eq!(shown[2].0, "name=systemd");
        assert_eq!(shown[3], (String::new(), "/sys/fs/cgroup/unified".into()));
        assert_eq!(shown.len(), 4);
    }

    #[test]
    fn this_host_has_cgroups() {
        assert!(!Host::probe().unwrap().hierarchies().is_empty());
    }

    proptest! {
        #[test]
        fn any_table_is_read_without_a_panic(table in "([ -~\\\\é]{0,40} - cgroup2? [a-z,= ]{0,30}\n|[ -~]{0,60}\n){0,8}") {
            for hierarchy in parse_mountinfo(&table) {
                prop_assert!(hierarchy.unified == hierarchy.controllers.is_empty());
            }
        }
    }
}
