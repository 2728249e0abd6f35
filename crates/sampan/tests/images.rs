//! The sampan command line through the real binary: images of the host's programs.
#![allow(clippy::unwrap_used, reason = "a test's helper fails the test")]

use std::process::Command;

use testkit::Host;

#[test]
fn an_image_of_the_hosts_programs_is_made_listed_shown_and_removed() {
    let host = Host::new();
    let id = host.sampan(["image", "from-host", "sh", "ls", "-t", "mine:1"]).expect_code(0);
    assert!(id.line().starts_with("sha256:"), "{}", id.stdout);
    let again = host.sampan(["image", "from-host", "sh", "ls", "-t", "mine:1"]).expect_code(0);
    assert_eq!(again.line(), id.line());
    let list = host.sampan(["images"]).expect_code(0);
    assert!(
        list.stdout.starts_with("REPOSITORY") && list.stdout.contains("mine         1"),
        "{}",
        list.stdout
    );
    let shown = host.sampan(["inspect", "mine:1"]).expect_code(0);
    let shown: serde_json::Value = serde_json::from_str(&shown.stdout).unwrap();
    assert_eq!(shown[0]["Id"], id.line());
    host.sampan(["tag", "mine:1", "other:2"]).expect_code(0);
    assert_eq!(host.sampan(["rmi", "mine:1"]).expect_code(0).line(), "Untagged: mine:1");
    assert!(host.sampan(["rmi", "other:2"]).expect_code(0).stdout.contains("Deleted: sha256:"));
    assert_eq!(host.sampan(["images", "-q"]).expect_code(0).stdout, "");
    let missing = host.sampan(["rmi", "mine:1"]).expect_code(1);
    assert!(missing.stderr.contains("No such image"), "{}", missing.stderr);
}

#[test]
fn a_root_file_system_of_the_hosts_programs_works_in_a_chroot() {
    let host = Host::new();
    let rootfs = host.root().join("rootfs");
    host.sampan(["rootfs".as_ref(), "sh,id".as_ref(), rootfs.as_os_str()]).expect_code(0);
    let output = Command::new("chroot").arg(&rootfs).args(["/bin/sh", "-c", "id -u"]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "0\n", "{output:?}");
    let again = host.sampan(["rootfs".as_ref(), "sh".as_ref(), rootfs.as_os_str()]).expect_code(1);
    assert!(again.stderr.contains("is not empty"), "{}", again.stderr);
    let missing =
        host.sampan(["rootfs".as_ref(), "no-such-program".as_ref(), host.root().join("x").as_os_str()]);
    assert!(missing.expect_code(1).stderr.contains("no-such-program"));
}

#[test]
fn a_tarball_becomes_an_image() {
    let host = Host::new();
    let tree = host.root().join("tree");
    std::fs::create_dir(&tree).unwrap();
    std::fs::write(tree.join("hello"), "hi\n").unwrap();
    let tar = host.root().join("tree.tar.gz");
    assert!(
        Command::new("tar").arg("-czf").arg(&tar).arg("-C").arg(&tree).arg(".").status().unwrap().success()
    );
    let args = [
        "image".as_ref(),
        "import".as_ref(),
        tar.as_os_str(),
        "hello".as_ref(),
        "-c".as_ref(),
        "CMD [\"/hello\"]".as_ref(),
    ];
    host.sampan(args).expect_code(0);
    let shown: serde_json::Value =
        serde_json::from_str(&host.sampan(["inspect", "hello"]).expect_code(0).stdout).unwrap();
    assert_eq!(shown[0]["Config"]["Cmd"][0], "/hello");
    let damaged = host
        .sampan_with_input(["image", "import", "-"], b"this is no tarball, not even a small one")
        .expect_code(1);
    assert!(damaged.stderr.contains("error:"), "{}", damaged.stderr);
}

