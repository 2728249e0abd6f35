//! An overlay root, made detached in the creator.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use linux::{FsContext, MountFd};
use rustix::io::Errno;
use rustix::mount::MountAttrFlags;
use serde::{Deserialize, Serialize};

/// Image layers under a layer of the container's own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Overlay {
    /// The layers, uppermost first, as overlayfs lists them.
    pub lowers: Vec<PathBuf>,
    /// The container's own layer.
    pub upper: PathBuf,
    /// Overlayfs' work directory, on the same filesystem.
    pub work: PathBuf,
    /// Never sync the upper layer: for containers that are removed when they end.
    pub volatile: bool,
    /// Without an upper layer.
    pub read_only: bool,
    /// An empty directory of the host where the root is attached in the container's mount namespace.
    pub mount_at: PathBuf,
}

impl Overlay {
    /// Makes the mount, detached.
    ///
    /// # Errors
    /// The filesystem's own words.
    pub fn mount(&self) -> linux::Result<MountFd> {
        let context = FsContext::open("overlay")?;
        context.set("source", "overlay")?;
        if lowerdir_plus() {
            for lower in &self.lowers {
                context.set("lowerdir+", lower.as_path())?;
            }
        } else {
            context.set("lowerdir", joined(&self.lowers).as_slice())?;
        }
        if !self.read_only {
            context.set("upperdir", self.upper.as_path())?;
            context.set("workdir", self.work.as_path())?;
            if self.volatile {
                forget_incompatible(&self.work)?;
                context.set_flag("volatile")?;
            }
        }
        context.mount(MountAttrFlags::empty())
    }
}

/// `lowerdir+` came with Linux 6.5: one path per call, of any length, without escapes.
fn lowerdir_plus() -> bool {
    let uname = rustix::system::uname();
    let release = uname.release().to_string_lossy();
    let mut numbers = release.split(['.', '-', '+']).map_while(|n| n.parse::<u32>().ok());
    (numbers.next(), numbers.next()) >= (Some(6), Some(5))
}

/// The old form: a list in which colons and backslashes are escaped.
fn joined(lowers: &[PathBuf]) -> Vec<u8> {
    let mut text = Vec::new();
    for (i, lower) in lowers.iter().enumerate() {
        if i > 0 {
            text.push(b':');
        }
        for byte in lower.as_os_str().as_bytes() {
            if matches!(byte, b':' | b'\\' | b',') {
                text.push(b'\\');
            }
            text.push(*byte);
        }
    }
    text
}

/// A volatile overlay leaves a mark and refuses the next mount: after a crash its data may be torn. A container that
/// restarts has ended in order, or is one whose data nobody wants to keep.
fn forget_incompatible(work: &Path) -> linux::Result<()> {
    match linux::RootDir::open(&work.join("work")) {
        Ok(dir) => linux::tree::remove_tree(&dir, "incompat"),
        Err(error) if error.errno == Errno::NOENT => Ok(()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_old_form_escapes() {
        assert_eq!(joined(&["/a:b".into(), "/c\\d".into()]), b"/a\\:b:/c\\\\d");
    }
}
