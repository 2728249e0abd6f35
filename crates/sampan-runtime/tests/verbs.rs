//! The runc command line through the real binary, on busybox bundles.
#![allow(clippy::unwrap_used, reason = "a test's helper fails the test")]

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use testkit::{Bundle, Host, Run, eventually};

/// A bundle and a host of its own, with an id that nobody else has.
struct Box {
    // Dropped in this order: the host's check sees what the bundle's containers left.
    host: Host,
    bundle: Bundle,
    id: String,
}

impl Box {
    fn new(name: &str, args: &[&str]) -> Box {
        let id = format!("sampan-test-{}-{name}", std::process::id());
        Box { host: Host::new(), bundle: Bundle::new(args), id }
    }

    fn verb(&self, args: &[&str]) -> Run {
        self.host.runtime(args)
    }

    fn run(&self) -> Run {
        self.verb(&["run", "-b", self.bundle.path().to_str().unwrap(), &self.id])
    }

    fn create(&self) -> Run {
        // The container keeps the caller's streams: a pipe of this test's would not end before it.
        let status = Command::new(testkit::binary("sampan-runtime"))
            .args(["--root".as_ref(), self.host.root().join("runtime").as_os_str()])
            .args(["create", "-b", self.bundle.path().to_str().unwrap(), "--pid-file"])
            .arg(self.host.root().join("pid"))
            .arg(&self.id)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        Run { code: status.unwrap().code().unwrap(), stdout: String::new(), stderr: String::new() }
    }

    fn state(&self) -> Value {
        serde_json::from_str(&self.verb(&["state", &self.id]).expect_code(0).stdout).unwrap()
    }

    fn cgroup_is_left(&self) -> bool {
        let hierarchies = std::fs::read_dir("/sys/fs/cgroup").unwrap().flatten();
        hierarchies
            .map(|entry| entry.path())
            .chain(["/sys/fs/cgroup".into()])
            .any(|dir| dir.join(format!("sampan-{}", self.id)).exists())
    }
}

#[test]
fn a_container_lives_from_create_to_delete() {
    let b = Box::new("life", &["/bin/sleep", "100"]);
    b.create().expect_code(0);
    let created = b.state();
    assert_eq!(created["status"], "created");
    assert_eq!(std::fs::read_to_string(b.host.root().join("pid")).unwrap(), created["pid"].to_string());
    b.create().expect_code(1);
    b.verb(&["start", &b.id]).expect_code(0);
    assert!(b.verb(&["delete", &b.id]).expect_code(1).stderr.contains("running"));
    assert_eq!(b.state()["status"], "running");
    assert!(b.verb(&["start", &b.id]).expect_code(1).stderr.contains("running"));
    let list: Value = serde_json::from_str(&b.verb(&["list", "-f", "json"]).expect_code(0).stdout).unwrap();
    assert_eq!(list[0]["id"], b.id.as_str());
    assert_eq!(list[0]["owner"], "root");
    b.verb(&["kill", &b.id, "KILL"]).expect_code(0);
    assert!(eventually(Duration::from_secs(5), || b.state()["status"] == "stopped"));
    assert_eq!(b.state()["pid"], 0);
    assert!(b.verb(&["kill", &b.id]).expect_code(1).stderr.contains("stopped"));
    b.verb(&["delete", &b.id]).expect_code(0);
    assert!(b.verb(&["state", &b.id]).expect_code(1).stderr.contains("does not exist"));
    b.verb(&["delete", "-f", &b.id]).expect_code(0);
    assert!(!b.cgroup_is_left());
}

#[test]
fn run_ends_with_the_programs_code_and_leaves_nothing() {
    for (script, code) in [("exit 0", 0), ("exit 7", 7), ("kill -9 $$; sleep 9", 137)] {
        let mut b = Box::new("code", &["/bin/sh", "-c", script]);
        if code == 137 {
            // Pid 1 of a pid namespace cannot kill itself: share the host's.
            b.bundle.config["linux"]["namespaces"] = json!([{ "type": "mount" }, { "type": "uts" }]);
            b.bundle.write();
        }
        assert_eq!(b.run().code, code, "{script}");
        assert!(!b.cgroup_is_left(), "{script}");
    }
}

#[test]
fn a_program_that_is_not_there_is_named() {
    let b = Box::new("missing", &["/bin/nothing"]);
    let run = b.run().expect_code(1);
    assert!(run.stderr.contains("/bin/nothing") && run.stderr.contains("hint:"), "{}", run.stderr);
    assert!(!b.cgroup_is_left());
}

