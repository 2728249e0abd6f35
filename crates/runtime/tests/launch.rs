//! Containers really started, asserted from inside.

#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use std::os::unix::fs::{FileTypeExt, MetadataExt};

use common::Bundle;
use runtime::{Overlay, Root, Start, StepReport};
use serde_json::json;

#[test]
fn the_first_container_has_its_own_everything() {
    let mut bundle = Bundle::new();
    let out = bundle.sh("echo $$; hostname; pwd; env; ls /proc/self/fd; cat /proc/self/cgroup | head -1");
    assert_eq!(out.code, Some(0), "{out:?}");
    // 3 is the descriptor with which ls reads the directory.
    assert_eq!(out.output.lines().take(3).collect::<Vec<_>>(), ["1", "sampan-test", "/"], "{out:?}");
    assert!(out.output.contains("\n0\n1\n2\n3\n"), "{out:?}");
    assert!(!out.output.contains("HOME") && !out.output.contains("CARGO"), "{out:?}");
}

#[test]
fn exit_codes_and_signals_are_the_programs() {
    let mut bundle = Bundle::new();
    assert_eq!(bundle.sh("exit 42").code, Some(42));
    assert_eq!(bundle.sh("kill -9 $$; exit 3").code, Some(3), "pid 1 is immune to its own signals");
}

#[test]
fn capabilities_are_what_was_asked_and_nothing_is_inheritable() {
    let mut bundle = Bundle::new();
    let out = bundle.sh("grep -E 'Cap|NoNewPrivs|Seccomp:' /proc/self/status");
    let value = |key: &str| {
        let line =
            out.output.lines().find(|l| l.starts_with(key)).unwrap_or_else(|| panic!("{key}: {out:?}"));
        line.split_whitespace().nth(1).unwrap().to_owned()
    };
    let wanted = "00000000080405fb";
    assert_eq!([value("CapPrm"), value("CapEff"), value("CapBnd")], [wanted; 3]);
    assert_eq!([value("CapInh"), value("CapAmb")], ["0000000000000000"; 2]);
    assert_eq!(value("NoNewPrivs"), "1");
}

#[test]
fn an_ordinary_user_has_groups_umask_and_no_effective_capabilities() {
    let mut bundle = Bundle::new();
    bundle.spec["process"]["user"] = json!({"uid": 7, "gid": 8, "additionalGids": [8, 9], "umask": 63});
    let out = bundle.sh("id -u; id -g; id -G; umask; grep CapEff /proc/self/status");
    assert_eq!(out.output, "7\n8\n8 9\n0077\nCapEff:\t0000000000000000\n", "{out:?}");
}

#[test]
fn ambient_capabilities_reach_an_ordinary_user() {
    let mut bundle = Bundle::new();
    bundle.spec["process"]["user"] = json!({"uid": 7, "gid": 8});
    bundle.spec["process"]["capabilities"]["ambient"] = json!(["CAP_NET_BIND_SERVICE"]);
    let out = bundle.sh("grep -E 'CapEff|CapAmb' /proc/self/status");
    assert_eq!(out.output, "CapEff:\t0000000000000400\nCapAmb:\t0000000000000400\n", "{out:?}");
}

#[test]
fn dockers_user_is_resolved_inside() {
    let mut bundle = Bundle::new();
    bundle.spec["process"]["args"] = json!(["sh", "-c", "id -u; id -g; id -G; echo $HOME"]);
    let out = bundle.run(|launch| launch.user = Some("app".into()));
    assert_eq!(out.output, "100\n101\n101 102\n/home/app\n", "{out:?}");
    let out = bundle.run(|launch| launch.user = Some("4294967296".into()));
    assert_eq!(out.code, None);
    assert!(out.said.contains("above the largest id"), "{out:?}");
    std::fs::remove_file(bundle.root().join("etc/passwd")).unwrap();
    std::os::unix::fs::symlink("/dev/zero", bundle.root().join("etc/passwd")).unwrap();
    let out = bundle.run(|launch| launch.user = Some("app".into()));
    assert!(out.code.is_none() && out.said.contains("no regular file"), "{out:?}");
}

