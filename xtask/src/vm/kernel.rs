//! Debian's cloud kernel, its modules, and the initramfs that mounts the guest's disk.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::{tool, write_executable};
use crate::Outcome;

/// In the order in which they must be loaded; one that the kernel has built in is not in the package.
const MODULES: &[&str] = &[
    "virtio_ring",
    "virtio",
    "virtio_pci_legacy_dev",
    "virtio_pci_modern_dev",
    "virtio_pci",
    "virtio_blk",
    "overlay",
    "llc",
    "stp",
    "bridge",
    "veth",
];

const INIT: &str = "\
#!/bin/busybox sh
/bin/busybox mkdir -p /proc /sys /dev /root
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t devtmpfs dev /dev
for module in @MODULES@; do /bin/busybox insmod /modules/$module.ko; done
/bin/busybox mount -t ext4 /dev/vda /root || /bin/busybox poweroff -f
/bin/busybox umount /proc
exec /bin/busybox switch_root /root /init
";

/// An unpacked kernel package.
pub(super) struct Kernel {
    dir: PathBuf,
}

impl Kernel {
    /// The kernel unpacked under `cache`, downloaded with apt on the first call.
    pub(super) fn obtain(cache: &Path) -> Result<Kernel, Box<dyn std::error::Error>> {
        let dir = cache.join("kernel");
        if !dir.join("boot").exists() {
            let download = cache.join("download");
            fs::create_dir_all(&download)?;
            let newest = "apt-cache depends linux-image-cloud-amd64 | sed -n 's/.*Depends: \\(linux-image-[0-9].*\\)/\\1/p'";
            let fetch = format!(
                "name=$({newest} | head -n 1) && apt-get download \"$name\" && dpkg-deb -x \"$name\"_*.deb unpacked"
            );
            tool(Command::new("sh").args(["-ec", &fetch]).current_dir(&download))?;
            fs::rename(download.join("unpacked"), &dir)?;
        }
        Ok(Kernel { dir })
    }

    /// The bootable image.
    pub(super) fn image(&self) -> PathBuf {
        let found = entries(&self.dir.join("boot")).find(|path| path.to_string_lossy().contains("vmlinuz"));
        found.unwrap_or_else(|| self.dir.join("boot/vmlinuz"))
    }

    /// Writes an initramfs that loads the modules and switches to the disk; returns its path, in `dir`.
    pub(super) fn initramfs(&self, dir: &Path) -> Result<PathBuf, Box<dyn std::error::Error>> {
        let root = dir.join("initramfs");
        fs::create_dir_all(root.join("bin"))?;
        fs::create_dir_all(root.join("modules"))?;
        fs::copy("/bin/busybox", root.join("bin/busybox"))
            .map_err(|error| format!("/bin/busybox (Debian: busybox-static): {error}"))?;
        let mut loaded = Vec::new();
        for name in MODULES {
            if let Some(path) = find(&self.dir.join("lib/modules"), &format!("{name}.ko")) {
                fs::copy(path, root.join("modules").join(format!("{name}.ko")))?;
                loaded.push(*name);
            }
        }
        write_executable(&root.join("init"), &INIT.replace("@MODULES@", &loaded.join(" ")))?;
        let image = dir.join("initramfs.cpio");
        pack(&root, &image)?;
        Ok(image)
    }
}

fn pack(root: &Path, image: &Path) -> Outcome {
    let pack = "find . | busybox cpio -o -H newc > \"$0\" 2>/dev/null";
    tool(Command::new("sh").args(["-ec", pack]).arg(image).current_dir(root).stdin(Stdio::null()))
}

fn entries(dir: &Path) -> impl Iterator<Item = PathBuf> {
    fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path())
}

fn find(dir: &Path, name: &str) -> Option<PathBuf> {
    entries(dir).find_map(|path| match path.is_dir() {
        true => find(&path, name),
        false => path.file_name().is_some_and(|file| file == name).then_some(path),
    })
}
