//! Images of the host's programs, made and run for real (root).
#![allow(clippy::unwrap_used, reason = "a test may panic, its helpers too")]

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;
use std::{fs, thread};

use image::{Filter, HostImage, Images, Removed, Usage};

fn fresh() -> (tempfile::TempDir, Images) {
    let dir = tempfile::Builder::new().prefix("sampan-test-image-").tempdir().unwrap();
    let images = Images::open(&dir.path().join("data")).unwrap();
    (dir, images)
}

fn host(programs: &[&str]) -> HostImage {
    HostImage { programs: programs.iter().map(|p| (*p).to_owned()).collect(), ..HostImage::default() }
}

fn chroot(images: &Images, image: &image::Image, args: &[&str]) -> String {
    let root = images.layers().fs_path(&image.layers[0]);
    // Without a mounted /proc the dynamic linker cannot tell $ORIGIN by itself.
    let origin = Path::new(args[0]).parent().unwrap();
    let output = Command::new("/usr/sbin/chroot")
        .arg(&root)
        .args(args)
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("LD_ORIGIN_PATH", origin)
        .output()
        .unwrap();
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_shell_runs_and_is_found_by_every_name() {
    let (_dir, images) = fresh();
    let image = images.resolve("host:sh,ls,id").unwrap();
    assert_eq!(
        chroot(&images, &image, &["/bin/sh", "-c", "echo $((6*7)); ls -d /tmp; id -un"]),
        "42\n/tmp\nroot\n"
    );
    assert_eq!(image.config.entrypoint.as_deref().unwrap().len(), 1);
    let mode =
        fs::metadata(images.layers().fs_path(&image.layers[0]).join("tmp")).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o1777);
    let hex = image.id.hex();
    for name in
        ["host:sh,ls,id", "host/sh-ls-id", "host/sh-ls-id:latest", &hex, &format!("sha256:{hex}"), &hex[..12]]
    {
        assert_eq!(images.resolve(name).unwrap().id, image.id, "{name}");
    }
    assert!(matches!(images.resolve("nothing"), Err(image::Error::NotFound(_))));
    assert!(matches!(images.resolve("host:no-such-program"), Err(image::Error::NoProgram(_))));
    let listed = images.list(&Filter::default()).unwrap();
    assert_eq!(
        (listed.len(), listed[0].repository.as_str(), listed[0].tag.as_str()),
        (1, "host/sh-ls-id", "latest")
    );
    assert_eq!(listed[0].size, image.size);
}

#[test]
fn what_changes_makes_a_new_image_and_what_does_not_does_not() {
    let (dir, images) = fresh();
    let script = dir.path().join("greet");
    fs::write(&script, "#!/bin/sh\necho one\n").unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    let path = script.to_str().unwrap();
    let first = images.from_host(&host(&[path])).unwrap();
    assert_eq!(images.from_host(&host(&[path])).unwrap().id, first.id);
    assert_eq!(chroot(&images, &first, &[path]), "one\n");
    fs::write(&script, "#!/bin/sh\necho two\n").unwrap();
    let second = images.from_host(&host(&[path])).unwrap();
    assert_ne!(second.id, first.id);
    assert_eq!(chroot(&images, &second, &[path]), "two\n");
    let dangling = images.list(&Filter { dangling: Some(true), ..Filter::default() }).unwrap();
    assert_eq!((dangling.len(), dangling[0].id), (1, first.id));
}

#[test]
fn env_scripts_bring_the_program_they_name() {
    let (dir, images) = fresh();
    let script = dir.path().join("viaenv");
    fs::write(&script, "#!/usr/bin/env -S bash -u\necho ${BASH_VERSION%%.*}\n").unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    let image = images.from_host(&host(&[script.to_str().unwrap()])).unwrap();
    assert!(chroot(&images, &image, &[script.to_str().unwrap()]).trim().parse::<u32>().is_ok());
}

#[test]
fn runpath_with_origin_and_links_to_libraries_are_followed() {
    let (dir, images) = fresh();
    let base = dir.path().canonicalize().unwrap();
    fs::create_dir_all(base.join("bin")).unwrap();
    fs::create_dir_all(base.join("lib")).unwrap();
    fs::write(base.join("a.c"), "int answer(void) { return 42; }").unwrap();
    fs::write(
        base.join("b.c"),
        "#include <stdio.h>\nint answer(void);\nint main(void) { printf(\"%d\\n\", answer()); }",
    )
    .unwrap();
    let cc =
        |args: &[&str]| assert!(Command::new("cc").current_dir(&base).args(args).status().unwrap().success());
    cc(&["-shared", "-fPIC", "-Wl,-soname,libanswer.so.1", "-o", "lib/libanswer.so.1.2", "a.c"]);
    symlink("libanswer.so.1.2", base.join("lib/libanswer.so.1")).unwrap();
    for (flag, name) in [("--enable-new-dtags", "run"), ("--disable-new-dtags", "r")] {
        let out = format!("bin/{name}");
        cc(&["b.c", "lib/libanswer.so.1.2", &format!("-Wl,{flag},-rpath,$ORIGIN/../lib"), "-o", &out]);
        let program = base.join(&out);
        let image = images.from_host(&host(&[program.to_str().unwrap()])).unwrap();
        assert_eq!(chroot(&images, &image, &[program.to_str().unwrap()]), "42\n");
        let link = images
            .layers()
            .fs_path(&image.layers[0])
            .join(base.strip_prefix("/").unwrap())
            .join("lib/libanswer.so.1");
        assert_eq!(fs::read_link(link).unwrap(), Path::new("libanswer.so.1.2"));
    }
    fs::remove_file(base.join("lib/libanswer.so.1")).unwrap();
    let missing = images.from_host(&host(&[base.join("bin/run").to_str().unwrap()]));
    assert!(matches!(missing, Err(image::Error::NoLibrary { .. })));
}

