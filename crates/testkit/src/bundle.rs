use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

/// Where Debian's busybox-static puts its one program.
pub const BUSYBOX: &str = "/bin/busybox";

/// An OCI bundle with a busybox root filesystem, for tests of the low-level runtime.
pub struct Bundle {
    dir: tempfile::TempDir,
    /// The runtime-spec document; change it, then [`Bundle::write`].
    pub config: Value,
}

impl Bundle {
    /// A bundle that runs `args` with a usual set of mounts and namespaces and no terminal.
    ///
    /// Panics when busybox-static is not installed, since every test on a bundle would mean nothing then.
    pub fn new(args: &[&str]) -> Bundle {
        assert!(
            Path::new(BUSYBOX).exists(),
            "install busybox-static: the tests' root filesystem is made of it"
        );
        let dir = tempfile::Builder::new().prefix("sampan-test-").tempdir().expect("temporary directory");
        let root = dir.path().join("rootfs");
        for sub in ["bin", "dev", "etc", "proc", "sys", "tmp", "root"] {
            fs::create_dir_all(root.join(sub)).expect("mkdir in a fresh directory");
        }
        fs::copy(BUSYBOX, root.join("bin/busybox")).expect("copy busybox");
        for applet in
            ["sh", "true", "cat", "id", "ls", "sleep", "echo", "mount", "hostname", "touch", "stat", "grep"]
        {
            symlink("busybox", root.join("bin").join(applet)).expect("symlink in a fresh directory");
        }
        fs::write(root.join("etc/passwd"), "root:x:0:0::/root:/bin/sh\n").expect("write passwd");
        fs::write(root.join("etc/group"), "root:x:0:\n").expect("write group");
        let bundle = Bundle { dir, config: config(args) };
        bundle.write();
        bundle
    }

    /// The bundle's directory.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// The root filesystem's directory.
    pub fn rootfs(&self) -> PathBuf {
        self.dir.path().join("rootfs")
    }

    /// Writes `config.json` as [`Bundle::config`] has it now.
    pub fn write(&self) {
        fs::write(self.dir.path().join("config.json"), self.config.to_string()).expect("write config.json");
    }
}

fn config(args: &[&str]) -> Value {
    let namespaces = ["pid", "ipc", "uts", "mount", "network"].map(|kind| json!({ "type": kind }));
    json!({
        "ociVersion": "1.2.0",
        "process": {
            "user": { "uid": 0, "gid": 0 }, "args": args, "cwd": "/",
            "env": ["PATH=/bin", "HOME=/root"], "noNewPrivileges": true,
        },
        "root": { "path": "rootfs" },
        "hostname": "sampan",
        "mounts": [
            { "destination": "/proc", "type": "proc", "source": "proc" },
            { "destination": "/dev", "type": "tmpfs", "source": "tmpfs",
              "options": ["nosuid", "strictatime", "mode=755", "size=65536k"] },
            { "destination": "/dev/pts", "type": "devpts", "source": "devpts",
              "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"] },
            { "destination": "/dev/shm", "type": "tmpfs", "source": "shm",
              "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"] },
            { "destination": "/sys", "type": "sysfs", "source": "sysfs",
              "options": ["nosuid", "noexec", "nodev", "ro"] },
        ],
        "linux": { "namespaces": namespaces,
                   "maskedPaths": ["/proc/kcore", "/sys/firmware"], "readonlyPaths": ["/proc/sys"] },
    })
}