#[test]
fn wrong_words_are_named() {
    let host = Host::new();
    let wrong = host.sampan(["images", "--filter", "size=1"]).expect_code(125);
    assert!(wrong.stderr.contains("no filter size"), "{}", wrong.stderr);
    assert!(host.sampan(["frobnicate"]).expect_code(125).stderr.contains("frobnicate"));
    assert!(host.sampan(["completion", "bash"]).expect_code(0).stdout.contains("sampan"));
}

#[test]
fn images_are_saved_loaded_pruned_and_tell_their_history() {
    let host = Host::new();
    let id = host.sampan(["image", "from-host", "sh", "-t", "mine:1"]).expect_code(0).line().to_owned();
    host.sampan(["tag", "mine:1", "mine:2"]).expect_code(0);
    let file = host.root().join("mine.tar");
    let save = |name: &str| host.sampan(["save".as_ref(), "-o".as_ref(), file.as_os_str(), name.as_ref()]);
    save("mine").expect_code(0);
    assert!(save("nothing").expect_code(1).stderr.contains("No such image"));
    let first = std::fs::read(&file).unwrap();
    let left: Vec<_> = std::fs::read_dir(host.root()).unwrap().flatten().map(|e| e.file_name()).collect();
    assert!(left.iter().all(|name| !name.to_string_lossy().ends_with(".partial")), "{left:?}");

    let history = host.sampan(["history", "mine:1"]).expect_code(0).stdout;
    assert!(history.starts_with("IMAGE          CREATED"), "{history}");
    assert!(history.contains("from-host sh") && history.contains(&id[7..19]), "{history}");
    let bytes = host.sampan([
        "image",
        "history",
        "-H=false",
        "--format",
        "{{.ID}} {{.Size}}",
        "--no-trunc",
        "mine:1",
    ]);
    let bytes = bytes.expect_code(0);
    let (shown, size) = bytes.line().split_once(' ').unwrap();
    assert!(shown == id && size.parse::<u64>().unwrap() > 1000, "{}", bytes.stdout);
    assert_eq!(host.sampan(["history", "-q", "mine:1"]).expect_code(0).line(), &id[7..19]);

    let asked = host.sampan_with_input(["image", "prune", "-a"], b"n\n").expect_code(1);
    assert!(asked.stdout.contains("Are you sure you want to continue? [y/N]"), "{}", asked.stdout);
    let nothing = host.sampan(["image", "prune", "-f"]).expect_code(0);
    assert_eq!(nothing.stdout, "Total reclaimed space: 0B\n");
    let pruned = host.sampan_with_input(["image", "prune", "-a"], b"y\n").expect_code(0).stdout;
    for line in ["Deleted Images:", "untagged: mine:1", "untagged: mine:2", &format!("deleted: {id}")] {
        assert!(pruned.contains(line), "{line}: {pruned}");
    }
    assert!(!pruned.contains("space: 0B"), "{pruned}");

    let loaded =
        host.sampan(["load".as_ref(), "-q".as_ref(), "-i".as_ref(), file.as_os_str()]).expect_code(0);
    assert_eq!(loaded.stdout, "Loaded image: mine:1\nLoaded image: mine:2\n");
    let again = host.sampan(["save".as_ref(), "mine".as_ref(), "-o".as_ref(), file.as_os_str()]);
    again.expect_code(0);
    assert!(std::fs::read(&file).unwrap() == first, "the same archive again");
    host.sampan(["image", "save", &id, "-o", file.to_str().unwrap()]).expect_code(0);
    host.sampan(["image", "prune", "-af"]).expect_code(0);
    let piped = host.sampan_with_input(["load"], &std::fs::read(&file).unwrap()).expect_code(0);
    assert_eq!(piped.stdout, format!("Loaded image ID: {id}\n"));
    host.sampan(["run", "--rm", "--network", "none", &id[7..19], "-c", "exit 7"]).expect_code(7);
    let damaged = host.sampan_with_input(["load"], b"no archive at all").expect_code(1);
    assert!(damaged.stderr.contains("error:"), "{}", damaged.stderr);
    assert!(host.sampan(["load", "-i", "/nowhere.tar"]).expect_code(1).stderr.contains("/nowhere.tar"));
}
