//! Images that attack the start: the host's decoy stays as it is, and the container is inside its root or does not start.

#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use std::os::unix::fs::symlink;
use std::path::Path;

use common::Bundle;
use serde_json::json;

/// A directory of the host that no container may change: its content before and after.
struct Decoy(tempfile::TempDir);

impl Decoy {
    fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("sampan-test-decoy-").tempdir().unwrap();
        for name in ["null", "zero", "full", "random", "urandom", "tty", "console", "ptmx", "file"] {
            std::fs::write(dir.path().join(name), "decoy").unwrap();
        }
        Self(dir)
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn assert_untouched(&self, case: &str) {
        let mut names: Vec<_> = std::fs::read_dir(self.path())
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        let wanted = ["console", "file", "full", "null", "ptmx", "random", "tty", "urandom", "zero"];
        assert_eq!(names, wanted, "{case}");
        for name in names {
            assert_eq!(std::fs::read_to_string(self.path().join(&name)).unwrap(), "decoy", "{case}: {name}");
        }
    }
}

/// The decoy's path, as absolute and as relative text from the image's root.
fn texts(decoy: &Path) -> [String; 2] {
    let absolute = decoy.display().to_string();
    [absolute.clone(), format!("../../../../../../../..{absolute}")]
}

/// CVE-2026-41579: nodes and links of /dev made through a symlink of the image.
#[test]
fn dev_as_a_symlink_reaches_no_host_file() {
    for mounted in [true, false] {
        let decoy = Decoy::new();
        for text in texts(decoy.path()) {
            let mut bundle = Bundle::new();
            symlink(&text, bundle.root().join("dev")).unwrap();
            if !mounted {
                let mounts = bundle.spec["mounts"].as_array_mut().unwrap();
                mounts.retain(|m| !m["destination"].as_str().unwrap().starts_with("/dev"));
            }
            let out = bundle.sh("ls /dev/null && echo inside");
            decoy.assert_untouched(&format!("{text}: {out:?}"));
            assert!(out.code.is_none() || out.output.contains("inside"), "{out:?}");
        }
    }
}

/// CVE-2023-27561, CVE-2019-19921: /proc or /sys somewhere else than it seems.
#[test]
fn proc_or_sys_as_a_symlink_is_refused() {
    for name in ["proc", "sys"] {
        let decoy = Decoy::new();
        for text in texts(decoy.path()).into_iter().chain(["tmp".to_owned()]) {
            let mut bundle = Bundle::new();
            symlink(&text, bundle.root().join(name)).unwrap();
            let out = bundle.sh("true");
            assert!(
                out.code.is_none() && out.said.contains("must be a real one"),
                "{name} -> {text}: {out:?}"
            );
            decoy.assert_untouched(&text);
        }
    }
}

/// CVE-2019-18837 and its kin: a mount's destination through a symlink of the image.
#[test]
fn mount_destinations_resolve_inside_the_root() {
    let decoy = Decoy::new();
    let [absolute, relative] = texts(decoy.path());
    let cases = [
        (absolute.as_str(), true),
        (relative.as_str(), true),
        ("/dangling/far/away", true),
        ("loop", false),
        ("/proc/self/cwd", false),
    ];
    for (text, starts) in cases {
        for file in [false, true] {
            let mut bundle = Bundle::new();
            symlink(text, bundle.root().join("loop")).unwrap();
            let data = bundle.dir.path().join("data");
            std::fs::create_dir(&data).unwrap();
            std::fs::write(data.join("file"), "mine").unwrap();
            let (destination, source) =
                if file { ("/loop/file", data.join("file")) } else { ("/loop/sub", data) };
            let mounts = bundle.spec["mounts"].as_array_mut().unwrap();
            mounts.push(
                json!({"destination": destination, "type": "bind", "source": source, "options": ["bind"]}),
            );
            let out = bundle.sh(&format!(
                "grep -c {} /proc/self/mountinfo; cat {destination} {destination}/file",
                "/loop"
            ));
            decoy.assert_untouched(&format!("{text} file={file} {out:?}"));
            match out.code {
                Some(_) => assert!(out.output.contains("mine"), "{text}: {out:?}"),
                None => assert!(!starts, "{text} file={file}: {out:?}"),
            }
        }
    }
}

/// CVE-2025-31133: the mask's source in the image.
#[test]
fn masks_are_ours_whatever_the_image_calls_null() {
    let mut bundle = Bundle::new();
    let mounts = bundle.spec["mounts"].as_array_mut().unwrap();
    mounts.retain(|m| !m["destination"].as_str().unwrap().starts_with("/dev"));
    std::fs::create_dir(bundle.root().join("dev")).unwrap();
    symlink("/proc/sys/kernel/core_pattern", bundle.root().join("dev/null")).unwrap();
    let before = std::fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap();
    let out = bundle.sh("stat -c %t:%T /proc/keys /proc/timer_list /dev/null; echo evil > /proc/keys");
    assert_eq!(out.output, "1:3\n1:3\n1:3\n", "{out:?}");
    assert_eq!(std::fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap(), before);
}

/// A masked path that is a symlink out of the image masks nothing of the host.
#[test]
fn masks_and_read_only_paths_follow_no_link_to_the_host() {
    let decoy = Decoy::new();
    let mut bundle = Bundle::new();
    symlink(decoy.path(), bundle.root().join("mask")).unwrap();
    symlink(decoy.path().join("file"), bundle.root().join("mask2")).unwrap();
    bundle.spec["linux"]["maskedPaths"] = json!(["/mask", "/mask2"]);
    bundle.spec["linux"]["readonlyPaths"] = json!(["/mask"]);
    let out = bundle.sh("true");
    assert_eq!(out.code, Some(0), "{out:?}");
    decoy.assert_untouched("masks");
    std::fs::write(decoy.path().join("file"), "decoy").unwrap();
}

/// The program's process may be read by its own user again, and holds nothing but its streams, after execve; before it,
/// nobody could look (`dumpable`). No mount of a container is seen outside.
#[test]
fn nothing_leaks_out_or_in() {
    let before = std::fs::read_to_string("/proc/self/mountinfo").unwrap().lines().count();
    let mut bundle = Bundle::new();
    let held = std::fs::File::open("/etc/hostname").unwrap();
    rustix::io::fcntl_setfd(&held, rustix::io::FdFlags::empty()).unwrap();
    let out =
        bundle.sh("ls -l /proc/1/fd | grep -v total; grep -v ' / / ' /proc/self/mountinfo | grep shared");
    let descriptors = out.output.lines().filter(|l| l.contains(" -> ")).count();
    assert_eq!(descriptors, 3, "{out:?}");
    assert!(!out.output.contains("shared:"), "{out:?}");
    let after = std::fs::read_to_string("/proc/self/mountinfo").unwrap().lines().count();
    assert!(after.abs_diff(before) < 2, "{before} {after}");
}

/// `/dev/console` and the pty cannot be anything but ours (CVE-2025-52565).
#[test]
fn console_as_a_symlink_reaches_no_host_file() {
    let decoy = Decoy::new();
    let mut bundle = Bundle::new();
    let mounts = bundle.spec["mounts"].as_array_mut().unwrap();
    mounts.retain(|m| m["destination"] != "/dev");
    std::fs::create_dir(bundle.root().join("dev")).unwrap();
    symlink(decoy.path().join("console"), bundle.root().join("dev/console")).unwrap();
    bundle.spec["process"]["terminal"] = json!(true);
    let out = bundle.sh("exit 0");
    decoy.assert_untouched(&format!("{out:?}"));
}
