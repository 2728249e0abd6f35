//! `mounts`: each one built detached, attached onto a descriptor resolved inside the root, and seen to be there.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use cgroup::Controllers;
use linux::mount::{MountAttr, clone_path, mount_id};
use linux::{FsContext, MountFd, Namespaces, Propagation, RootDir, SeqSocket};
use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::MountAttrFlags;

use super::Prepared;
use crate::plan::{Mount, MountKind, Plan};
use crate::step::{Cause, Failure, Reporter, Step};

/// As many symlinks as the kernel follows.
const MAX_LINKS: usize = 40;

/// What is needed of the mounts afterwards.
#[derive(Default)]
pub(super) struct Mounted {
    /// The pseudo-terminals' filesystem.
    pub devpts: Option<MountFd>,
    /// Mounts that become read-only when everything below them is in place.
    pub read_only_later: Vec<MountFd>,
}

pub(super) fn mount_all(
    plan: &Plan,
    prepared: &mut Prepared,
    root: &RootDir,
    socket: &SeqSocket,
    report: &mut Reporter<'_>,
) -> Result<Mounted, Failure> {
    let mut mounted = Mounted::default();
    for (i, mount) in plan.mounts.iter().enumerate() {
        if matches!(mount.kind, MountKind::Cgroup) {
            super::enter_cgroup(plan, prepared, socket, report)?;
        }
        let bind = prepared.binds.get_mut(i).and_then(Option::take);
        let controllers = &prepared.controllers;
        report.step(Step::Mount(mount), || match mount.kind {
            MountKind::Cgroup => cgroup(plan, controllers, mount, root, &mut mounted),
            _ => one(mount, bind, root, &mut mounted),
        })?;
    }
    Ok(mounted)
}

/// A mount of any kind but the container's cgroups.
fn one(mount: &Mount, bind: Option<MountFd>, root: &RootDir, mounted: &mut Mounted) -> Result<(), Cause> {
    match &mount.kind {
        MountKind::Bind { .. } => {
            let fd = bind.ok_or_else(|| Cause::Reason("the source was not opened".into()))?;
            bind_attributes(mount, &fd)?;
            attach(root, &mount.destination, &fd)
        }
        MountKind::Cgroup => Err(Cause::Reason("it is mounted by another way".into())),
        // A sysfs that the user namespace may not mount: the host's instead, opened by the creator.
        MountKind::Filesystem { .. } if bind.is_some() => {
            refuse_symlink(root, &mount.destination)?;
            let fd = bind.ok_or_else(|| Cause::Reason("the source was not opened".into()))?;
            let attr =
                MountAttr { set: mount.set, propagation: Some(Propagation::Private), ..Default::default() };
            fd.set_attr(&attr, true)?;
            attach(root, &mount.destination, &fd)
        }
        MountKind::Filesystem { fs_type, source, data } => {
            if matches!(fs_type.as_str(), "proc" | "sysfs") {
                refuse_symlink(root, &mount.destination)?;
            }
            let context = FsContext::open(fs_type)?;
            if let Some(source) = source {
                context.set("source", source.as_str())?;
            }
            for (key, value) in data {
                match value {
                    Some(value) => context.set(key, value.as_str())?,
                    None => context.set_flag(key)?,
                }
            }
            let later = fs_type == "tmpfs" && mount.set.contains(MountAttrFlags::MOUNT_ATTR_RDONLY);
            let now = if later { mount.set - MountAttrFlags::MOUNT_ATTR_RDONLY } else { mount.set };
            let fd = context.mount(now)?;
            if mount.copy_up {
                copy_up(root, &mount.destination, &fd)?;
            }
            set_propagation(mount, &fd)?;
            attach(root, &mount.destination, &fd)?;
            if mount.is_devpts() {
                mounted.devpts = Some(fd);
            } else if later {
                mounted.read_only_later.push(fd);
            }
            Ok(())
        }
    }
}

