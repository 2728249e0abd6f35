//! Users of its own: `--userns auto` and the hardened profile, which has them by default.

use crate::bench::{Bench, IMAGE, Look, Row, Want};

pub(crate) const ROWS: &[Row] = &[
    Row {
        flag: "userns",
        words: &["--userns", "auto"],
        look: Look::Inside("tr -s ' ' </proc/self/uid_map | cut -d' ' -f4; id -u"),
        without: Want::Is("4294967295\n0"),
        with: Want::Is("65536\n0"),
    },
    Row {
        flag: "userns",
        words: &["--userns", "auto"],
        // What the image has, what the engine gives and what the container makes is root's.
        look: Look::Inside(
            "readlink /proc/self/ns/user | grep -cF {host-user}; touch /x; stat -c %u /usr/bin/busybox /etc/hosts /x",
        ),
        without: Want::Is("1\n0\n0\n0"),
        with: Want::Is("0\n0\n0\n0"),
    },
    Row {
        flag: "userns",
        words: &["--userns", "auto"],
        look: Look::Act(owner_on_the_host),
        without: Want::Is("0"),
        with: Want::Is("far above the host's users"),
    },
    Row {
        flag: "userns",
        words: &["--userns", "auto", "-v", "owned:/m"],
        look: Look::Inside("touch /m/x && stat -c %u /m /m/x"),
        without: Want::Has("No such file"),
        with: Want::Is("0\n0"),
    },
    Row {
        flag: "profile",
        words: &["--profile", "hardened"],
        look: Look::Inside(
            "grep -E 'CapEff|NoNewPrivs' /proc/self/status; tr -s ' ' </proc/self/uid_map | cut -d' ' -f4",
        ),
        without: Want::Is("CapEff:\t00000000000405fb\nNoNewPrivs:\t0\n4294967295"),
        with: Want::Is("CapEff:\t00000000000405fb\nNoNewPrivs:\t1\n65536"),
    },
    Row {
        flag: "userns",
        words: &["--profile", "hardened", "--userns", "host"],
        look: Look::Act(hardened),
        without: Want::Is("65536"),
        with: Want::Is("4294967295"),
    },
];

/// Whose the container's first process is, as the host sees it.
fn owner_on_the_host(bench: &Bench, words: &[String]) -> String {
    let look = |bench: &Bench, id: &str| {
        let pid = bench.inspect(id, "/State/Pid");
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let uid = status.lines().find_map(|line| line.strip_prefix("Uid:\t")).unwrap();
        let uid: u32 = uid.split('\t').next().unwrap().parse().unwrap();
        if uid > 1_000_000_000 { "far above the host's users".into() } else { uid.to_string() }
    };
    bench.with_container(words, "sleep 60", look).unwrap_or_else(|error| error)
}

fn hardened(bench: &Bench, words: &[String]) -> String {
    let alone = ["--profile".to_owned(), "hardened".to_owned()];
    let words = if words.is_empty() { &alone[..] } else { words };
    let run = bench.run(words, &["sh", "-c", "tr -s ' ' </proc/self/uid_map | cut -d' ' -f4"]);
    crate::bench::shown(&run)
}

#[test]
fn users_are_its_own() {
    let mut bench = Bench::new();
    let own = std::fs::read_link("/proc/self/ns/user").unwrap();
    bench.set("host-user", own.to_str().unwrap());
    bench.rows(ROWS);
    bench.finish();
}

/// Two containers write files of the same volume, which the host knows as root's.
#[test]
fn files_of_a_volume_keep_their_owners() {
    let bench = Bench::new();
    let run = [
        "run",
        "--rm",
        "--userns",
        "auto",
        "-v",
        "kept:/m",
        IMAGE,
        "sh",
        "-c",
        "echo a >/m/a; chown 7:8 /m/a",
    ];
    bench.host.sampan(run).expect_code(0);
    let file = std::fs::metadata(bench.host.data().join("volumes/kept/_data/a")).unwrap();
    use std::os::unix::fs::MetadataExt;
    assert_eq!((file.uid(), file.gid()), (7, 8));
    let again = ["run", "--rm", "--userns", "auto", "-v", "kept:/m", IMAGE, "stat", "-c", "%u %g", "/m/a"];
    assert_eq!(bench.host.sampan(again).expect_code(0).line(), "7 8");
    bench.finish();
}
