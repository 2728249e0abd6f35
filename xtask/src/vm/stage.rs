//! The guest's root directory and the disk image made of it.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{EXIT_MARK, tool, write_executable};
use crate::Outcome;

/// Programs of this host that tests call; busybox gives the guest everything else.
const PROGRAMS: &[&str] = &[
    "/bin/sh",
    "/bin/bash",
    "/usr/bin/id",
    "/bin/ls",
    "/bin/cat",
    "/bin/true",
    "/usr/bin/env",
    "/usr/bin/cc",
    "/bin/sleep",
    "/bin/tar",
    "/bin/ps",
    "/bin/mount",
    "/usr/bin/strace",
    "/usr/bin/redis-server",
    "/usr/bin/redis-cli",
    "/usr/bin/perl",
];

/// Programs of the workspace that tests start: those that they look for beside themselves, and in `../examples`.
pub(super) const OWN_PROGRAMS: [(&str, &str); 3] =
    [("sampan", "tests"), ("sampan-runtime", "tests"), ("examples/monitor", "examples")];

const INIT: &str = "\
#!/bin/busybox sh
export PATH=/usr/bin:/bin:/usr/sbin:/sbin:/applets
busybox mount -t proc proc /proc
busybox mount -t sysfs sysfs /sys
busybox mount -t devtmpfs dev /dev
busybox mkdir -p /dev/pts /dev/shm
busybox mount -t devpts devpts /dev/pts
busybox mount -t tmpfs tmpfs /dev/shm
busybox mount -t tmpfs tmpfs /run
busybox mount -t cgroup2 cgroup2 /sys/fs/cgroup
busybox ip link set lo up
busybox sh /script </dev/null
echo; echo @MARK@ $?
busybox poweroff -f
";

/// A directory that becomes the guest's root; removed when dropped.
pub(super) struct Stage {
    dir: tempfile::TempDir,
}

impl Stage {
    /// A root with busybox and a few of this host's dynamic programs with their libraries.
    pub(super) fn with_host_programs() -> Result<Stage, Box<dyn std::error::Error>> {
        let stage = Stage { dir: tempfile::Builder::new().prefix("sampan-vm-").tempdir()? };
        let root = stage.root();
        for dir in [
            "usr/bin",
            "usr/lib",
            "usr/lib64",
            "usr/sbin",
            "applets",
            "proc",
            "sys",
            "dev",
            "run",
            "tmp",
            "etc",
            "root",
            "var/lib",
            "tests",
            "examples",
        ] {
            fs::create_dir_all(root.join(dir))?;
        }
        for name in ["bin", "lib", "lib64", "sbin"] {
            symlink(format!("usr/{name}"), root.join(name))?;
        }
        fs::copy("/bin/busybox", root.join("usr/bin/busybox"))?;
        fs::write(
            root.join("etc/passwd"),
            "root:x:0:0::/root:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n",
        )?;
        fs::write(root.join("etc/group"), "root:x:0:\nnogroup:x:65534:\n")?;
        for (name, text) in [
            ("hostname", "guest\n"),
            ("hosts", "127.0.0.1 localhost\n::1 localhost\n"),
            ("resolv.conf", "nameserver 127.0.0.1\n"),
            ("nsswitch.conf", "passwd: files\ngroup: files\nhosts: files\n"),
        ] {
            fs::write(root.join("etc").join(name), text)?;
        }
        let list = Command::new("/bin/busybox").arg("--list").output()?;
        for applet in String::from_utf8_lossy(&list.stdout).lines() {
            symlink("/usr/bin/busybox", root.join("applets").join(applet))?;
        }
        for program in PROGRAMS.iter().filter(|program| Path::new(program).exists()) {
            stage.add_program(Path::new(program))?;
        }
        Ok(stage)
    }

    fn root(&self) -> PathBuf {
        self.dir.path().join("root")
    }

    /// Copies a program and the libraries that `ldd` names for it.
    fn add_program(&self, program: &Path) -> Outcome {
        self.add_file(program)?;
        let libraries = Command::new("ldd").arg(program).output()?;
        for word in
            String::from_utf8_lossy(&libraries.stdout).split_whitespace().filter(|word| word.starts_with('/'))
        {
            self.add_file(Path::new(word))?;
        }
        Ok(())
    }

    fn add_file(&self, path: &Path) -> Outcome {
        let to = self.root().join(path.strip_prefix("/")?);
        if let Some(dir) = to.parent() {
            fs::create_dir_all(dir)?;
        }
        fs::copy(path, to)?;
        Ok(())
    }

    /// Adds a test executable (static, so it needs nothing else); returns its name under `/tests`.
    pub(super) fn add_test(&self, path: &Path) -> Result<String, Box<dyn std::error::Error>> {
        let name = path.file_name().ok_or("a test has a file name")?.to_string_lossy().into_owned();
        fs::copy(path, self.root().join("tests").join(&name))?;
        Ok(name)
    }

    /// Adds one of [`OWN_PROGRAMS`], which was built beside the test executable `test`.
    pub(super) fn add_own(&self, test: &Path, (program, to): (&str, &str)) -> Outcome {
        // target/<triple>/debug/deps/<test>
        let built = test.ancestors().nth(2).ok_or("a test stands in deps")?.join(program);
        let name = built.file_name().ok_or("a program has a name")?.to_owned();
        fs::copy(&built, self.root().join(to).join(name))
            .map_err(|error| format!("{}: {error}", built.display()))?;
        Ok(())
    }

    /// The shell script that the guest runs.
    pub(super) fn write_script(&self, script: &str) -> Outcome {
        write_executable(&self.root().join("script"), script)?;
        write_executable(&self.root().join("init"), &INIT.replace("@MARK@", EXIT_MARK))
    }

    /// Makes the disk image.
    pub(super) fn into_image(self) -> Result<Disk, Box<dyn std::error::Error>> {
        let image = self.dir.path().join("disk.ext4");
        tool(Command::new("mke2fs").args(["-q", "-t", "ext4", "-d"]).arg(self.root()).arg(&image).arg("4G"))?;
        Ok(Disk { dir: self.dir, image })
    }
}

/// A disk image in a directory of its own; both go when it is dropped.
pub(super) struct Disk {
    dir: tempfile::TempDir,
    image: PathBuf,
}

impl Disk {
    /// The directory, where other files of this guest may go too.
    pub(super) fn directory(&self) -> &Path {
        self.dir.path()
    }

    /// The image.
    pub(super) fn image(&self) -> &Path {
        &self.image
    }
}
