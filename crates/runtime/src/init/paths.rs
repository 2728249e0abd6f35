//! Masked and read-only paths. The mask is always an inode of ours, checked by its numbers, never the image's
//! `/dev/null` (CVE-2025-31133), and what is masked is the descriptor that the path was resolved to.

use std::os::fd::OwnedFd;
use std::path::Path;

use linux::mount::MountAttr;
use linux::{FsContext, MountFd, RootDir};
use rustix::fs::{FileType, Mode, OFlags, makedev};
use rustix::io::Errno;
use rustix::mount::MountAttrFlags;

use super::dev::is_null;
use crate::plan::Plan;
use crate::step::{Cause, Failure, Reporter, Step};

pub(super) fn protect(
    plan: &Plan,
    masks: Option<&Masks>,
    root: &RootDir,
    report: &mut Reporter<'_>,
) -> Result<(), Failure> {
    for path in &plan.read_only {
        report.step(Step::ReadOnly(path), || read_only(root, path))?;
    }
    let Some(masks) = masks else { return Ok(()) };
    for path in &plan.masked {
        report.step(Step::Mask(path), || masks.put(root, path))?;
    }
    Ok(())
}

/// A missing path needs no protection; a file in the way of a directory neither.
fn find(root: &RootDir, path: &Path) -> Result<Option<OwnedFd>, Cause> {
    match root.open_in_root(path, OFlags::PATH, Mode::empty()) {
        Ok(fd) => Ok(Some(fd)),
        Err(error) if matches!(error.errno, Errno::NOENT | Errno::NOTDIR) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn read_only(root: &RootDir, path: &Path) -> Result<(), Cause> {
    let Some(target) = find(root, path)? else { return Ok(()) };
    let copy = MountFd::clone_of(&target, "", true)?;
    copy.set_attr(&MountAttr { set: MountAttrFlags::MOUNT_ATTR_RDONLY, ..Default::default() }, true)?;
    copy.attach(&target)?;
    Ok(())
}

/// What masks are made of: a null node for files, an empty directory for directories, both on a read-only tmpfs.
pub(super) struct Masks {
    null: OwnedFd,
    empty: OwnedFd,
}

impl Masks {
    /// Makes them. The tmpfs is attached at `at`, where the container's root will cover it and the change of root leave
    /// it behind: kernels before 6.15 copy attached mounts only.
    pub(super) fn new(at: &OwnedFd, host_null: Option<&MountFd>) -> Result<Self, Cause> {
        let context = FsContext::open("tmpfs")?;
        context.set("mode", "755")?;
        context.set("size", "4k")?;
        let tmpfs = context.mount(MountAttrFlags::MOUNT_ATTR_NOEXEC | MountAttrFlags::MOUNT_ATTR_NOSUID)?;
        tmpfs.attach(at)?;
        let kind = if host_null.is_some() { FileType::RegularFile } else { FileType::CharacterDevice };
        rustix::fs::mknodat(&tmpfs, "null", kind, Mode::from_raw_mode(0o666), makedev(1, 3))
            .map_err(|errno| linux::Error::on("mknodat", "null", errno))?;
        if let Some(node) = host_null {
            node.attach(open(&tmpfs, "null")?)?;
        }
        rustix::fs::mkdirat(&tmpfs, "empty", Mode::from_raw_mode(0o755))
            .map_err(|errno| linux::Error::on("mkdirat", "empty", errno))?;
        let read_only = MountAttr { set: MountAttrFlags::MOUNT_ATTR_RDONLY, ..Default::default() };
        tmpfs.set_attr(&read_only, false)?;
        let null = open(&tmpfs, "null")?;
        if !is_null(&null) {
            return Err(Cause::Reason("the mask is not the null device".into()));
        }
        Ok(Self { null, empty: open(&tmpfs, "empty")? })
    }

    fn put(&self, root: &RootDir, path: &Path) -> Result<(), Cause> {
        let Some(target) = find(root, path)? else { return Ok(()) };
        let stat = rustix::fs::fstat(&target).map_err(|errno| linux::Error::new("fstat", errno))?;
        let directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        let mask = MountFd::clone_of(if directory { &self.empty } else { &self.null }, "", false)?;
        mask.attach(&target)?;
        Ok(())
    }
}

fn open(tmpfs: &MountFd, name: &str) -> Result<OwnedFd, linux::Error> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(tmpfs, name, flags, Mode::empty())
        .map_err(|errno| linux::Error::on("openat", name, errno))
}
