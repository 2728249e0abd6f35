//! What the container may use: cgroup limits, rlimits, devices, kernel parameters.

use crate::bench::{Bench, Look, Row, Want};

/// v1's way to say that there is no limit.
const NO_BYTES: &str = "9223372036854771712";

pub(crate) const ROWS: &[Row] = &[
    Row {
        flag: "memory",
        words: &["-m", "64m"],
        look: Look::Cgroup("memory", "memory.limit_in_bytes", "memory.max"),
        without: Want::Cgroup(NO_BYTES, "max"),
        with: Want::Is("67108864"),
    },
    Row {
        flag: "memory",
        words: &["-m", "16m"],
        look: Look::Inside(
            "dd if=/dev/zero of=/dev/shm/x bs=1M count=32 2>/dev/null; ls -s /dev/shm/x | grep -c 32768",
        ),
        without: Want::Is("1"),
        with: Want::Has("exit 1"),
    },
    Row {
        flag: "memory-swap",
        words: &["-m", "64m", "--memory-swap", "96m"],
        look: Look::Cgroup("memory", "memory.memsw.limit_in_bytes", "memory.swap.max"),
        without: Want::Cgroup(NO_BYTES, "max"),
        with: Want::Cgroup("100663296", "33554432"),
    },
    Row {
        flag: "memory-swap",
        words: &["-m", "64m"],
        look: Look::Cgroup("memory", "memory.memsw.limit_in_bytes", "memory.swap.max"),
        without: Want::Cgroup(NO_BYTES, "max"),
        with: Want::Cgroup("134217728", "67108864"),
    },
    Row {
        flag: "memory-reservation",
        words: &["--memory-reservation", "32m"],
        look: Look::Cgroup("memory", "memory.soft_limit_in_bytes", "memory.low"),
        without: Want::Cgroup(NO_BYTES, "0"),
        with: Want::Is("33554432"),
    },
    Row {
        flag: "cpus",
        words: &["--cpus", "1.5"],
        look: Look::Cgroup("cpu", "cpu.cfs_quota_us", "cpu.max"),
        without: Want::Cgroup("-1", "max 100000"),
        with: Want::Cgroup("150000", "150000 100000"),
    },
    Row {
        flag: "cpu-shares",
        words: &["--cpu-shares", "512"],
        look: Look::Cgroup("cpu", "cpu.shares", "cpu.weight"),
        without: Want::Cgroup("1024", "100"),
        with: Want::Cgroup("512", "59"),
    },
    Row {
        flag: "cpu-period",
        words: &["--cpu-period", "50000"],
        look: Look::Cgroup("cpu", "cpu.cfs_period_us", "cpu.max"),
        without: Want::Cgroup("100000", "max 100000"),
        with: Want::Cgroup("50000", "max 50000"),
    },
    Row {
        flag: "cpu-period",
        words: &["--cpu-period", "50000", "--cpu-quota", "25000"],
        look: Look::Cgroup("cpu", "cpu.cfs_period_us", "cpu.max"),
        without: Want::Cgroup("100000", "max 100000"),
        with: Want::Cgroup("50000", "25000 50000"),
    },
    Row {
        flag: "cpu-quota",
        words: &["--cpu-quota", "25000"],
        look: Look::Cgroup("cpu", "cpu.cfs_quota_us", "cpu.max"),
        without: Want::Cgroup("-1", "max 100000"),
        with: Want::Cgroup("25000", "25000 100000"),
    },
    Row {
        flag: "cpuset-cpus",
        words: &["--cpuset-cpus", "0"],
        look: Look::Inside("grep Cpus_allowed_list /proc/self/status"),
        without: Want::Other,
        with: Want::Is("Cpus_allowed_list:\t0"),
    },
    Row {
        flag: "cpuset-mems",
        words: &["--cpuset-mems", "0"],
        look: Look::Cgroup("cpuset", "cpuset.mems", "cpuset.mems"),
        // There may be one node only, so that no process sees a difference; the cgroup is made for the flag alone.
        without: Want::Other,
        with: Want::Is("0"),
    },
    Row {
        flag: "pids-limit",
        words: &["--pids-limit", "77"],
        look: Look::Cgroup("pids", "pids.max", "pids.max"),
        without: Want::Is("4096"),
        with: Want::Is("77"),
    },
    Row {
        flag: "pids-limit",
        words: &["--pids-limit", "-1"],
        look: Look::Cgroup("pids", "pids.max", "pids.max"),
        without: Want::Is("4096"),
        with: Want::Is("max"),
    },
    Row {
        flag: "pids-limit",
        words: &["--pids-limit", "3"],
        look: Look::Inside("for i in 1 2 3 4 5 6; do sleep 0.1 & done 2>&1; wait; echo all"),
        without: Want::Is("all"),
        with: Want::Has("fork"),
    },
    Row {
        flag: "ulimit",
        words: &["--ulimit", "nofile=100:200", "--ulimit", "core=5"],
        look: Look::Inside("ulimit -Sn; ulimit -Hn; ulimit -Sc"),
        without: Want::Has("1024\n"),
        with: Want::Is("100\n200\n0"),
    },
    Row {
        flag: "ulimit",
        words: &["--ulimit", "fsize=1024"],
        look: Look::Inside("(dd if=/dev/zero of=/x bs=1 count=4096) >/dev/null 2>&1; stat -c %s /x"),
        without: Want::Is("4096"),
        with: Want::Is("1024"),
    },
    Row {
        flag: "device",
        words: &["--device", "/dev/kmsg"],
        look: Look::Inside("stat -c '%F %t %T %a' /dev/kmsg; (: </dev/kmsg) 2>&1 && echo opened"),
        without: Want::Has("No such file"),
        with: Want::Has("character special file 1 b"),
    },
    Row {
        flag: "device",
        words: &["--cap-add", "SYSLOG", "--device", "/dev/kmsg:/dev/other:r"],
        look: Look::Inside("(: </dev/other) && echo read; (: >/dev/other) 2>/dev/null || echo refused"),
        without: Want::Lacks("read"),
        with: Want::Is("read\nrefused"),
    },
    Row {
        flag: "sysctl",
        words: &["--sysctl", "net.ipv4.ip_forward=1", "--sysctl", "kernel.shm_rmid_forced=1"],
        look: Look::Inside("cat /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/shm_rmid_forced"),
        without: Want::Is("0\n0"),
        with: Want::Is("1\n1"),
    },
    Row {
        flag: "shm-size",
        words: &["--shm-size", "2m"],
        look: Look::Inside("df -k /dev/shm | tail -1 | tr -s ' ' | cut -d' ' -f2"),
        without: Want::Is("65536"),
        with: Want::Is("2048"),
    },
    Row {
        flag: "cgroup-parent",
        words: &["--cgroup-parent", "{cgroup}/below"],
        look: Look::Act(parent),
        without: Want::Is("{cgroup}"),
        with: Want::Is("{cgroup}/below"),
    },
];

