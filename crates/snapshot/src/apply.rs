//! A layer's entries, made in a directory of ours by descriptor.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use linux::RootDir;
use linux::root_dir::{chmod_fd, chown_fd, create_file_at, set_xattr_fd, utimes_fd};
use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Stat, Timespec, Timestamps, Uid};
use rustix::io::Errno;
use tar::EntryType;

use crate::tar_reader::{Entry, TarReader};
use crate::{Budget, Error, Result};

/// The mark of a deleted name (OCI image-spec, layer.md, "Whiteouts").
const WHITEOUT: &[u8] = b".wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";

/// Where entries go, and what is known on the way.
pub(crate) struct Apply {
    root: RootDir,
    budget: Budget,
    parent: Option<(PathBuf, OwnedFd)>,
    /// Directories' times, set last: making their contents changes them.
    times: Vec<(PathBuf, (i64, u32))>,
    /// Directories that are only there because something is below them, by inode.
    implied: HashMap<u64, PathBuf>,
    /// Bytes of file content.
    size: u64,
    buffer: Vec<u8>,
}

/// What was made of a stream.
#[derive(Debug)]
pub(crate) struct Applied {
    /// Bytes of file content.
    pub(crate) size: u64,
    /// Directories that the layer has not mentioned, by inode: they look as they do in the layers below, which need not be
    /// there yet.
    pub(crate) implied: HashMap<u64, PathBuf>,
}

type Step<T> = Result<T, linux::Error>;

impl Apply {
    pub(crate) fn new(root: RootDir, budget: &Budget) -> Self {
        let (times, implied, buffer) = (Vec::new(), HashMap::new(), vec![0; 128 << 10]);
        Self { root, budget: budget.clone(), parent: None, times, implied, size: 0, buffer }
    }

    /// Makes all entries of `tar`.
    pub(crate) fn run<R: Read>(mut self, tar: &mut TarReader<R>) -> Result<Applied> {
        while let Some(entry) = tar.next()? {
            self.entry(tar, &entry)?;
        }
        for (path, mtime) in std::mem::take(&mut self.times).iter().rev() {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW;
            // A later entry may have put something else there.
            if let Ok(dir) = self.root.open_in_root(path, flags, Mode::empty()) {
                utimes_fd(&dir, &timestamps(*mtime))?;
            }
        }
        Ok(Applied { size: self.size, implied: self.implied })
    }

