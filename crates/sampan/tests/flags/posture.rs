//! SECURITY.md 3a, the row "ours", seen from inside for every profile and for `--privileged`.

use std::collections::BTreeMap;
use std::path::Path;

use crate::bench::Bench;
use crate::security::every_cap;

/// docker's masked paths.
const MASKED: [&str; 12] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
];
/// What is masked in addition.
const MORE_MASKED: [&str; 11] = [
    "/proc/config.gz",
    "/proc/kallsyms",
    "/proc/kmsg",
    "/proc/pagetypeinfo",
    "/proc/slabinfo",
    "/proc/vmallocinfo",
    "/sys/fs/bpf",
    "/sys/fs/selinux",
    "/sys/kernel/debug",
    "/sys/kernel/security",
    "/sys/kernel/tracing",
];
const READ_ONLY: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];
/// Every kind of namespace but the users', which the profiles differ in.
const NAMESPACES: [&str; 7] = ["cgroup", "ipc", "mnt", "net", "pid", "time", "uts"];

/// What a profile promises.
struct Posture {
    words: &'static [&'static str],
    /// Effective, permitted and bounding.
    caps: String,
    no_new_privs: bool,
    seccomp: bool,
    dev: &'static str,
    masked: Vec<&'static str>,
    read_only: &'static [&'static str],
    /// nofile's soft limit, core's, memlock's; none for the caller's.
    limits: Option<[&'static str; 3]>,
    pids: &'static str,
    namespaces: &'static [&'static str],
    own_users: bool,
    /// Whether `/sys` and the cgroups can be written.
    sys: &'static str,
    /// Whether a node for any device can be made, and opened.
    mknod: &'static str,
}

fn postures() -> Vec<Posture> {
    let ours = || Posture {
        words: &["--profile", "default"],
        caps: "00000000000405fb".into(),
        no_new_privs: false,
        seccomp: true,
        dev: "rw,nosuid,noexec,size=1024k,nr_inodes=1024,mode=755",
        masked: [&MASKED[..], &MORE_MASKED[..]].concat(),
        read_only: &READ_ONLY,
        limits: Some(["1024", "0", "8388608"]),
        pids: "4096",
        namespaces: &NAMESPACES,
        own_users: false,
        sys: "ro",
        mknod: "not made",
    };
    vec![
        Posture { words: &[], ..ours() },
        ours(),
        Posture {
            words: &["--profile", "docker"],
            caps: "00000000a80425fb".into(),
            dev: "rw,nosuid,size=65536k,mode=755",
            masked: MASKED.to_vec(),
            limits: None,
            pids: "max",
            mknod: "made, not opened",
            ..ours()
        },
        Posture { words: &["--profile", "hardened", "--userns", "host"], no_new_privs: true, ..ours() },
        Posture { words: &["--profile", "hardened"], no_new_privs: true, own_users: true, ..ours() },
        Posture {
            words: &["--privileged"],
            caps: every_cap(),
            seccomp: false,
            masked: Vec::new(),
            read_only: &[],
            limits: None,
            pids: "max",
            namespaces: &["cgroup", "ipc", "mnt", "net", "pid", "uts"],
            sys: "rw",
            mknod: "made, opened",
            ..ours()
        },
    ]
}

/// Prints `KEY VALUE` lines about the process, its mounts and its namespaces.
const SCRIPT: &str = r#"
grep -E '^(Cap|NoNewPrivs|Seccomp:|Groups)' /proc/self/status | tr -d ':' | tr '\t' ' '
echo limits $(ulimit -Sn) $(ulimit -Sc) $(grep 'locked memory' /proc/self/limits | tr -s ' ' | cut -d' ' -f4)
echo oom $(cat /proc/self/oom_score_adj)
echo pids $(cat /sys/fs/cgroup/pids/pids.max 2>/dev/null || cat /sys/fs/cgroup/pids.max)
for kind in cgroup ipc mnt net pid time user uts; do echo ns-$kind $(readlink /proc/self/ns/$kind); done
while read -r what where kind options rest; do
    case $where in
    /proc|/sys|/dev|/dev/pts|/dev/shm|/dev/mqueue|/sys/fs/cgroup) echo mount-$where $options;;
    esac
    case $options in ro,*) echo ro-$where $options;; esac
done </proc/mounts
for path in $PATHS; do
    if [ -d $path ]; then echo seen-$path $(ls -A $path 2>/dev/null | wc -l)
    elif [ -e $path ]; then echo seen-$path $(head -c 64 $path 2>/dev/null | wc -c)
    fi
done
for path in /proc/sys/kernel/core_pattern /proc/sysrq-trigger /proc/irq/default_smp_affinity; do
    (: >>$path) 2>/dev/null && echo write-$path yes || echo write-$path no
done
mknod /node c 1 11 2>/dev/null && { (: </node) 2>/dev/null && echo mknod made, opened || echo mknod made, not opened; } || echo mknod not made
echo fds $(ls /proc/self/fd | tr '\n' ' ')
"#;

/// What the script printed.
struct Seen(BTreeMap<String, String>);

impl Seen {
    fn of(bench: &Bench, words: &[&str], paths: &[&str]) -> Seen {
        let mut words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        words.extend(["-e".to_owned(), format!("PATHS={}", paths.join(" "))]);
        let run = bench.run(&words, &["sh", "-c", SCRIPT]).expect_code(0);
        let lines = run.stdout.lines().filter_map(|line| line.split_once(' '));
        Seen(lines.map(|(key, value)| (key.to_owned(), value.trim().to_owned())).collect())
    }