/// The cgroup in which the container's own is, as the host's kernel says.
fn parent(bench: &Bench, words: &[String]) -> String {
    let look = |bench: &Bench, id: &str| {
        let pid = bench.inspect(id, "/State/Pid");
        let all = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
        let own = all.lines().find(|line| line.contains(id)).unwrap_or("nowhere");
        own.rsplit(':').next().unwrap().trim_end_matches(id).trim_end_matches('/').to_owned()
    };
    let seen = bench.with_container(words, "sleep 60", look).unwrap_or_else(|error| error);
    // The engine keeps parents, which other containers may be in; this one is the test's.
    let below = format!("{}/below", bench.host.cgroup_root());
    for hierarchy in std::fs::read_dir("/sys/fs/cgroup").unwrap().flatten() {
        let _ = std::fs::remove_dir(hierarchy.path().join(below.trim_start_matches('/')));
    }
    let _ = std::fs::remove_dir(format!("/sys/fs/cgroup{below}"));
    seen
}

#[test]
fn limits_are_the_kernels() {
    let mut bench = Bench::new();
    bench.rows(ROWS);
    bench.finish();
}

#[test]
fn limits_that_contradict_each_other_are_refused() {
    let bench = Bench::new();
    for (words, why) in [
        (&["-m", "1m"][..], "minimum memory"),
        (&["-m", "64m", "--memory-swap", "32m"], "memoryswap"),
        (&["--memory-swap", "32m"], "memory limit"),
        (&["-m", "32m", "--memory-reservation", "64m"], "reservation"),
        (&["--cpus", "1", "--cpu-period", "1000"], "cannot both be set"),
        (&["--cpus", "1", "--cpu-quota", "1000"], "cannot both be set"),
        (&["--cpus", "100000"], "CPUs"),
        (&["--cpu-quota", "10"], "quota"),
        (&["--cpuset-cpus", "0-99999999"], "cpuset"),
        (&["--cpuset-cpus", "8000"], ""),
        (&["--ulimit", "nofile=2:1"], "soft limit"),
        (&["--device", "/no/such/device"], "/no/such/device"),
        (&["--sysctl", "kernel.hostname=x"], "kernel.hostname"),
        (&["--sysctl", "net.ipv4.ip_forward=1", "--network", "host"], "host network"),
        (&["--sysctl", "kernel.msgmax=1", "--ipc", "host"], "host ipc"),
    ] {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        let run = bench.run(&words, &["true"]);
        assert!(run.code >= 125 || run.code == 1, "{words:?}: {run:?}");
        assert!(run.stderr.contains("error:") && run.stderr.contains(why), "{words:?}: {}", run.stderr);
    }
    bench.finish();
}