    fn entry<R: Read>(&mut self, tar: &mut TarReader<R>, entry: &Entry) -> Result<()> {
        let path = self.clean(entry, &entry.path)?;
        let failed = |source| Error::Entry { path: path.display().to_string(), source };
        let Some(name) = path.file_name().map(OsStr::to_owned) else {
            return self.root_entry(entry);
        };
        let parent = self.parent_of(&path).map_err(failed)?;
        if let Some(hidden) = name.as_bytes().strip_prefix(WHITEOUT) {
            return self.whiteout(entry, parent, &name, hidden).map_err(|e| match e {
                Error::Kernel(source) => failed(source),
                other => other,
            });
        }
        if entry.kind == EntryType::Link {
            return self.hard_link(entry, parent, &name, failed);
        }
        let made = match entry.kind {
            EntryType::Directory => Some(self.directory(&parent, &name, &path).map_err(failed)?),
            EntryType::Symlink => {
                let make = || rustix::fs::symlinkat(&*entry.link, &parent, &name);
                replacing(&parent, &name, make).map_err(failed)?;
                None
            }
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                let file = self.new_file(&parent, &name).map_err(failed)?;
                self.content(tar, entry, &file, failed)?;
                Some(file)
            }
            EntryType::Char | EntryType::Block | EntryType::Fifo => {
                self.node(entry, &parent, &name).map_err(|e| {
                    e.map_or_else(|| bad(entry, "a character device 0:0 would be a whiteout"), failed)
                })?;
                None
            }
            _ => return Err(bad(entry, "this type of entry has no place in a layer")),
        };
        self.attributes(entry, &parent, &name, made).map_err(failed)?;
        if entry.kind == EntryType::Directory {
            self.times.push((path.clone(), entry.mtime));
        }
        // A new symlink, or a directory that went, may change where the cached parent's path leads; the parent itself
        // is still where this entry was made.
        self.parent = (entry.kind != EntryType::Symlink)
            .then(|| (path.parent().unwrap_or(Path::new("")).to_owned(), parent));
        Ok(())
    }

    /// The entry's path as components under the root: leading `/` and `./` dropped, `..` refused.
    fn clean(&self, entry: &Entry, raw: &OsStr) -> Result<PathBuf> {
        let mut path = PathBuf::new();
        let mut depth = 0;
        for component in Path::new(raw).components() {
            match component {
                Component::Normal(name) => {
                    depth += 1;
                    path.push(name);
                }
                Component::ParentDir => return Err(bad(entry, "a path goes up by `..`")),
                _ => {}
            }
        }
        if depth > self.budget.depth {
            return Err(Error::Budget { what: "directories in one path", limit: self.budget.depth as u64 });
        }
        let parent = path.parent().into_iter().flat_map(Path::iter);
        if parent.into_iter().any(|name| name.as_bytes().starts_with(WHITEOUT)) {
            return Err(bad(entry, "a whiteout cannot have anything below it"));
        }
        Ok(path)
    }

    /// `.` or `/`: the root itself, which can only be a directory.
    fn root_entry(&mut self, entry: &Entry) -> Result<()> {
        if entry.kind != EntryType::Directory {
            return Err(bad(entry, "the root can only be a directory"));
        }
        chown_fd(&self.root, Some(Uid::from_raw(entry.uid)), Some(Gid::from_raw(entry.gid)))?;
        chmod_fd(&self.root, Mode::from(entry.mode))?;
        set_xattrs(&self.root, entry)?;
        self.times.push((PathBuf::new(), entry.mtime));
        Ok(())
    }

    /// Opens the directory that will hold `path`, made where the layer has not mentioned it.
    fn parent_of(&mut self, path: &Path) -> Step<OwnedFd> {
        let parent = path.parent().unwrap_or(Path::new(""));
        if let Some((cached, fd)) = self.parent.take_if(|(cached, _)| cached == parent) {
            drop(cached);
            return Ok(fd);
        }
        match self.root.open_dir(parent) {
            Err(e) if matches!(e.errno, Errno::NOENT | Errno::NOTDIR) => {}
            other => return other,
        }
        let mut prefix = PathBuf::new();
        for name in parent {
            let above = self.root.open_dir(&prefix)?;
            prefix.push(name);
            match self.root.open_dir(&prefix) {
                Ok(_) => continue,
                Err(e) if e.errno == Errno::NOENT => {}
                Err(e) if e.errno == Errno::NOTDIR && is_whiteout(&self.root.stat(&prefix)?) => {
                    // The name was deleted and then made anew in one layer: nothing below shows through.
                    unlink(&above, name)?;
                    mkdir(&above, name)?;
                    set_xattr_fd(self.root.open_dir(&prefix)?, OsStr::new("trusted.overlay.opaque"), b"y")?;
                    continue;
                }
                Err(e) => return Err(e),
            }
            match mkdir(&above, name) {
                Ok(()) => {
                    let made = linux::root_dir::stat_fd(linux::tree::open_dir(&above, name)?)?;
                    self.implied.insert(made.st_ino, prefix.clone());
                }
                // A dangling symlink is in the way: its target, inside the root, is meant.
                Err(e) if e.errno == Errno::EXIST => drop(self.root.mkdir_p(&prefix, Mode::from(0o755))?),
                Err(e) => return Err(e),
            }
        }
        self.root.open_dir(parent)
    }

    fn whiteout(&mut self, entry: &Entry, parent: OwnedFd, name: &OsStr, hidden: &[u8]) -> Result<()> {
        if name.as_bytes() == OPAQUE {
            return Ok(set_xattr_fd(&parent, OsStr::new("trusted.overlay.opaque"), b"y")?);
        }
        if hidden.starts_with(WHITEOUT) {
            // AUFS's own bookkeeping (`.wh..wh.plnk`, ...), which means nothing to others.
            return Ok(());
        }
        if matches!(hidden, b"" | b"." | b"..") {
            return Err(bad(entry, "a whiteout of nothing, `.` or `..`"));
        }
        let hidden = OsStr::from_bytes(hidden);
        match rustix::fs::mknodat(&parent, hidden, FileType::CharacterDevice, Mode::empty(), 0) {
            Ok(()) => Ok(()),
            // What this layer itself has made stays: a whiteout concerns the layers below only.
            Err(Errno::EXIST) => {
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                match rustix::fs::openat(&parent, hidden, flags, Mode::empty()) {
                    Ok(dir) => Ok(set_xattr_fd(dir, OsStr::new("trusted.overlay.opaque"), b"y")?),
                    Err(_) => Ok(()),
                }
            }
            Err(e) => Err(linux::Error::on("mknodat", hidden.to_string_lossy(), e).into()),
        }
    }

    fn hard_link(
        &mut self,
        entry: &Entry,
        parent: OwnedFd,
        name: &OsStr,
        failed: impl Fn(linux::Error) -> Error,
    ) -> Result<()> {
        let target = self.clean(entry, &entry.link)?;
        let Some(target_name) = target.file_name() else {
            return Err(bad(entry, "a hard link to the root"));
        };
        if target_name.as_bytes().starts_with(WHITEOUT) {
            return Err(bad(entry, "a hard link to a whiteout"));
        }
        let (from, from_name) = self.root.parent(&target).map_err(&failed)?;
        let stat = rustix::fs::statat(&from, &from_name, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|e| failed(linux::Error::on("statat", target.to_string_lossy(), e)))?;
        if is_whiteout(&stat) || FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
            return Err(bad(entry, "a hard link to a directory or a deleted name"));
        }
        let same = rustix::fs::statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW)
            .is_ok_and(|s| (s.st_dev, s.st_ino) == (stat.st_dev, stat.st_ino));
        if same {
            return Ok(());
        }
        let make = || rustix::fs::linkat(&from, &from_name, &parent, name, AtFlags::empty());
        replacing(&parent, name, make).map_err(failed)?;
        self.parent = None;
        Ok(())
    }

    fn directory(&mut self, parent: &OwnedFd, name: &OsStr, path: &Path) -> Step<OwnedFd> {
        let open = || linux::tree::open_dir(parent, name);
        match mkdir(parent, name) {
            Ok(()) => return open(),
            Err(e) if e.errno == Errno::EXIST => {}
            Err(e) => return Err(e),
        }
        if let Ok(dir) = open() {
            if !self.implied.is_empty() {
                self.implied.remove(&linux::root_dir::stat_fd(&dir)?.st_ino);
            }
            return Ok(dir);
        }
        let whiteout = is_whiteout(&self.root.stat(path)?);
        unlink(parent, name)?;
        mkdir(parent, name)?;
        let dir = open()?;
        if whiteout {
            set_xattr_fd(&dir, OsStr::new("trusted.overlay.opaque"), b"y")?;
        }
        Ok(dir)
    }

    fn new_file(&self, parent: &OwnedFd, name: &OsStr) -> Step<OwnedFd> {
        match create_file_at(parent, name, Mode::from(0o600)) {
            Err(e) if e.errno == Errno::EXIST => {
                linux::tree::remove_tree(parent, name)?;
                create_file_at(parent, name, Mode::from(0o600))
            }
            other => other,
        }
    }

    fn content<R: Read>(
        &mut self,
        tar: &mut TarReader<R>,
        entry: &Entry,
        file: &OwnedFd,
        failed: impl Fn(linux::Error) -> Error,
    ) -> Result<()> {
        self.size += entry.size;
        if self.size > self.budget.bytes {
            return Err(Error::Budget { what: "bytes", limit: self.budget.bytes });
        }
        let Some(pieces) = &entry.pieces else {
            loop {
                match tar.read(&mut self.buffer)? {
                    0 => return Ok(()),
                    n => linux::tree::write_all(file, &self.buffer[..n]).map_err(&failed)?,
                }
            }
        };
        rustix::fs::ftruncate(file, entry.size).map_err(|e| failed(linux::Error::new("ftruncate", e)))?;
        for &(mut offset, mut length) in pieces {
            while length > 0 {
                let want = self.buffer.len().min(usize::try_from(length).unwrap_or(usize::MAX));
                let n = tar.read(&mut self.buffer[..want])?;
                let mut chunk = &self.buffer[..n];
                length -= n as u64;
                while !chunk.is_empty() {
                    let n = rustix::io::pwrite(file, chunk, offset)
                        .map_err(|e| failed(linux::Error::new("pwrite64", e)))?;
                    chunk = &chunk[n..];
                    offset += n as u64;
                }
            }
        }
        Ok(())
    }

    /// `Err(None)` for the one device that is refused.
    fn node(&self, entry: &Entry, parent: &OwnedFd, name: &OsStr) -> Result<(), Option<linux::Error>> {
        let kind = match entry.kind {
            EntryType::Char => FileType::CharacterDevice,
            EntryType::Block => FileType::BlockDevice,
            _ => FileType::Fifo,
        };
        if kind == FileType::CharacterDevice && entry.device == (0, 0) {
            return Err(None);
        }
        let device = rustix::fs::makedev(entry.device.0, entry.device.1);
        let make = || rustix::fs::mknodat(parent, name, kind, Mode::from(entry.mode), device);
        replacing(parent, name, make).map_err(Some)
    }

    /// Owner, mode, extended attributes, times, in the order in which one does not undo another: chown clears
    /// setuid bits and file capabilities.
    fn attributes(&self, entry: &Entry, parent: &OwnedFd, name: &OsStr, made: Option<OwnedFd>) -> Step<()> {
        let fd = match made {
            Some(fd) => fd,
            None => {
                let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                rustix::fs::openat(parent, name, flags, Mode::empty())
                    .map_err(|e| linux::Error::on("openat", name.to_string_lossy(), e))?
            }
        };
        chown_fd(&fd, Some(Uid::from_raw(entry.uid)), Some(Gid::from_raw(entry.gid)))?;
        if entry.kind != EntryType::Symlink {
            chmod_fd(&fd, Mode::from(entry.mode))?;
        }
        set_xattrs(&fd, entry)?;
        if entry.kind == EntryType::Directory { Ok(()) } else { utimes_fd(&fd, &timestamps(entry.mtime)) }
    }
}

