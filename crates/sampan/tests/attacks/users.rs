//! Who a container's program is, when the image and the words about it are out to confuse.

use std::time::{Duration, Instant};

use testkit::Host;

use crate::evil::{Decoy, Tree, tamper};

/// Names that look like numbers, numbers beyond 31 bits, a name with a group beyond.
const PASSWD: &str = "root:x:0:0::/root:/bin/sh\napp:x:100:101::/app:/bin/sh\n1000:x:0:0::/:/bin/sh\n-1:x:0:0::/:/bin/sh\n\
                      big:x:4294967296:0::/:/bin/sh\nneg:x:-1:0::/:/bin/sh\n0x1:x:0:0::/:/bin/sh\n";
/// Within this a bounded table is refused, on an emulated machine too.
const SOON: Duration = Duration::from_secs(10);
const GROUP: &str = "root:x:0:\nwheel:x:10:app\n77:x:0:\n";

/// The words, and uid and gid; none where they are refused.
const TABLE: [(&str, Option<(u32, u32)>); 24] = [
    ("1", Some((1, 0))),
    ("1:", Some((1, 0))),
    ("1:2", Some((1, 2))),
    ("app", Some((100, 101))),
    ("100", Some((100, 101))),
    ("app:wheel", Some((100, 10))),
    ("app:77", Some((100, 77))),
    // Somebody of this name is root: a number is a number.
    ("1000", Some((1000, 0))),
    ("0", Some((0, 0))),
    ("2147483647", Some((2_147_483_647, 0))),
    ("0x1", None),
    ("-1", None),
    ("+1", None),
    ("1 ", None),
    (" 1", None),
    ("1e3", None),
    ("2147483648", None),
    ("4294967295", None),
    ("4294967296", None),
    ("18446744073709551616", None),
    ("1:-1", None),
    ("1:4294967296", None),
    ("big", None),
    ("neg", None),
];

#[test]
fn what_looks_like_a_number_is_one_or_an_error() {
    let host = Host::new();
    let tree = Tree::new();
    tree.file("/etc/passwd", PASSWD).file("/etc/group", GROUP);
    tree.import(&host, "users", &[]);
    let show = "id -u; id -g; grep ^Cap[EP] /proc/self/status";
    for (text, wanted) in TABLE {
        tamper(&host, "users", |config, _| config["config"]["User"] = text.into());
        let of_the_image = host.sampan(["run", "--rm", "users", "/bin/sh", "-c", show]);
        tamper(&host, "users", |config, _| config["config"]["User"] = "nobody".into());
        let told = host.sampan(["run", "--rm", "-u", text, "users", "/bin/sh", "-c", show]);
        for run in [of_the_image, told] {
            match wanted {
                Some((uid, gid)) => {
                    assert_eq!(run.code, 0, "{text:?}: {}", run.stderr);
                    assert!(run.stdout.starts_with(&format!("{uid}\n{gid}\n")), "{text:?}: {}", run.stdout);
                    let none = run.stdout.matches("\t0000000000000000").count() == 2;
                    assert_eq!(none, uid != 0, "{text:?}: {}", run.stdout);
                }
                None => assert!(run.code == 125 && run.stderr.contains("error:"), "{text:?}: {run:?}"),
            }
        }
    }
}

#[test]
fn an_exec_reads_the_same_table() {
    let host = Host::new();
    let tree = Tree::new();
    tree.file("/etc/passwd", PASSWD).file("/etc/group", GROUP);
    tree.import(&host, "users", &[]);
    host.sampan(["run", "-d", "--name", "target", "users", "/bin/sh", "-c", "sleep 600"]).expect_code(0);
    for (text, wanted) in TABLE {
        let run = host.sampan(["exec", "-u", text, "target", "/bin/sh", "-c", "id -u; id -g"]);
        match wanted {
            Some((uid, gid)) => assert_eq!(run.stdout, format!("{uid}\n{gid}\n"), "{text:?}: {}", run.stderr),
            None => assert!(run.code != 0 && run.stdout.is_empty(), "{text:?}: {run:?}"),
        }
    }
    host.sampan(["rm", "-f", "target"]).expect_code(0);
}

/// CVE-2024-9676 and its kin: a file that would fill the memory, and one that never ends.
#[test]
fn a_table_of_users_has_a_size() {
    let host = Host::new();
    let tree = Tree::new();
    tree.file("/etc/passwd", PASSWD).file("/etc/group", GROUP);
    tree.import(&host, "huge", &[]);
    for layer in std::fs::read_dir(host.data().join("layers")).unwrap().flatten() {
        let passwd = layer.path().join("fs/etc/passwd");
        if passwd.exists() {
            std::fs::File::options().write(true).open(passwd).unwrap().set_len(2 << 30).unwrap();
        }
    }
    for user in ["app", "0", "12"] {
        let start = Instant::now();
        let run = host.sampan(["run", "--rm", "-u", user, "huge", "/bin/sh", "-c", "echo ran"]);
        assert!(run.code == 125 && run.stderr.contains("/etc/passwd is larger than"), "{run:?}");
        assert!(start.elapsed() < SOON, "{:?}", start.elapsed());
    }
}

#[test]
fn a_table_of_users_is_a_file_of_the_image() {
    let host = Host::new();
    let decoy = Decoy::new();
    std::fs::write(decoy.path().join("passwd"), "app:x:0:0::/:/bin/sh\n").unwrap();
    let place = decoy.path().join("passwd").display().to_string();
    for target in [
        &place,
        &format!("../../../../../..{place}"),
        "/proc/1/root/etc/passwd",
        "/dev/zero",
        "/proc/self/fd/0",
    ] {
        let tree = Tree::new();
        tree.link("/etc/passwd", target);
        tree.import(&host, "elsewhere", &[]);
        let start = Instant::now();
        let run = host.sampan(["run", "--rm", "-u", "app", "elsewhere", "/bin/sh", "-c", "id -u"]);
        assert!(run.code == 125 && run.stderr.contains("error:"), "{target}: {run:?}");
        assert!(start.elapsed() < SOON, "{target}: {:?}", start.elapsed());
    }
    let tree = Tree::new();
    tree.file("/etc/x", "");
    std::process::Command::new("mkfifo").arg(tree.path("/etc/passwd")).status().unwrap();
    tree.import(&host, "fifo", &[]);
    let run = host.sampan(["run", "--rm", "fifo", "/bin/sh", "-c", "id -u"]);
    assert!(run.code == 125 && run.stderr.contains("no regular file"), "{run:?}");
}
