//! Mappings of owners: user namespaces made only to be named by `mount_setattr(MOUNT_ATTR_IDMAP)`, and what goes with
//! them in the creator, which acts for a container whose root is not the host's.
//!
//! A mount keeps a mapping, not the namespace it was copied from, so that the namespace may be gone afterwards; and the
//! container's own need not exist yet when its layers and bind mounts are made, with the host's credentials.

use std::cell::Cell;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use linux::mount::MountAttr;
use linux::{Clone3, MountFd, Namespaces, SeqSocket};
use rustix::fs::{AtFlags, FileType, Gid, Mode, Uid, makedev};
use rustix::io::Errno;
use rustix::mount::MountAttrFlags;
use rustix::process::Pid;

use crate::init::open_host;
use crate::plan::{Device, IdMap, IdMaps, NamespacePlan, Rlimit, map_text};
use crate::process::write_proc;
use crate::step::Cause;

/// The inode of the initial user namespace (`PROC_USER_INIT_INO`, `linux/proc_ns.h`).
const INITIAL_USER_NAMESPACE: u64 = 0xEFFF_FFFD;

/// The version of the running kernel, and its name for messages.
pub(crate) fn kernel() -> ((u32, u32), String) {
    let uname = rustix::system::uname();
    let release = uname.release().to_string_lossy().into_owned();
    (version(&release), release)
}