impl Applied {
    /// Gives the implied directories below `root` the owner, mode and time that they have in the layers below, topmost
    /// first.
    pub(crate) fn as_below(&self, root: &RootDir, lowers: &[RootDir]) -> Step<()> {
        for (inode, path) in &self.implied {
            // A later entry may have put something else there.
            let Ok(dir) = root.open_dir(path) else { continue };
            if linux::root_dir::stat_fd(&dir)?.st_ino != *inode {
                continue;
            }
            let Some(stat) = lowers.iter().find_map(|lower| lower.stat(path).ok()) else { continue };
            if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
                chown_fd(&dir, Some(Uid::from_raw(stat.st_uid)), Some(Gid::from_raw(stat.st_gid)))?;
                chmod_fd(&dir, Mode::from(stat.st_mode & 0o7777))?;
                utimes_fd(
                    &dir,
                    &timestamps((stat.st_mtime, u32::try_from(stat.st_mtime_nsec).unwrap_or(0))),
                )?;
            }
        }
        Ok(())
    }
}

/// Makes a name by `make`; what is there already goes first.
fn replacing(parent: &OwnedFd, name: &OsStr, make: impl Fn() -> Result<(), Errno>) -> Step<()> {
    let failed = |e| linux::Error::on("creating", name.to_string_lossy(), e);
    match make() {
        Err(Errno::EXIST) => {
            linux::tree::remove_tree(parent, name)?;
            make().map_err(failed)
        }
        other => other.map_err(failed),
    }
}