#[test]
fn programs_that_cannot_run_are_typed_errors() {
    let bundle = Bundle::new();
    for (program, text) in [
        ("nonsense", "no such file"),
        ("/nonsense", "no such file"),
        ("/etc/passwd", "Permission denied"),
        ("/etc", "Permission denied"),
    ] {
        let mut spec = bundle.spec.clone();
        spec["process"]["args"] = json!([program]);
        let changed = Bundle { spec, dir: tempfile::tempdir_in(bundle.dir.path()).unwrap() };
        std::fs::rename(bundle.root(), changed.root()).unwrap();
        let out = changed.run(|_| {});
        std::fs::rename(changed.root(), bundle.root()).unwrap();
        assert!(out.code.is_none() && out.said.starts_with("cannot execute"), "{program}: {out:?}");
        assert!(out.said.contains(text), "{program}: {out:?}");
    }
}

#[test]
fn devices_links_masks_and_read_only_paths() {
    let mut bundle = Bundle::new();
    bundle.spec["linux"]["devices"] = json!([{"path": "/dev/net/tun", "type": "c", "major": 10, "minor": 200, "fileMode": 432, "uid": 5, "gid": 6}]);
    bundle.spec["linux"]["maskedPaths"].as_array_mut().unwrap().push(json!("/etc"));
    bundle.spec["linux"]["readonlyPaths"].as_array_mut().unwrap().push(json!("/tmp"));
    let out = bundle.sh(
        "stat -c '%t:%T %a %u:%g' /dev/null /dev/tty /dev/net/tun; ls -l /dev/fd | grep -o '/proc/.*'; ls /etc; \
         stat -c %t:%T /proc/keys; cat /proc/timer_list; echo x > /tmp/x; echo 1 > /proc/sys/vm/swappiness; echo done",
    );
    let lines: Vec<_> = out.output.lines().collect();
    assert_eq!(
        &lines[..5],
        ["1:3 666 0:0", "5:0 666 0:0", "a:c8 660 5:6", "/proc/self/fd", "1:3"],
        "{out:?}"
    );
    assert!(out.output.contains("can't create /tmp/x: Read-only"), "{out:?}");
    assert!(out.output.contains("can't create /proc/sys/vm/swappiness: Read-only"), "{out:?}");
}

#[test]
fn names_sysctls_limits_and_scores() {
    let mut bundle = Bundle::new();
    bundle.spec["domainname"] = json!("example.org");
    bundle.spec["linux"]["sysctl"] = json!({"net.ipv4.ip_forward": "1", "kernel.msgmax": "4096"});
    bundle.spec["process"]["rlimits"] = json!([{"type": "RLIMIT_NOFILE", "soft": 100, "hard": 200}]);
    bundle.spec["process"]["oomScoreAdj"] = json!(321);
    let out = bundle.sh(
        "cat /proc/sys/kernel/domainname /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/msgmax /proc/self/oom_score_adj; \
         ulimit -Sn; ulimit -Hn; cat /sys/class/net/lo/flags",
    );
    assert_eq!(out.output, "example.org\n1\n4096\n321\n100\n200\n0x9\n", "{out:?}");
}

#[test]
fn what_needs_cap_sys_resource_is_clamped_with_a_warning() {
    let mut bundle = Bundle::new();
    bundle.spec["process"]["oomScoreAdj"] = json!(-900);
    bundle.spec["process"]["rlimits"] =
        json!([{"type": "RLIMIT_MSGQUEUE", "soft": 1u64 << 40, "hard": 1u64 << 40}]);
    let out = bundle.sh("cat /proc/self/oom_score_adj");
    assert_eq!(out.code, Some(0), "{out:?}");
    if !out.output.starts_with("-900") {
        assert!(out.said.contains("oomScoreAdj -900 needs CAP_SYS_RESOURCE"), "{out:?}");
        assert!(out.said.contains("RLIMIT_MSGQUEUE needs CAP_SYS_RESOURCE"), "{out:?}");
    }
}

