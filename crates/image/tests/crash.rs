//! kill -9 while images are made and removed: what is listed afterwards is whole (root).
#![allow(clippy::unwrap_used, reason = "a test may panic, its helpers too")]

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use image::{Filter, Images};

const DATA: &str = "SAMPAN_TEST_CRASH_DATA";

/// The victim: makes, saves, removes and loads images until it is killed.
#[test]
fn victim() {
    let Some(data) = env::var_os(DATA) else { return };
    let images = Images::open(Path::new(&data)).unwrap();
    loop {
        images.resolve("host:sh").unwrap();
        images.resolve("host:ls,sh").unwrap();
        images.tag("host/sh", &"again:1".parse().unwrap()).unwrap();
        let mut archive = Vec::new();
        images.save(&["host/sh".to_owned()], &mut archive).unwrap();
        for name in ["again:1", "host/sh", "host/ls-sh"] {
            images.remove(name, false, |_| None).unwrap();
        }
        images.load_stream(&archive[..]).unwrap();
        images.remove("host/sh", false, |_| None).unwrap();
    }
}

#[test]
fn a_kill_at_any_time_leaves_whole_images_only() {
    let dir = tempfile::Builder::new().prefix("sampan-test-crash-").tempdir().unwrap();
    let data = dir.path().join("data");
    let images = Images::open(&data).unwrap();
    // How long one whole making takes on this machine now: the kills are spread over four times that.
    let start = Instant::now();
    let scratch = tempfile::Builder::new().prefix("sampan-test-crash-").tempdir().unwrap();
    Images::open(&scratch.path().join("data")).unwrap().resolve("host:sh").unwrap();
    let whole = start.elapsed();
    let mut seen = 0;
    for round in 0..60 {
        let mut child = Command::new(env::current_exe().unwrap())
            .args(["--exact", "victim"])
            .env(DATA, &data)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        thread::sleep(Duration::from_millis(4) + whole * 4 * round / 59);
        child.kill().unwrap();
        child.wait().unwrap();
        for line in images.list(&Filter::default()).unwrap() {
            seen += 1;
            let image = images.resolve(&line.id.hex()).unwrap();
            assert!(image.layers.iter().all(|chain| images.layers().has(chain)), "round {round}: {line:?}");
            let shell = images.layers().fs_path(&image.layers[0]).join("usr/bin/sh");
            assert!(fs::symlink_metadata(shell).is_ok(), "round {round}: {line:?}");
            images.store().read(image.manifest, 1 << 20).unwrap();
        }
    }
    assert!(seen > 0, "no image was ever seen in {:?}", start.elapsed());
    // The next caller goes on as if nothing had been.
    images.resolve("host:sh").unwrap();
    images.prune(true, |_| None).unwrap();
    assert!(images.list(&Filter::default()).unwrap().is_empty());
    assert_eq!(fs::read_dir(data.join("layers")).unwrap().count(), 0, "layers or staging were left");
}
