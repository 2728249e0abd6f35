//! Damaged documents, a full disk, and another user: what is broken is named, and nothing else suffers.
#![allow(clippy::unwrap_used, reason = "a test's helper fails the test")]

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use testkit::points::kill_9;
use testkit::{Host, Run, binary, eventually};

/// Far above what anything here takes.
const PATIENCE: Duration = Duration::from_secs(20);
/// One static program, so that the image is made at once and small.
const IMAGE: &str = "host:busybox";
/// A user without any right here.
const NOBODY: u32 = 65534;

fn inspect(host: &Host, name: &str) -> Value {
    let shown = host.sampan(["inspect", name]).expect_code(0);
    serde_json::from_str::<Value>(&shown.stdout).unwrap()[0].take()
}

/// What is done to a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Damage {
    Empty,
    Garbage,
    Missing,
}

impl Damage {
    const ALL: [Damage; 3] = [Damage::Empty, Damage::Garbage, Damage::Missing];

    fn inflict(self, path: &Path) {
        assert!(path.exists(), "{}", path.display());
        match self {
            Damage::Empty => fs::write(path, "").unwrap(),
            Damage::Garbage => fs::write(path, "{\"version\":\u{0}\u{1f}]").unwrap(),
            Damage::Missing => fs::remove_file(path).unwrap(),
        }
    }
}

/// What the damaged container is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Life {
    Stopped,
    Running,
    /// Running, and its monitor is dead.
    Orphaned,
}

/// Makes a container, brings it to `life` and damages `file` of its data or run directory.
fn damaged(host: &Host, life: Life, file: &str, damage: Damage) -> (String, PathBuf) {
    let name = format!("bad-{life:?}-{}-{damage:?}", file.trim_end_matches(".json")).to_lowercase();
    if life == Life::Stopped {
        host.sampan(["run", "--name", &name, IMAGE, "true"]).expect_code(0);
    } else {
        host.sampan(["run", "-d", "--name", &name, IMAGE, "sleep", "1000"]).expect_code(0);
    }
    let shown = inspect(host, &name);
    let root = if matches!(file, "state.json" | "status.json") { host.run() } else { host.data() };
    let path = root.join("containers").join(shown["Id"].as_str().unwrap()).join(file);
    damage.inflict(&path);
    if life == Life::Orphaned {
        let monitor = i32::try_from(shown["State"]["MonitorPid"].as_i64().unwrap()).unwrap();
        kill_9(monitor);
        let stat = format!("/proc/{monitor}/stat");
        assert!(eventually(PATIENCE, || !fs::read_to_string(&stat).is_ok_and(|stat| !stat.contains(") Z"))));
    }
    (name, path)
}

/// Every kind of damage to a document, one container each, in one host with a sound one.
fn each_damage(file: &str, lives: &[Life], check: impl Fn(&Host, Life, Damage, &str, &Path)) {
    let host = Host::new();
    host.sampan(["run", "-d", "--name", "good", IMAGE, "sleep", "1000"]).expect_code(0);
    let cases = lives.iter().flat_map(|life| Damage::ALL.map(|damage| (*life, damage)));
    let bad: Vec<_> =
        cases.map(|(life, damage)| (life, damage, damaged(&host, life, file, damage))).collect();
    let list = host.sampan(["ps", "-a", "--format", "{{.Names}} {{.State}}"]);
    assert!(list.stdout.lines().any(|line| line == "good running"), "{list:?}");
    assert_eq!(
        host.sampan(["exec", "good", "/bin/busybox", "echo", "served"]).expect_code(0).line(),
        "served"
    );
    for (life, damage, (name, path)) in &bad {
        check(&host, *life, *damage, name, path);
        let removed = host.sampan(["rm", "-f", name]);
        assert_eq!((removed.code, removed.line()), (0, name.as_str()), "{}", removed.stderr);
    }
    host.sampan(["ps", "-a"]).expect_code(0);
    assert_eq!(inspect(&host, "good")["State"]["Status"], "running");
    host.sampan(["rm", "-f", "good"]).expect_code(0);
}

/// A command that fails and names the document.
fn names(run: &Run, path: &Path) {
    assert!(run.code != 0 && run.stderr.contains(&*path.to_string_lossy()), "{run:?}");
}

const ALL_LIVES: [Life; 3] = [Life::Stopped, Life::Running, Life::Orphaned];

#[test]
fn a_damaged_summary_is_named_by_the_list() {
    each_damage("summary.json", &ALL_LIVES, |host, _, _, name, path| {
        let list = host.sampan(["ps", "-a"]);
        names(&list, path);
        assert!(!list.stdout.contains(name), "{list:?}");
        names(&host.sampan(["inspect", name]), path);
    });
}

