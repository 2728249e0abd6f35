//! What the default confinement refuses (SECURITY.md 3a), tried from inside.

use testkit::Host;

/// System calls by number on x86-64, made with arguments that are valid or harmless: what must not be there.
#[cfg(target_arch = "x86_64")]
const CALLS: [(&str, &str); 13] = [
    ("keyctl", "250, 0, -3, 0"),
    ("add_key", "248, 0, 0, 0"),
    ("userfaultfd", "323, 0"),
    ("bpf", "321, 0, 0, 0"),
    ("io_uring_setup", "425, 1, 0"),
    ("perf_event_open", "298, 0, 0, 0"),
    ("mount", "165, 0, 0, 0"),
    ("unshare(NEWUSER)", "272, 0x10000000"),
    ("unshare(NEWNS)", "272, 0x20000"),
    ("setns", "308, 0, 0"),
    ("clock_settime", "227, 0, 0"),
    ("kexec_load", "246, 0, 0, 0"),
    ("open_by_handle_at", "304, 0, 0, 0"),
];

fn perl(host: &Host, words: &[&str], script: &str) -> String {
    let all = [&["run", "--rm"], words, &["host:perl", "-e", script]].concat();
    host.sampan(all).expect_code(0).stdout
}

/// CVE-2026-31431: sockets whose kernel side is a danger of its own.
#[test]
fn sockets_that_nobody_needs_are_refused() {
    let host = Host::new();
    // AF_ALG, AF_VSOCK; then AF_UNIX and AF_INET, which work.
    let script = "print socket(S, 38, 5, 0) ? 0 : $!+0, ' ', socket(S, 40, 1, 0) ? 0 : $!+0, ' ', \
                  socket(S, 1, 1, 0) ? 0 : $!+0, ' ', socket(S, 2, 1, 0) ? 0 : $!+0";
    for words in [&[][..], &["--profile", "docker"], &["--security-opt", "no-new-privileges", "-u", "1000"]] {
        assert_eq!(perl(&host, words, script), "1 1 0 0", "{words:?}");
    }
}

#[cfg(target_arch = "x86_64")]
#[test]
fn system_calls_that_nobody_needs_are_refused() {
    let host = Host::new();
    for words in [&[][..], &["--profile", "docker"], &["-u", "1000"]] {
        let calls: Vec<_> =
            CALLS.iter().map(|(_, call)| format!("print syscall({call}) < 0 ? $!+0 : 0, ' ';")).collect();
        let seen = perl(&host, words, &calls.join(" "));
        for ((name, _), errno) in CALLS.iter().zip(seen.split_whitespace()) {
            // EPERM, or ENOSYS for those that libraries try and do without.
            assert!(matches!(errno, "1" | "38"), "{words:?}: {name} gave {errno}");
        }
        assert_eq!(seen.split_whitespace().count(), CALLS.len(), "{seen}");
    }
}

/// CVE-2022-0492 and the kernel bugs behind user namespaces.
#[test]
fn no_namespaces_and_no_mounts() {
    let host = Host::new();
    for script in [
        "unshare -U true",
        "unshare -m true",
        "unshare -Ur sh -c 'mount -t cgroup x /mnt'",
        "mkdir /m; mount -t cgroup -o memory x /m",
        "mkdir /m; mount -t tmpfs x /m",
        "mount -o remount,rw /sys",
        "mount -o remount,rw /proc/sys",
        "umount /proc/kallsyms",
        "mknod /x b 7 0",
        "echo 1 >/proc/sysrq-trigger",
        "echo x >/proc/sys/kernel/core_pattern",
        "echo 1 >/sys/fs/cgroup/memory/cgroup.procs || echo 1 >/sys/fs/cgroup/cgroup.procs",
        "mkdir /sys/fs/cgroup/memory/x || mkdir /sys/fs/cgroup/x",
        "hostname evil",
        "dmesg",
    ] {
        let run = host.sampan(["run", "--rm", "host:busybox", "sh", "-c", script]);
        assert_ne!(run.code, 0, "{script}: {run:?}");
    }
}
