//! Confinement, flag by flag; what the profiles are as a whole is in `posture`.

use crate::bench::{Bench, Look, Row, Want};

/// The capabilities in effect.
const CAPS: &str = "grep CapEff /proc/self/status | cut -f2";

pub(crate) const ROWS: &[Row] = &[
    Row {
        flag: "cap-add",
        words: &["--cap-add", "net_raw", "--cap-add", "CAP_SYS_PTRACE"],
        look: Look::Inside(CAPS),
        without: Want::Is("00000000000405fb"),
        with: Want::Is("00000000000c25fb"),
    },
    Row {
        flag: "cap-add",
        words: &["--cap-add", "ALL"],
        look: Look::Inside(CAPS),
        without: Want::Is("00000000000405fb"),
        with: Want::Is("{every-cap}"),
    },
    Row {
        flag: "cap-add",
        words: &["--cap-add", "SYS_ADMIN"],
        // The filter follows the capabilities: mount(2) is not refused by it then.
        look: Look::Inside("mkdir -p /m; mount -t tmpfs x /m 2>/dev/null && grep -c ' /m ' /proc/mounts"),
        without: Want::Has("exit 1"),
        with: Want::Is("1"),
    },
    Row {
        flag: "cap-drop",
        words: &["--cap-drop", "CHOWN"],
        look: Look::Inside("touch /x; chown 7 /x 2>&1; stat -c %u /x"),
        without: Want::Is("7"),
        with: Want::Has("Operation not permitted"),
    },
    Row {
        flag: "cap-drop",
        words: &["--cap-drop", "ALL", "--cap-add", "CHOWN"],
        look: Look::Inside(CAPS),
        without: Want::Is("00000000000405fb"),
        with: Want::Is("0000000000000001"),
    },
    Row {
        flag: "privileged",
        words: &["--privileged"],
        look: Look::Inside(
            "grep -E 'CapEff|Seccomp:' /proc/self/status; grep -c '^none /proc' /proc/mounts; test -e /dev/kmsg && echo kmsg; touch /sys/fs/cgroup/x 2>/dev/null || true",
        ),
        without: Want::Has("Seccomp:\t2"),
        with: Want::Is("CapEff:\t{every-cap}\nSeccomp:\t0\n0\nkmsg"),
    },
    Row {
        flag: "privileged",
        words: &["--privileged=true"],
        look: Look::Inside("mknod /n c 1 11 2>&1; (: </n) 2>&1 && echo opened"),
        without: Want::Has("not permitted"),
        with: Want::Is("opened"),
    },
    Row {
        flag: "security-opt",
        words: &["--security-opt", "no-new-privileges"],
        look: Look::Inside("grep NoNewPrivs /proc/self/status"),
        without: Want::Is("NoNewPrivs:\t0"),
        with: Want::Is("NoNewPrivs:\t1"),
    },
    Row {
        flag: "security-opt",
        words: &["--security-opt", "seccomp=unconfined"],
        look: Look::Inside("grep Seccomp: /proc/self/status"),
        without: Want::Is("Seccomp:\t2"),
        with: Want::Is("Seccomp:\t0"),
    },
    Row {
        flag: "security-opt",
        words: &["--security-opt", "seccomp={dir}/no-mkdir.json"],
        look: Look::Inside("mkdir /d 2>&1 && echo made"),
        without: Want::Is("made"),
        with: Want::Has("Operation not permitted"),
    },
    Row {
        flag: "security-opt",
        words: &["--security-opt", "systempaths=unconfined"],
        look: Look::Inside("grep -cE '^(none|proc) /proc/' /proc/mounts"),
        without: Want::Lacks("exit"),
        with: Want::Is("exit 1: 0"),
    },
    Row {
        flag: "security-opt",
        words: &["--security-opt", "apparmor=no-such-profile"],
        look: Look::Inside("echo ran"),
        without: Want::Is("ran"),
        with: Want::Has("no-such-profile"),
    },
    Row {
        flag: "security-opt",
        words: &["--security-opt", "label=type:no_such_t"],
        look: Look::Inside("echo ran"),
        without: Want::Is("ran"),
        with: Want::Has("no_such_t"),
    },
    Row {
        flag: "profile",
        words: &["--profile", "docker"],
        look: Look::Inside(CAPS),
        without: Want::Is("00000000000405fb"),
        with: Want::Is("00000000a80425fb"),
    },
    Row {
        flag: "profile",
        words: &["--profile", "hardened", "--userns", "host"],
        look: Look::Inside("grep NoNewPrivs /proc/self/status"),
        without: Want::Is("NoNewPrivs:\t0"),
        with: Want::Is("NoNewPrivs:\t1"),
    },
];

#[test]
fn confinement_is_what_was_asked_for() {
    let mut bench = Bench::new();
    let profile = r#"{ "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{ "names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1 }] }"#;
    std::fs::write(bench.dir().join("no-mkdir.json"), profile).unwrap();
    bench.set("every-cap", every_cap());
    bench.rows(ROWS);
    bench.finish();
}

/// The capabilities that this process can hand on, as the kernel shows them.
pub(crate) fn every_cap() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    status.lines().find_map(|line| line.strip_prefix("CapPrm:\t")).unwrap().to_owned()
}

#[test]
fn confinement_that_makes_no_sense_is_refused() {
    let bench = Bench::new();
    for words in [
        &["--cap-add", "FLY"][..],
        &["--cap-drop", "FLY"],
        &["--security-opt", "frobnicate"],
        &["--security-opt", "seccomp=/no/such/file"],
        &["--security-opt", "seccomp={dir}"],
        &["--profile", "paranoid"],
        &["--profile", "hardened", "--security-opt", "seccomp=unconfined"],
    ] {
        let words: Vec<String> = words.iter().map(|word| bench.expand(word)).collect();
        let run = bench.run(&words, &["true"]);
        assert!(run.code != 0 && run.stderr.contains("error:"), "{words:?}: {run:?}");
    }
    bench.finish();
}
