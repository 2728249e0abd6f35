//! A bundle made of busybox-static, run through `launch` in a forked process that has one thread.
#![allow(dead_code, clippy::unwrap_used, reason = "each test program uses a part of it, and it is a test")]

use std::io::Read;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use oci_spec::runtime::Spec;
use runtime::{Launch, Parent, Root, Start, Stdio, launch};

/// A bundle in a temporary directory.
pub(crate) struct Bundle {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) spec: serde_json::Value,
}

/// How a run ended.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// Exit status, 128 + n for a signal; none when the launch itself failed.
    pub(crate) code: Option<i32>,
    /// What the program wrote.
    pub(crate) output: String,
    /// The launch's error and warnings.
    pub(crate) said: String,
}

impl Bundle {
    /// busybox as `/bin/busybox` and `/bin/sh`, and a configuration with docker's usual mounts.
    pub(crate) fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("sampan-test-").tempdir().unwrap();
        let root = dir.path().join("rootfs");
        for sub in ["bin", "etc", "tmp"] {
            std::fs::create_dir_all(root.join(sub)).unwrap();
        }
        // A link, not a copy: a copy's descriptor would be inherited by the forks of other tests' threads (ETXTBSY).
        let program = root.join("bin/busybox");
        if std::fs::hard_link("/bin/busybox", &program).is_err() {
            std::fs::copy("/bin/busybox", &program).unwrap();
        }
        for name in [
            "sh", "true", "cat", "ls", "id", "grep", "stat", "mount", "sleep", "hostname", "env", "kill",
            "tty",
        ] {
            std::os::unix::fs::symlink("busybox", root.join("bin").join(name)).unwrap();
        }
        std::fs::write(
            root.join("etc/passwd"),
            "root:x:0:0:root:/root:/bin/sh\napp:x:100:101::/home/app:/bin/sh\n",
        )
        .unwrap();
        std::fs::write(root.join("etc/group"), "root:x:0:\napp:x:101:\nextra:x:102:app\n").unwrap();
        Self { dir, spec: default_spec() }
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.dir.path().join("rootfs")
    }

    /// Runs `script` in busybox' shell.
    pub(crate) fn sh(&mut self, script: &str) -> Outcome {
        self.spec["process"]["args"] = serde_json::json!(["/bin/sh", "-c", script]);
        self.run(|_| {})
    }

    /// Runs what the configuration says.
    pub(crate) fn run(&self, change: impl FnOnce(&mut Launch<'_>)) -> Outcome {
        let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
        let (said_read, said_write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
        let spec: Spec = serde_json::from_value(self.spec.clone()).unwrap();
        let dir = self.dir.path();
        let pid = linux::fork(|| {
            drop((read.try_clone(), said_read.try_clone()));
            launch_and_wait(spec, dir, write.try_clone().unwrap(), &said_write, change)
        })
        .unwrap();
        drop((write, said_write));
        let output = read_all(read);
        let said = read_all(said_read);
        let (_, status) =
            rustix::process::waitpid(Some(pid), rustix::process::WaitOptions::empty()).unwrap().unwrap();
        let code = status.exit_status().filter(|code| *code != 250);
        Outcome { code, output, said }
    }
}

/// A plain request.
pub(crate) fn request<'a>(spec: Spec, dir: &'a Path, stdio: Stdio) -> Launch<'a> {
    Launch {
        id: "sampan-test",
        spec,
        bundle: dir,
        root: Root::Bundle,
        user: None,
        create_cwd: false,
        reaper: false,
        stdio,
        start: Start::Now,
        parent: Parent::Caller,
        cgroup_default: None,
        host: None,
        network: None,
        controllers: Default::default(),
        default_filter: None,
        seccomp_cache: None,
        keep_fds: 0,
        no_pivot: false,
        no_new_keyring: false,
        explain: None,
    }
}

fn launch_and_wait(
    spec: Spec,
    dir: &Path,
    output: OwnedFd,
    said: &OwnedFd,
    change: impl FnOnce(&mut Launch<'_>),
) -> i32 {
    let null = std::fs::File::open("/dev/null").unwrap().into();
    let stdio = Stdio::Fds { stdin: null, stdout: output.try_clone().unwrap(), stderr: output };
    let mut request = request(spec, dir, stdio);
    change(&mut request);
    let say = |text: &str| assert!(rustix::io::write(said, text.as_bytes()).is_ok());
    match launch(request) {
        Ok(launched) => {
            for warning in &launched.warnings {
                say(&format!("warning: {warning}\n"));
            }
            let status = launched.pidfd.wait().unwrap();
            status.exit_status().or(status.terminating_signal().map(|s| 128 + s)).unwrap_or(255)
        }
        Err(error) => {
            say(&error.to_string());
            250
        }
    }
}

fn read_all(fd: OwnedFd) -> String {
    let mut text = String::new();
    std::fs::File::from(fd).read_to_string(&mut text).unwrap();
    text
}

/// Docker's usual configuration, without a cgroup and a filter.
pub(crate) fn default_spec() -> serde_json::Value {
    let caps = [
        "CAP_CHOWN",
        "CAP_DAC_OVERRIDE",
        "CAP_FSETID",
        "CAP_FOWNER",
        "CAP_MKNOD",
        "CAP_SETGID",
        "CAP_SETUID",
        "CAP_SETPCAP",
        "CAP_NET_BIND_SERVICE",
        "CAP_SYS_CHROOT",
        "CAP_KILL",
    ];
    serde_json::json!({
        "ociVersion": "1.2.0",
        "process": {
            "user": {"uid": 0, "gid": 0},
            "args": ["/bin/true"],
            "env": ["PATH=/bin"],
            "cwd": "/",
            "capabilities": {"bounding": caps, "effective": caps, "permitted": caps, "inheritable": caps},
            "noNewPrivileges": true
        },
        "root": {"path": "rootfs"},
        "hostname": "sampan-test",
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc", "options": ["nosuid", "noexec", "nodev"]},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "strictatime", "mode=755", "size=65536k"]},
            {"destination": "/dev/pts", "type": "devpts", "source": "devpts", "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]},
            {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["nosuid", "noexec", "nodev", "ro"]},
            {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["ro", "nosuid", "noexec", "nodev"]},
            {"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue", "options": ["nosuid", "noexec", "nodev"]},
            {"destination": "/dev/shm", "type": "tmpfs", "source": "shm", "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]}
        ],
        "linux": {
            "namespaces": [{"type": "mount"}, {"type": "network"}, {"type": "uts"}, {"type": "pid"}, {"type": "ipc"}, {"type": "cgroup"}],
            "maskedPaths": ["/proc/asound", "/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/proc/scsi", "/sys/firmware", "/sys/devices/virtual/powercap"],
            "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]
        }
    })
}