fn version(release: &str) -> (u32, u32) {
    let mut numbers = release.split(['.', '-', '+']).map_while(|n| n.parse::<u32>().ok());
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

/// A user namespace that stands for its mapping.
#[derive(Debug)]
pub(crate) struct UserNamespace {
    fd: OwnedFd,
    maps: IdMaps,
}

/// Starts a process that does `enter` and waits; looks at it with `look`; lets it end.
fn beside<T>(
    clone: Clone3<'_>,
    enter: impl FnOnce() -> linux::Result<()>,
    look: impl FnOnce(Pid) -> Result<T, Cause>,
) -> Result<T, Cause> {
    let (ours, theirs) = SeqSocket::pair()?;
    let parts = Cell::new(Some((ours, theirs, enter)));
    let (pid, pidfd) = clone.spawn(|| {
        let Some((ours, theirs, enter)) = parts.take() else { return 1 };
        drop(ours);
        let word: &[u8] = if enter().is_ok() { b"in" } else { b"no" };
        // Until the creator has seen enough, or is gone.
        i32::from(theirs.send(word, &[]).and_then(|()| theirs.recv(&mut [0])).is_err())
    })?;
    let ours = parts.take().map(|(ours, ..)| ours);
    let mut word = [0; 2];
    let entered = match &ours {
        Some(ours) => ours.recv(&mut word)?.is_some() && &word == b"in",
        None => false,
    };
    let seen = if entered { look(pid) } else { Err(Cause::Reason("it cannot be entered".into())) };
    drop(ours);
    pidfd.wait()?;
    seen
}

impl UserNamespace {
    /// Makes a user namespace that maps so. A process must be in it for its maps to be written; it ends at once.
    ///
    /// # Errors
    /// `ENOSPC` at the limit of user namespaces, `EPERM` where the caller may not map these ids.
    pub(crate) fn new(maps: &IdMaps) -> Result<Self, Cause> {
        let clone = Clone3 { namespaces: Namespaces::USER, ..Default::default() };
        let fd = beside(
            clone,
            || Ok(()),
            |pid| {
                write_maps(pid, maps)?;
                Ok(open_host(Path::new(&format!("/proc/{}/ns/user", pid.as_raw_nonzero())))?)
            },
        )?;
        Ok(Self { fd, maps: maps.clone() })
    }

    /// One that exists. Its maps are read by way of a process in it: they are shown as the reader's namespace numbers ids.
    fn existing(fd: OwnedFd) -> Result<Self, Cause> {
        let enter = || linux::setns(&fd, Namespaces::USER);
        let maps = beside(Clone3::default(), enter, maps_of)?;
        Ok(Self { fd, maps })
    }

    /// The host's ids of user and group 0 inside.
    ///
    /// # Errors
    /// A sentence, where 0 is not mapped.
    pub(crate) fn root(&self) -> Result<(u32, u32), Cause> {
        self.maps
            .root()
            .ok_or_else(|| Cause::Reason("the user namespace does not map user and group 0".into()))
    }

    /// Lets the owners of `mount`, which is detached, appear through the mapping.
    ///
    /// # Errors
    /// The kernel's, with a reason where it gives only `EINVAL`.
    pub(crate) fn map(&self, mount: &MountFd, recursive: bool) -> Result<(), Cause> {
        let attr = MountAttr { idmap: Some(self.fd.as_fd()), ..Default::default() };
        match mount.set_attr(&attr, recursive) {
            Err(error) if error.errno == Errno::INVAL => {
                Err(Cause::Reason(explain_refusal(mount, recursive)))
            }
            Err(error) if error.errno == Errno::PERM => Err(Cause::Reason(
                "mapping owners needs CAP_SYS_ADMIN in the user namespace of the filesystem, which is the host's".into(),
            )),
            Err(error) if error.errno == Errno::NOSYS => {
                Err(Cause::Reason(format!("idmapped mounts need Linux 5.12; this is {}", kernel().1)))
            }
            other => Ok(other?),
        }
    }
}

/// `EINVAL` of `MOUNT_ATTR_IDMAP` has one cause in practice: the filesystem (`FS_ALLOW_IDMAP`), or the mount has a mapping
/// already (`mount_setattr(2)`, NOTES).
fn explain_refusal(mount: &MountFd, recursive: bool) -> String {
    let name =
        rustix::fs::fstatfs(mount).map_or_else(|_| "?".to_owned(), |s| filesystem_name(s.f_type as u64));
    let below = if recursive { ", or one mounted below it," } else { "" };
    format!(
        "the filesystem ({name}){below} cannot be idmapped by this kernel ({}), or is idmapped already: \
         ext4 and xfs can from Linux 5.12, btrfs from 5.15, tmpfs from 6.3; overlay and nfs cannot",
        kernel().1
    )
}

fn filesystem_name(magic: u64) -> String {
    // linux/magic.h
    match magic {
        0xef53 => "ext4".into(),
        0x5846_5342 => "xfs".into(),
        0x9123_683e => "btrfs".into(),
        0x0102_1994 => "tmpfs".into(),
        0x794c_7630 => "overlay".into(),
        0x6969 => "nfs".into(),
        0x6573_5546 => "fuse".into(),
        0x9fa0 => "proc".into(),
        0x6265_6572 => "sysfs".into(),
        other => format!("type {other:#x}"),
    }
}

/// Writes both maps of a process' user namespace through the host's procfs, which is checked to be one.
pub(crate) fn write_maps(pid: Pid, maps: &IdMaps) -> Result<(), Cause> {
    let proc = host_proc()?;
    let pid = pid.as_raw_nonzero();
    write_proc(&proc, &format!("{pid}/uid_map"), map_text(&maps.uid).as_bytes())?;
    write_proc(&proc, &format!("{pid}/gid_map"), map_text(&maps.gid).as_bytes())?;
    Ok(())
}

/// The host's procfs, checked to be one.
pub(crate) fn host_proc() -> Result<OwnedFd, Cause> {
    let proc = open_host(Path::new("/proc"))?;
    let magic =
        rustix::fs::fstatfs(&proc).map_err(|errno| linux::Error::on("fstatfs", "/proc", errno))?.f_type;
    if magic != rustix::fs::PROC_SUPER_MAGIC {
        return Err(Cause::Reason("/proc is no procfs".into()));
    }
    Ok(proc)
}

/// The user namespaces of one start: each mapping is made once.
pub(crate) struct UserNamespaces {
    /// The container's mapping, where its user namespace is new.
    new: Option<IdMaps>,
    /// Its user namespace, where it joins one.
    joined: Option<UserNamespace>,
    made: Vec<(IdMaps, UserNamespace)>,
}

impl UserNamespaces {
    /// For a container with this plan. Of a joined namespace the maps that it has count, not the configuration's.
    pub(crate) fn new(plan: &NamespacePlan) -> Result<Self, Cause> {
        let new = plan.new.contains(Namespaces::USER).then(|| plan.maps.clone());
        let joined = match plan.join.iter().find(|(kind, _)| *kind == Namespaces::USER) {
            Some((_, path)) => Some(UserNamespace::existing(open_host(path)?)?),
            None => None,
        };
        Ok(Self { new, joined, made: Vec::new() })
    }

    /// The container's own mapping; none where it has no user namespace.
    pub(crate) fn maps(&self) -> Option<&IdMaps> {
        self.joined.as_ref().map(|space| &space.maps).or(self.new.as_ref())
    }

    /// The namespace of the container's own mapping; none where it has no user namespace.
    pub(crate) fn own(&mut self) -> Result<Option<&UserNamespace>, Cause> {
        match (&self.joined, self.new.clone()) {
            (Some(_), _) => Ok(self.joined.as_ref()),
            (None, Some(maps)) => self.of(&maps).map(Some),
            (None, None) => Ok(None),
        }
    }

    /// A namespace of this mapping.
    pub(crate) fn of(&mut self, maps: &IdMaps) -> Result<&UserNamespace, Cause> {
        let at = match self.made.iter().position(|(made, _)| made == maps) {
            Some(at) => at,
            None => {
                self.made.push((maps.clone(), UserNamespace::new(maps)?));
                self.made.len() - 1
            }
        };
        Ok(&self.made[at].1)
    }
}

/// Whether this process may make device nodes: `mknod(2)` asks for `CAP_MKNOD` in the initial user namespace.
pub(crate) fn may_make_nodes() -> linux::Result<bool> {
    let own = rustix::fs::stat("/proc/self/ns/user")
        .map_err(|errno| linux::Error::on("stat", "/proc/self/ns/user", errno))?;
    let (effective, ..) = linux::caps::current()?;
    Ok(own.st_ino == INITIAL_USER_NAMESPACE && effective.contains(linux::CapSet::MKNOD))
}

/// Makes device nodes for a container that may not, on a filesystem of their own which is the host's: nodes on one that
/// was made in a user namespace do not open (`SB_I_NODEV`). The node of the device with index i is called i.
pub(crate) fn make_nodes(devices: &[Device], maps: &IdMaps) -> Result<MountFd, Cause> {
    let context = linux::FsContext::open("tmpfs")?;
    context.set("mode", "755")?;
    context.set("size", "64k")?;
    let tmpfs = context.mount(MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NOEXEC)?;
    for (i, device) in devices.iter().enumerate() {
        let path = device.path.to_string_lossy();
        let Some((uid, gid)) = maps.outside(device.uid, device.gid) else {
            let owner = format!("{}:{}", device.uid, device.gid);
            return Err(Cause::Reason(format!("{path}: its owner {owner} is not in the user namespace")));
        };
        let on = |call| {
            let path = path.as_ref();
            move |errno| linux::Error::on(call, path, errno)
        };
        let (name, mode) = (i.to_string(), Mode::from_raw_mode(device.mode));
        let number = makedev(device.major, device.minor);
        rustix::fs::mknodat(&tmpfs, &name, device.file_type, mode, number).map_err(on("mknodat"))?;
        let (uid, gid) = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
        rustix::fs::chownat(&tmpfs, &name, uid, gid, AtFlags::empty()).map_err(on("fchownat"))?;
        // The creator's umask is its caller's.
        rustix::fs::chmodat(&tmpfs, &name, mode, AtFlags::empty()).map_err(on("fchmodat"))?;
    }
    Ok(tmpfs)
}

/// A copy of the host's own node for a device, where nodes cannot be made: by its path, and only if it is that device.
pub(crate) fn host_node(device: &Device) -> Result<MountFd, Cause> {
    let node = linux::mount::clone_path(&device.path, false)?;
    let stat = rustix::fs::fstat(&node).map_err(|errno| linux::Error::new("fstat", errno))?;
    let same = FileType::from_raw_mode(stat.st_mode) == device.file_type
        && (device.file_type == FileType::Fifo || stat.st_rdev == makedev(device.major, device.minor));
    if same { Ok(node) } else { Err(Cause::Reason("the host's file is another device".into())) }
}

/// Gives pipes to the container's root, who can then give them to the user: inside, nobody has rights over what belongs to
/// an id that is not mapped, and `/dev/stdout` could not be opened again. Files and terminals keep their owner.
pub(crate) fn give_pipes<'a>(
    streams: impl IntoIterator<Item = &'a OwnedFd>,
    root: (u32, u32),
) -> linux::Result<()> {
    for stream in streams {
        let stat = rustix::fs::fstat(stream).map_err(|errno| linux::Error::new("fstat", errno))?;
        if FileType::from_raw_mode(stat.st_mode) == FileType::Fifo && (stat.st_uid, stat.st_gid) != root {
            rustix::fs::fchown(stream, Some(Uid::from_raw(root.0)), Some(Gid::from_raw(root.1)))
                .map_err(|errno| linux::Error::new("fchown", errno))?;
        }
    }
    Ok(())
}