fn mkdir(dir: &OwnedFd, name: &OsStr) -> Step<()> {
    rustix::fs::mkdirat(dir, name, Mode::from(0o755))
        .map_err(|e| linux::Error::on("mkdirat", name.to_string_lossy(), e))
}

fn unlink(dir: &OwnedFd, name: &OsStr) -> Step<()> {
    rustix::fs::unlinkat(dir, name, AtFlags::empty())
        .map_err(|e| linux::Error::on("unlinkat", name.to_string_lossy(), e))
}

fn is_whiteout(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice && stat.st_rdev == 0
}

/// Sets those attributes that configure the workload; overlay's own would reconfigure the mount, LSM labels are the
/// host's business.
fn set_xattrs(fd: impl AsFd, entry: &Entry) -> Step<()> {
    for (name, value) in &entry.xattrs {
        if !may_set(name) {
            continue;
        }
        match set_xattr_fd(&fd, name, value) {
            // A filesystem without them, or a type of file that cannot have them.
            Err(e) if matches!(e.errno, Errno::OPNOTSUPP | Errno::PERM) && name != "security.capability" => {}
            other => other?,
        }
    }
    Ok(())
}

fn may_set(name: &OsString) -> bool {
    let name = name.as_bytes();
    let overlay = name.starts_with(b"trusted.overlay.") || name.starts_with(b"user.overlay.");
    let known =
        name.starts_with(b"user.") || name.starts_with(b"trusted.") || name.starts_with(b"system.posix_acl_");
    name == b"security.capability" || (known && !overlay)
}

fn timestamps((seconds, nanos): (i64, u32)) -> Timestamps {
    let time = Timespec { tv_sec: seconds, tv_nsec: i64::from(nanos) as _ };
    Timestamps { last_access: time, last_modification: time }
}

fn bad(entry: &Entry, why: &'static str) -> Error {
    Error::Tar { entry: entry.number, path: entry.path.to_string_lossy().chars().take(120).collect(), why }
}