#[test]
fn a_damaged_config_is_named_by_inspect_and_start() {
    each_damage("config.json", &ALL_LIVES, |host, life, _, name, path| {
        names(&host.sampan(["inspect", name]), path);
        let verb: &[&str] = if life == Life::Stopped { &["start", name] } else { &["exec", name, "true"] };
        names(&host.sampan(verb), path);
    });
}

#[test]
fn a_damaged_task_is_named_by_inspect_and_start() {
    each_damage("task.json", &ALL_LIVES, |host, life, _, name, path| {
        names(&host.sampan(["inspect", name]), path);
        if life == Life::Stopped {
            names(&host.sampan(["start", name]), path);
        }
    });
}

#[test]
fn a_damaged_state_is_named_and_without_a_monitor_it_is_the_end() {
    each_damage("state.json", &[Life::Running, Life::Orphaned], |host, life, _, name, path| {
        if life == Life::Running {
            names(&host.sampan(["inspect", name]), path);
            return;
        }
        let state = inspect(host, name)["State"].take();
        assert_eq!((&state["Status"], &state["ExitCode"]), (&"exited".into(), &255.into()), "{name}");
        assert!(state["Error"].as_str().unwrap().contains("state.json"), "{name}: {state}");
    });
}

#[test]
fn a_damaged_status_is_asked_from_the_monitor() {
    each_damage("status.json", &[Life::Running, Life::Orphaned], |host, _, _, name, _| {
        assert_eq!(inspect(host, name)["State"]["Status"], "running", "{name}");
    });
}

#[test]
fn a_damaged_exit_is_named() {
    each_damage("exit.json", &[Life::Stopped], |host, _, damage, name, path| match damage {
        Damage::Missing => assert_eq!(inspect(host, name)["State"]["Status"], "created"),
        _ => names(&host.sampan(["inspect", name]), path),
    });
}

