//! Hostile and odd layers, applied for real under a decoy tree that must stay as it is (root).
#![allow(clippy::unwrap_used, reason = "a test may panic, its helpers too")]

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::os::unix::fs::{FileTypeExt, MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use snapshot::{Budget, ChainId, Error, Layer, Layers};
use tar::{EntryType, Header};

struct Field {
    dir: tempfile::TempDir,
    layers: Layers,
}

/// What the decoy tree looks like: path -> mode, links, content.
fn picture(dir: &Path) -> BTreeMap<PathBuf, (u32, u64, Vec<u8>)> {
    let mut seen = BTreeMap::new();
    for entry in fs::read_dir(dir).unwrap().flatten() {
        let meta = entry.metadata().unwrap();
        let content = if meta.is_file() { fs::read(entry.path()).unwrap() } else { Vec::new() };
        if meta.is_dir() {
            seen.extend(picture(&entry.path()));
        }
        seen.insert(entry.path(), (meta.mode(), meta.nlink(), content));
    }
    seen
}

impl Field {
    fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("sampan-test-layers-").tempdir().unwrap();
        fs::create_dir(dir.path().join("decoy")).unwrap();
        fs::write(dir.path().join("decoy/file"), b"host").unwrap();
        let layers = Layers::open(&dir.path().join("layers")).unwrap();
        Self { dir, layers }
    }

    fn decoy(&self) -> String {
        self.dir.path().join("decoy").display().to_string()
    }

    fn apply(&self, below: &[ChainId], tar: &Tar) -> Result<Layer, Error> {
        let before = picture(&self.dir.path().join("decoy"));
        let result = self.layers.apply(below, &tar.bytes()[..], &Budget::default(), None);
        assert_eq!(picture(&self.dir.path().join("decoy")), before, "the decoy was touched");
        let left = fs::read_dir(self.dir.path().join("layers")).unwrap().flatten();
        assert!(
            left.into_iter().all(|e| !e.file_name().to_string_lossy().starts_with('.')),
            "staging was left"
        );
        result
    }

    fn fs(&self, layer: &Layer) -> PathBuf {
        self.layers.fs_path(&layer.chain)
    }
}

#[derive(Default, Clone)]
struct Tar(Vec<u8>);

impl Tar {
    /// An entry whose names are written as they are, which the `tar` crate's own writer would refuse.
    fn add(mut self, kind: EntryType, path: &str, link: &str, data: &[u8]) -> Self {
        let mut header = Header::new_gnu();
        header.as_gnu_mut().unwrap().name[..path.len()].copy_from_slice(path.as_bytes());
        header.as_gnu_mut().unwrap().linkname[..link.len()].copy_from_slice(link.as_bytes());
        header.set_entry_type(kind);
        header.set_mode(if kind == EntryType::Directory { 0o755 } else { 0o644 });
        header.set_size(data.len() as u64);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(1_000_000_000);
        if matches!(kind, EntryType::Char | EntryType::Block) {
            header.set_device_major(link.len() as u32).unwrap();
            header.set_device_minor(3).unwrap();
            header.as_gnu_mut().unwrap().linkname.fill(0);
        }
        header.set_cksum();
        self.0.extend_from_slice(header.as_bytes());
        self.raw(data)
    }

    fn raw(mut self, data: &[u8]) -> Self {
        self.0.extend_from_slice(data);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    fn file(self, path: &str, data: &str) -> Self {
        self.add(EntryType::Regular, path, "", data.as_bytes())
    }

    fn dir(self, path: &str) -> Self {
        self.add(EntryType::Directory, path, "", b"")
    }

    fn symlink(self, path: &str, target: &str) -> Self {
        self.add(EntryType::Symlink, path, target, b"")
    }

    fn link(self, path: &str, target: &str) -> Self {
        self.add(EntryType::Link, path, target, b"")
    }

    fn pax(self, records: &[(&str, &[u8])]) -> Self {
        let mut data = Vec::new();
        for (key, value) in records {
            let rest = key.len() + value.len() + 3;
            let mut length = rest + 1;
            while rest + length.to_string().len() != length {
                length += 1;
            }
            data.extend_from_slice(format!("{length} {key}=").as_bytes());
            data.extend_from_slice(value);
            data.push(b'\n');
        }
        self.add(EntryType::XHeader, "pax", "", &data)
    }

    fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.0.clone();
        bytes.extend([0; 1024]);
        bytes
    }
}