#[test]
fn bind_mounts_take_their_options() {
    let mut bundle = Bundle::new();
    let host = bundle.dir.path().join("data");
    std::fs::create_dir_all(host.join("sub")).unwrap();
    std::fs::write(host.join("file"), "text").unwrap();
    let mounts = bundle.spec["mounts"].as_array_mut().unwrap();
    mounts.push(json!({"destination": "/a/b", "type": "bind", "source": host, "options": ["rbind", "ro", "nosuid", "noexec"]}));
    mounts.push(json!({"destination": "/new/file", "type": "bind", "source": host.join("file"), "options": ["bind", "rprivate"]}));
    mounts.push(json!({"destination": "/rel", "source": "data", "options": ["rbind", "rro", "noatime"]}));
    mounts.push(json!({"destination": "/up", "type": "tmpfs", "options": ["tmpcopyup", "ro", "size=1m"]}));
    std::fs::create_dir_all(bundle.root().join("up/deep")).unwrap();
    std::fs::write(bundle.root().join("up/deep/file"), "copied").unwrap();
    let out = bundle.sh("mount | grep -E ' /a/b | /new/file | /rel | /up '; cat /a/b/file /new/file /up/deep/file; echo x > /a/b/x; echo x > /new/file; echo x > /up/y");
    let line = |path: &str| {
        out.output.lines().find(|l| l.contains(path)).unwrap_or_else(|| panic!("{path}: {out:?}"))
    };
    for word in ["ro", "nosuid", "noexec"] {
        assert!(line(" /a/b ").contains(word), "{out:?}");
    }
    assert!(line(" /rel ").contains("noatime") && line(" /rel ").contains("(ro"), "{out:?}");
    assert!(out.output.contains("texttextcopied"), "{out:?}");
    assert!(out.output.contains("can't create /a/b/x: Read-only"), "{out:?}");
    assert!(out.output.contains("can't create /up/y: Read-only"), "{out:?}");
    assert_eq!(std::fs::read_to_string(host.join("file")).unwrap(), "x\n");
}

#[test]
fn read_only_root_and_overlay_root() {
    let mut bundle = Bundle::new();
    bundle.spec["root"]["readonly"] = json!(true);
    let out = bundle.sh("echo x > /x; echo y > /dev/shm/y && echo fine");
    assert!(out.output.contains("can't create /x: Read-only") && out.output.contains("fine"), "{out:?}");
    bundle.spec["root"]["readonly"] = json!(false);
    bundle.spec["process"]["args"] = json!(["sh", "-c", "echo x > /x; mount | head -1"]);
    for sub in ["upper", "work", "at", "second"] {
        std::fs::create_dir(bundle.dir.path().join(sub)).unwrap();
    }
    let at = |name: &str| bundle.dir.path().join(name);
    for _ in 0..2 {
        let overlay = Overlay {
            lowers: vec![bundle.root(), at("second")],
            upper: at("upper"),
            work: at("work"),
            volatile: true,
            read_only: false,
            mount_at: at("at"),
        };
        let out = bundle.run(|launch| launch.root = Root::Overlay(overlay));
        assert!(out.output.starts_with("overlay on / type overlay"), "{out:?}");
    }
    assert_eq!(std::fs::read_to_string(at("upper").join("x")).unwrap(), "x\n");
    assert!(!bundle.root().join("x").exists());
}