/// Runs the test `name` of this program again, in a mount namespace of its own, so that what it mounts is gone with it.
/// True in that second run.
fn in_own_mounts(name: &str) -> bool {
    const INSIDE: &str = "SAMPAN_TEST_IN_OWN_MOUNTS";
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    let status = Command::new("unshare")
        .args(["--mount", "--propagation", "private"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture"])
        .env(INSIDE, "1")
        .status()
        .expect("unshare starts");
    assert!(status.success(), "{name} in its own mount namespace");
    false
}

/// A data root on a small ext4.
struct SmallDisk {
    // Dropped first: the mount must be gone when the host looks for what is left.
    mount: Mounted,
    host: Host,
}

struct Mounted(PathBuf);

impl Drop for Mounted {
    fn drop(&mut self) {
        // Lazily: a failed test's containers may still use it.
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

impl SmallDisk {
    fn new(options: &[&str]) -> SmallDisk {
        let host = Host::new();
        let (image, data) = (host.root().join("disk"), host.data());
        fs::File::create(&image).unwrap().set_len(8 << 20).unwrap();
        let made = Command::new("mke2fs")
            .args(["-q", "-F", "-t", "ext4", "-O", "^has_journal", "-m", "0"])
            .args(options)
            .arg(&image)
            .status();
        assert!(made.expect("install e2fsprogs").success());
        fs::create_dir(&data).unwrap();
        let mounted = Command::new("mount").args(["-o", "loop"]).arg(&image).arg(&data).status().unwrap();
        assert!(mounted.success());
        SmallDisk { mount: Mounted(data), host }
    }

    fn filler(&self) -> PathBuf {
        self.mount.0.join("filler")
    }

    /// Takes all room, to the last byte.
    fn fill(&self) {
        use std::io::Write;
        let mut file = fs::File::create(self.filler()).unwrap();
        for size in [64 << 10, 1024, 1] {
            while file.write_all(&vec![b'x'; size]).and_then(|()| file.sync_data()).is_ok() {}
        }
    }

    /// Takes all inodes.
    fn fill_inodes(&self) {
        fs::create_dir(self.filler()).unwrap();
        assert!((0..10_000).any(|n| fs::File::create(self.filler().join(n.to_string())).is_err()));
    }

    fn entries(&self) -> Vec<String> {
        let mut all: Vec<String> = ["containers", "names", "volumes"]
            .iter()
            .flat_map(|dir| fs::read_dir(self.mount.0.join(dir)).unwrap())
            .map(|entry| entry.unwrap().path().to_string_lossy().into_owned())
            .collect();
        all.sort();
        all
    }

    /// Neither `create` nor `run` leaves anything, and both say where there was no room.
    fn refuses_new_containers(&self) {
        let before = self.entries();
        for args in
            [&["create", "--name", "third"][..], &["run", "-d", "--name", "third", "-v", "/some/where"]]
        {
            let failed = self.host.sampan([args, &[IMAGE, "true"]].concat());
            assert!(failed.code != 0 && failed.stderr.contains("No space left on device"), "{failed:?}");
            assert!(failed.stderr.contains(&*self.mount.0.to_string_lossy()), "{}", failed.stderr);
            assert_eq!(self.entries(), before, "{args:?}");
        }
    }
}

#[test]
fn on_a_full_disk_containers_can_be_listed_stopped_and_removed() {
    if !in_own_mounts("on_a_full_disk_containers_can_be_listed_stopped_and_removed") {
        return;
    }
    let disk = SmallDisk::new(&[]);
    let host = &disk.host;
    let ends = "trap 'exit 7' TERM; while :; do sleep 0.05; done";
    host.sampan(["run", "-d", "--name", "keeper", IMAGE, "sh", "-c", ends]).expect_code(0);
    let talks =
        "i=0; while :; do echo $i a line of some length, so that a block is full soon; i=$((i+1)); done";
    host.sampan(["run", "-d", "--name", "talker", "--tmpfs", "/tmp", IMAGE, "sh", "-c", talks])
        .expect_code(0);
    disk.fill();
    disk.refuses_new_containers();
    let list = host.sampan(["ps", "--format", "{{.Names}}"]).expect_code(0);
    assert_eq!(list.stdout.lines().count(), 2, "{}", list.stdout);

    // Its output is dropped and counted, and it goes on.
    let dropped = || inspect(host, "talker")["State"]["LogBytesDropped"].as_u64().unwrap();
    assert!(eventually(PATIENCE, || dropped() > 1 << 20), "blocked after {} bytes", dropped());

    host.sampan(["stop", "keeper"]).expect_code(0);
    let state = inspect(host, "keeper")["State"].take();
    assert_eq!((&state["Status"], &state["ExitCode"]), (&"exited".into(), &7.into()), "{state}");
    host.sampan(["rm", "keeper"]).expect_code(0);
    host.sampan(["rm", "-f", "talker"]).expect_code(0);
    assert_eq!(host.sampan(["ps", "-aq"]).expect_code(0).stdout, "");

    fs::remove_file(disk.filler()).unwrap();
    assert_eq!(host.sampan(["run", "--rm", IMAGE, "echo", "room"]).expect_code(0).line(), "room");
}

#[test]
fn without_inodes_nothing_new_is_made_and_all_else_works() {
    if !in_own_mounts("without_inodes_nothing_new_is_made_and_all_else_works") {
        return;
    }
    let disk = SmallDisk::new(&["-N", "128"]);
    let host = &disk.host;
    host.sampan(["run", "-d", "--name", "keeper", IMAGE, "sleep", "1000"]).expect_code(0);
    disk.fill_inodes();
    disk.refuses_new_containers();
    host.sampan(["ps"]).expect_code(0);
    host.sampan(["stop", "-t", "0", "keeper"]).expect_code(0);
    let state = inspect(host, "keeper")["State"].take();
    assert_eq!((&state["Status"], &state["ExitCode"]), (&"exited".into(), &137.into()), "{state}");
    host.sampan(["rm", "keeper"]).expect_code(0);
}

#[test]
fn another_user_can_read_nothing_and_is_told_what_to_do() {
    let host = Host::new();
    host.sampan(["run", "-d", "--name", "mine", "-v", "kept:/kept", IMAGE, "sleep", "1000"]).expect_code(0);
    let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o777;
    for dir in [host.data(), host.run(), host.data().join("containers"), host.run().join("containers")] {
        assert_eq!(mode(&dir), 0o700, "{}", dir.display());
    }
    let id = inspect(&host, "mine")["Id"].as_str().unwrap().to_owned();
    for dir in [host.data(), host.run()] {
        assert_eq!(mode(&dir.join("containers").join(&id)), 0o700);
    }
    for file in ["config.json", "task.json", "spec.json", "summary.json", "exit.json"] {
        assert_eq!(mode(&host.data().join("containers").join(&id).join(file)), 0o600, "{file}");
    }

    // Where the other user may go: the program, and the directory that holds the roots.
    fs::set_permissions(host.root(), fs::Permissions::from_mode(0o755)).unwrap();
    let program = host.root().join("sampan");
    fs::copy(binary("sampan"), &program).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let plain = host.command(["ps"]);
    for args in [&["ps"][..], &["run", "--rm", IMAGE, "true"], &["logs", "mine"], &["rm", "-f", "mine"]] {
        let mut command = Command::new(&program);
        command.args(args).uid(NOBODY).gid(NOBODY).current_dir("/");
        command.envs(plain.get_envs().filter_map(|(key, value)| Some((key, value?))));
        let output = command.output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && output.stdout.is_empty(), "{args:?}: {stderr}");
        assert!(
            stderr.contains("Permission denied") && stderr.contains("hint: run as root"),
            "{args:?}: {stderr}"
        );
        assert!(stderr.contains(&*host.data().to_string_lossy()), "{args:?}: {stderr}");
    }
    fs::remove_file(&program).unwrap();
    assert_eq!(inspect(&host, "mine")["State"]["Status"], "running");
    host.sampan(["rm", "-f", "mine"]).expect_code(0);
}
