//! Containers in a user namespace of their own over image layers that belong to root: nothing on the disk is changed for
//! it, root inside is nobody outside, and everything else works as without.

#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use common::{Bundle, Outcome};
use oci_spec::runtime::Spec;
use runtime::{ExecRequest, Launch, Overlay, Parent, Root, State, Stdio};
use serde_json::{Value, json};

/// Host ids of the container: above what any user has.
const BASE: u32 = 1_879_048_192;

/// A bundle whose root is an overlay of its `rootfs` (files of root's) in a user namespace of 65 536 ids. Everything lies in
/// directories that are closed to others, as `/var/lib/sampan` and `/run/sampan` are.
struct Container {
    bundle: Bundle,
}

impl Container {
    fn new() -> Self {
        let mut bundle = Bundle::new();
        for name in ["layer", "own", "at"] {
            std::fs::create_dir(bundle.dir.path().join(name)).unwrap();
        }
        for name in ["own/upper", "own/work"] {
            let path = bundle.dir.path().join(name);
            std::fs::create_dir(&path).unwrap();
            std::fs::set_permissions(path, PermissionsExt::from_mode(0o755)).unwrap();
        }
        std::fs::set_permissions(bundle.dir.path().join("own"), PermissionsExt::from_mode(0o700)).unwrap();
        std::fs::set_permissions(bundle.dir.path(), PermissionsExt::from_mode(0o700)).unwrap();
        bundle.spec["linux"]["namespaces"].as_array_mut().unwrap().push(json!({"type": "user"}));
        let map = json!([{"containerID": 0, "hostID": BASE, "size": 65_536}]);
        bundle.spec["linux"]["uidMappings"] = map.clone();
        bundle.spec["linux"]["gidMappings"] = map;
        Self { bundle }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.bundle.dir.path().join(name)
    }

    fn upper(&self, name: &str) -> PathBuf {
        self.path("own/upper").join(name)
    }

    fn overlay(&self) -> Overlay {
        Overlay {
            lowers: vec![self.path("layer"), self.bundle.root()],
            upper: self.path("own/upper"),
            work: self.path("own/work"),
            volatile: false,
            read_only: false,
            mount_at: self.path("at"),
        }
    }

    fn sh(&mut self, script: &str) -> Outcome {
        self.sh_with(script, |_| {})
    }