/// A procfs or sysfs that is somewhere else than it seems would take the masks, labels and sysctls of the real one
/// away from it (CVE-2023-27561, CVE-2019-19921).
fn refuse_symlink(root: &RootDir, path: &Path) -> Result<(), Cause> {
    match root.stat(path) {
        Ok(stat) if FileType::from_raw_mode(stat.st_mode) != FileType::Directory => Err(Cause::Reason(
            format!("{} in the image is not a directory; it must be a real one", path.display()),
        )),
        Ok(_) => Ok(()),
        Err(error) if error.errno == Errno::NOENT => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// A copy begins as a peer of its source: what events it passes on is decided before it is attached.
fn bind_attributes(mount: &Mount, fd: &MountFd) -> Result<(), Cause> {
    let recursive = MountAttr {
        set: mount.set_recursive,
        clear: mount.clear_recursive,
        propagation: Some(mount.propagation.map_or(Propagation::Private, |(kind, _)| kind)),
        idmap: None,
    };
    fd.set_attr(&recursive, true)?;
    let own = MountAttr { set: mount.set, clear: mount.clear, ..Default::default() };
    if !own.is_empty() {
        fd.set_attr(&own, false)?;
    }
    Ok(())
}

fn set_propagation(mount: &Mount, fd: &MountFd) -> Result<(), Cause> {
    if let Some((kind, recursive)) = mount.propagation {
        fd.set_attr(&MountAttr { propagation: Some(kind), ..Default::default() }, recursive)?;
    }
    Ok(())
}

/// Attaches a mount at a path inside the root, making what is missing, and proves that it landed there.
pub(super) fn attach(root: &RootDir, path: &Path, fd: &MountFd) -> Result<(), Cause> {
    let stat = rustix::fs::fstat(fd).map_err(|errno| linux::Error::new("fstat", errno))?;
    let directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
    let target = mount_point(root, path, directory)?;
    fd.attach(&target)?;
    let seen = root.open_in_root(path, OFlags::PATH, Mode::empty())?;
    if mount_id(&seen)? != mount_id(fd)? {
        return Err(Cause::Reason(format!(
            "the mount did not land at {}: it was moved meanwhile",
            path.display()
        )));
    }
    Ok(())
}

/// What a mount is put onto: it is opened, or made, inside the root.
fn mount_point(root: &RootDir, path: &Path, directory: bool) -> Result<OwnedFd, linux::Error> {
    let flags = if directory { OFlags::PATH | OFlags::DIRECTORY } else { OFlags::PATH };
    match root.open_in_root(path, flags, Mode::empty()) {
        Err(error) if error.errno == Errno::NOENT => {}
        other => return other,
    }
    let mode = Mode::from_raw_mode(0o755);
    if directory {
        return root.mkdir_p(path, mode);
    }
    // A dangling symlink's target is made, inside the root. NONBLOCK, should a FIFO appear meanwhile.
    let make = OFlags::RDONLY | OFlags::CREATE | OFlags::NONBLOCK | OFlags::NOCTTY;
    let mut place = path.to_owned();
    for _ in 0..MAX_LINKS {
        let parent = place.parent().unwrap_or(Path::new("/"));
        root.mkdir_p(parent, mode)?;
        match root.open_in_root(&place, make, Mode::from_raw_mode(0o644)) {
            // Its directory is missing, too: /etc/resolv.conf of images that were made for systemd-resolved.
            Err(error) if error.errno == Errno::NOENT => place = parent.join(root.read_link(&place)?),
            other => return other,
        }
    }
    Err(linux::Error::on("openat2", path.to_string_lossy(), Errno::LOOP))
}

/// The container's view of its cgroups. v2: a cgroup2 mount, whose root is the cgroup namespace's. v1 and hybrid: a tmpfs
/// with one mount for each hierarchy, as programs of that time expect.
///
/// Only those hierarchies in which it has a cgroup of its own: of the others it would see the host's root, and the names
/// of everything that runs there.
fn cgroup(
    plan: &Plan,
    controllers: &Controllers,
    mount: &Mount,
    root: &RootDir,
    mounted: &mut Mounted,
) -> Result<(), Cause> {
    let own = plan.namespaces.has(Namespaces::CGROUP);
    let mut hierarchies = hierarchies()?;
    hierarchies.retain(|hierarchy| {
        let names = hierarchy.name.as_ref().map(|name| name.split(',').collect::<Vec<_>>());
        names.is_none_or(|names| controllers.want(&names))
    });
    if let [Hierarchy { name: None, path, .. }] = hierarchies.as_slice() {
        let fd = if own {
            FsContext::open("cgroup2")?.mount(mount.set)?
        } else {
            host_cgroup(Path::new("/sys/fs/cgroup"), path, mount)?
        };
        return attach(root, &mount.destination, &fd);
    }
    let context = FsContext::open("tmpfs")?;
    context.set("mode", "755")?;
    context.set("size", "64k")?;
    let tmpfs = context.mount(mount.set - MountAttrFlags::MOUNT_ATTR_RDONLY)?;
    attach(root, &mount.destination, &tmpfs)?;
    for hierarchy in &hierarchies {
        let dir = hierarchy.directory();
        let fd = match (&hierarchy.name, own) {
            (_, false) => {
                match host_cgroup(&Path::new("/sys/fs/cgroup").join(&dir), &hierarchy.path, mount) {
                    // Not every hierarchy has a mount on the host.
                    Err(Cause::Kernel(error)) if error.errno == Errno::NOENT => continue,
                    other => other?,
                }
            }
            (None, true) => FsContext::open("cgroup2")?.mount(mount.set)?,
            (Some(name), true) => cgroup1(name, mount)?,
        };
        attach(root, &mount.destination.join(&dir), &fd)?;
        // cpu,cpuacct is known as cpu and as cpuacct too.
        for alias in dir.split(',').filter(|alias| *alias != dir) {
            rustix::fs::symlinkat(&dir, tmpfs.as_fd(), alias)
                .map_err(|errno| linux::Error::on("symlinkat", alias, errno))?;
        }
    }
    if mount.set.contains(MountAttrFlags::MOUNT_ATTR_RDONLY) {
        mounted.read_only_later.push(tmpfs);
    }
    Ok(())
}

fn cgroup1(name: &str, mount: &Mount) -> Result<MountFd, Cause> {
    let context = FsContext::open("cgroup")?;
    context.set("source", "cgroup")?;
    match name.strip_prefix("name=") {
        Some(named) => {
            context.set_flag("none")?;
            context.set("name", named)?;
        }
        None => name.split(',').try_for_each(|controller| context.set_flag(controller))?,
    }
    Ok(context.mount(mount.set)?)
}

/// Without a cgroup namespace the container sees its own cgroup's directory of the host's mount.
fn host_cgroup(base: &Path, path: &str, mount: &Mount) -> Result<MountFd, Cause> {
    let fd = clone_path(base.join(path.trim_start_matches('/')), true)?;
    let attr = MountAttr { set: mount.set, propagation: Some(Propagation::Private), ..Default::default() };
    fd.set_attr(&attr, true)?;
    Ok(fd)
}

/// One line of `/proc/self/cgroup`.
struct Hierarchy {
    /// Controllers, or `name=...`; none for the v2 hierarchy.
    name: Option<String>,
    /// This process's cgroup in it.
    path: String,
}

impl Hierarchy {
    fn directory(&self) -> String {
        match &self.name {
            None => "unified".into(),
            Some(name) => name.strip_prefix("name=").unwrap_or(name).to_owned(),
        }
    }
}

/// The hierarchies this process is in, read on the host's procfs before the root changes.
fn hierarchies() -> Result<Vec<Hierarchy>, Cause> {
    let text = std::fs::read_to_string("/proc/self/cgroup").map_err(|e| Cause::Reason(e.to_string()))?;
    let mut list = Vec::new();
    for line in text.lines().take(64) {
        let mut parts = line.splitn(3, ':');
        let (_, Some(name), Some(path)) = (parts.next(), parts.next(), parts.next()) else { continue };
        list.push(Hierarchy { name: Some(name.to_owned()).filter(|n| !n.is_empty()), path: path.to_owned() });
    }
    // v2 without its mount on a hybrid host shows up in the list all the same.
    if list.len() > 1 {
        list.retain(|h| h.name.is_some() || Path::new("/sys/fs/cgroup/unified/cgroup.procs").exists());
    }
    Ok(list)
}

/// `tmpcopyup`: what the mount will hide is copied into it first.
fn copy_up(root: &RootDir, path: &Path, into: &MountFd) -> Result<(), Cause> {
    match root.open_dir(path) {
        Ok(from) => Ok(linux::copy::directory(&from, into)?),
        Err(error) if error.errno == Errno::NOENT => Ok(()),
        Err(error) => Err(error.into()),
    }
}
