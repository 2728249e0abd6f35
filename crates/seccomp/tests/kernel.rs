//! Filters in the running kernel: this test binary runs itself again with `SAMPAN_TEST_PROFILE`, loads the filter there and becomes a
//! perl that makes the calls. Needs CAP_SYS_ADMIN.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, Output};

use seccomp::{Arch, KernelSupport, Profile, ProfileSet, compile, default_profile};

const PROFILE: &str = "SAMPAN_TEST_PROFILE";
const SCRIPT: &str = "SAMPAN_TEST_SCRIPT";

/// Not a test of its own: what the re-executed binary does.
#[test]
fn child() {
    let (Ok(profile), Ok(script)) = (std::env::var(PROFILE), std::env::var(SCRIPT)) else { return };
    let profile = Profile::parse(profile.as_bytes()).unwrap();
    let program = compile(&profile, &KernelSupport::probe().unwrap()).unwrap();
    let listener = program.load().unwrap();
    assert_eq!(listener.is_some(), profile.notifies());
    panic!("{}", Command::new("perl").args(["-e", &script]).exec());
}

fn under(profile: &Profile, script: &str) -> Output {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--nocapture", "--test-threads=1"])
        .env(PROFILE, String::from_utf8(profile.to_json().unwrap()).unwrap())
        .env(SCRIPT, script)
        .output()
        .unwrap()
}

/// The errnos of calls `(number, arguments)`, 0 for success.
fn errnos(profile: &Profile, calls: &[(u32, &str)]) -> Vec<i32> {
    // perl's syscall() returns -1 on failure; `$!` is the errno.
    let mut script = String::from("$| = 1; print \"\\n=\\n\";");
    for (number, args) in calls {
        let args = if args.is_empty() { String::new() } else { format!(", {args}") };
        script += &format!("$! = 0; print syscall({number}{args}) == -1 ? $! + 0 : 0, qq(\\n);");
    }
    let output = under(profile, &script);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{:?}: {text} {}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    let (_, answers) = text.split_once("\n=\n").unwrap();
    answers.lines().map(|line| line.parse().unwrap()).collect()
}

const EPERM: i32 = 1;
const ENOSYS: i32 = 38;
const EAFNOSUPPORT: i32 = 97;

fn check(set: ProfileSet, expected: &[(&str, &str, i32)]) {
    let arch = Arch::NATIVE.unwrap();
    let profile = default_profile(&BTreeSet::new(), set, arch);
    let number = |name: &str| name.parse().unwrap_or_else(|_| arch.number(name).unwrap());
    let calls: Vec<_> = expected.iter().map(|(name, args, _)| (number(name), *args)).collect();
    for ((name, args, want), got) in expected.iter().zip(errnos(&profile, &calls)) {
        assert_eq!(got, *want, "{set:?}: {name}({args})");
    }
}

const COMMON: [(&str, &str, i32); 16] = [
    ("getpid", "", 0),
    ("mount", "0, 0, 0, 0, 0", EPERM),
    ("umount2", "0, 0", EPERM),
    ("unshare", "0x20000", EPERM),
    ("unshare", "0x10000000", EPERM),
    ("setns", "-1, 0", EPERM),
    ("keyctl", "0, -3, 0", EPERM),
    ("add_key", "0, 0, 0, 0, 0", EPERM),
    ("userfaultfd", "0", EPERM),
    ("io_uring_setup", "0, 0", EPERM),
    ("bpf", "0, 0, 0", EPERM),
    ("clone", "0x10000011, 0, 0, 0, 0", EPERM),
    ("clone3", "0, 0", ENOSYS),
    ("socket", "2, 2, 0", 0),
    ("socket", "38, 5, 0", EPERM),
    ("socket", "40, 1, 0", EPERM),
];

