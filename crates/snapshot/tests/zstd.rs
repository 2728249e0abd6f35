//! Layers compressed by zstd, as those by gzip (root).
#![allow(clippy::unwrap_used, reason = "a test may panic, its helpers too")]

use proptest::prelude::*;
use snapshot::{Budget, Error, Layers};
use tar::Header;

const MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

fn fresh() -> (tempfile::TempDir, Layers) {
    let dir = tempfile::Builder::new().prefix("sampan-test-zstd-").tempdir().unwrap();
    let layers = Layers::open(&dir.path().join("layers")).unwrap();
    (dir, layers)
}

fn header(name: &str, size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_path(name).unwrap();
    header.set_size(size);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_cksum();
    header
}

fn tarball() -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for i in 0..20u8 {
        let content: Vec<u8> = (0..3000u32).map(|n| (n * 31 % 251) as u8 ^ i).collect();
        tar.append(&header(&format!("f{i}"), 3000), &content[..]).unwrap();
    }
    tar.into_inner().unwrap()
}

fn is_empty(dir: &tempfile::TempDir) -> bool {
    std::fs::read_dir(dir.path().join("layers")).unwrap().count() == 0
}

#[test]
fn one_frame_or_many_make_the_same_layer() {
    let (_dir, layers) = fresh();
    let tar = tarball();
    let plain = layers.apply(&[], &tar[..], &Budget::default(), None).unwrap();
    let one = zstd::encode_all(&tar[..], 3).unwrap();
    assert_eq!(layers.apply(&[], &one[..], &Budget::default(), Some(&plain.diff)).unwrap(), plain);
    let many: Vec<u8> = tar.chunks(1000).flat_map(|part| zstd::encode_all(part, 1).unwrap()).collect();
    assert_eq!(layers.apply(&[], &many[..], &Budget::default(), Some(&plain.diff)).unwrap(), plain);
}

#[test]
fn a_stream_cut_anywhere_or_followed_by_junk_leaves_nothing() {
    let (dir, layers) = fresh();
    let packed = zstd::encode_all(&tarball()[..], 3).unwrap();
    for length in 4..packed.len() {
        assert!(layers.apply(&[], &packed[..length], &Budget::default(), None).is_err(), "{length}");
    }
    let junk = [&packed[..], b"junk after the frame"].concat();
    assert!(matches!(layers.apply(&[], &junk[..], &Budget::default(), None), Err(Error::Stream(_))));
    let mut flipped = packed.clone();
    let middle = flipped.len() / 2;
    flipped[middle] ^= 0xff;
    let expected = layers.apply(&[], &tarball()[..], &Budget::default(), None).unwrap();
    layers.remove(&expected.chain).unwrap();
    assert!(layers.apply(&[], &flipped[..], &Budget::default(), Some(&expected.diff)).is_err());
    assert!(is_empty(&dir));
}

#[test]
fn budgets_end_bombs() {
    let (dir, layers) = fresh();
    let small = Budget { bytes: 1 << 20, entries: 100, path: 100, depth: 10, ratio: 10 };
    let mut bomb = header("zeros", 1 << 40).as_bytes().to_vec();
    bomb.resize(4 << 20, 0);
    let bomb = zstd::encode_all(&bomb[..], 3).unwrap();
    let result = layers.apply(&[], &bomb[..], &small, None);
    assert!(matches!(result, Err(Error::Budget { .. })), "{result:?}");
    // 300 MiB of zeros in a few kB: beyond where the ratio is looked at.
    let zeros = std::io::Read::take(std::io::repeat(0), 300 << 20);
    let first = header("zeros", 300 << 20);
    let bomb = zstd::encode_all(std::io::Read::chain(&first.as_bytes()[..], zeros), 1).unwrap();
    let result = layers.apply(&[], &bomb[..], &Budget::default(), None);
    assert!(matches!(result, Err(Error::Budget { what: "times its compressed size", .. })), "{result:?}");
    assert!(is_empty(&dir));
}

#[test]
fn a_window_that_would_take_too_much_memory_is_refused() {
    let (_dir, layers) = fresh();
    // Frame header: no single segment, no checksum, window descriptor 2^(10 + 18).
    let frame = [&MAGIC[..], &[0x00, 18 << 3, 0x01, 0x00, 0x00]].concat();
    assert!(matches!(layers.apply(&[], &frame[..], &Budget::default(), None), Err(Error::Stream(_))));
    // The same with a window of 2^20 is an empty stream.
    let frame = [&MAGIC[..], &[0x00, 10 << 3, 0x01, 0x00, 0x00]].concat();
    layers.apply(&[], &frame[..], &Budget::default(), None).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    #[test]
    fn any_bytes_after_the_magic_end(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        let (_dir, layers) = fresh();
        let _ = layers.apply(&[], &[&MAGIC[..], &bytes].concat()[..], &Budget::default(), None);
    }

    #[test]
    fn any_change_of_a_stream_ends(at in 4usize..2000, with in any::<u8>()) {
        let (_dir, layers) = fresh();
        let mut packed = zstd::encode_all(&tarball()[..], 3).unwrap();
        let at = at % packed.len();
        packed[at] = with;
        let _ = layers.apply(&[], &packed[..], &Budget::default(), None);
    }
}
