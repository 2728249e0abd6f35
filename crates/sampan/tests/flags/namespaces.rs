//! Whose network, processes, IPC, host name, cgroups and users the container sees.

use crate::bench::{Bench, IMAGE, Look, Row, Want};

pub(crate) const ROWS: &[Row] = &[
    Row {
        flag: "network",
        words: &["--network", "host"],
        look: Look::Inside("readlink /proc/self/ns/net"),
        without: Want::Lacks("{host-net}"),
        with: Want::Is("{host-net}"),
    },
    Row {
        flag: "network",
        words: &["--network", "host"],
        look: Look::Inside("ls /sys/class/net | grep -v '^lo$' | wc -l; hostname"),
        without: Want::Has("0\n"),
        with: Want::Has("{host-name}"),
    },
    Row {
        flag: "network",
        words: &["--net=container:other"],
        look: Look::Inside("readlink /proc/self/ns/net; cat /etc/hosts"),
        without: Want::Lacks("{other-net}"),
        with: Want::Has("{other-net}"),
    },
    Row {
        flag: "network",
        words: &["--network", "container:{other}"],
        look: Look::Inside("hostname; grep -c 'other-host$' /etc/hosts"),
        without: Want::Has("0"),
        with: Want::Is("other-host\n1"),
    },
    Row {
        flag: "network",
        words: &["--network", "bridge"],
        look: Look::Inside("ls /sys/class/net; cat /sys/class/net/lo/operstate"),
        without: Want::Has("lo\n"),
        with: Want::Has("networks are not built yet"),
    },
    Row {
        flag: "pid",
        words: &["--pid", "host"],
        look: Look::Inside("readlink /proc/self/ns/pid"),
        without: Want::Lacks("{host-pid}"),
        with: Want::Is("{host-pid}"),
    },
    Row {
        flag: "pid",
        words: &["--pid", "container:other"],
        look: Look::Inside("readlink /proc/self/ns/pid; xargs -0 echo </proc/1/cmdline"),
        without: Want::Lacks("{other-pid}"),
        with: Want::Is("{other-pid}\n/usr/bin/busybox sleep 600"),
    },
    Row {
        flag: "ipc",
        words: &["--ipc", "host"],
        look: Look::Inside("readlink /proc/self/ns/ipc; stat -c %d /dev/shm"),
        without: Want::Lacks("{host-ipc}"),
        with: Want::Is("{host-ipc}\n{host-shm}"),
    },
    Row {
        flag: "ipc",
        words: &["--ipc", "container:other"],
        look: Look::Inside("readlink /proc/self/ns/ipc; ls /dev/shm"),
        without: Want::Lacks("{other-ipc}"),
        with: Want::Is("{other-ipc}\nfrom-other"),
    },
    Row {
        flag: "uts",
        words: &["--uts", "host"],
        look: Look::Inside("readlink /proc/self/ns/uts; hostname"),
        without: Want::Lacks("{host-uts}"),
        with: Want::Is("{host-uts}\n{host-name}"),
    },
    Row {
        flag: "cgroupns",
        words: &["--cgroupns", "host"],
        look: Look::Inside("grep -c {cgroup} /proc/self/cgroup; readlink /proc/self/ns/cgroup"),
        without: Want::Has("0\ncgroup:"),
        with: Want::Has("{host-cgroup}"),
    },
    Row {
        flag: "userns",
        words: &["--userns", "host", "--profile", "hardened"],
        look: Look::Act(hardened_users),
        // Without it a range of its own, whose tests are in `users`.
        without: Want::Lacks("{host-user}"),
        with: Want::Is("{host-user}"),
    },
];

/// The hardened profile has users of its own unless told otherwise.
fn hardened_users(bench: &Bench, words: &[String]) -> String {
    let hardened = ["--profile".to_owned(), "hardened".to_owned()];
    let words = if words.is_empty() { &hardened[..] } else { words };
    crate::bench::shown(&bench.run(words, &["readlink", "/proc/self/ns/user"]))
}

#[test]
fn namespaces_are_those_asked_for() {
    let mut bench = Bench::new();
    for kind in ["net", "pid", "ipc", "uts", "cgroup", "user"] {
        let own = std::fs::read_link(format!("/proc/self/ns/{kind}")).unwrap();
        let name: &'static str = match kind {
            "net" => "host-net",
            "pid" => "host-pid",
            "ipc" => "host-ipc",
            "uts" => "host-uts",
            "cgroup" => "host-cgroup",
            _ => "host-user",
        };
        bench.set(name, own.to_str().unwrap());
    }
    bench.set("host-name", std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap().trim());
    bench.set(
        "host-shm",
        std::os::unix::fs::MetadataExt::dev(&std::fs::metadata("/dev/shm").unwrap()).to_string(),
    );
    let other = ["run", "-d", "--name", "other", "-h", "other-host", IMAGE, "sleep", "600"];
    let other = bench.host.sampan(other).expect_code(0).line().to_owned();
    let pid = bench.inspect(&other, "/State/Pid");
    for (name, kind) in [("other-net", "net"), ("other-pid", "pid"), ("other-ipc", "ipc")] {
        let own = std::fs::read_link(format!("/proc/{pid}/ns/{kind}")).unwrap();
        bench.set(name, own.to_str().unwrap());
    }
    std::fs::write(format!("/proc/{pid}/root/dev/shm/from-other"), "").unwrap();
    bench.set("other", other.clone());
    bench.rows(ROWS);
    bench.host.sampan(["rm", "-f", "other"]).expect_code(0);
    bench.finish();
}

#[test]
fn namespaces_of_nobody_and_contradictions_are_refused() {
    let bench = Bench::new();
    for words in [
        &["--network", "container:nobody"][..],
        &["--pid", "container:nobody"],
        &["--ipc", "container:nobody"],
        &["--uts", "container:x"],
        &["--cgroupns", "container:x"],
        &["--userns", "container:x"],
        &["--uts", "host", "-h", "box"],
        &["--uts", "host", "--domainname", "box"],
        &["--userns", "auto", "--privileged"],
        &["--userns", "auto", "--network", "host"],
        &["--userns", "auto", "--pid", "host"],
    ] {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        let run = bench.run(&words, &["true"]);
        assert!(run.code != 0 && run.stderr.contains("error:"), "{words:?}: {run:?}");
    }
    bench.finish();
}
