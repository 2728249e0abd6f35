//! What is mounted.

use crate::bench::{Bench, Look, Row, Want, shown};

/// The options of a mount and what can be done there.
const STATE: &str = "grep ' /m ' /proc/mounts | cut -d' ' -f3,4; cat /m/file; touch /m/new 2>&1 && rm /m/new && echo writable";

pub(crate) const ROWS: &[Row] = &[
    Row {
        flag: "volume",
        words: &["-v", "{dir}/tree:/m"],
        look: Look::Inside("cat /m/file; cat /m/below/file; touch /m/new && rm /m/new && echo writable"),
        without: Want::Has("No such file"),
        with: Want::Is("content\nbelow\nwritable"),
    },
    Row {
        flag: "volume",
        words: &["-v", "{dir}/tree:/m:ro"],
        look: Look::Inside(STATE),
        without: Want::Has("No such file"),
        with: Want::Has("Read-only file system"),
    },
    Row {
        flag: "volume",
        words: &["--volume", "{dir}/tree:/m:ro"],
        // What is mounted below a read-only mount is read-only, too.
        look: Look::Inside("touch /m/below/new 2>&1"),
        without: Want::Has("No such file"),
        with: Want::Has("Read-only file system"),
    },
    Row {
        flag: "volume",
        words: &["-v", "{dir}/not-there/yet:/m"],
        look: Look::Act(made_directory),
        without: Want::Is("false"),
        with: Want::Is("true"),
    },
    Row {
        flag: "volume",
        words: &["-v", "{dir}/one-file:/etc/one-file"],
        look: Look::Inside("cat /etc/one-file"),
        without: Want::Has("No such file"),
        with: Want::Is("one"),
    },
    Row {
        flag: "volume",
        words: &["-v", "kept:/m"],
        look: Look::Act(volume_is_kept),
        without: Want::Has("No such file"),
        with: Want::Is("kept"),
    },
    Row {
        flag: "volume",
        words: &["-v", "filled:/etc"],
        look: Look::Act(volume_content),
        without: Want::Has("nothing"),
        with: Want::Has("passwd"),
    },
    Row {
        flag: "volume",
        words: &["-v", "unfilled:/usr/bin/../share:nocopy"],
        look: Look::Inside("grep -c ' /usr/share ' /proc/mounts; ls /usr/share | wc -l"),
        without: Want::Has("0"),
        with: Want::Is("1\n0"),
    },
    Row {
        flag: "volume",
        words: &["-v", "/m"],
        look: Look::Inspect("/Mounts/0/Type"),
        without: Want::Is("nothing"),
        with: Want::Is("volume"),
    },
    Row {
        flag: "volume",
        words: &["-v", "{dir}/shared:/m:shared", "--privileged"],
        look: Look::Act(mounts_inside_reach_the_host),
        without: Want::Is("0"),
        with: Want::Is("1"),
    },
    Row {
        flag: "volume",
        words: &["-v", "{dir}/shared:/m:rslave"],
        look: Look::Act(mounts_of_the_host_reach_inside),
        without: Want::Is("0"),
        with: Want::Is("1"),
    },
    Row {
        flag: "mount",
        words: &["--mount", "type=bind,source={dir}/tree,target=/m"],
        look: Look::Inside("cat /m/file /m/below/file; touch /m/new && rm /m/new && echo writable"),
        without: Want::Has("No such file"),
        with: Want::Is("content\nbelow\nwritable"),
    },
    Row {
        flag: "mount",
        words: &["--mount", "type=bind,src={dir}/tree,dst=/m,readonly,bind-recursive=disabled"],
        look: Look::Inside("ls /m/below; touch /m/new 2>&1"),
        without: Want::Other,
        with: Want::Is("exit 1: touch: /m/new: Read-only file system"),
    },
    Row {
        flag: "mount",
        words: &["--mount", "type=bind,source={dir}/nowhere,target=/m"],
        look: Look::Inside("echo ran"),
        without: Want::Is("ran"),
        with: Want::Has("bind source path does not exist"),
    },
    Row {
        flag: "mount",
        words: &["--mount", "type=bind,source={dir}/made,target=/m,bind-create-src"],
        look: Look::Inside("ls -d /m"),
        without: Want::Has("No such file"),
        with: Want::Is("/m"),
    },
    Row {
        flag: "mount",
        words: &["--mount", "type=volume,source=named,target=/m"],
        look: Look::Inspect("/Mounts/0/Name"),
        without: Want::Is("nothing"),
        with: Want::Is("named"),
    },
    Row {
        flag: "mount",
        words: &["--mount", "type=tmpfs,target=/m,tmpfs-size=1m,tmpfs-mode=0700"],
        look: Look::Inside("grep ' /m ' /proc/mounts | sed s/,inode64//; stat -c %a /m"),
        without: Want::Has("No such file"),
        with: Want::Is("tmpfs /m tmpfs rw,nosuid,nodev,noexec,relatime,size=1024k,mode=700 0 0\n700"),
    },
    Row {
        flag: "tmpfs",
        words: &["--tmpfs", "/m"],
        look: Look::Inside("grep ' /m ' /proc/mounts | sed s/,inode64//; stat -c %a /m"),
        without: Want::Has("No such file"),
        with: Want::Is("tmpfs /m tmpfs rw,nosuid,nodev,noexec,relatime 0 0\n1777"),
    },
    Row {
        flag: "tmpfs",
        words: &["--tmpfs", "/m:size=1m,mode=0750,uid=7,gid=8,exec,nr_inodes=9"],
        look: Look::Inside("grep ' /m ' /proc/mounts | sed s/,inode64//; stat -c '%a %u %g' /m"),
        without: Want::Has("No such file"),
        with: Want::Is(
            "tmpfs /m tmpfs rw,nosuid,nodev,relatime,size=1024k,nr_inodes=9,mode=750,uid=7,gid=8 0 0\n750 7 8",
        ),
    },
    Row {
        flag: "tmpfs",
        words: &["--tmpfs", "/m:ro,noatime,huge=never"],
        look: Look::Inside("grep ' /m ' /proc/mounts | sed s/,inode64//"),
        without: Want::Is(""),
        with: Want::Is("tmpfs /m tmpfs ro,nosuid,nodev,noexec,noatime 0 0"),
    },
    Row {
        flag: "tmpfs",
        words: &["--tmpfs", "/m:suid,dev,nosuid,nodev,sync,dirsync,nodiratime"],
        look: Look::Inside("grep ' /m ' /proc/mounts | sed s/,inode64//"),
        without: Want::Is(""),
        with: Want::Is("tmpfs /m tmpfs rw,sync,dirsync,nosuid,nodev,noexec,nodiratime,relatime 0 0"),
    },
    Row {
        flag: "tmpfs",
        words: &["--tmpfs", "/m:suid,dev,size=50%,nomand,norelatime,nostrictatime"],
        look: Look::Inside("grep ' /m ' /proc/mounts | cut -d, -f1-3"),
        without: Want::Is(""),
        with: Want::Has("tmpfs /m tmpfs rw,noexec"),
    },
    Row {
        flag: "read-only",
        words: &["--read-only"],
        look: Look::Inside("touch /x 2>&1 && echo writable; touch /dev/shm/x && echo shm"),
        without: Want::Is("writable\nshm"),
        with: Want::Is("touch: /x: Read-only file system\nshm"),
    },
];