#[test]
fn nothing_leaves_the_layer() {
    let field = Field::new();
    let decoy = field.decoy();
    let up = "../../../../../../../../../../";
    // Refused outright.
    let refused = [
        Tar::default().file("../x", "evil"),
        Tar::default().file("a/../../x", "evil"),
        Tar::default().file("a/../b", "evil"),
        Tar::default().link("h", "../decoy/file"),
        Tar::default().link("h", &format!("{decoy}/file")),
        Tar::default().symlink("s", &decoy).link("h", "s/file"),
        Tar::default().symlink("l", "l").file("l/x", "evil"),
        Tar::default().file(".wh...", ""),
        Tar::default().file(".wh..", ""),
        Tar::default().file(".wh.", ""),
        Tar::default().file(".wh.a/b", ""),
        Tar::default().file("a", "").link("b", ".wh.a"),
        Tar::default().file(".wh.a", "").link("b", "a"),
        Tar::default().dir("d").link("b", "d"),
        Tar::default().symlink(".", "/"),
        Tar::default().file(".", ""),
        Tar::default().file("f", "").file("f/x", "evil"),
        Tar::default().add(EntryType::new(b'D'), "dump", "", b""),
        Tar::default().pax(&[("path", b"a\0b")]).file("x", ""),
        Tar::default().pax(&[("size", b"512")]).file("x", "four"),
        Tar::default().pax(&[("path", b"a"), ("path", b"b")]).file("x", ""),
        Tar::default().pax(&[("path", b"a")]).pax(&[("path", b"b")]).file("x", ""),
        Tar::default().pax(&[("path", b"../x")]).file("x", ""),
        Tar::default().pax(&[("GNU.sparse.major", b"1")]).file("x", ""),
        Tar::default().pax(&[("uid", b"4294967295")]).file("x", ""),
        Tar::default().add(EntryType::Symlink, "s", "t", b"data"),
        Tar::default().raw(&[b'x'; 512]),
    ];
    for (i, tar) in refused.iter().enumerate() {
        assert!(field.apply(&[], tar).is_err(), "case {i}");
    }
    // Kept inside.
    for tar in [
        Tar::default().file(&format!("/{}/file", &decoy[1..]), "inside"),
        Tar::default().symlink("s", &decoy).file("s/file", "inside"),
        Tar::default().symlink("s", &format!("{up}{}", &decoy[1..])).file("s/file", "inside"),
    ] {
        let layer = field.apply(&[], &tar).unwrap();
        assert_eq!(fs::read(field.fs(&layer).join(format!("{}/file", &decoy[1..]))).unwrap(), b"inside");
    }
    // A final symlink is replaced, never written or chmodded through.
    let tar = Tar::default().symlink("s", &format!("{decoy}/file")).file("s", "mine");
    let layer = field.apply(&[], &tar).unwrap();
    assert!(fs::symlink_metadata(field.fs(&layer).join("s")).unwrap().is_file());
    let tar = Tar::default().symlink("s", &decoy).dir("s/");
    let layer = field.apply(&[], &tar).unwrap();
    assert!(fs::symlink_metadata(field.fs(&layer).join("s")).unwrap().is_dir());
}