#[test]
fn the_container_is_confined() {
    let script = "grep -E '^(Cap(Inh|Prm|Eff|Bnd|Amb)|NoNewPrivs|Seccomp):' /proc/self/status; hostname; echo pid $$; \
                  touch /proc/sys/kernel/domainname && echo writable; ls /proc/self/fd | grep -c .";
    let mut b = Box::new("confined", &["/bin/sh", "-c", script]);
    let deny_mount = json!({ "names": ["mount"], "action": "SCMP_ACT_ERRNO" });
    b.bundle.config["linux"]["seccomp"] =
        json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": [deny_mount] });
    b.bundle.config["process"]["capabilities"] = json!({ "bounding": ["CAP_KILL"], "effective": ["CAP_KILL"], "permitted": ["CAP_KILL"], "inheritable": [] });
    b.bundle.write();
    let run = b.run();
    for wanted in [
        "CapInh:\t0000000000000000",
        "CapPrm:\t0000000000000020",
        "CapEff:\t0000000000000020",
        "CapBnd:\t0000000000000020",
        "CapAmb:\t0000000000000000",
        "NoNewPrivs:\t1",
        "Seccomp:\t2",
        "sampan\n",
        "pid 1\n",
    ] {
        assert!(run.stdout.contains(wanted), "{wanted}: {} {}", run.stdout, run.stderr);
    }
    assert!(!run.stdout.contains("writable"));
    // Standard streams, and the directory that ls itself has open.
    assert!(run.stdout.ends_with("\n4\n"), "{}", run.stdout);
}

#[test]
fn a_filter_is_compiled_once_and_only_kept_in_a_private_directory() {
    use std::os::unix::fs::PermissionsExt;
    let mut b = Box::new("filter", &["/bin/sh", "-c", "hostname other || echo refused"]);
    let deny = json!({ "names": ["sethostname"], "action": "SCMP_ACT_ERRNO" });
    b.bundle.config["linux"]["seccomp"] = json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": [deny] });
    b.bundle.config["process"]["capabilities"] = json!({ "bounding": ["CAP_SYS_ADMIN"], "effective": ["CAP_SYS_ADMIN"], "permitted": ["CAP_SYS_ADMIN"] });
    b.bundle.write();
    let dir = b.host.root().join("runtime/@seccomp");
    let kept = || std::fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().path()).collect::<Vec<_>>();
    assert_eq!(b.run().expect_code(0).stdout, "refused\n");
    let first = kept();
    assert_eq!(first.len(), 1);
    assert_eq!(b.run().expect_code(0).stdout, "refused\n");
    assert_eq!(kept(), first);
    assert_eq!(b.verb(&["list", "-q"]).expect_code(0).stdout, "");
    // What others may write to is not used, and the filter is in force all the same.
    std::fs::remove_file(&first[0]).unwrap();
    std::fs::set_permissions(&dir, std::fs::Permissions::from_mode(0o777)).unwrap();
    assert_eq!(b.run().expect_code(0).stdout, "refused\n");
    assert!(kept().is_empty());
}

#[test]
fn limits_are_the_cgroups() {
    let mut b =
        Box::new("limits", &["/bin/busybox", "dd", "if=/dev/zero", "of=/dev/null", "bs=64M", "count=1"]);
    b.bundle.config["linux"]["resources"] =
        json!({ "memory": { "limit": 16 << 20 }, "pids": { "limit": 20 } });
    b.bundle.write();
    assert_eq!(b.run().code, 137);
    b.bundle.config["linux"]["resources"]["cpu"] = json!({ "cpus": "99999999" });
    b.bundle.write();
    let run = b.run().expect_code(1);
    assert!(run.stderr.contains("cpu.cpus"), "{}", run.stderr);
    assert!(!b.cgroup_is_left());
}

