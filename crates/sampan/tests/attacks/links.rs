//! Symbolic links of the image at every place that the engine and the runtime write to or mount on.

use testkit::Host;

use crate::evil::{Decoy, Tree};

/// To the decoy itself, or to the file of the same name in it.
fn targets(decoy: &Decoy, place: &str) -> Vec<String> {
    let name = place.rsplit('/').next().unwrap();
    let absolute = match place.matches('/').count() {
        1 => decoy.path().display().to_string(),
        _ => decoy.path().join(name).display().to_string(),
    };
    vec![
        absolute.clone(),
        format!("../../../../../../../../..{absolute}"),
        format!("{}/not-there/{name}", decoy.path().display()),
        // Loops: itself, and through its own parent.
        name.to_owned(),
        format!("./../{}/{name}/x", place.split('/').nth(1).unwrap()),
        format!("/proc/1/root{absolute}"),
        format!("/proc/self/fd/3/..{absolute}"),
    ]
}

#[test]
fn no_directory_of_the_images_leads_to_the_host() {
    no_link_leads_to_the_host(&["/dev", "/proc", "/sys", "/dev/shm"]);
}

#[test]
fn no_file_of_the_images_leads_to_the_host() {
    no_link_leads_to_the_host(&["/etc", "/etc/hosts", "/etc/resolv.conf", "/etc/hostname", "/etc/passwd"]);
}

#[test]
fn no_mount_point_leads_to_the_host() {
    no_link_leads_to_the_host(&["/mnt"]);
}

/// With a link in each of the places that the engine and the runtime use.
fn no_link_leads_to_the_host(places: &[&str]) {
    let host = Host::new();
    for place in places {
        let decoy = Decoy::new();
        let before = decoy.state();
        for (number, target) in targets(&decoy, place).into_iter().enumerate() {
            let tree = Tree::new();
            tree.link(place, &target);
            let name = format!("links{}:{number}", place.replace(['/', '.'], "-"));
            tree.import(&host, &name, &["VOLUME /mnt/volume", "WORKDIR /mnt/dir"]);
            let write = "for f in /etc/hosts /etc/resolv.conf /dev/null /mnt/file /mnt/volume/x /dev/shm/x /dev/new; do \
                         (echo touched >$f) 2>/dev/null; done; mkdir -p /mnt/below 2>/dev/null; echo inside";
            let bind = format!("{}:/mnt/bind", host.root().display());
            for words in [
                &["-v", &bind, "--tmpfs", "/mnt/tmpfs", "-w", "/mnt/cwd", "-u", "0:0"][..],
                &["--privileged", "--device", "/dev/null:/mnt/node"],
                &["--profile", "hardened"],
            ] {
                let run = host.sampan([&["run", "--rm"], words, &[&name, "/bin/sh", "-c", write]].concat());
                let inside = run.code == 0 && run.line() == "inside";
                let refused = run.code != 0 && run.stderr.contains("error:");
                assert!(inside || refused, "{place} -> {target} with {words:?}: {run:?}");
                assert_eq!(decoy.state(), before, "{place} -> {target} with {words:?}");
                println!(
                    "{place} -> {target}: {}",
                    if inside { "inside" } else { run.stderr.lines().next().unwrap() }
                );
            }
        }
    }
    no_volume_is_left(&host);
}

/// Images that were made for systemd-resolved have such links, and need their file.
#[test]
fn a_dangling_link_is_no_attack() {
    let host = Host::new();
    let wanted = std::fs::read_to_string("/etc/resolv.conf").unwrap();
    for target in ["../run/systemd/resolve/stub-resolv.conf", "/run/a/b/c", "deep/er", "../run/link"] {
        let tree = Tree::new();
        tree.link("/etc/resolv.conf", target).link("/run/link", "/var/not/there/yet");
        tree.import(&host, "resolved", &[]);
        for words in [&[][..], &["--userns", "auto"]] {
            let run = host
                .sampan([&["run", "--rm"], words, &["resolved", "/bin/cat", "/etc/resolv.conf"]].concat());
            assert_eq!(run.expect_code(0).stdout, wanted, "{target}");
        }
    }
}

/// CVE-2023-27561: what the masks, labels and kernel parameters are written to must be the real one.
#[test]
fn proc_and_sys_must_be_real_directories() {
    let host = Host::new();
    for place in ["/proc", "/sys"] {
        let tree = Tree::new();
        tree.link(place, "/tmp").file("/tmp/x", "");
        tree.import(&host, "not-real", &[]);
        let run = host.sampan(["run", "--rm", "not-real", "/bin/sh", "-c", "echo ran"]);
        assert!(run.code == 125 && run.stderr.contains("must be a real one"), "{place}: {run:?}");
    }
}

/// CVE-2025-31133: what masks a path is not what the image, or a mount of the user's, calls `/dev/null`.
#[test]
fn masks_are_not_made_of_what_is_found_in_dev() {
    let host = Host::new();
    let pattern = "/proc/sys/kernel/core_pattern";
    let before = std::fs::read_to_string(pattern).unwrap();
    let dev = host.root().join("dev");
    std::fs::create_dir(&dev).unwrap();
    std::os::unix::fs::symlink(pattern, dev.join("null")).unwrap();
    let tree = Tree::new();
    tree.link("/dev/null", pattern);
    tree.import(&host, "null", &[]);
    let mount = format!("{}:/dev", dev.display());
    for words in [&["run", "--rm"][..], &["run", "--rm", "-v", &mount], &["run", "--rm", "--tmpfs", "/dev"]] {
        let script = "cat /proc/kallsyms /proc/keys | wc -c; echo '|/evil' >/proc/kallsyms; echo '|/evil' >/dev/null; echo end";
        let run = host.sampan(words.iter().copied().chain(["null", "/bin/sh", "-c", script]));
        assert!(run.stdout == "0\nend\n" || run.stderr.contains("sampan: error:"), "{words:?}: {run:?}");
        assert_eq!(std::fs::read_to_string(pattern).unwrap(), before, "{words:?}");
    }
}

/// An image's volume is named by a path inside the container, wherever its text seems to lead.
#[test]
fn a_volume_is_inside() {
    let host = Host::new();
    let decoy = Decoy::new();
    let before = decoy.state();
    let tree = Tree::new();
    tree.file("/etc/passwd", "root:x:0:0::/:/bin/sh\n");
    for text in [
        format!("/../../../../../..{}", decoy.path().display()),
        format!("{}/./x/../", decoy.path().display()),
        "/proc/self/root/mnt".to_owned(),
        "/proc/sys/kernel".to_owned(),
        "/".to_owned(),
        "/..".to_owned(),
    ] {
        tree.import(&host, "volumes", &[&format!("VOLUME {text}")]);
        let script = format!("echo x >{}/file 2>/dev/null; echo ran", decoy.path().display());
        let run = host.sampan(["run", "--rm", "volumes", "/bin/sh", "-c", &script]);
        assert!(run.line() == "ran" || run.stderr.contains("sampan: error:"), "{text}: {run:?}");
        assert_eq!(decoy.state(), before, "{text}");
    }
    no_volume_is_left(&host);
}

/// Anonymous volumes go with their container, also with one that could not be made.
fn no_volume_is_left(host: &Host) {
    let left = std::fs::read_dir(host.data().join("volumes")).unwrap().count();
    assert_eq!(left, 0, "volumes are left");
}