    fn sh_with(&mut self, script: &str, change: impl FnOnce(&mut Launch<'_>)) -> Outcome {
        self.bundle.spec["process"]["args"] = json!(["/bin/sh", "-c", script]);
        let overlay = self.overlay();
        self.bundle.run(|launch| {
            launch.root = Root::Overlay(overlay);
            change(launch);
        })
    }

    fn mount(&mut self, mount: Value) {
        self.bundle.spec["mounts"].as_array_mut().unwrap().push(mount);
    }
}

/// Runs `script` by exec in a container that is `container` and only waits.
fn exec(
    container: &mut Container,
    process: &Value,
    change: impl FnOnce(&mut ExecRequest<'_>),
) -> (String, String) {
    container.bundle.spec["process"]["args"] = json!(["/bin/sh", "-c", "while :; do sleep 0.05; done"]);
    let name = format!(
        "/sampan-test-userns-exec-{}-{}",
        std::process::id(),
        process["args"][2].as_str().unwrap().len()
    );
    container.bundle.spec["linux"]["cgroupsPath"] = json!(name);
    let spec: Spec = serde_json::from_value(container.bundle.spec.clone()).unwrap();
    let process = serde_json::from_value(process.clone()).unwrap();
    let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
    let (said_read, said) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
    let null =
        || OwnedFd::from(std::fs::OpenOptions::new().read(true).write(true).open("/dev/null").unwrap());
    let pid = linux::fork(|| {
        let stdio = Stdio::Fds { stdin: null(), stdout: null(), stderr: null() };
        let mut request = common::request(spec, container.bundle.dir.path(), stdio);
        request.root = Root::Overlay(container.overlay());
        let launched = runtime::launch(request).unwrap();
        let state = State {
            oci_version: "1.2.0".into(),
            id: "sampan-test".into(),
            pid: launched.pid.as_raw_nonzero().get(),
            bundle: container.bundle.dir.path().to_owned(),
            annotations: Default::default(),
            start_time: runtime::state::process_stat(launched.pid).unwrap().0,
            boot_id: runtime::state::boot_id(),
            created: String::new(),
            rootfs: container.path("at"),
            cgroup: name.clone(),
            owner: 0,
        };
        let (stdout, stderr) = (write.try_clone().unwrap(), write.try_clone().unwrap());
        let mut request = ExecRequest {
            process,
            filter: None,
            user: None,
            stdio: Stdio::Fds { stdin: null(), stdout, stderr },
            parent: Parent::Caller,
            seccomp_cache: None,
            keep_fds: 0,
        };
        change(&mut request);
        let text = match runtime::exec(&state, request) {
            Ok(started) => {
                let status = started.pidfd.wait().unwrap();
                let terminal = started.terminal.map(|master| {
                    let mut buffer = [0; 256];
                    let n = rustix::io::read(&master, &mut buffer).unwrap_or(0);
                    String::from_utf8_lossy(&buffer[..n]).into_owned()
                });
                format!(
                    "{:?} {} {}",
                    status.exit_status(),
                    terminal.unwrap_or_default(),
                    started.warnings.join(" ")
                )
            }
            Err(error) => error.to_string(),
        };
        rustix::io::write(&said, text.as_bytes()).unwrap();
        launched.pidfd.kill().unwrap();
        launched.pidfd.wait().unwrap();
        0
    })
    .unwrap();
    drop((write, said));
    let all = |fd: OwnedFd| std::io::read_to_string(std::fs::File::from(fd)).unwrap();
    let outcome = (all(read), all(said_read));
    rustix::process::waitpid(Some(pid), rustix::process::WaitOptions::empty()).unwrap().unwrap();
    let host = cgroup::Host::probe().unwrap();
    cgroup::Cgroup::open(&host, &cgroup::CgroupPath::new(&name).unwrap()).unwrap().remove().unwrap();
    outcome
}

fn owner(path: impl AsRef<Path>) -> (u32, u32) {
    let stat = std::fs::symlink_metadata(path.as_ref()).unwrap();
    (stat.uid(), stat.gid())
}

#[test]
fn owners_are_the_same_inside_and_on_the_disk() {
    let mut container = Container::new();
    let root = container.bundle.root();
    std::fs::write(root.join("etc/lower"), "lower").unwrap();
    std::fs::write(root.join("etc/app"), "app").unwrap();
    chown(root.join("etc/app"), Some(100), Some(101)).unwrap();
    std::fs::write(container.path("layer/top"), "top").unwrap();
    let out = container.sh(
        "cat /proc/self/uid_map; stat -c '%n %u:%g' / /etc/lower /etc/app /top; echo more >> /etc/lower && \
         echo new > /made && /bin/busybox chown 7:8 /made; /bin/busybox mkdir /dir; /bin/busybox rm /top; \
         /bin/busybox chown 0:0 /etc/app; ls /top",
    );
    let lines: Vec<_> = out.output.lines().collect();
    let map: Vec<_> = lines[0].split_whitespace().collect();
    assert_eq!(map, ["0", "1879048192", "65536"], "{out:?}");
    assert_eq!(lines[1..5], ["/ 0:0", "/etc/lower 0:0", "/etc/app 100:101", "/top 0:0"], "{out:?}");
    assert!(out.output.contains("/top: No such file"), "{out:?}");
    // The layers are as they were, and the container's own has the ids that the image would have.
    assert_eq!(owner(root.join("etc/app")), (100, 101));
    assert_eq!(std::fs::read_to_string(root.join("etc/lower")).unwrap(), "lower");
    assert_eq!(owner(container.upper("made")), (7, 8));
    assert_eq!(owner(container.upper("dir")), (0, 0));
    assert_eq!(owner(container.upper("etc/app")), (0, 0));
    assert_eq!(owner(container.upper("etc/lower")), (0, 0));
    assert_eq!(std::fs::read_to_string(container.upper("etc/lower")).unwrap(), "lowermore\n");
    assert_eq!(owner(container.path("own/work/work")), (0, 0));
    // The same layers again, without a user namespace: what was written is there.
    for key in ["uidMappings", "gidMappings"] {
        container.bundle.spec["linux"].as_object_mut().unwrap().remove(key);
    }
    container.bundle.spec["linux"]["namespaces"].as_array_mut().unwrap().retain(|n| n["type"] != "user");
    let out = container.sh("stat -c %u:%g /made; cat /etc/lower");
    assert_eq!(out.output, "7:8\nlowermore\n", "{out:?}");
}

#[test]
fn volatile_and_read_only_overlays() {
    let mut container = Container::new();
    for _ in 0..2 {
        let volatile = Overlay { volatile: true, ..container.overlay() };
        let out = container.sh_with("echo x > /x && stat -c %u /x", |l| l.root = Root::Overlay(volatile));
        assert_eq!(out.output, "0\n", "{out:?}");
    }
    let read_only = Overlay { read_only: true, ..container.overlay() };
    container.bundle.spec["mounts"].as_array_mut().unwrap().retain(|m| m["destination"] == "/proc");
    for name in ["proc", "dev"] {
        std::fs::create_dir_all(container.bundle.root().join(name)).unwrap();
    }
    container.mount(json!({"destination": "/dev", "type": "tmpfs"}));
    let out = container.sh_with("stat -c %u /etc; echo x > /y", |l| l.root = Root::Overlay(read_only));
    assert!(out.output.starts_with("0\n") && out.output.contains("Read-only"), "{out:?}");
}

#[test]
fn everything_of_a_usual_container_is_there() {
    let mut container = Container::new();
    container.bundle.spec["domainname"] = json!("example.org");
    container.bundle.spec["linux"]["sysctl"] = json!({"net.ipv4.ip_unprivileged_port_start": "0", "kernel.msgmax": "4096", "fs.mqueue.msg_max": "5"});
    let out = container.sh(
        "echo pid $$; hostname; cat /proc/sys/kernel/domainname /proc/sys/net/ipv4/ip_unprivileged_port_start \
           /proc/sys/kernel/msgmax /proc/sys/fs/mqueue/msg_max /sys/class/net/lo/flags; \
         mount | grep -c -E ' on (/proc|/sys|/dev/pts|/dev/mqueue|/dev/shm|/sys/fs/cgroup) '; \
         stat -c '%t:%T %a %u:%g' /dev/null /dev/tty; stat -c '%t:%T' /proc/keys; stat -c '%u:%g' /dev/pts/ptmx; \
         echo 1 > /proc/sys/vm/swappiness; echo x > /dev/null && cat /dev/zero | /bin/busybox head -c 3 | /bin/busybox wc -c; \
         ls /proc/acpi /sys/firmware | grep -v :; grep -E 'CapEff|NoNewPrivs' /proc/self/status; echo x > /dev/shm/x && echo shm",
    );
    assert_eq!(out.code, Some(0), "{out:?}");
    let lines: Vec<_> = out.output.lines().collect();
    assert_eq!(
        lines[..14],
        [
            "pid 1",
            "sampan-test",
            "example.org",
            "0",
            "4096",
            "5",
            "0x9",
            "6",
            "1:3 666 0:0",
            "5:0 666 0:0",
            "1:3",
            "0:0",
            "/bin/sh: can't create /proc/sys/vm/swappiness: Read-only file system",
            "3",
        ],
        "{out:?}"
    );
    assert!(out.output.ends_with("CapEff:\t00000000080405fb\nNoNewPrivs:\t1\nshm\n"), "{out:?}");
    assert!(out.said.is_empty(), "{out:?}");
}

#[test]
fn users_groups_and_limits() {
    let mut container = Container::new();
    let hard = rustix::process::getrlimit(rustix::process::Resource::Memlock).maximum;
    let higher = hard.map_or(1 << 30, |h| h.saturating_mul(2));
    container.bundle.spec["process"]["rlimits"] = json!([
        {"type": "RLIMIT_NOFILE", "soft": 100, "hard": 200},
        {"type": "RLIMIT_MEMLOCK", "soft": higher, "hard": higher},
    ]);
    container.bundle.spec["process"]["oomScoreAdj"] = json!(-10);
    let script = "id -u; id -g; id -G; echo $HOME; ulimit -Sn; ulimit -Hn; ulimit -Hl; cat /proc/self/oom_score_adj; \
                  echo again > /dev/stdout; echo err > /dev/stderr";
    let out = container.sh_with(script, |launch| launch.user = Some("app".into()));
    let memlock = (higher / 1024).to_string();
    let wanted =
        ["100", "101", "101 102", "/home/app", "100", "200", memlock.as_str(), "-10", "again", "err"];
    // A runtime without CAP_SYS_RESOURCE itself clamps with a warning, as without a user namespace.
    if out.said.is_empty() {
        assert_eq!(out.output.lines().collect::<Vec<_>>(), wanted, "{out:?}");
    } else {
        assert!(out.said.contains("needs CAP_SYS_RESOURCE"), "{out:?}");
    }
    let out = container.sh_with("id -u", |launch| launch.user = Some("70000".into()));
    assert!(out.code.is_none() && out.said.contains("70000"), "{out:?}");
}

#[test]
fn standard_streams_can_be_opened_again_by_root_too() {
    let mut container = Container::new();
    let fifo = container.path("out");
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    let open = || std::fs::OpenOptions::new().read(true).write(true).open(&fifo).unwrap();
    let mut keep = open();
    let (stdout, stderr) = (open(), open());
    let out = container.sh_with("echo x > /dev/stdout; echo y > /proc/self/fd/2", |launch| {
        launch.stdio = Stdio::Fds {
            stdin: std::fs::File::open("/dev/null").unwrap().into(),
            stdout: stdout.into(),
            stderr: stderr.into(),
        };
    });
    assert_eq!(out.code, Some(0), "{out:?}");
    let mut text = [0; 4];
    std::io::Read::read_exact(&mut keep, &mut text).unwrap();
    assert_eq!(&text, b"x\ny\n");
    assert_eq!(owner(&fifo), (BASE, BASE));
}

#[test]
fn exec_is_root_inside_and_nobody_outside() {
    let mut container = Container::new();
    let caps = ["CAP_CHOWN", "CAP_KILL"];
    let process = |script: &str| {
        json!({
            "args": ["/bin/sh", "-c", script], "cwd": "/", "env": ["PATH=/bin"], "user": {"uid": 0, "gid": 0},
            "capabilities": {"bounding": caps, "effective": caps, "permitted": caps}, "oomScoreAdj": -20,
            "rlimits": [{"type": "RLIMIT_NOFILE", "soft": 2_000_000, "hard": 2_000_000}],
        })
    };
    let hard = rustix::process::getrlimit(rustix::process::Resource::Nofile).maximum.unwrap_or(u64::MAX);
    let limits = process("ulimit -n; cat /proc/self/oom_score_adj");
    let script = "id -u; cat /proc/self/uid_map; grep -E 'CapEff|CapInh' /proc/self/status; echo x > /made; \
                  stat -c %u:%g /made /proc/self/; echo x > /dev/stdout";
    let (output, said) = exec(&mut container, &process(script), |_| {});
    let words: Vec<_> = output.split_whitespace().collect();
    let caps = "0000000000000021";
    let none = "0000000000000000";
    let wanted = ["0", "0", "1879048192", "65536", "CapInh:", none, "CapEff:", caps, "0:0", "0:0", "x"];
    assert_eq!(words, wanted, "{said}");
    assert_eq!(owner(container.upper("made")), (0, 0));
    let (output, said) = exec(&mut container, &limits, |_| {});
    if said == "Some(0)  " {
        assert_eq!(output, "2000000\n-20\n", "{said} {hard}");
    } else {
        assert!(said.contains("needs CAP_SYS_RESOURCE"), "{said}");
    }
    let script = "id -u; id -G; echo again > /dev/stdout";
    let (output, said) = exec(&mut container, &process(script), |request| request.user = Some("app".into()));
    assert_eq!(output, "100\n101 102\nagain\n", "{said}");
}

#[test]
fn exec_with_a_terminal() {
    let mut container = Container::new();
    let script = "tty; stat -c %u:%g $(tty); stat -c %u /proc/self/fd/0";
    let process = json!({
        "args": ["/bin/sh", "-c", script], "cwd": "/", "env": ["PATH=/bin"], "user": {"uid": 100, "gid": 101},
        "terminal": true
    });
    let (_, said) = exec(&mut container, &process, |request| request.stdio = Stdio::Terminal);
    assert!(said.starts_with("Some(0) /dev/pts/0\r\n100:"), "{said}");
}

#[test]
fn devices_have_owner_and_mode_wherever_they_are() {
    let mut container = Container::new();
    container.bundle.spec["linux"]["devices"] = json!([
        {"path": "/dev/mine", "type": "c", "major": 1, "minor": 5, "fileMode": 0o640, "uid": 5, "gid": 6},
        {"path": "/dev/net/tun", "type": "c", "major": 10, "minor": 200, "fileMode": 0o600},
    ]);
    let out = container.sh(
        "stat -c '%t:%T %a %u:%g' /dev/mine /dev/net/tun; /bin/busybox head -c 2 /dev/mine | /bin/busybox wc -c; \
         /bin/busybox mknod /n c 1 3",
    );
    let lines: Vec<_> = out.output.lines().collect();
    assert_eq!(lines[..3], ["1:5 640 5:6", "a:c8 600 0:0", "2"], "{out:?}");
    assert!(out.output.contains("mknod: /n: Operation not permitted"), "{out:?}");
    container.bundle.spec["linux"]["devices"][0]["uid"] = json!(65_536);
    let out = container.sh("true");
    assert!(out.code.is_none() && out.said.contains("/dev/mine: its owner 65536:6 is not in"), "{out:?}");
}

#[test]
fn the_terminal_belongs_to_the_user() {
    let mut container = Container::new();
    container.bundle.spec["process"]["terminal"] = json!(true);
    container.bundle.spec["process"]["user"] = json!({"uid": 100, "gid": 101});
    std::fs::create_dir(container.bundle.root().join("out")).unwrap();
    chown(container.bundle.root().join("out"), Some(100), Some(101)).unwrap();
    let out = container.sh(
        "{ tty; stat -c '%u:%g %a' /dev/pts/0 /dev/pts; stat -c %t:%T /dev/console; echo to > /dev/tty; } > /out/text 2>&1",
    );
    assert_eq!(out.code, Some(0), "{out:?}");
    let text = std::fs::read_to_string(container.upper("out/text")).unwrap();
    let lines: Vec<_> = text.lines().collect();
    assert!(lines[0] == "/dev/pts/0" && lines[1].starts_with("100:"), "{text}");
    assert_eq!(lines[2..], ["0:0 755", "88:0"], "{text}");
}

#[test]
fn a_plain_bind_mount_gives_no_rights_and_an_idmapped_one_does() {
    let mut container = Container::new();
    let data = container.path("data");
    std::fs::create_dir_all(data.join("sub")).unwrap();
    std::fs::write(data.join("file"), "host\n").unwrap();
    std::fs::set_permissions(data.join("file"), PermissionsExt::from_mode(0o644)).unwrap();
    std::fs::write(data.join("app"), "").unwrap();
    chown(data.join("app"), Some(100), Some(101)).unwrap();
    container.mount(json!({"destination": "/plain", "source": data, "options": ["rbind"]}));
    container.mount(json!({"destination": "/mapped", "source": data, "options": ["bind", "idmap"]}));
    container.mount(json!({"destination": "/ro", "source": data, "options": ["rbind", "ridmap", "ro"]}));
    let other = json!([{"containerID": 0, "hostID": BASE + 70, "size": 1}, {"containerID": 100, "hostID": BASE, "size": 10}]);
    container.mount(json!({"destination": "/other", "source": data, "options": ["bind", "idmap"], "uidMappings": other, "gidMappings": other}));
    let out = container.sh(
        "stat -c '%n %u:%g' /plain/file /mapped/file /mapped/app /other/file /other/app; cat /plain/file; \
         echo evil > /plain/file; echo evil > /plain/new; /bin/busybox chown 0 /plain/file; echo evil > /ro/file; \
         echo mine > /mapped/new; /bin/busybox chown 3:4 /mapped/sub; echo also > /mapped/file; echo x > /other/new",
    );
    assert_eq!(
        out.output.lines().collect::<Vec<_>>(),
        [
            "/plain/file 65534:65534",
            "/mapped/file 0:0",
            "/mapped/app 100:101",
            "/other/file 70:70",
            "/other/app 0:1",
            "host",
            "/bin/sh: can't create /plain/file: Permission denied",
            "/bin/sh: can't create /plain/new: Permission denied",
            "chown: /plain/file: Operation not permitted",
            "/bin/sh: can't create /ro/file: Read-only file system",
        ],
        "{out:?}"
    );
    assert_eq!(std::fs::read_to_string(data.join("file")).unwrap(), "also\n");
    assert_eq!((owner(data.join("new")), owner(data.join("sub"))), ((0, 0), (3, 4)));
}

/// config.md: with mappings of its own, a mount is idmapped without a user namespace too.
#[test]
fn an_idmapped_mount_without_a_user_namespace() {
    let mut bundle = Bundle::new();
    let data = bundle.dir.path().join("data");
    std::fs::create_dir(&data).unwrap();
    std::fs::write(data.join("file"), "").unwrap();
    let map = json!([{"containerID": 0, "hostID": 3000, "size": 1}]);
    bundle.spec["mounts"].as_array_mut().unwrap().push(json!({
        "destination": "/data", "source": data, "options": ["rbind"], "uidMappings": map, "gidMappings": map
    }));
    let out = bundle.sh("stat -c %u:%g /data/file");
    assert_eq!(out.output, "3000:3000\n", "{out:?}");
    assert!(out.said.contains("taken as ridmap"), "{out:?}");
}

#[test]
fn what_cannot_be_mapped_says_why() {
    let mut container = Container::new();
    container.mount(json!({"destination": "/x", "source": "/proc", "options": ["bind", "idmap"]}));
    let out = container.sh("true");
    assert!(out.code.is_none() && out.said.contains("map the owners of the files in /proc"), "{out:?}");
    assert!(out.said.contains("the filesystem (proc) cannot be idmapped"), "{out:?}");
    container.bundle.spec["mounts"].as_array_mut().unwrap().pop();
    let layer = Overlay { lowers: vec!["/sys".into()], ..container.overlay() };
    let out = container.sh_with("true", |launch| launch.root = Root::Overlay(layer));
    assert!(out.said.contains("/sys: the filesystem (sysfs) cannot be idmapped"), "{out:?}");
    let missing = Overlay { work: container.path("none"), ..container.overlay() };
    let out = container.sh_with("true", |launch| launch.root = Root::Overlay(missing));
    assert!(out.said.contains("/none: No such file"), "{out:?}");
    let map = json!([{"containerID": 1, "hostID": BASE, "size": 10}]);
    container.bundle.spec["linux"]["uidMappings"] = map;
    let out = container.sh("true");
    assert!(out.said.contains("does not map user and group 0"), "{out:?}");
}

/// CVE-2021-43784: long lists of mappings. The kernel takes 340 ranges and less than a page of text.
#[test]
fn long_lists_of_mappings_are_errors_or_work() {
    let mut container = Container::new();
    let list = |count: u32, base: u32| -> Value {
        (0..count).map(|i| json!({"containerID": i, "hostID": base + 2 * i, "size": 1})).collect()
    };
    for (count, base, said) in [
        (65_536, 0, "linux.uidMappings: has 65536 entries"),
        (341, 0, "linux.uidMappings: has 341 entries"),
        (340, BASE, "as text; the kernel takes less than a page"),
    ] {
        container.bundle.spec["linux"]["uidMappings"] = list(count, base);
        container.bundle.spec["linux"]["gidMappings"] = list(count, base);
        let out = container.sh("true");
        assert!(out.code.is_none() && out.said.contains(said), "{count}: {out:?}");
    }
    let same = json!([{"containerID": 0, "hostID": BASE, "size": 2}, {"containerID": 1, "hostID": BASE + 9, "size": 1}]);
    container.bundle.spec["linux"]["uidMappings"] = same;
    let out = container.sh("true");
    assert!(out.said.contains("linux.uidMappings[1]: overlaps linux.uidMappings[0]"), "{out:?}");
    // 340 ranges that fit are taken, by the namespace and by the layers.
    container.bundle.spec["linux"]["uidMappings"] = list(340, 10_000);
    container.bundle.spec["linux"]["gidMappings"] = list(200, BASE);
    container.bundle.spec["mounts"].as_array_mut().unwrap().retain(|m| m["destination"] != "/dev/mqueue");
    let out = container.sh("/bin/busybox wc -l < /proc/self/uid_map; echo x > /x; stat -c %u:%g /x");
    assert_eq!(out.output, "340\n0:0\n", "{out:?}");
}

#[test]
fn explain_names_what_is_done_for_the_user_namespace() {
    let mut container = Container::new();
    let data = container.path("data");
    std::fs::create_dir(&data).unwrap();
    container.mount(json!({"destination": "/data", "source": data, "options": ["bind", "idmap"]}));
    let steps = container.path("steps");
    let path = steps.clone();
    let out = container.sh_with("true", |launch| {
        let sink = move |report: runtime::StepReport| {
            use std::io::Write;
            let mut file = std::fs::OpenOptions::new().create(true).append(true).open(&path).unwrap();
            writeln!(file, "{}|{}|{}", report.by, report.step, report.call).unwrap();
        };
        launch.explain = Some(Box::leak(Box::new(sink)));
    });
    assert_eq!(out.code, Some(0), "{out:?}");
    let text = std::fs::read_to_string(steps).unwrap();
    for needle in [
        "creator|stack 2 image layers under a layer of its own, with their owners mapped|clone3(CLONE_NEWUSER), open_tree",
        &format!("creator|map the owners of the files in {}|", data.display()),
        "creator|make the device nodes for the user namespace|fsopen",
        "creator|give the standard streams to the container's root, 1879048192|fchown",
        "creator|map the user namespace's ids|write",
        "init|become root inside the user namespace|setresgid",
    ] {
        assert_eq!(text.matches(needle).count(), 1, "{needle} in\n{text}");
    }
}

/// A network namespace that was there before belongs to the host's user namespace.
#[test]
fn a_network_namespace_by_path_is_joined_and_has_a_sysfs() {
    let mut container = Container::new();
    let spaces = container.bundle.spec["linux"]["namespaces"].as_array_mut().unwrap();
    spaces.retain(|n| n["type"] != "network");
    spaces.push(json!({"type": "network", "path": "/proc/self/ns/net"}));
    let host = std::fs::read_link("/proc/self/ns/net").unwrap();
    let out = container.sh(
        "ls -l /proc/self/ns/net | grep -o 'net:.*'; ls -d /sys/class/net/lo; echo x > /sys/kernel/profiling",
    );
    assert_eq!(out.code, Some(1), "{out:?}");
    let lines: Vec<_> = out.output.lines().collect();
    assert_eq!(lines[..2], [host.to_str().unwrap(), "/sys/class/net/lo"], "{out:?}");
    assert!(out.output.contains("Read-only file system"), "{out:?}");
}

#[test]
fn the_same_ids_on_both_sides_need_no_mapping() {
    let mut container = Container::new();
    let map = json!([{"containerID": 0, "hostID": 0, "size": 65_536}]);
    let linux = &mut container.bundle.spec["linux"];
    (linux["uidMappings"], linux["gidMappings"]) = (map.clone(), map);
    let out =
        container.sh("stat -c %u:%g /; echo x > /made; grep -c . /proc/self/uid_map; echo y > /dev/stdout");
    assert_eq!(out.output, "0:0\n1\ny\n", "{out:?}");
    assert_eq!(owner(container.upper("made")), (0, 0));
}

/// As containers of a pod do: the second has the first one's user, network and ipc namespaces, and mounts of its own.
#[test]
fn a_user_namespace_by_path_is_shared() {
    let mut first = Container::new();
    first.bundle.spec["process"]["args"] = json!(["/bin/sh", "-c", "while :; do sleep 0.05; done"]);
    let mut second = Container::new();
    second.bundle.spec["process"]["args"] = json!([
        "/bin/sh",
        "-c",
        "id -u; stat -c %u:%g / /dev/null /dev/pts; cat /proc/self/uid_map; echo x > /made; echo out > /dev/stdout; \
         cat /proc/sys/net/ipv4/ip_unprivileged_port_start; mount | grep -c -E ' on (/sys|/dev/mqueue) type (sysfs|mqueue)'; echo $$"
    ]);
    second.bundle.spec["linux"]["sysctl"] = json!({"net.ipv4.ip_unprivileged_port_start": "7"});
    let data = second.path("data");
    std::fs::create_dir(&data).unwrap();
    second.mount(json!({"destination": "/data", "source": data, "options": ["rbind", "ridmap"]}));
    let linux = second.bundle.spec["linux"].as_object_mut().unwrap();
    linux.remove("uidMappings");
    linux.remove("gidMappings");
    let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
    for parent in [Parent::Caller, Parent::Sibling] {
        // A sibling's parent is this fork's parent: one between is it.
        let pid = linux::fork(|| {
            rustix::process::set_child_subreaper(Some(rustix::process::getpid())).unwrap();
            let start = |container: &Container, spec: &Value, out: OwnedFd, parent| {
                let spec = serde_json::from_value(spec.clone()).unwrap();
                let null =
                    || std::fs::OpenOptions::new().read(true).write(true).open("/dev/null").unwrap().into();
                let stdio = Stdio::Fds { stdin: null(), stdout: out.try_clone().unwrap(), stderr: out };
                let mut request = common::request(spec, container.bundle.dir.path(), stdio);
                request.root = Root::Overlay(container.overlay());
                request.parent = parent;
                runtime::launch(request).unwrap()
            };
            let null = std::fs::OpenOptions::new().write(true).open("/dev/null").unwrap().into();
            let launched = start(&first, &first.bundle.spec, null, Parent::Caller);
            let mut spec = second.bundle.spec.clone();
            let of = |file: &str| format!("/proc/{}/ns/{file}", launched.pid.as_raw_nonzero());
            for space in spec["linux"]["namespaces"].as_array_mut().unwrap() {
                let kind = space["type"].as_str().unwrap().to_owned();
                if let Some((_, file)) =
                    [("user", "user"), ("network", "net"), ("ipc", "ipc")].iter().find(|(k, _)| *k == kind)
                {
                    space["path"] = json!(of(file));
                }
            }
            let creator = linux::fork(|| {
                let started = start(&second, &spec, write.try_clone().unwrap(), parent);
                if parent == Parent::Caller {
                    started.pidfd.wait().unwrap().exit_status().unwrap()
                } else {
                    0
                }
            })
            .unwrap();
            let mut codes = Vec::new();
            let children = if parent == Parent::Caller { 1 } else { 3 };
            for _ in 0..children {
                // The creator, the process between and the container, in any order.
                let (_, status) =
                    rustix::process::wait(rustix::process::WaitOptions::empty()).unwrap().unwrap();
                codes.push(status.exit_status());
            }
            assert!(codes.iter().all(|code| *code == Some(0)), "{creator:?} {codes:?}");
            launched.pidfd.kill().unwrap();
            launched.pidfd.wait().unwrap();
            0
        })
        .unwrap();
        let (_, status) =
            rustix::process::waitpid(Some(pid), rustix::process::WaitOptions::empty()).unwrap().unwrap();
        assert_eq!(status.exit_status(), Some(0), "{parent:?}");
    }
    drop(write);
    let output = std::io::read_to_string(std::fs::File::from(read)).unwrap();
    let words: Vec<_> = output.split_whitespace().collect();
    let wanted = ["0", "0:0", "0:0", "0:0", "0", "1879048192", "65536", "out", "7", "2", "1"];
    assert_eq!(words, [wanted, wanted].concat(), "{output}");
    assert_eq!(owner(second.upper("made")), (0, 0));
}

#[test]
fn the_cgroup_is_limited_joined_and_seen() {
    let mut container = Container::new();
    let name = format!("/sampan-test-userns-{}", std::process::id());
    container.bundle.spec["linux"]["cgroupsPath"] = json!(name);
    container.bundle.spec["linux"]["resources"] =
        json!({"memory": {"limit": 64 << 20}, "pids": {"limit": 50}});
    let out = container.sh(
        "cat /proc/self/cgroup; cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max 2>/dev/null",
    );
    let host = cgroup::Host::probe().unwrap();
    cgroup::Cgroup::open(&host, &cgroup::CgroupPath::new(&name).unwrap()).unwrap().remove().unwrap();
    assert!(out.output.contains("67108864\n") && !out.output.contains(&name), "{out:?}");
}
