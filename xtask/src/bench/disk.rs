//! Where engines keep their things while they are measured: a disk and a `/run` as ordinary hosts have them.
//!
//! What a container costs on the disk depends on the file system far more than on anything else. On ext4 without a
//! journal, for one, a new file passes by every inode that was freed in the last minutes (`recently_deleted`), so that each
//! round of a bench is slower than the one before.

use std::fs;
use std::path::{Path, PathBuf};

use super::groups::Made;
use super::room::once;

/// Its size; the file behind it is sparse.
const BYTES: u64 = 4 << 30;

/// A journaled ext4 and a tmpfs, mounted below the scratch directory as long as this lives.
pub(super) struct Disk {
    pub(super) data: PathBuf,
    pub(super) run: PathBuf,
    mounted: Vec<PathBuf>,
}

impl Disk {
    pub(super) fn mount(scratch: &Path) -> Made<Disk> {
        let (data, run) = (scratch.join("disk"), scratch.join("run"));
        let mut disk = Disk { data, run, mounted: Vec::new() };
        fs::create_dir(&disk.data)?;
        fs::create_dir(&disk.run)?;
        if let Err(error) = disk.try_mount(scratch) {
            eprintln!("engines are measured in {} as it is: {error}", scratch.display());
        }
        Ok(disk)
    }

    fn try_mount(&mut self, scratch: &Path) -> Made<()> {
        let image = scratch.join("disk.img");
        fs::File::create(&image)?.set_len(BYTES)?;
        let words = |path: &Path| path.display().to_string();
        once(&["mkfs.ext4", "-q", "-F", &words(&image)])?;
        once(&["mount", "-o", "loop", &words(&image), &words(&self.data)])?;
        self.mounted.push(self.data.clone());
        once(&["mount", "-t", "tmpfs", "tmpfs", &words(&self.run)])?;
        self.mounted.push(self.run.clone());
        Ok(())
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        for mount in self.mounted.drain(..).rev() {
            // What an engine has mounted inside goes with it.
            if let Err(error) = once(&["umount", "-R", &mount.display().to_string()]) {
                eprintln!("{error}");
            }
        }
    }
}
