//! Writer and reader together, on real files.
#![allow(clippy::unwrap_used, reason = "a test's helper fails the test")]

use std::path::Path;
use std::time::Duration;

use logs::{LogReader, LogWriter, PIECE, ReadOptions, Stream, Timestamp};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

fn at(seconds: i64) -> Timestamp {
    Timestamp::new(seconds, 0).unwrap()
}

fn read(dir: &Path, options: ReadOptions) -> Vec<String> {
    let mut reader = LogReader::open(dir, options).unwrap();
    drain(&mut reader)
}

fn drain(reader: &mut LogReader) -> Vec<String> {
    std::iter::from_fn(|| reader.try_next().unwrap())
        .map(|entry| String::from_utf8(entry.log).unwrap())
        .collect()
}

fn tail(lines: u64) -> ReadOptions {
    ReadOptions { tail: Some(lines), ..Default::default() }
}

#[test]
fn lines_are_cut_and_held_as_docker_does() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = LogWriter::open(dir.path(), 0, 1).unwrap();
    writer.write(Stream::Stdout, b"one\ntw", at(1));
    writer.write(Stream::Stderr, b"err", at(2));
    writer.write(Stream::Stdout, b"o\n\n", at(3));
    let long = vec![b'x'; PIECE + 5];
    writer.write(Stream::Stdout, &long[..10], at(4));
    writer.write(Stream::Stdout, &long[10..], at(4));
    writer.write(Stream::Stdout, b"\n", at(5));
    writer.write(Stream::Stdout, &long[..PIECE], at(6));
    writer.write(Stream::Stdout, b"\nend", at(6));
    writer.finish(Stream::Stdout, at(7));
    writer.finish(Stream::Stderr, at(7));
    let got = read(dir.path(), ReadOptions::default());
    let piece = "x".repeat(PIECE);
    assert_eq!(got, ["one\n", "two\n", "\n", &piece, "xxxxx\n", &piece, "\n", "end", "err"]);
    assert_eq!(read(dir.path(), tail(2)), ["end", "err"]);
    assert_eq!(read(dir.path(), tail(0)), [""; 0]);
    let part = ReadOptions { since: Some(at(3)), until: Some(at(3)), ..Default::default() };
    assert_eq!(read(dir.path(), part), ["two\n", "\n"]);
}

#[test]
fn rotation_keeps_the_newest_and_bounds_the_size() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = LogWriter::open(dir.path(), 2_000, 3).unwrap();
    for n in 0..200 {
        writer.write(Stream::Stdout, format!("line {n}\n").as_bytes(), at(n));
    }
    let mut names: Vec<_> = std::fs::read_dir(dir.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names, ["json.log", "json.log.1", "json.log.2"]);
    for name in &names {
        assert!(dir.path().join(name).metadata().unwrap().len() < 2_000 + 100);
    }
    let got = read(dir.path(), ReadOptions::default());
    assert_eq!(got.last().unwrap(), "line 199\n");
    assert!(got.len() > 40);
    let expected: Vec<String> = (200 - got.len()..200).map(|n| format!("line {n}\n")).collect();
    assert_eq!(got, expected);
    for n in [1, 5, 30, got.len() - 1, got.len(), got.len() + 10] {
        let from = got.len().saturating_sub(n);
        assert_eq!(read(dir.path(), tail(n as u64)), got[from..], "tail {n}");
    }
    // A gap, as a crash inside a rotation leaves it.
    std::fs::rename(dir.path().join("json.log.1"), dir.path().join("json.log.2")).unwrap();
    assert!(!read(dir.path(), ReadOptions::default()).is_empty());
}

#[test]
fn one_big_batch_is_rotated_inside() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = LogWriter::open(dir.path(), 10_000, 1).unwrap();
    let batch: String = (0..5_000).map(|n| format!("line {n}\n")).collect();
    writer.write(Stream::Stdout, batch.as_bytes(), at(1));
    assert!(dir.path().join("json.log").metadata().unwrap().len() < 10_100);
    assert!(!dir.path().join("json.log.1").exists());
    assert_eq!(read(dir.path(), tail(1)), ["line 4999\n"]);
    assert_eq!(writer.dropped(), 0);
}