/// Starts `run` in the background.
fn background(b: &Box) -> Child {
    let mut command = Command::new(testkit::binary("sampan-runtime"));
    command.arg("--root").arg(b.host.root().join("runtime"));
    command.args(["run", "-b", b.bundle.path().to_str().unwrap(), &b.id]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

#[test]
fn signals_are_forwarded() {
    let b = Box::new("forward", &["/bin/sh", "-c", "trap 'exit 3' TERM; while :; do sleep 0.05; done"]);
    let mut child = background(&b);
    assert!(eventually(Duration::from_secs(5), || b.verb(&["state", &b.id]).stdout.contains("running")));
    std::thread::sleep(Duration::from_millis(100));
    Command::new("kill").arg(child.id().to_string()).status().unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(3));
}

#[test]
fn killed_at_any_time_delete_force_leaves_nothing() {
    let b = Box::new("kill", &["/bin/sleep", "100"]);
    for step in 0..40u64 {
        let mut child = background(&b);
        std::thread::sleep(Duration::from_micros(200 * step));
        child.kill().unwrap();
        child.wait().unwrap();
        b.verb(&["delete", "--force", &b.id]).expect_code(0);
        assert!(eventually(Duration::from_secs(2), || !b.cgroup_is_left()), "step {step}: a cgroup is left");
        assert!(!Path::new(&b.host.root().join("runtime").join(&b.id)).exists(), "step {step}");
    }
}

#[test]
fn errors_go_to_the_log_as_json() {
    let b = Box::new("log", &["/bin/true"]);
    let log = b.host.root().join("log");
    b.verb(&["--log", log.to_str().unwrap(), "--log-format", "json", "state", "absent"]).expect_code(1);
    let line: Value = serde_json::from_str(std::fs::read_to_string(&log).unwrap().trim()).unwrap();
    assert_eq!(line["level"], "error");
    assert!(line["msg"].as_str().unwrap().contains("absent"));
}

#[test]
fn spec_writes_once_and_runs() {
    let b = Box::new("spec", &["/bin/true"]);
    let dir = b.bundle.path().to_str().unwrap().to_owned();
    assert!(b.verb(&["spec", "-b", &dir]).expect_code(1).stderr.contains("config.json"));
    std::fs::remove_file(b.bundle.path().join("config.json")).unwrap();
    b.verb(&["spec", "-b", &dir]).expect_code(0);
    // The template has a terminal, and a test has none.
    assert!(b.run().expect_code(1).stderr.contains("process.terminal"));
    let config = b.bundle.path().join("config.json");
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, text.replace("\"terminal\": true", "\"terminal\": false")).unwrap();
    // The shell reads the end of its input at once.
    b.run().expect_code(0);
}

#[test]
fn exec_joins_everything_and_ends_with_the_programs_code() {
    let b = Box::new("exec", &["/bin/sleep", "100"]);
    b.create().expect_code(0);
    b.verb(&["start", &b.id]).expect_code(0);
    let pid = b.state()["pid"].to_string();
    let exec = |args: &[&str]| b.verb(&[&["exec"], args].concat());
    exec(&[&b.id, "sh", "-c", "exit 9"]).expect_code(9);
    let run =
        exec(&["-u", "1:2", "-e", "A=b", "--cwd", "/tmp", &b.id, "sh", "-c", "id; echo $A; pwd; hostname"]);
    assert_eq!(run.expect_code(0).stdout, "uid=1 gid=2\nb\n/tmp\nsampan\n");
    // Standard streams, and the directory that ls itself has open.
    assert_eq!(exec(&[&b.id, "sh", "-c", "ls /proc/self/fd | grep -c ."]).expect_code(0).line(), "4");
    let inside = exec(&[&b.id, "ls", "-l", "/proc/self/ns"]).expect_code(0).stdout;
    for kind in ["mnt", "pid", "net", "ipc", "uts"] {
        let of_init = std::fs::read_link(format!("/proc/{pid}/ns/{kind}")).unwrap();
        assert!(inside.contains(of_init.to_str().unwrap()), "{kind}: {inside}");
    }
    let caps = exec(&["--cap", "CAP_KILL", &b.id, "grep", "CapEff", "/proc/self/status"]).expect_code(0);
    assert_eq!(caps.line(), "CapEff:\t0000000000000020");
    assert!(exec(&[&b.id, "nothing"]).expect_code(1).stderr.contains("\"nothing\""));
    for user in ["1:", "0x1", "-1", "+1", "4294967296", "1 "] {
        let arg = format!("--user={user}");
        assert!(exec(&[&arg, &b.id, "id"]).expect_code(1).stderr.contains("--user"), "{user}");
    }
    b.verb(&["pause", &b.id]).expect_code(0);
    assert_eq!(b.state()["status"], "paused");
    assert!(exec(&[&b.id, "true"]).expect_code(1).stderr.contains("paused"));
    b.verb(&["resume", &b.id]).expect_code(0);
    assert_eq!(b.verb(&["ps", "-f", "json", &b.id]).expect_code(0).stdout, format!("[{pid}]"));
    b.verb(&["delete", "-f", &b.id]).expect_code(0);
    assert!(!b.cgroup_is_left());
}