#[test]
fn the_default_profile_in_the_kernel() {
    let mut expected = COMMON.to_vec();
    expected.extend([
        ("9999", "", ENOSYS),
        // Newer than the tables of what is refused on purpose: libc falls back.
        ("open_tree_attr", "-1, 0, 0, 0, 0", ENOSYS),
        // The kernel reads 32 bits of the family: this is AF_ALG.
        ("socket", "0x100000026, 5, 0", EPERM),
        ("socket", "0x100000002, 2, 0", 0),
        ("socket", "46, 1, 0", EAFNOSUPPORT),
        ("personality", "0xffffffff", 0),
        ("personality", "0x40000", EPERM),
        ("vmsplice", "-1, 0, 0, 0", EPERM),
        ("name_to_handle_at", "-1, 0, 0, 0, 0", EPERM),
        ("reboot", "0, 0, 0, 0", EPERM),
    ]);
    check(ProfileSet::Sampan, &expected);
}

#[test]
fn dockers_profile_in_the_kernel() {
    let mut expected = COMMON.to_vec();
    expected.extend([
        ("9999", "", ENOSYS),
        ("vmsplice", "-1, 0, 0, 0", 9),
        ("personality", "0x40000", EPERM),
        ("reboot", "0, 0, 0, 0", EPERM),
    ]);
    check(ProfileSet::Docker, &expected);
}

#[cfg(target_arch = "x86_64")]
#[test]
fn an_x32_call_kills() {
    let profile = default_profile(&BTreeSet::new(), ProfileSet::Sampan, Arch::X86_64);
    let output = under(&profile, "syscall(0x40000000 + 39); print qq(survived);");
    assert_eq!(output.status.signal(), Some(31), "SIGSYS: {output:?}");
    assert!(!String::from_utf8_lossy(&output.stdout).contains("survived"));
}

#[test]
fn capabilities_open_calls() {
    let arch = Arch::NATIVE.unwrap();
    let caps = BTreeSet::from(["CAP_SYS_ADMIN".to_owned(), "CAP_SYS_CHROOT".to_owned()]);
    let profile = default_profile(&caps, ProfileSet::Sampan, arch);
    let number = |name: &str| arch.number(name).unwrap();
    // The kernel answers now: EFAULT for clone3's missing structure is not the filter's ENOSYS, and so on.
    let got = errnos(
        &profile,
        &[
            (number("unshare"), "0x4000000"),
            (number("clone3"), "0, 0"),
            (number("chroot"), "my $path = qq(/sampan-test-nowhere)"),
            (number("ptrace"), "99, 0, 0, 0"),
        ],
    );
    assert_eq!(got, [0, 22, 2, 3]);
}

#[test]
fn every_action_and_notification_load() {
    let json = r#"{"defaultAction":"SCMP_ACT_ALLOW","architectures":["SCMP_ARCH_X86_64","SCMP_ARCH_AARCH64"],"syscalls":[
        {"names":["mkdir"],"action":"SCMP_ACT_NOTIFY"},
        {"names":["acct"],"action":"SCMP_ACT_ERRNO","errnoRet":17},
        {"names":["swapon"],"action":"SCMP_ACT_TRACE"},
        {"names":["swapoff"],"action":"SCMP_ACT_TRAP"},
        {"names":["reboot"],"action":"SCMP_ACT_KILL_PROCESS"},
        {"names":["getppid"],"action":"SCMP_ACT_LOG"}]}"#;
    let profile = Profile::parse(json.as_bytes()).unwrap();
    let number = |name: &str| Arch::NATIVE.unwrap().number(name).unwrap();
    // A TRACE without a tracer is ENOSYS (seccomp(2)).
    let calls = [(number("acct"), "0"), (number("swapon"), "0, 0"), (number("getppid"), "")];
    assert_eq!(errnos(&profile, &calls), [17, ENOSYS, 0]);
    let killed = under(&profile, &format!("syscall({}, 0, 0, 0, 0)", number("reboot")));
    assert_eq!(killed.status.signal(), Some(31), "{killed:?}");
}
