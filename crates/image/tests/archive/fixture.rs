use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Command;

use content::Digest;
use image::{Error, Image, Images};
use serde_json::{Value, json};
use tar::{EntryType, Header};

pub(super) const OCI: &str = "application/vnd.oci.image.manifest.v1+json";
pub(super) const DOCKER: &str = "application/vnd.docker.distribution.manifest.v2+json";
pub(super) const INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub(super) const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

pub(super) fn fresh() -> (tempfile::TempDir, Images) {
    let dir = tempfile::Builder::new().prefix("sampan-test-archive-").tempdir().unwrap();
    let images = Images::open(&dir.path().join("data")).unwrap();
    (dir, images)
}

/// A tarball of files (name, content); `->` in the content makes a symlink.
pub(super) fn tarball(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (name, content) in files {
        let mut header = Header::new_gnu();
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(1_000_000_000);
        header.as_gnu_mut().unwrap().name[..name.len()].copy_from_slice(name.as_bytes());
        match content.strip_prefix(b"->") {
            Some(target) => {
                header.set_entry_type(EntryType::Symlink);
                header.as_gnu_mut().unwrap().linkname[..target.len()].copy_from_slice(target);
                header.set_size(0);
                header.set_cksum();
                tar.append(&header, &b""[..]).unwrap();
            }
            None => {
                header.set_size(content.len() as u64);
                header.set_cksum();
                tar.append(&header, *content).unwrap();
            }
        }
    }
    tar.into_inner().unwrap()
}

pub(super) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut child = Command::new("gzip")
        .arg("-nc")
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(bytes).unwrap();
    child.wait_with_output().unwrap().stdout
}

pub(super) fn sha(bytes: &[u8]) -> String {
    Digest::of(bytes).to_string()
}

/// A manifest, its config and blobs.
pub(super) struct Fixture {
    pub(super) manifest: Value,
    pub(super) config: Vec<u8>,
    pub(super) blobs: BTreeMap<String, Vec<u8>>,
}

impl Fixture {
    /// Two layers, one plain and one compressed.
    pub(super) fn new() -> Self {
        let bottom = tarball(&[("etc/one", b"1"), ("same", b"below")]);
        let top = tarball(&[("etc/two", b"2"), ("same", b"above")]);
        let packed = gzip(&top);
        let config = json!({
            "architecture": "amd64", "os": "linux", "created": "2024-01-02T03:04:05Z",
            "config": { "Cmd": ["/etc/one"], "Env": ["A=b"] },
            "rootfs": { "type": "layers", "diff_ids": [sha(&bottom), sha(&top)] },
            "history": [
                { "created_by": "ADD bottom" }, { "created_by": "ENV A=b", "empty_layer": true },
                { "created_by": "ADD top", "comment": "the end" },
            ],
            "unknown": "kept byte for byte",
        });
        let config = serde_json::to_vec_pretty(&config).unwrap();
        let descriptor = |kind: &str, bytes: &[u8]| json!({ "mediaType": kind, "digest": sha(bytes), "size": bytes.len() });
        let manifest = json!({
            "schemaVersion": 2, "mediaType": OCI,
            "config": descriptor("application/vnd.oci.image.config.v1+json", &config),
            "layers": [descriptor(LAYER, &bottom), descriptor(&format!("{LAYER}+gzip"), &packed)],
            "annotations": { "made": "elsewhere" },
        });
        Self { manifest, config, blobs: [(sha(&bottom), bottom), (sha(&packed), packed)].into() }
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        serde_json::to_vec_pretty(&self.manifest).unwrap()
    }

    pub(super) fn admit(&self, images: &Images, names: &[&str]) -> Result<Image, Error> {
        let plan = images.plan(&self.bytes(), OCI, &self.config)?;
        for (index, layer) in plan.layers().iter().enumerate().filter(|(_, layer)| !layer.here) {
            images.apply_layer(&plan, index, &self.blobs[&layer.descriptor.digest.to_string()][..])?;
        }
        images.admit(plan, &names.iter().map(|name| name.parse().unwrap()).collect::<Vec<_>>())
    }

    /// The same as an image layout.
    pub(super) fn layout(&self, index: &Value) -> Vec<u8> {
        let (manifest, index) = (self.bytes(), serde_json::to_vec(index).unwrap());
        let mut files = vec![("oci-layout".to_owned(), br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec())];
        files.push(("index.json".into(), index));
        for bytes in self.blobs.values().chain([&manifest, &self.config]) {
            files.push((format!("./blobs/sha256/{}", Digest::of(bytes).hex()), bytes.clone()));
        }
        tarball(&files.iter().map(|(name, bytes)| (&**name, &**bytes)).collect::<Vec<_>>())
    }

    pub(super) fn index(&self) -> Value {
        let bytes = self.bytes();
        json!({ "schemaVersion": 2, "manifests": [{
            "mediaType": OCI, "digest": sha(&bytes), "size": bytes.len(),
            "annotations": { "org.opencontainers.image.ref.name": "example.org/two:1" },
        }] })
    }
}

pub(super) fn blobs(images_dir: &Path) -> usize {
    fs::read_dir(images_dir.join("data/content/blobs/sha256")).unwrap().count()
}

pub(super) fn save(images: &Images, names: &[&str]) -> Vec<u8> {
    let mut bytes = Vec::new();
    images.save(&names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>(), &mut bytes).unwrap();
    bytes
}