/// What a process in a user namespace cannot do for itself, because the kernel asks for `CAP_SYS_RESOURCE` in the initial
/// one: raise its hard limits, lower its OOM score. What this process may not do either is left to it, which warns.
pub(crate) fn lift_limits(pid: Pid, rlimits: &[Rlimit], oom_score_adj: Option<i32>) -> Result<(), Cause> {
    for limit in rlimits {
        // A child's are the caller's: it has changed none yet.
        let now = rustix::process::getrlimit(limit.resource);
        let higher = now.maximum.is_some_and(|now| limit.hard.is_none_or(|hard| hard > now));
        if higher {
            let raised = rustix::process::Rlimit { current: now.current, maximum: limit.hard };
            match rustix::process::prlimit(Some(pid), limit.resource, raised) {
                Ok(_) | Err(Errno::PERM) => {}
                Err(errno) => return Err(linux::Error::on("prlimit64", limit.name, errno).into()),
            }
        }
    }
    if let Some(value) = oom_score_adj {
        let path = format!("{}/oom_score_adj", pid.as_raw_nonzero());
        match write_proc(host_proc()?, &path, value.to_string().as_bytes()) {
            Ok(()) => {}
            Err(error) if matches!(error.errno, Errno::ACCESS | Errno::PERM) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// The maps of a running process' user namespace, as this process' own numbers ids.
///
/// # Errors
/// That of reading them.
pub(crate) fn maps_of(pid: Pid) -> Result<IdMaps, Cause> {
    let dir = linux::tree::open_dir(host_proc()?, pid.as_raw_nonzero().to_string())?;
    let read = |name: &str| Ok::<_, linux::Error>(parse(&linux::tree::read_small(&dir, name, 64 << 10)?));
    Ok(IdMaps { uid: read("uid_map")?, gid: read("gid_map")? })
}

fn parse(text: &[u8]) -> Vec<IdMap> {
    let line = |line: &str| {
        let mut numbers = line.split_whitespace().map(|n| n.parse().ok());
        Some(IdMap { inside: numbers.next()??, outside: numbers.next()??, count: numbers.next()?? })
    };
    String::from_utf8_lossy(text).lines().filter_map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_are_read_as_the_kernel_writes_them() {
        let maps = parse(b"         0     100000      65536\n     70000          5          1\n");
        assert_eq!(map_text(&maps), "0 100000 65536\n70000 5 1\n");
        assert_eq!(parse(b"0 0 4294967295\n").len(), 1);
        assert!(parse(b"nonsense\n1 2\n").is_empty());
    }

    #[test]
    fn versions_are_compared_by_their_first_two_numbers() {
        assert_eq!(version("6.18.44-fc-v669"), (6, 18));
        assert_eq!(version("5.15.0-91-generic"), (5, 15));
        assert_eq!(version("7.0-rc1"), (7, 0));
        assert_eq!(version("odd"), (0, 0));
        assert!(version("6.5.0") < version("6.15.1"));
    }
}