#[test]
fn exec_cannot_be_watched_into_the_host() {
    // CVE-2016-9962: what enters must not be open to those inside before it is the user's program. CVE-2019-5736: its
    // file must not be writable.
    let script = "while :; do for p in /proc/[0-9]*; do [ $p = /proc/1 ] || ls -l $p/fd $p/cwd 2>/dev/null \
                  | grep -E 'sampan-test|socket:|state.json'; echo x 2>/dev/null >> $p/exe; done; done 2>/dev/null";
    let mut b = Box::new("watch", &["/bin/sh", "-c", script]);
    b.bundle.config["process"]["noNewPrivileges"] = json!(false);
    b.bundle.write();
    let binary = testkit::binary("sampan-runtime");
    let before = std::fs::read(&binary).unwrap();
    let seen = b.host.root().join("seen");
    let mut child = Command::new(&binary)
        .arg("--root")
        .arg(b.host.root().join("runtime"))
        .args(["run", "-b", b.bundle.path().to_str().unwrap(), &b.id])
        .stdin(Stdio::null())
        .stdout(std::fs::File::create(&seen).unwrap())
        .spawn()
        .unwrap();
    assert!(eventually(Duration::from_secs(5), || b.verb(&["state", &b.id]).stdout.contains("running")));
    for _ in 0..100 {
        b.verb(&["exec", &b.id, "/bin/true"]).expect_code(0);
    }
    b.verb(&["kill", &b.id, "KILL"]).expect_code(0);
    child.wait().unwrap();
    assert_eq!(std::fs::read_to_string(&seen).unwrap(), "");
    assert_eq!(std::fs::read(&binary).unwrap(), before);
}

#[test]
fn the_runtimes_own_file_cannot_be_written_from_inside() {
    // CVE-2019-5736: the program is /proc/self/exe, so the container executes the runtime itself.
    let binary = testkit::binary("sampan-runtime");
    let before = std::fs::read(&binary).unwrap();
    let script = "for n in 1 2 3 4 5 6 7 8 9; do for exe in /proc/[0-9]*/exe; do echo x >> $exe; done; done 2>/dev/null; exit 0";
    let mut b = Box::new("exe", &["/bin/sh", "-c", script]);
    b.bundle.config["linux"]["namespaces"] = json!([{ "type": "mount" }, { "type": "uts" }]);
    b.bundle.config["process"]["args"] = json!(["/proc/self/exe", "--version"]);
    b.bundle.write();
    let run = b.run();
    assert!(run.code != 0 || run.stdout.contains("version"), "{} {}", run.stdout, run.stderr);
    assert_eq!(std::fs::read(&binary).unwrap(), before);
    b.bundle.config["process"]["args"] = json!(["/bin/sh", "-c", script]);
    b.bundle.config["linux"]["namespaces"] =
        json!([{ "type": "mount" }, { "type": "pid" }, { "type": "uts" }]);
    b.bundle.write();
    b.run().expect_code(0);
    assert_eq!(std::fs::read(&binary).unwrap(), before);
}

#[test]
fn killed_at_any_call_of_create_delete_force_leaves_nothing() {
    let b = Box::new("inject", &["/bin/sleep", "100"]);
    let root = b.host.root().join("runtime");
    for call in ["mkdir", "mkdirat", "openat", "write", "mknodat", "rename", "clone3", "recvmsg", "sendmsg"] {
        for when in 1..200 {
            let mut command = Command::new("strace");
            command.args(["-o", "/dev/null", "-e", &format!("trace={call}")]);
            command.args(["-e", &format!("inject={call}:signal=KILL:when={when}")]);
            command.arg(testkit::binary("sampan-runtime")).arg("--root").arg(&root);
            command.args(["create", "-b", b.bundle.path().to_str().unwrap(), &b.id]);
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
            let status = command.status().expect("install strace: the test kills the runtime at each call");
            b.verb(&["delete", "--force", &b.id]).expect_code(0);
            assert!(
                eventually(Duration::from_secs(2), || !b.cgroup_is_left()),
                "{call} {when}: a cgroup is left"
            );
            assert!(!root.join(&b.id).exists(), "{call} {when}: the state is left");
            if status.success() {
                break;
            }
        }
    }
}