/// Whether the source of the mount is there afterwards.
fn made_directory(bench: &Bench, words: &[String]) -> String {
    bench.run(words, &["true"]).expect_code(0);
    bench.dir().join("not-there/yet").is_dir().to_string()
}

/// What one container writes another one reads.
fn volume_is_kept(bench: &Bench, words: &[String]) -> String {
    if !words.is_empty() {
        bench.run(words, &["sh", "-c", "echo kept >/m/file"]).expect_code(0);
    }
    shown(&bench.run(words, &["cat", "/m/file"]))
}

/// A new volume begins with what the image has there.
fn volume_content(bench: &Bench, words: &[String]) -> String {
    bench.run(words, &["true"]).expect_code(0);
    let data = bench.host.data().join("volumes/filled/_data");
    let Ok(entries) = std::fs::read_dir(data) else { return "nothing".into() };
    entries.flatten().map(|entry| entry.file_name().into_string().unwrap()).collect::<Vec<_>>().join(" ")
}

/// The host's mounts below the shared directory while a container that mounts there runs.
fn mounts_inside_reach_the_host(bench: &Bench, words: &[String]) -> String {
    let shared = bench.dir().join("shared");
    let look = |_: &Bench, _: &str| {
        let below = shared.join("inside");
        let seen = testkit::eventually(std::time::Duration::from_millis(500), || is_mounted(&below));
        if seen {
            rustix::mount::unmount(&below, rustix::mount::UnmountFlags::DETACH).unwrap();
        }
        i32::from(seen).to_string()
    };
    let script = "mkdir -p /m/inside && mount -t tmpfs x /m/inside; sleep 60";
    bench.with_container(words, script, look).unwrap_or_else(|error| error)
}

