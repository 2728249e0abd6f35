//! A container's root filesystem as data, and as a detached mount.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use linux::root_dir::{chmod_fd, chown_fd, stat_fd};
use linux::{RootDir, tree};
use rustix::fs::{Gid, Mode, Uid};
use rustix::io::Errno;
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags};

use crate::{ChainId, Error, Layers, Result};

/// An overlay: what mounting it needs, nothing of which depends on the process that asks.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Rootfs {
    /// The layers' files, topmost first, as overlay orders them.
    pub lowers: Vec<PathBuf>,
    /// The container's own changes.
    pub upper: PathBuf,
    /// Overlay's scratch directory, on the filesystem of `upper`.
    pub work: PathBuf,
    /// Whether overlay may skip syncing: for containers that do not outlive a crash.
    pub volatile: bool,
}

/// In a layer's directory: see [`Layers::mountpoints`].
const MOUNTPOINTS: &str = "mountpoints";

impl Layers {
    /// Makes `upper/` and `work/` in the container's directory, on top of `layers` (bottom first).
    ///
    /// Idempotent: a second call for the same container keeps its changes, and takes away the mark by which a volatile
    /// overlay refuses a second mount.
    pub fn prepare(&self, container: &Path, layers: &[ChainId], volatile: bool) -> Result<Rootfs> {
        let dir = RootDir::open(container)?;
        let upper = match tree::open_dir(&dir, "upper") {
            Err(e) if e.errno == rustix::io::Errno::NOENT => {
                let upper = tree::ensure_dir(&dir, "upper")?;
                self.like_top(&upper, layers)?;
                upper
            }
            other => other?,
        };
        drop(upper);
        let work = tree::ensure_dir(&dir, "work")?;
        if let Ok(inner) = tree::open_dir(&work, "work") {
            tree::remove_tree(&inner, "incompat")?;
        }
        if let Some(missing) = layers.iter().find(|chain| !self.has(chain)) {
            return Err(Error::NoLayer(missing.clone()));
        }
        Ok(Rootfs {
            lowers: layers.iter().rev().map(|chain| self.fs_path(chain)).collect(),
            upper: container.join("upper"),
            work: container.join("work"),
            volatile,
        })
    }

    /// A layer to put on top of an image, which has the directories and empty files that every container mounts upon and
    /// this image lacks. Made once, in the topmost layer's directory, by the rules of a merged root: what a symbolic link
    /// of the image leads to is looked for inside the root. What the image has already, or cannot have (a file where a
    /// directory should be), is left out: the mount then says what is wrong.
    ///
    /// Without it each container would copy those directories up, make the files, and remove all of it again.
    pub fn mountpoints(
        &self,
        layers: &[ChainId],
        directories: &[&str],
        files: &[&str],
    ) -> Result<Option<PathBuf>> {
        let Some(top) = layers.last() else { return Ok(None) };
        let dir = self.dir(top)?;
        let path = self.layer_path(top).join(MOUNTPOINTS);
        if rustix::fs::statat(&dir, MOUNTPOINTS, rustix::fs::AtFlags::SYMLINK_NOFOLLOW).is_ok() {
            return Ok(Some(path));
        }
        let staging = tree::temporary_name();
        let made = self.stage_mountpoints(&staging, layers, directories, files);
        let published = made.and_then(|staged| {
            match rustix::fs::renameat(staged, "upper", &dir, MOUNTPOINTS) {
                // Of two makers one is first, and both have made the same.
                Ok(()) | Err(Errno::NOTEMPTY | Errno::EXIST) => Ok(Some(path)),
                Err(errno) => Err(linux::Error::on("renameat", MOUNTPOINTS, errno).into()),
            }
        });
        // What stays is removed by the next sweep.
        let _ = tree::remove_tree(self.root(), &staging);
        published
    }

    fn stage_mountpoints(
        &self,
        staging: &std::ffi::OsStr,
        layers: &[ChainId],
        directories: &[&str],
        files: &[&str],
    ) -> Result<OwnedFd> {
        let staged = tree::ensure_dir(self.root(), staging)?;
        let rootfs = self.prepare(&self.path().join(staging), layers, true)?;
        let root = rootfs.open_detached()?;
        let mode = Mode::from_raw_mode(0o755);
        for directory in directories {
            let _ = root.mkdir_p(Path::new(directory), mode);
        }
        for file in files {
            let path = Path::new(file);
            if let Some(parent) = path.parent() {
                let _ = root.mkdir_p(parent, mode);
            }
            let _ = root.create_file(path, Mode::from_raw_mode(0o644));
        }
        Ok(staged)
    }

    /// The mounted root shows the attributes of `upper` itself, so it gets those of the topmost layer's root.
    fn like_top(&self, upper: &OwnedFd, layers: &[ChainId]) -> Result<()> {
        let mode = match layers.last() {
            Some(top) => {
                let stat = RootDir::open(&self.fs_path(top)).and_then(|fs| stat_fd(&fs))?;
                chown_fd(upper, Some(Uid::from_raw(stat.st_uid)), Some(Gid::from_raw(stat.st_gid)))?;
                stat.st_mode & 0o7777
            }
            None => 0o755,
        };
        Ok(chmod_fd(upper, Mode::from(mode))?)
    }
}

impl Rootfs {
    /// Mounts the overlay without attaching it anywhere: a root for copying into and out of a stopped container.
    /// It is gone when the descriptor is closed. No mount of the same container may exist meanwhile.
    pub fn open_detached(&self) -> Result<RootDir> {
        use rustix::mount as m;
        let failed = |call| move |e| Error::Kernel(linux::Error::on(call, "overlay", e));
        let context = m::fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC).map_err(failed("fsopen"))?;
        let set = |key: &str, value: &Path| {
            m::fsconfig_set_string(&context, key, value)
                .map_err(|e| Error::Kernel(linux::Error::on("fsconfig", key, e)))
        };
        if appends_lowers() {
            self.lowers.iter().try_for_each(|lower| set("lowerdir+", lower))?;
        } else {
            set("lowerdir", Path::new(&joined(&self.lowers)))?;
        }
        set("upperdir", &self.upper)?;
        set("workdir", &self.work)?;
        if self.volatile {
            m::fsconfig_set_flag(&context, "volatile").map_err(failed("fsconfig"))?;
        }
        m::fsconfig_create(&context).map_err(failed("fsconfig"))?;
        let mount = m::fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())
            .map_err(failed("fsmount"))?;
        Ok(RootDir::from_fd(mount))
    }
}

/// Overlay takes lower directories one by one, in any number and with any name, since Linux 6.5.
fn appends_lowers() -> bool {
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|n| n.parse().unwrap_or(0u32));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) >= (6, 5)
}

/// The older option: one string, `:` between directories, `\` before a `:` or `\` that belongs to a name.
fn joined(lowers: &[PathBuf]) -> std::ffi::OsString {
    use std::os::unix::ffi::{OsStrExt, OsStringExt};
    let mut text = Vec::new();
    for (i, lower) in lowers.iter().enumerate() {
        if i > 0 {
            text.push(b':');
        }
        for &byte in lower.as_os_str().as_bytes() {
            if matches!(byte, b':' | b'\\') {
                text.push(b'\\');
            }
            text.push(byte);
        }
    }
    std::ffi::OsString::from_vec(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colons_in_names_are_escaped() {
        assert_eq!(joined(&["/a:b".into(), "/c\\d".into()]), "/a\\:b:/c\\\\d");
    }
}