#[test]
fn layers_hide_and_replace_what_is_below() {
    let field = Field::new();
    let base = Tar::default()
        .dir("a")
        .file("a/one", "1")
        .file("a/two", "2")
        .dir("b")
        .file("b/x", "x")
        .dir("c")
        .file("c/y", "y")
        .file("f", "f");
    let base = field.apply(&[], &base).unwrap();
    let top = Tar::default()
        .file("a/.wh.one", "")
        .file("b/.wh..wh..opq", "")
        .file("b/new", "n")
        .symlink("c", "a")
        .file(".wh.f", "")
        .file("f/below", "now a directory")
        .file(".wh..wh.plnk", "aufs");
    let top = field.apply(std::slice::from_ref(&base.chain), &top).unwrap();
    let whiteout = fs::symlink_metadata(field.fs(&top).join("a/one")).unwrap();
    assert!(whiteout.file_type().is_char_device() && whiteout.rdev() == 0);
    let container = field.dir.path().join("container");
    fs::create_dir(&container).unwrap();
    let chain = [base.chain.clone(), top.chain.clone()];
    let root = field.layers.prepare(&container, &chain, false).unwrap().open_detached().unwrap();
    let there = |path: &str| root.open_dir(Path::new(".")).is_ok() && root.stat(Path::new(path)).is_ok();
    let expected = [
        ("a/one", false),
        ("a/two", true),
        ("b/x", false),
        ("b/new", true),
        ("c/two", true),
        ("c/y", false),
        ("f/below", true),
        (".wh..wh.plnk", false),
    ];
    for (path, visible) in expected {
        assert_eq!(there(path), visible, "{path}");
    }
}