fn mounts_of_the_host_reach_inside(bench: &Bench, words: &[String]) -> String {
    let below = bench.dir().join("shared/outside");
    std::fs::create_dir_all(&below).unwrap();
    let look = |bench: &Bench, id: &str| {
        rustix::mount::mount_bind(bench.dir().join("tree"), &below).unwrap();
        let run = bench.host.sampan(["exec", id, "busybox", "grep", "-c", "/m/outside", "/proc/mounts"]);
        rustix::mount::unmount(&below, rustix::mount::UnmountFlags::DETACH).unwrap();
        run.line().to_owned()
    };
    bench.with_container(words, "sleep 60", look).unwrap_or_else(|error| error)
}

fn is_mounted(path: &std::path::Path) -> bool {
    let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    table.lines().any(|line| line.split(' ').nth(4) == path.to_str())
}

#[test]
fn mounts_are_those_asked_for() {
    use rustix::mount::{MountPropagationFlags, UnmountFlags, mount_bind, mount_change};
    let mut bench = Bench::new();
    let dir = bench.dir();
    for sub in ["tree/below", "other", "shared"] {
        std::fs::create_dir_all(dir.join(sub)).unwrap();
    }
    std::fs::write(dir.join("tree/file"), "content\n").unwrap();
    std::fs::write(dir.join("other/file"), "below\n").unwrap();
    std::fs::write(dir.join("one-file"), "one\n").unwrap();
    mount_bind(dir.join("other"), dir.join("tree/below")).unwrap();
    mount_bind(dir.join("shared"), dir.join("shared")).unwrap();
    mount_change(dir.join("shared"), MountPropagationFlags::SHARED).unwrap();
    bench.rows(ROWS);
    for mounted in ["tree/below", "shared"] {
        rustix::mount::unmount(dir.join(mounted), UnmountFlags::DETACH).unwrap();
    }
    bench.finish();
}

#[test]
fn mounts_that_make_no_sense_are_refused() {
    let bench = Bench::new();
    for words in [
        &["-v", "/tmp:/a", "-v", "/tmp:/a/"][..],
        &["-v", "/tmp:/"],
        &["-v", "/tmp:relative"],
        &["-v", "/tmp:/a:frobnicate"],
        &["-v", "a/b:/a"],
        &["--mount", "type=bind,target=/a"],
        &["--mount", "type=tmpfs,target=/a,source=/b"],
        &["--mount", "type=npipe,target=/a"],
        &["--mount", "type=volume,target=/a,bind-propagation=shared"],
        &["--tmpfs", "/a:frobnicate"],
        &["--tmpfs", "relative"],
    ] {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        let run = bench.run(&words, &["true"]);
        assert!(run.code != 0 && run.stderr.contains("error:"), "{words:?}: {run:?}");
    }
    bench.finish();
}