#[test]
fn a_user_namespace_maps_and_still_has_devices() {
    let mut bundle = Bundle::new();
    bundle.spec["linux"]["namespaces"].as_array_mut().unwrap().push(json!({"type": "user"}));
    let map = json!([{"containerID": 0, "hostID": 100_000, "size": 65_536}]);
    bundle.spec["linux"]["uidMappings"] = map.clone();
    bundle.spec["linux"]["gidMappings"] = map;
    std::os::unix::fs::chown(bundle.root(), Some(100_000), Some(100_000)).unwrap();
    std::fs::set_permissions(bundle.dir.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let out = bundle.sh("id -u; cat /proc/self/uid_map; echo x > /dev/null && echo null; stat -c %t:%T /proc/keys; echo f > /f; stat -c %u /f");
    let words: Vec<_> = out.output.split_whitespace().collect();
    assert_eq!(words, ["0", "0", "100000", "65536", "null", "1:3", "0"], "{out:?}");
    assert_eq!(std::fs::metadata(bundle.root().join("f")).unwrap().uid(), 100_000);
}

#[test]
fn namespaces_by_path_and_the_hosts_network() {
    let mut bundle = Bundle::new();
    let spaces = bundle.spec["linux"]["namespaces"].as_array_mut().unwrap();
    spaces.retain(|n| n["type"] != "network");
    let host = std::fs::read_link("/proc/self/ns/net").unwrap();
    bundle.spec["process"]["args"] = json!(["sh", "-c", "ls -l /proc/self/ns/net | grep -o 'net:.*'"]);
    assert_eq!(bundle.run(|_| {}).output.trim(), host.to_str().unwrap());
    bundle.spec["linux"]["namespaces"]
        .as_array_mut()
        .unwrap()
        .push(json!({"type": "network", "path": "/proc/self/ns/net"}));
    assert_eq!(bundle.run(|_| {}).output.trim(), host.to_str().unwrap());
    bundle.spec["linux"]["namespaces"].as_array_mut().unwrap().last_mut().unwrap()["path"] =
        json!("/proc/self/ns/uts");
    let out = bundle.run(|_| {});
    assert!(out.said.contains("another type"), "{out:?}");
}

#[test]
fn time_offsets() {
    let mut bundle = Bundle::new();
    bundle.spec["linux"]["namespaces"].as_array_mut().unwrap().push(json!({"type": "time"}));
    let before = bundle.sh("cat /proc/uptime");
    bundle.spec["linux"]["timeOffsets"] = json!({"boottime": {"secs": 1_000_000}});
    let after = bundle.sh("cat /proc/uptime");
    let seconds = |out: &common::Outcome| {
        out.output.split('.').next().and_then(|s| s.parse::<u64>().ok()).unwrap_or_else(|| panic!("{out:?}"))
    };
    assert!(seconds(&after) >= seconds(&before) + 1_000_000, "{before:?} {after:?}");
}

#[test]
fn the_terminal_is_the_containers_own() {
    let mut bundle = Bundle::new();
    bundle.spec["process"]["terminal"] = json!(true);
    bundle.spec["process"]["consoleSize"] = json!({"height": 33, "width": 77});
    let out_path = bundle.dir.path().join("rootfs/out");
    let out = bundle.sh("{ tty; stty size 2>&1 || /bin/busybox stty size; stat -c '%t:%T' /dev/console; echo to > /dev/console; } > /out 2>&1");
    assert_eq!(out.code, Some(0), "{out:?}");
    let text = std::fs::read_to_string(out_path).unwrap();
    assert!(text.starts_with("/dev/pts/0\n") && text.contains("33 77\n88:0\n"), "{text:?} {out:?}");
}

#[test]
fn cwd_by_a_leaked_descriptor_is_refused() {
    let mut bundle = Bundle::new();
    for number in 3..32 {
        bundle.spec["process"]["cwd"] = json!(format!("/proc/self/fd/{number}"));
        let out = bundle.sh("pwd");
        assert_eq!(out.code, None, "{number}: {out:?}");
        assert!(out.said.contains("working directory"), "{out:?}");
    }
    bundle.spec["process"]["cwd"] = json!("/made/here");
    assert_eq!(bundle.sh("pwd").code, None);
    let out = bundle.run(|launch| launch.create_cwd = true);
    assert_eq!(out.output, "/made/here\n", "{out:?}");
}

#[test]
fn create_waits_for_start() {
    let mut bundle = Bundle::new();
    bundle.spec["process"]["args"] = json!(["sh", "-c", "echo started > /out"]);
    let fifo = bundle.dir.path().join("exec.fifo");
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    assert!(std::fs::metadata(&fifo).unwrap().file_type().is_fifo());
    let (path, out_path) = (fifo.clone(), bundle.root().join("out"));
    let starter = std::thread::spawn(move || {
        std::thread::sleep(std::time::Duration::from_millis(200));
        assert!(!out_path.exists());
        std::fs::OpenOptions::new().write(true).open(path).unwrap();
    });
    let dir = std::fs::File::open(bundle.dir.path()).unwrap().into();
    let out = bundle.run(|launch| launch.start = Start::Fifo(dir));
    starter.join().unwrap();
    assert_eq!(out.code, Some(0), "{out:?}");
    assert!(bundle.root().join("out").exists());
}

#[test]
fn a_reaper_is_pid_1_and_passes_signals_and_exit_codes() {
    let mut bundle = Bundle::new();
    bundle.spec["process"]["args"] = json!([
        "sh",
        "-c",
        "echo $$; trap 'exit 9' TERM; (sleep 0.1 &) ; kill -TERM 1; while :; do sleep 0.05; done"
    ]);
    let out = bundle.run(|launch| launch.reaper = true);
    assert_eq!((out.code, out.output.as_str()), (Some(9), "2\n"), "{out:?}");
    bundle.spec["process"]["args"] = json!(["nonsense"]);
    let out = bundle.run(|launch| launch.reaper = true);
    assert!(out.said.starts_with("cannot execute"), "{out:?}");
}

#[test]
fn hooks_run_in_their_places_and_stop_a_start() {
    let mut bundle = Bundle::new();
    let log = bundle.dir.path().join("log");
    let hook = |name: &str, more: &str| json!([{"path": "/bin/sh", "args": ["sh", "-c", format!("{more}; read s; echo {name} $s >> {}", log.display())]}]);
    bundle.spec["hooks"] = json!({
        "createRuntime": hook("createRuntime", "true"),
        "createContainer": hook("createContainer", "true"),
        "startContainer": [{"path": "/bin/sh", "args": ["sh", "-c", "echo startContainer > /hooked"]}],
        "poststart": hook("poststart", "true"),
    });
    let out = bundle.sh("cat /hooked; sleep 0.1");
    assert_eq!(out.output, "startContainer\n", "{out:?}");
    let text = std::fs::read_to_string(&log).unwrap();
    let order: Vec<_> = text.lines().map(|l| l.split(' ').next().unwrap()).collect();
    assert_eq!(order, ["createRuntime", "createContainer", "poststart"], "{text}");
    assert!(text.lines().all(|l| l.contains("\"id\":\"sampan-test\"")), "{text}");
    bundle.spec["hooks"] =
        json!({"createRuntime": [{"path": "/bin/sh", "args": ["sh", "-c", "echo no way >&2; exit 3"]}]});
    let out = bundle.sh("true");
    assert!(
        out.code.is_none() && out.said.contains("no way") && out.said.contains("createRuntime"),
        "{out:?}"
    );
    bundle.spec["hooks"] =
        json!({"createContainer": [{"path": "/bin/sleep", "args": ["sleep", "100"], "timeout": 1}]});
    let out = bundle.sh("true");
    assert!(out.code.is_none() && out.said.contains("did not end within 1 s"), "{out:?}");
}

#[test]
fn a_network_made_before_is_used_where_one_of_its_own_is_wanted() {
    use std::os::fd::AsRawFd;
    let mut bundle = Bundle::new();
    let script = "ls -l /proc/self/ns/net | grep -o 'net:.*'; grep -c : /proc/net/dev; ls /proc/self/fd";
    bundle.spec["process"]["args"] = json!(["sh", "-c", script]);
    let own = std::fs::read_link("/proc/self/ns/net").unwrap();
    for (wanted, expected) in [(true, true), (false, false)] {
        if !wanted {
            let spaces = bundle.spec["linux"]["namespaces"].as_array_mut().unwrap();
            spaces.retain(|space| space["type"] != "network");
        }
        // In the forked child that launches, which has one thread.
        let out = bundle.run(|launch| {
            let made = linux::make_empty(linux::Namespaces::NET).unwrap();
            let name = std::fs::read_link(format!("/proc/self/fd/{}", made.as_raw_fd())).unwrap();
            std::fs::write(launch.bundle.join("made"), name.to_str().unwrap()).unwrap();
            launch.network = Some(made);
        });
        let made = std::fs::read_to_string(bundle.dir.path().join("made")).unwrap();
        let name = if expected { made.as_str() } else { own.to_str().unwrap() };
        assert!(out.output.starts_with(&format!("{name}\n")), "{out:?}");
        assert!(out.output.ends_with("\n0\n1\n2\n3\n"), "nothing of it stays open: {out:?}");
        if expected {
            assert!(out.output.contains("\n1\n0\n"), "only the loopback interface: {out:?}");
        }
    }
}

#[test]
fn a_filter_is_loaded_with_and_without_new_privileges() {
    let mut bundle = Bundle::new();
    bundle.spec["linux"]["seccomp"] = json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 11}]
    });
    let cache = tempfile::tempdir().unwrap();
    let dir: &'static std::path::Path = Box::leak(cache.path().to_path_buf().into_boxed_path());
    let script = "grep Seccomp: /proc/self/status; /bin/busybox mkdir /no; grep CapEff /proc/self/status";
    for (privileges, uid) in [(true, 0), (false, 0), (false, 5)] {
        bundle.spec["process"]["noNewPrivileges"] = json!(privileges);
        bundle.spec["process"]["user"] = json!({"uid": uid, "gid": 0});
        bundle.spec["process"]["args"] = json!(["sh", "-c", script]);
        let out = bundle.run(|launch| launch.seccomp_cache = Some(dir));
        assert!(out.output.starts_with("Seccomp:\t2\n"), "{out:?}");
        assert!(out.output.contains("Resource temporarily unavailable"), "{out:?}");
        let wanted = if uid == 0 { "00000000080405fb" } else { "0000000000000000" };
        assert!(out.output.contains(wanted), "{out:?}");
    }
}