#[test]
fn a_torn_line_is_tolerated_then_repaired() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("json.log");
    LogWriter::open(dir.path(), 0, 1).unwrap().write(Stream::Stdout, b"whole\n", at(1));
    let mut bytes = std::fs::read(&path).unwrap();
    let whole = bytes.len();
    for torn in [&b"{\"log\":\"to"[..], &[b'x'; 2_000]] {
        bytes.truncate(whole);
        bytes.extend_from_slice(torn);
        std::fs::write(&path, &bytes).unwrap();
        assert_eq!(read(dir.path(), ReadOptions::default()), ["whole\n"]);
        assert_eq!(read(dir.path(), tail(1)), ["whole\n"]);
        let mut follower =
            LogReader::open(dir.path(), ReadOptions { follow: true, ..Default::default() }).unwrap();
        assert_eq!(drain(&mut follower), ["whole\n"]);
        let mut writer = LogWriter::open(dir.path(), 0, 1).unwrap();
        writer.write(Stream::Stdout, b"next\n", at(2));
        assert_eq!(read(dir.path(), ReadOptions::default()), ["whole\n", "next\n"]);
        assert_eq!(drain(&mut follower), ["next\n"]);
    }
}

#[test]
fn foreign_lines_are_skipped_and_counted() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = LogWriter::open(dir.path(), 0, 1).unwrap();
    let path = dir.path().join("json.log");
    let junk = [b"not json\n".to_vec(), vec![b'y'; 300_000], b"\n".to_vec()].concat();
    std::fs::write(&path, junk).unwrap();
    writer.write(Stream::Stdout, b"good\n", at(1));
    let mut reader = LogReader::open(dir.path(), ReadOptions::default()).unwrap();
    assert_eq!(drain(&mut reader), ["good\n"]);
    assert_eq!(reader.skipped(), 2);
    assert!(reader.is_finished());
}

#[test]
fn a_full_disk_drops_and_counts_and_recovers() {
    // 256 KiB tmpfs: real ENOSPC.
    let dir = tempfile::Builder::new().prefix("sampan-test-logs-").tempdir().unwrap();
    let status = std::process::Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=256k", "sampan-test"])
        .arg(dir.path())
        .status()
        .unwrap();
    assert!(status.success(), "this test needs root");
    let log = dir.path().join("log");
    let mut writer = LogWriter::open(&log, 0, 1).unwrap();
    for n in 0..10_000 {
        writer.write(Stream::Stdout, format!("line {n}\n").as_bytes(), at(n));
    }
    let dropped = writer.dropped();
    let got = read(&log, ReadOptions::default());
    std::fs::File::options().write(true).open(log.join("json.log")).unwrap().set_len(0).unwrap();
    let mut writer_after = LogWriter::open(&log, 0, 1).unwrap();
    writer_after.write(Stream::Stdout, b"after\n", at(1));
    let after = read(&log, ReadOptions::default());
    drop((writer, writer_after));
    std::process::Command::new("umount").arg(dir.path()).status().unwrap();
    assert!(dropped > 0);
    assert!(got.len() > 1_000, "{}", got.len());
    assert!(
        got.iter().enumerate().all(|(n, line)| *line == format!("line {n}\n")),
        "no torn line in between"
    );
    assert_eq!(after, ["after\n"]);
}

#[test]
fn follow_crosses_rotations_and_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut reader = LogReader::open(dir.path(), ReadOptions { follow: true, ..Default::default() }).unwrap();
    assert_eq!(drain(&mut reader), [""; 0]);
    let path = dir.path().to_path_buf();
    let total = 20_000;
    let (told, tell) = std::sync::mpsc::sync_channel::<usize>(0);
    let writing = std::thread::spawn(move || {
        // Large enough that the reader, who keeps within 500 lines, is never overtaken by two rotations.
        let mut writer = LogWriter::open(&path, 100_000, 3).unwrap();
        for n in 0..total {
            writer.write(Stream::Stdout, format!("line {n}\n").as_bytes(), at(1));
            if n % 500 == 499 {
                told.send(n).unwrap();
            }
        }
    });
    let mut got = Vec::new();
    while got.len() < total {
        let mut fds = [PollFd::from_borrowed_fd(reader.watch_fd().unwrap(), PollFlags::IN)];
        let limit = Timespec::try_from(Duration::from_millis(50)).unwrap();
        poll(&mut fds, Some(&limit)).unwrap();
        got.extend(drain(&mut reader));
        let _ = tell.try_recv();
    }
    writing.join().unwrap();
    assert!(got.iter().enumerate().all(|(n, line)| *line == format!("line {n}\n")));
    assert!(!reader.is_finished());
}