#[test]
fn attributes_that_would_change_the_mount_are_dropped() {
    let field = Field::new();
    let capability = [1u8, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let tar = Tar::default()
        .pax(&[
            ("SCHILY.xattr.trusted.overlay.opaque", b"y"),
            ("SCHILY.xattr.trusted.overlay.redirect", b"/etc"),
            ("SCHILY.xattr.user.overlay.opaque", b"y"),
            ("SCHILY.xattr.user.mine", b"kept"),
            ("SCHILY.xattr.security.capability", &capability),
            ("mtime", b"1234567890.5"),
        ])
        .file("f", "data");
    let layer = field.apply(&[], &tar).unwrap();
    let mut names = vec![0u8; 4096];
    let path = field.fs(&layer).join("f");
    let n = rustix::fs::listxattr(&path, &mut names[..]).unwrap();
    let mut names: Vec<_> = names[..n].split(|&b| b == 0).filter(|n| !n.is_empty()).collect();
    names.sort();
    assert_eq!(names, [&b"security.capability"[..], b"user.mine"]);
    let meta = fs::metadata(path).unwrap();
    assert_eq!((meta.mtime(), meta.mtime_nsec()), (1_234_567_890, 500_000_000));
}

#[test]
fn devices_are_made_but_no_whiteout_by_the_back_door() {
    let field = Field::new();
    let layer = field
        .apply(&[], &Tar::default().add(EntryType::Char, "null", "x", b"").add(EntryType::Fifo, "p", "", b""))
        .unwrap();
    let null = fs::symlink_metadata(field.fs(&layer).join("null")).unwrap();
    assert_eq!((rustix::fs::major(null.rdev()), rustix::fs::minor(null.rdev())), (1, 3));
    assert!(fs::symlink_metadata(field.fs(&layer).join("p")).unwrap().file_type().is_fifo());
}

#[test]
fn budgets_end_bombs() {
    let field = Field::new();
    let small = Budget { bytes: 1 << 20, entries: 100, path: 100, depth: 10, ratio: 10 };
    let mut bomb = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    let mut header = Header::new_gnu();
    header.set_path("zeros").unwrap();
    header.set_size(1 << 40);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_cksum();
    bomb.write_all(header.as_bytes()).unwrap();
    bomb.write_all(&vec![0; 4 << 20]).unwrap();
    let many = (0..200).fold(Tar::default(), |tar, i| tar.file(&format!("f{i}"), ""));
    let deep = Tar::default().file(&"d/".repeat(20), "");
    let junk = Tar::default().file("f", "").bytes().into_iter().chain(vec![7; 2 << 20]).collect::<Vec<_>>();
    for (i, bytes) in [bomb.finish().unwrap(), many.bytes(), deep.bytes(), junk].iter().enumerate() {
        let result = field.layers.apply(&[], &bytes[..], &small, None);
        assert!(matches!(result, Err(Error::Budget { .. })), "case {i}: {result:?}");
    }
    assert_eq!(fs::read_dir(field.dir.path().join("layers")).unwrap().count(), 0);
}

#[test]
fn a_stream_cut_anywhere_leaves_nothing() {
    let field = Field::new();
    let tar = Tar::default().dir("d").file("d/f", &"x".repeat(2000)).symlink("s", "d");
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(&tar.bytes()).unwrap();
    let packed = packed.finish().unwrap();
    for length in 20..packed.len() {
        assert!(field.layers.apply(&[], &packed[..length], &Budget::default(), None).is_err(), "{length}");
    }
    let whole = field.layers.apply(&[], &packed[..], &Budget::default(), None).unwrap();
    assert_eq!(field.apply(&[], &tar).unwrap(), whole, "compression does not change the layer");
    let wrong = format!("sha256:{}", "0".repeat(64)).parse().unwrap();
    let other = Tar::default().file("other", "");
    let result = field.layers.apply(&[], &other.bytes()[..], &Budget::default(), Some(&wrong));
    assert!(matches!(result, Err(Error::Mismatch { .. })));
    assert_eq!(field.layers.list().unwrap(), [whole.chain]);
}

/// Name, type, mode, owner, time, size, link target of all below `dir`, by find(1).
fn listing(dir: &Path) -> String {
    let output =
        Command::new("find").arg(dir).args(["-printf", "%P %y %m %U:%G %T@ %s %l %n\\n"]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    // A directory's size depends on its history.
    let fields = |line: &str| {
        line.split(' ')
            .enumerate()
            .filter(|(i, _)| *i != 5 || line.contains(" f "))
            .map(|(_, f)| f.to_owned() + " ")
            .collect::<String>()
    };
    let mut lines: Vec<_> = text.lines().map(fields).collect();
    lines.sort();
    lines.join("\n")
}

#[test]
fn an_ordinary_tree_is_what_gnu_tar_makes_of_it() {
    let field = Field::new();
    let source = field.dir.path().join("source");
    fs::create_dir_all(source.join("deep").join("d".repeat(200)).join("e".repeat(200))).unwrap();
    fs::write(source.join("plain"), vec![1; 100_000]).unwrap();
    fs::hard_link(source.join("plain"), source.join("deep/hard")).unwrap();
    symlink("../nowhere/at all", source.join("deep/soft")).unwrap();
    fs::write(source.join("deep").join("d".repeat(200)).join("n\u{fc} \n name"), b"odd").unwrap();
    fs::write(source.join("deep").join("d".repeat(200)).join("e".repeat(200)).join("f".repeat(250)), b"long")
        .unwrap();
    let sparse = fs::File::create(source.join("sparse")).unwrap();
    sparse.set_len(64 << 20).unwrap();
    std::os::unix::fs::FileExt::write_at(&sparse, b"middle", 32 << 20).unwrap();
    Command::new("sh").arg("-c").arg("mkfifo pipe; touch -d 2001-02-03 plain; chmod 4755 plain; chown 12:34 sparse; touch -h -d 1999-01-01 deep/soft; touch -d 1998-01-01 deep; chmod 1777 deep").current_dir(&source).status().unwrap();
    for options in [&["--format=gnu"][..], &["--format=gnu", "--sparse"], &["--format=pax"]] {
        let file = field.dir.path().join("t.tar");
        let tar = |args: &[&str]| assert!(Command::new("tar").args(args).status().unwrap().success());
        let (archive, from) = (file.to_str().unwrap(), source.to_str().unwrap());
        tar(&[&["-cf", archive, "--numeric-owner", "-C", from], options, &["."]].concat());
        let oracle = field.dir.path().join("oracle");
        fs::create_dir(&oracle).unwrap();
        tar(&["-xpf", archive, "--numeric-owner", "-C", oracle.to_str().unwrap()]);
        let layer =
            field.layers.apply(&[], fs::File::open(&file).unwrap(), &Budget::default(), None).unwrap();
        assert_eq!(listing(&field.fs(&layer)), listing(&oracle), "{options:?}");
        let files = |dir: &Path| -> Vec<_> {
            let seen = picture(dir).into_iter().filter(|(_, (mode, ..))| mode & 0o170_000 == 0o100_000);
            seen.map(|(path, (.., content))| (path.strip_prefix(dir).unwrap().to_owned(), content)).collect()
        };
        // Not `assert_eq`: its message would be the files.
        assert!(files(&field.fs(&layer)) == files(&oracle), "{options:?}");
        if options.contains(&"--sparse") {
            assert!(fs::metadata(field.fs(&layer).join("sparse")).unwrap().blocks() < 1000, "holes are kept");
        }
        fs::remove_dir_all(&oracle).unwrap();
    }
}

/// A layer that mentions `d/e/name` but neither `d` nor `e`, above one where they have an owner, a mode and a time.
#[test]
fn layers_staged_in_any_order_are_what_they_are_one_by_one() {
    let mut base = Tar::default();
    for (mode, path) in [(0o700, "d"), (0o2750, "d/e")] {
        let mut header = Header::new_ustar();
        header.set_entry_type(EntryType::Directory);
        header.set_path(path).unwrap();
        header.set_mode(mode);
        header.set_uid(7);
        header.set_gid(8);
        header.set_mtime(1_000_000);
        header.set_size(0);
        header.set_cksum();
        base = base.raw(header.as_bytes());
    }
    let tars =
        [base, Tar::default().file("d/e/one", "1"), Tar::default().file("d/e/two", "22").dir("d/e/new")];
    let (one_by_one, at_once) = (Field::new(), Field::new());
    let mut chain = Vec::new();
    let mut expected = Vec::new();
    for tar in &tars {
        let layer = one_by_one.apply(&chain, tar).unwrap();
        chain.push(layer.chain.clone());
        expected.push(layer);
    }
    let layers = &at_once.layers;
    let mut staged: Vec<_> = std::thread::scope(|scope| {
        let stage = |tar: &Tar| {
            let bytes = tar.bytes();
            scope.spawn(move || layers.stage(&bytes[..], &Budget::default(), None).unwrap())
        };
        let threads: Vec<_> = tars.iter().rev().map(stage).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    // Whoever makes one keeps it, and nobody sees it.
    layers.sweep().unwrap();
    assert_eq!(layers.list().unwrap(), []);
    staged.reverse();
    let below = |n: usize| chain[..n].to_vec();
    let placed = staged.into_iter().enumerate().map(|(n, staged)| (below(n), staged)).collect();
    assert_eq!(layers.commit(placed).unwrap(), expected);
    for layer in &expected {
        // The root itself, which no layer here mentions, has the time of its making.
        let below = |field: &Field| listing(&field.fs(layer)).lines().skip(1).map(str::to_owned).collect();
        let (left, right): (Vec<_>, Vec<_>) = (below(&at_once), below(&one_by_one));
        assert_eq!(left, right);
    }
    let dir = fs::metadata(at_once.fs(&expected[2]).join("d/e")).unwrap();
    assert_eq!((dir.mode() & 0o7777, dir.uid(), dir.gid(), dir.mtime()), (0o2750, 7, 8, 1_000_000));
    // Again: they are here already.
    let again = layers.stage(&tars[0].bytes()[..], &Budget::default(), None).unwrap();
    assert_eq!(layers.commit(vec![(Vec::new(), again)]).unwrap(), expected[..1]);
    let dropped = layers.stage(&tars[0].bytes()[..], &Budget::default(), None).unwrap();
    drop(dropped);
    let left = fs::read_dir(at_once.dir.path().join("layers")).unwrap().count();
    assert_eq!(left, 3, "only the layers");
}