#[test]
fn a_cgroup_is_made_limited_joined_and_undone() {
    let mut bundle = Bundle::new();
    let name = format!("/sampan-test-{}", std::process::id());
    bundle.spec["linux"]["cgroupsPath"] = json!(name);
    bundle.spec["linux"]["resources"] = json!({"memory": {"limit": 64 << 20}, "pids": {"limit": 50}});
    let out = bundle.sh("cat /proc/self/cgroup; cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max 2>/dev/null; cat /dev/vda 2>&1 | head -1; /bin/busybox mknod /n b 254 0 && cat /n");
    assert_eq!(out.code, Some(1), "{out:?}");
    assert!(out.output.lines().all(|l| !l.contains(&name)), "the cgroup namespace hides the path: {out:?}");
    assert!(out.output.contains("67108864\n"), "{out:?}");
    assert!(out.output.contains("can't open '/n': Operation not permitted"), "{out:?}");
    let host = cgroup::Host::probe().unwrap();
    let path = cgroup::CgroupPath::new(&name).unwrap();
    cgroup::Cgroup::open(&host, &path).unwrap().remove().unwrap();
    bundle.spec["process"]["args"] = json!(["nonsense"]);
    let out = bundle.run(|_| {});
    assert!(out.said.starts_with("cannot execute"), "{out:?}");
    assert!(cgroup::Cgroup::open(&host, &path).unwrap().is_gone(), "a failed start leaves no cgroup");
}

#[test]
fn explain_tells_each_step_in_order() {
    let bundle = Bundle::new();
    let path = bundle.dir.path().join("steps");
    let out = bundle.run(|launch| {
        let path = path.clone();
        let sink = move |report: StepReport| {
            use std::io::Write;
            let mut file = std::fs::OpenOptions::new().create(true).append(true).open(&path).unwrap();
            writeln!(file, "{}|{}|{}|{}", report.by, report.step, report.call, report.shell).unwrap();
        };
        launch.explain = Some(Box::leak(Box::new(sink)));
    });
    assert_eq!(out.code, Some(0), "{out:?}");
    let text = std::fs::read_to_string(path).unwrap();
    for needle in [
        "creator|start a process in new namespaces",
        "init|mount proc on /proc|fsopen",
        "init|change the root directory",
        "mount -t tmpfs -o mode=755,size=65536k tmpfs ./dev",
        "init|keep 11 capabilities",
    ] {
        assert!(text.contains(needle), "{needle} is not in\n{text}");
    }
}
