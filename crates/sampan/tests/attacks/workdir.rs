//! CVE-2024-21626 and its kin: a working directory through a descriptor that leaked, and descriptors that leak.

use testkit::Host;

use crate::evil::{Tree, tamper};

/// Looks for a file of the host's, upwards from where it is.
fn look_around(host: &Host) -> String {
    let marker = host.root().join("marker");
    std::fs::write(&marker, "").unwrap();
    format!(
        "up=.; for i in 1 2 3 4 5 6 7 8 9; do [ -e $up{} ] && echo ESCAPED $up; up=$up/..; done; pwd; echo inside",
        marker.display()
    )
}

fn check(what: &str, run: &testkit::Run) {
    assert!(!run.stdout.contains("ESCAPED"), "{what}: {run:?}");
    assert!(!run.stdout.contains("unreachable"), "{what}: {run:?}");
    let inside = run.code == 0 && run.stdout.ends_with("inside\n");
    assert!(inside || run.stderr.contains("error:"), "{what}: {run:?}");
}

#[test]
fn a_descriptor_is_no_working_directory() {
    let host = Host::new();
    let script = look_around(&host);
    Tree::new().import(&host, "plain", &[]);
    let paths = (3..64).map(|n| format!("/proc/self/fd/{n}"));
    let more = [
        "/proc/1/root",
        "/proc/self/root/..",
        "/proc/1/cwd",
        "/proc/self/exe",
        "/dev/fd/3",
        "/proc/thread-self/fd/7",
    ];
    for path in paths.chain(more.map(str::to_owned)) {
        let run = host.sampan(["run", "--rm", "-w", &path, "plain", "/bin/sh", "-c", &script]);
        check(&path, &run);
    }
}

#[test]
fn nor_an_images() {
    let host = Host::new();
    let script = look_around(&host);
    Tree::new().import(&host, "evil", &[]);
    tamper(&host, "evil", |config, _| config["config"]["WorkingDir"] = "/honest".into());
    let honest = host.sampan(["run", "--rm", "evil", "/bin/sh", "-c", &script]).expect_code(0);
    assert_eq!(honest.stdout, "/honest\ninside\n");
    for n in 3..64 {
        tamper(&host, "evil", |config, _| {
            config["config"]["WorkingDir"] = format!("/proc/self/fd/{n}").into()
        });
        check(&n.to_string(), &host.sampan(["run", "--rm", "evil", "/bin/sh", "-c", &script]));
    }
}

#[test]
fn nor_one_of_an_exec() {
    let host = Host::new();
    let script = look_around(&host);
    Tree::new().import(&host, "plain", &[]);
    host.sampan(["run", "-d", "--name", "target", "plain", "/bin/sh", "-c", "sleep 600"]).expect_code(0);
    for n in 3..64 {
        let path = format!("/proc/self/fd/{n}");
        check(&path, &host.sampan(["exec", "-w", &path, "target", "/bin/sh", "-c", &script]));
    }
    host.sampan(["rm", "-f", "target"]).expect_code(0);
}

#[test]
fn three_descriptors_and_no_more() {
    let host = Host::new();
    let mount = format!("{}:/m", host.root().display());
    for words in [
        &[][..],
        &["-i"],
        &["-t"],
        &["-v", &mount, "--tmpfs", "/t", "--device", "/dev/zero:/dev/nought"],
        &["--userns", "auto"],
        &["--privileged"],
        &["--network", "host", "--pid", "host", "--ipc", "host"],
        &["--init"],
    ] {
        let all =
            ["run", "-d", "--name", "target"].iter().chain(words).chain(&["host:busybox", "sleep", "600"]);
        host.sampan(all).expect_code(0);
        let shown = host.sampan(["inspect", "target"]).expect_code(0).stdout;
        let shown: serde_json::Value = serde_json::from_str(&shown).unwrap();
        let pid = shown[0]["State"]["Pid"].as_i64().unwrap();
        let list = |pid: i64| {
            let entries = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten();
            let mut all: Vec<_> = entries.map(|entry| entry.file_name().into_string().unwrap()).collect();
            all.sort();
            all
        };
        let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
        // With an init of ours the program is its child, and the init itself has nothing of the host's either: its
        // fourth descriptor is where its signals arrive.
        let init = words.contains(&"--init");
        let program =
            children.split_whitespace().next().filter(|_| init).map_or(pid, |pid| pid.parse().unwrap());
        assert!(testkit::eventually(std::time::Duration::from_secs(2), || list(program) == ["0", "1", "2"]));
        let mut own = list(pid);
        if init {
            let fourth = std::fs::read_link(format!("/proc/{pid}/fd/{}", own.pop().unwrap())).unwrap();
            assert_eq!(fourth.to_str(), Some("anon_inode:[signalfd]"));
        }
        assert_eq!(own, ["0", "1", "2"], "{words:?}");
        // What an exec brings along: the directory is ls' own.
        let exec = host.sampan(["exec", "target", "busybox", "ls", "/proc/self/fd"]).expect_code(0);
        assert_eq!(exec.stdout, "0\n1\n2\n3\n", "{words:?}");
        host.sampan(["rm", "-f", "target"]).expect_code(0);
    }
}