    fn get(&self, key: &str) -> &str {
        self.0.get(key).map_or("nothing", String::as_str)
    }
}

fn check(bench: &Bench, posture: &Posture) {
    let all = [&MASKED[..], &MORE_MASKED[..]].concat();
    let seen = Seen::of(bench, posture.words, &all);
    println!("== {}\n{}", posture.words.join(" "), table(&seen));
    let what = posture.words.join(" ");
    let is = |key: &str, value: &str| assert_eq!(seen.get(key), value, "{what}: {key}");
    for set in ["CapEff", "CapPrm", "CapBnd"] {
        is(set, &posture.caps);
    }
    for set in ["CapInh", "CapAmb"] {
        is(set, "0000000000000000");
    }
    is("NoNewPrivs", if posture.no_new_privs { "1" } else { "0" });
    is("Seccomp", if posture.seccomp { "2" } else { "0" });
    is("Groups", "0");
    is("oom", "0");
    is("pids", posture.pids);
    is("mknod", posture.mknod);
    is("mount-/proc", "rw,nosuid,nodev,noexec,relatime");
    // In a user namespace a tmpfs says whose it is, too.
    let begins =
        |key: &str, value: &str| assert!(seen.get(key).starts_with(value), "{what}: {key} {}", seen.get(key));
    begins("mount-/dev", posture.dev);
    begins("mount-/dev/shm", "rw,nosuid,nodev,noexec,relatime,size=65536k");
    is("mount-/dev/mqueue", "rw,nosuid,nodev,noexec,relatime");
    is("mount-/sys", &format!("{},nosuid,nodev,noexec,relatime", posture.sys));
    let cgroups = seen.get("mount-/sys/fs/cgroup");
    assert!(cgroups.starts_with(&format!("{},nosuid,nodev,noexec", posture.sys)), "{what}: {cgroups}");
    if let Some([files, core, locked]) = posture.limits {
        is("limits", &format!("{files} {core} {locked}"));
    }
    check_paths(posture, &seen, &what, &all);
    for kind in NAMESPACES.into_iter().chain(["user"]) {
        let host = std::fs::read_link(format!("/proc/self/ns/{kind}")).unwrap();
        let own = seen.get(&format!("ns-{kind}")) != host.to_str().unwrap();
        let wanted = if kind == "user" { posture.own_users } else { posture.namespaces.contains(&kind) };
        assert_eq!(own, wanted, "{what}: the {kind} namespace");
    }
}

fn check_paths(posture: &Posture, seen: &Seen, what: &str, all: &[&str]) {
    for path in all {
        // What this kernel does not have cannot be hidden.
        if !Path::new(path).exists() {
            continue;
        }
        let content = seen.get(&format!("seen-{path}"));
        if posture.masked.contains(path) {
            assert!(matches!(content, "0" | "nothing"), "{what}: {path} shows {content}");
        } else if *path == "/proc/kallsyms" {
            assert_eq!(content, "64", "{what}: {path}");
        }
    }
    for path in READ_ONLY.iter().filter(|path| Path::new(path).exists()) {
        let read_only = seen.get(&format!("ro-{path}")) != "nothing";
        assert_eq!(read_only, posture.read_only.contains(path), "{what}: {path}");
    }
    let writable = if posture.read_only.is_empty() { "yes" } else { "no" };
    for path in ["/proc/sys/kernel/core_pattern", "/proc/sysrq-trigger"] {
        if Path::new(path).exists() {
            assert_eq!(seen.get(&format!("write-{path}")), writable, "{what}: {path}");
        }
    }
}

fn table(seen: &Seen) -> String {
    seen.0.iter().map(|(key, value)| format!("{key:<32} {value}\n")).collect()
}

#[test]
fn every_profile_is_what_it_promises() {
    let bench = Bench::new();
    for posture in postures() {
        check(&bench, &posture);
    }
    bench.finish();
}

#[test]
fn an_ordinary_user_has_no_capability() {
    let bench = Bench::new();
    for words in
        [&["-u", "1000"][..], &["-u", "1000", "--privileged"], &["-u", "1000", "--cap-add", "SYS_ADMIN"]]
    {
        let seen = Seen::of(&bench, words, &[]);
        for set in ["CapEff", "CapPrm", "CapInh", "CapAmb"] {
            assert_eq!(seen.get(set), "0000000000000000", "{words:?}: {set}");
        }
    }
    // Neither has root a way to more than the bounding set, whatever it executes.
    let run = bench.run(&[], &["sh", "-c", "grep CapBnd /proc/1/status"]).expect_code(0);
    assert_eq!(run.line(), "CapBnd:\t00000000000405fb");
    bench.finish();
}

#[test]
fn an_exec_is_confined_as_the_container_is() {
    let bench = Bench::new();
    for words in [&[][..], &["--cap-drop", "ALL", "--security-opt", "no-new-privileges"]] {
        let words: Vec<String> = words.iter().map(|word: &&str| (*word).to_owned()).collect();
        let keys = "^(CapEff|CapPrm|CapInh|CapBnd|CapAmb|NoNewPrivs|Seccomp):";
        let (first, other) = bench
            .with_container(&words, "sleep 60", |bench, id| {
                let status = |pid: &str| {
                    let file = format!("/proc/{pid}/status");
                    let run = bench.host.sampan(["exec", id, "busybox", "grep", "-E", keys, &file]);
                    run.expect_code(0).stdout
                };
                (status("1"), status("self"))
            })
            .unwrap();
        assert_eq!(first, other, "{words:?}");
        assert!(first.contains("CapInh:\t0000000000000000"), "{first}");
    }
    bench.finish();
}