#[test]
fn callers_at_the_same_time_make_one_image() {
    let (_dir, images) = fresh();
    let ids: Vec<_> = thread::scope(|scope| {
        let calls: Vec<_> = (0..8).map(|_| scope.spawn(|| images.resolve("host:sh").unwrap().id)).collect();
        calls.into_iter().map(|call| call.join().unwrap()).collect()
    });
    assert!(ids.iter().all(|id| *id == ids[0]));
    assert_eq!(images.list(&Filter::default()).unwrap().len(), 1);
    assert_eq!(images.layers().list().unwrap().len(), 1);
}

#[test]
fn names_go_before_images_and_images_before_layers() {
    let (dir, images) = fresh();
    let image = images.resolve("host:sh").unwrap();
    images.tag("host/sh", &"other:1".parse().unwrap()).unwrap();
    images.tag("host/sh", &"localhost:5000/third".parse().unwrap()).unwrap();
    let unused = |_| None;
    assert_eq!(images.remove("other:1", false, unused).unwrap(), [Removed::Untagged("other:1".into())]);
    assert!(images.remove(&image.id.short(), false, unused).is_err(), "two repositories");
    assert_eq!(images.remove("localhost:5000/third", false, unused).unwrap().len(), 1);
    let running = |_| Some(Usage { container: "abc".into(), running: true });
    assert!(images.remove("host/sh", true, running).is_err());
    let stopped = |_| Some(Usage { container: "abc".into(), running: false });
    assert!(images.remove("host/sh", false, stopped).is_err());
    let removed = images.remove("host:sh", false, unused).unwrap();
    assert_eq!(removed.len(), 3, "{removed:?}");
    assert!(images.list(&Filter::default()).unwrap().is_empty());
    assert!(images.layers().list().unwrap().is_empty());
    let blobs = fs::read_dir(dir.path().join("data/content/blobs/sha256")).unwrap().count();
    assert_eq!(blobs, 0);
    assert_eq!(fs::read_dir(dir.path().join("data/content/refs")).unwrap().count(), 0);
    assert_eq!(images.resolve("host:sh").unwrap().id, image.id, "made again, the same");
}

#[test]
fn a_damaged_config_is_never_used() {
    let (dir, images) = fresh();
    let image = images.resolve("host:sh").unwrap();
    let blob = dir.path().join("data/content/blobs/sha256").join(image.id.hex());
    let text = fs::read_to_string(&blob).unwrap().replace("PATH=", "PUTH=");
    fs::write(&blob, text).unwrap();
    assert!(matches!(images.resolve("host/sh"), Err(image::Error::Content(content::Error::Damaged { .. }))));
}

#[test]
fn tarballs_are_imported_with_changes() {
    let (dir, images) = fresh();
    let source = dir.path().join("source");
    fs::create_dir_all(source.join("data")).unwrap();
    fs::write(source.join("data/file"), b"hello").unwrap();
    for (flag, name) in [("-cf", "plain.tar"), ("-czf", "packed.tar.gz")] {
        let tar = dir.path().join(name);
        assert!(
            Command::new("tar")
                .arg(flag)
                .arg(&tar)
                .arg("-C")
                .arg(&source)
                .arg(".")
                .status()
                .unwrap()
                .success()
        );
        let import = image::Import {
            name: Some("imported:1".parse().unwrap()),
            changes: vec![r#"CMD ["/x"]"#.parse().unwrap(), "ENV A=b".parse().unwrap()],
            message: None,
        };
        let image = images.import(fs::File::open(&tar).unwrap(), &import).unwrap();
        assert_eq!(images.resolve("imported:1").unwrap().id, image.id);
        assert_eq!(image.config.env, ["A=b"]);
        let file = images.layers().fs_path(&image.layers[0]).join("data/file");
        assert_eq!(fs::read(file).unwrap(), b"hello");
    }
    let removed = images.remove("imported:1", false, |_| None).unwrap();
    assert!(removed.iter().any(|r| matches!(r, Removed::Deleted(_))));
}

#[test]
fn a_prepared_root_shows_layers_and_keeps_changes() {
    let (dir, images) = fresh();
    let image = images.resolve("host:sh").unwrap();
    let container = dir.path().join("container");
    fs::create_dir(&container).unwrap();
    for round in 0..2 {
        let rootfs = images.layers().prepare(&container, &image.layers, true).unwrap();
        let root = rootfs.open_detached().unwrap();
        assert!(
            root.open_in_root(Path::new("/bin/sh"), rustix::fs::OFlags::RDONLY, rustix::fs::Mode::empty())
                .is_ok()
        );
        let made = root.mkdir(Path::new("made"), rustix::fs::Mode::from(0o755));
        assert_eq!(made.is_ok(), round == 0);
        drop(root);
        assert!(container.join("upper/made").is_dir());
    }
    assert!(!images.layers().fs_path(&image.layers[0]).join("made").exists());
}
