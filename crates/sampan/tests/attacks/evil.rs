//! Images that nobody honest would make, and what they are after.

use std::collections::BTreeMap;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;
use testkit::{BUSYBOX, Host};

/// A root file system that becomes an image by `image import`.
pub(crate) struct Tree(tempfile::TempDir);

impl Tree {
    /// With busybox, its shell, and nothing else.
    pub(crate) fn new() -> Tree {
        let dir = tempfile::Builder::new().prefix("sampan-test-tree-").tempdir().unwrap();
        std::fs::create_dir(dir.path().join("bin")).unwrap();
        std::fs::copy(BUSYBOX, dir.path().join("bin/busybox")).unwrap();
        for applet in ["sh", "id", "cat", "ls", "stat"] {
            symlink("busybox", dir.path().join("bin").join(applet)).unwrap();
        }
        Tree(dir)
    }

    /// A file, with its directories.
    pub(crate) fn file(&self, path: &str, content: &str) -> &Tree {
        let path = self.path(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
        self
    }

    /// A symbolic link, with its directories.
    pub(crate) fn link(&self, path: &str, target: &str) -> &Tree {
        let path = self.path(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        symlink(target, path).unwrap();
        self
    }

    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.0.path().join(path.trim_start_matches('/'))
    }

    /// Makes it an image of the host's, with Dockerfile instructions.
    pub(crate) fn import(&self, host: &Host, name: &str, changes: &[&str]) {
        let tar = Command::new("tar").arg("-cf-").arg("-C").arg(self.0.path()).arg(".").output().unwrap();
        let mut args = vec!["image", "import", "-", name];
        changes.iter().for_each(|change| args.extend(["-c", change]));
        host.sampan_with_input(args, &tar.stdout).expect_code(0);
    }
}

/// Changes an image's configuration as a registry could: the documents are whole, and their digests are right.
pub(crate) fn tamper(host: &Host, name: &str, change: impl FnOnce(&mut Value, &mut Value)) {
    let content = host.data().join("content");
    let blob = |hex: &str| content.join("blobs/sha256").join(hex);
    let read = |path: PathBuf| serde_json::from_slice::<Value>(&std::fs::read(path).unwrap()).unwrap();
    let hex_of = |digest: &str| digest.trim_start_matches("sha256:").to_owned();
    let tag = find_tag(&content.join("refs"), name);
    let old_manifest = hex_of(std::fs::read_link(&tag).unwrap().to_str().unwrap());
    let mut manifest = read(blob(&old_manifest));
    let old_config = hex_of(manifest["config"]["digest"].as_str().unwrap());
    let mut config = read(blob(&old_config));
    change(&mut config, &mut manifest);
    let store = |document: &Value| {
        let bytes = serde_json::to_vec(document).unwrap();
        let hex = sha256(&bytes);
        std::fs::write(blob(&hex), &bytes).unwrap();
        (hex, bytes.len())
    };
    let (config, size) = store(&config);
    manifest["config"]["digest"] = format!("sha256:{config}").into();
    manifest["config"]["size"] = size.into();
    let (manifest, _) = store(&manifest);
    // The store's own records of it, which a pull would write.
    let images = content.join("images");
    let mut record = read(images.join(&old_config).join("record.json"));
    record["manifest"] = format!("sha256:{manifest}").into();
    std::fs::create_dir_all(images.join(&config)).unwrap();
    std::fs::write(images.join(&config).join("record.json"), record.to_string()).unwrap();
    for (link, target) in [(content.join("manifests").join(&manifest), &config), (tag, &manifest)] {
        let _ = std::fs::remove_file(&link);
        symlink(format!("sha256:{target}"), link).unwrap();
    }
}

fn find_tag(refs: &Path, name: &str) -> PathBuf {
    let mut queue = vec![refs.to_owned()];
    while let Some(dir) = queue.pop() {
        for entry in std::fs::read_dir(dir).unwrap().flatten() {
            let path = entry.path();
            if path.is_symlink() && path.to_str().unwrap().contains(&format!("/{name}/_tags/")) {
                return path;
            }
            if path.is_dir() && !path.is_symlink() {
                queue.push(path);
            }
        }
    }
    panic!("no tag of {name}")
}

pub(crate) fn sha256(bytes: &[u8]) -> String {
    let mut child = Command::new("sha256sum").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(bytes).unwrap();
    let output = child.wait_with_output().unwrap();
    String::from_utf8(output.stdout).unwrap().split(' ').next().unwrap().to_owned()
}

/// Files of the host that an attack is after.
pub(crate) struct Decoy(tempfile::TempDir);

impl Decoy {
    pub(crate) fn new() -> Decoy {
        let dir = tempfile::Builder::new().prefix("sampan-test-decoy-").tempdir().unwrap();
        for name in ["null", "zero", "ptmx", "console", "hosts", "resolv.conf", "hostname", "passwd", "file"]
        {
            std::fs::write(dir.path().join(name), "decoy").unwrap();
        }
        std::fs::create_dir(dir.path().join("shm")).unwrap();
        Decoy(dir)
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    /// Names, kinds, owners, modes, times of change and contents of everything in it.
    pub(crate) fn state(&self) -> BTreeMap<PathBuf, String> {
        let mut seen = BTreeMap::new();
        let mut queue = vec![self.path().to_owned()];
        while let Some(path) = queue.pop() {
            let stat = std::fs::symlink_metadata(&path).unwrap();
            let (times, owner) = ((stat.ctime(), stat.ctime_nsec()), (stat.uid(), stat.gid()));
            let content =
                if stat.is_file() { std::fs::read_to_string(&path).unwrap() } else { String::new() };
            let line = format!("{:o} {owner:?} {times:?} {} {content}", stat.mode(), stat.rdev());
            seen.insert(path.clone(), line);
            if stat.is_dir() {
                queue.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            }
        }
        let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        let text = self.path().to_str().unwrap();
        assert!(!table.contains(text), "something is mounted on the decoy: {table}");
        seen
    }
}
