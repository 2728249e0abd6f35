//! An image's root file system as a plain directory, for bundles and for people.

use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use linux::root_dir::{chmod_fd, chown_fd, create_file_at, stat_fd, utimes_fd};
use linux::tree;
use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Stat, Timespec, Timestamps, Uid};
use rustix::io::Errno;

use crate::{Error, Image, Images, Result};

impl Images {
    /// Writes the root file system of `image` into `dir`, which is made, or must be empty: owners, modes, times, links and
    /// devices as in the image.
    ///
    /// # Errors
    /// [`Error::NotEmpty`] for a directory with something in it, [`Error::Kernel`] with the call that failed; what was
    /// written by then stays.
    pub fn unpack(&self, image: &Image, dir: &Path) -> Result<()> {
        let _shared = self.hold()?;
        match rustix::fs::mkdir(dir, Mode::from(0o755)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(linux::Error::on("mkdir", dir.to_string_lossy(), errno).into()),
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let open = |path: &Path| {
            rustix::fs::open(path, flags, Mode::empty())
                .map_err(|errno| linux::Error::on("open", path.to_string_lossy(), errno))
        };
        let to = open(dir)?;
        if !tree::entries(&to)?.is_empty() {
            return Err(Error::NotEmpty(dir.to_string_lossy().into_owned()));
        }
        match image.layers.as_slice() {
            [] => Ok(()),
            [only] => Ok(copy_dir(open(&self.layers.fs_path(only))?.as_fd(), to.as_fd())?),
            layers => {
                // Whiteouts and opaque directories are the overlay's business: read through one that nobody else sees.
                let scratch = self.store.extension("unpack")?;
                let name = tree::temporary_name();
                let _made = tree::ensure_dir(&scratch, &name)?;
                let path = Path::new("/proc/self/fd").join(fd_number(&scratch)).join(&name);
                let merged = self.layers.prepare(&path, layers, true)?.open_detached()?.into_fd();
                let root = tree::open_dir(&merged, ".")?;
                let copied = copy_dir(root.as_fd(), to.as_fd());
                drop((root, merged));
                tree::remove_tree(&scratch, &name)?;
                Ok(copied?)
            }
        }
    }
}

fn fd_number(fd: impl AsFd) -> String {
    use std::os::fd::AsRawFd;
    fd.as_fd().as_raw_fd().to_string()
}

fn copy_dir(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> linux::Result<()> {
    for (name, kind) in tree::entries(from)? {
        match kind {
            FileType::Directory => {
                let source = tree::open_dir(from, &name)?;
                let target = tree::ensure_dir(to, &name)?;
                copy_dir(source.as_fd(), target.as_fd())?;
            }
            FileType::RegularFile => copy_file(from, to, &name)?,
            FileType::Symlink => {
                let target = rustix::fs::readlinkat(from, &name, Vec::new())
                    .map_err(|e| on("readlinkat", &name, e))?;
                rustix::fs::symlinkat(target, to, &name).map_err(|e| on("symlinkat", &name, e))?;
                own(from, to, &name)?;
            }
            _ => {
                let stat = stat_at(from, &name)?;
                let mode = Mode::from_raw_mode(stat.st_mode);
                rustix::fs::mknodat(to, &name, kind, mode, stat.st_rdev)
                    .map_err(|e| on("mknodat", &name, e))?;
                own(from, to, &name)?;
            }
        }
    }
    // Last, because everything above changed the directory's times.
    same_attributes(&stat_fd(from)?, to)
}

fn copy_file(from: BorrowedFd<'_>, to: BorrowedFd<'_>, name: &OsStr) -> linux::Result<()> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let source = rustix::fs::openat(from, name, flags, Mode::empty()).map_err(|e| on("openat", name, e))?;
    let stat = stat_fd(&source)?;
    let target = create_file_at(to, name, Mode::from(0o600))?;
    let (mut source, mut target) = (File::from(source), File::from(target));
    std::io::copy(&mut source, &mut target)
        .map_err(|error| on("copy_file_range", name, Errno::from_io_error(&error).unwrap_or(Errno::IO)))?;
    same_attributes(&stat, target.as_fd())
}

fn same_attributes(stat: &Stat, to: BorrowedFd<'_>) -> linux::Result<()> {
    chown_fd(to, Some(Uid::from_raw(stat.st_uid)), Some(Gid::from_raw(stat.st_gid)))?;
    // After the change of owner, which clears the set-id bits.
    chmod_fd(to, Mode::from_raw_mode(stat.st_mode & 0o7777))?;
    utimes_fd(to, &times(stat))
}

fn own(from: BorrowedFd<'_>, to: BorrowedFd<'_>, name: &OsStr) -> linux::Result<()> {
    let stat = stat_at(from, name)?;
    let (owner, group) = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
    rustix::fs::chownat(to, name, Some(owner), Some(group), AtFlags::SYMLINK_NOFOLLOW)
        .map_err(|e| on("fchownat", name, e))?;
    rustix::fs::utimensat(to, name, &times(&stat), AtFlags::SYMLINK_NOFOLLOW)
        .map_err(|e| on("utimensat", name, e))
}

fn stat_at(dir: BorrowedFd<'_>, name: &OsStr) -> linux::Result<Stat> {
    rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW).map_err(|e| on("fstatat", name, e))
}

fn times(stat: &Stat) -> Timestamps {
    Timestamps {
        last_access: Timespec { tv_sec: stat.st_atime as _, tv_nsec: stat.st_atime_nsec as _ },
        last_modification: Timespec { tv_sec: stat.st_mtime as _, tv_nsec: stat.st_mtime_nsec as _ },
    }
}

fn on(call: &'static str, name: &OsStr, errno: Errno) -> linux::Error {
    linux::Error::on(call, name.to_string_lossy(), errno)
}
