//! Images from documents and archives, and back: round trips, other tools' archives, hostile ones (root).
#![allow(clippy::unwrap_used, reason = "a test may panic, its helpers too")]

mod fixture;
mod hostile;

use std::fs::{self, File};
use std::io::Read;
use std::path::Path;
use std::process::Command;

use content::Digest;
use image::{Error, Platform, choose};
use serde_json::{Value, json};

use fixture::*;

#[test]
fn documents_become_an_image_byte_for_byte() {
    let (_dir, images) = fresh();
    let fixture = Fixture::new();
    let image = fixture.admit(&images, &["example.org/two:1", "two"]).unwrap();
    assert_eq!((image.id, image.manifest), (Digest::of(&fixture.config), Digest::of(&fixture.bytes())));
    assert_eq!(images.store().read(image.id, 1 << 20).unwrap(), fixture.config);
    assert_eq!(images.store().read(image.manifest, 1 << 20).unwrap(), fixture.bytes());
    assert_eq!(images.resolve("two:latest").unwrap().id, image.id);
    let sizes: Vec<_> = images.history(&image).unwrap().iter().map(|step| step.size).collect();
    assert_eq!(sizes, [6, 0, 6]);
    let again = images.plan(&fixture.bytes(), OCI, &fixture.config).unwrap();
    assert!(again.layers().iter().all(|layer| layer.here), "what is here is not fetched again");
    // In another order than bottom first a layer is refused.
    let (_dir, empty) = fresh();
    let plan = empty.plan(&fixture.bytes(), OCI, &fixture.config).unwrap();
    let top = &fixture.blobs[&plan.layers()[1].descriptor.digest.to_string()];
    let result = empty.apply_layer(&plan, 1, &top[..]);
    assert!(matches!(result, Err(Error::Snapshot(snapshot::Error::NoLayer(_)))), "{result:?}");
    assert!(matches!(empty.admit(plan, &[]), Err(Error::Content(content::Error::NoBlob(_)))));
}

#[test]
fn saved_removed_and_loaded_is_the_same() {
    let (dir, images) = fresh();
    let fixture = Fixture::new();
    let image = fixture.admit(&images, &["example.org/two:1", "two"]).unwrap();
    let first = save(&images, &["example.org/two:1", "two"]);
    assert_eq!(save(&images, &["example.org/two:1", "two"]), first, "the same bytes again");
    let gone = images.prune(true, |_| None).unwrap();
    assert!(gone.bytes >= 12 && gone.removed.len() == 5, "{gone:?}");
    assert_eq!(blobs(dir.path()), 0);
    let file = dir.path().join("saved.tar");
    for packed in [first.clone(), gzip(&first)] {
        fs::write(&file, packed).unwrap();
        let loaded = images.load_archive(File::open(&file).unwrap()).unwrap();
        assert_eq!(loaded.len(), 1);
        let names: Vec<_> = loaded[0].names.iter().map(content::Reference::familiar).collect();
        assert_eq!(names, ["two:latest", "example.org/two:1"]);
        assert_eq!((loaded[0].image.id, loaded[0].image.manifest), (image.id, image.manifest));
        assert_eq!(save(&images, &["example.org/two:1", "two"]), first);
        images.prune(true, |_| None).unwrap();
    }
    images.load_stream(&first[..]).unwrap();
    // By id there is no name in it, and a bare name stands for all tags.
    images.tag("two", &"two:2".parse().unwrap()).unwrap();
    assert!(!String::from_utf8_lossy(&save(&images, &[&image.id.hex()])).contains("RepoTags\":["));
    let all = save(&images, &["two"]);
    assert!(String::from_utf8_lossy(&all).contains(r#""RepoTags":["two:2","two:latest"]"#));
    assert!(matches!(images.save(&["none".into()], std::io::sink()), Err(Error::NotFound(_))));
}

#[test]
fn an_image_of_the_hosts_programs_is_saved_from_its_tree() {
    let (_dir, images) = fresh();
    let image = images.resolve("host:sh,env").unwrap();
    let bytes = save(&images, &["host:sh,env"]);
    let (_dir, other) = fresh();
    let loaded = other.load_stream(&bytes[..]).unwrap();
    assert_eq!((loaded[0].image.id, loaded[0].image.manifest), (image.id, image.manifest));
    assert_eq!(save(&other, &["host:sh,env"]).len(), bytes.len());
}

#[test]
fn dockers_archive_without_manifests() {
    let (dir, images) = fresh();
    let fixture = Fixture::new();
    let tars: Vec<_> = fixture.blobs.values().collect();
    let config: Value = serde_json::from_slice(&fixture.config).unwrap();
    let diffs: Vec<_> =
        config["rootfs"]["diff_ids"].as_array().unwrap().iter().map(|d| d.as_str().unwrap()).collect();
    let (bottom, top) = match sha(tars[0]) == diffs[0] {
        true => (tars[0], tars[1]),
        false => (tars[1], tars[0]),
    };
    let name = format!("{}.json", Digest::of(&fixture.config).hex());
    let manifest =
        json!([{ "Config": name, "RepoTags": ["old:1"], "Layers": ["a/layer.tar", "b/layer.tar"] }]);
    let manifest = manifest.to_string();
    let archive = tarball(&[
        ("a/layer.tar", b"->../x/layer.tar"),
        ("x/layer.tar", bottom),
        ("x/layer.tar", bottom),
        ("b/layer.tar", top),
        (&name, &fixture.config),
        ("manifest.json", manifest.as_bytes()),
    ]);
    let first = images.load_stream(&archive[..]).unwrap().remove(0);
    assert_eq!(first.image.id, Digest::of(&fixture.config));
    assert_eq!(images.resolve("old:1").unwrap().manifest, first.image.manifest);
    let file = dir.path().join("old.tar");
    fs::write(&file, &archive).unwrap();
    let again = images.load_archive(File::open(&file).unwrap()).unwrap().remove(0);
    assert_eq!(again.image.manifest, first.image.manifest, "the manifest is made the same way each time");
    // The same config with its original manifest: both stay usable, and both go.
    let image = fixture.admit(&images, &["two"]).unwrap();
    assert_ne!(image.manifest, first.image.manifest);
    images.prune(false, |_| None).unwrap();
    save(&images, &["old:1", "two"]);
    images.prune(true, |_| None).unwrap();
    assert_eq!(blobs(dir.path()), 0);
}

#[test]
fn an_index_inside_a_layout_gives_the_hosts_image() {
    let (_dir, images) = fresh();
    let mut fixture = Fixture::new();
    let host = Platform::default();
    let mut inner = fixture.index();
    inner["manifests"][0]["platform"] = json!({ "os": host.os, "architecture": host.architecture });
    let proof = json!({ "mediaType": OCI, "digest": sha(b"proof"), "size": 5,
        "platform": { "os": "unknown", "architecture": "unknown" } });
    inner["manifests"].as_array_mut().unwrap().push(proof);
    let inner = serde_json::to_vec(&inner).unwrap();
    let outer = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": [{
        "mediaType": INDEX, "digest": sha(&inner), "size": inner.len(),
        "annotations": { "io.containerd.image.name": "docker.io/library/two:9", "org.opencontainers.image.ref.name": "9" },
    }] });
    fixture.blobs.insert(sha(&inner), inner);
    let loaded = images.load_stream(&fixture.layout(&outer)[..]).unwrap();
    assert_eq!((loaded.len(), loaded[0].image.id), (1, Digest::of(&fixture.config)));
    assert_eq!(loaded[0].names[0].familiar(), "two:9");
}

#[test]
fn an_index_gives_the_image_for_a_platform() {
    let entry = |platform: Value, text: &str| json!({ "mediaType": OCI, "digest": sha(text.as_bytes()), "size": 1, "platform": platform });
    let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": [
        entry(json!({ "os": "unknown", "architecture": "unknown" }), "proof"),
        entry(json!({ "os": "windows", "architecture": "amd64", "os.version": "10" }), "windows"),
        entry(json!({ "os": "linux", "architecture": "arm", "variant": "v5" }), "v5"),
        entry(json!({ "os": "linux", "architecture": "arm", "variant": "v6" }), "v6"),
        entry(json!({ "os": "linux", "architecture": "amd64" }), "amd64"),
        entry(json!({ "os": "linux", "architecture": "arm64", "variant": "v8" }), "arm64"),
    ] });
    let bytes = serde_json::to_vec(&index).unwrap();
    let pick = |platform: &str| choose(&bytes, INDEX, &platform.parse::<Platform>().unwrap());
    for (platform, text) in [
        ("linux/amd64", "amd64"),
        ("linux/arm64/v8", "arm64"),
        ("linux/aarch64", "arm64"),
        ("linux/arm/v7", "v6"),
        ("linux/arm/v5", "v5"),
    ] {
        assert_eq!(pick(platform).unwrap().digest, Digest::of(text.as_bytes()), "{platform}");
    }
    let error = pick("linux/s390x").unwrap_err().to_string();
    assert!(error.contains("linux/s390x") && error.contains("linux/arm/v6"), "{error}");
    let host = Platform::default();
    for bad in [
        json!({ "schemaVersion": 2, "manifests": [], "layers": [] }),
        json!({ "schemaVersion": 2, "manifests": [], "config": {} }),
        json!({ "schemaVersion": 2, "mediaType": OCI, "manifests": [] }),
        json!({ "schemaVersion": 2, "manifests": {} }),
        json!({ "schemaVersion": 2, "Manifests": [] }),
        json!({ "schemaVersion": 2, "manifests": vec![entry(json!({ "os": "linux", "architecture": "amd64" }), "x"); 1025] }),
    ] {
        assert!(choose(&serde_json::to_vec(&bad).unwrap(), INDEX, &host).is_err(), "{bad}");
    }
    assert!(choose(&bytes, OCI, &host).is_err());
    let mut only = index.clone();
    only["manifests"] = json!([{ "mediaType": OCI, "digest": sha(b"only"), "size": 1 }]);
    assert_eq!(
        choose(&serde_json::to_vec(&only).unwrap(), INDEX, &host).unwrap().digest,
        Digest::of(b"only")
    );
}

fn skopeo(dir: &Path, args: &[&str]) {
    let output = Command::new("skopeo")
        .current_dir(dir)
        .args(["--insecure-policy", "--tmpdir", ".", "copy", "-q"])
        .args(args)
        .output()
        .expect("skopeo is needed; tools/prepare test installs it");
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn skopeo_reads_what_is_saved_and_what_it_writes_is_loaded() {
    let (dir, images) = fresh();
    let fixture = Fixture::new();
    let image = fixture.admit(&images, &["two:1"]).unwrap();
    let at = |name: &str| dir.path().join(name);
    fs::write(at("saved.tar"), save(&images, &["two:1"])).unwrap();
    images.prune(true, |_| None).unwrap();
    let documents = |layout: &str| {
        let index: Value = serde_json::from_slice(&fs::read(at(layout).join("index.json")).unwrap()).unwrap();
        let digest = index["manifests"][0]["digest"].as_str().unwrap();
        let blob = at(layout).join("blobs").join(digest.replace(':', "/"));
        let manifest: Value = serde_json::from_slice(&fs::read(blob).unwrap()).unwrap();
        (manifest["config"]["digest"].as_str().unwrap().to_owned(), digest.to_owned())
    };
    // Between the two formats skopeo writes configs anew; within one they keep their digests.
    skopeo(dir.path(), &["docker-archive:saved.tar", "oci:converted:x"]);
    skopeo(dir.path(), &["docker-archive:saved.tar", "dir:from-docker"]);
    let manifest: Value =
        serde_json::from_slice(&fs::read(at("from-docker/manifest.json")).unwrap()).unwrap();
    assert_eq!(manifest["config"]["digest"], image.id.to_string());
    // Else it would compress the plain layer.
    skopeo(dir.path(), &["--preserve-digests", "oci-archive:saved.tar", "oci:from-oci:x"]);
    assert_eq!(documents("from-oci"), (image.id.to_string(), image.manifest.to_string()));
    skopeo(dir.path(), &["docker-archive:saved.tar", "docker-archive:theirs.docker:two:2"]);
    let loaded = images.load_archive(File::open(at("theirs.docker")).unwrap()).unwrap();
    assert_eq!((loaded[0].image.id, loaded[0].names[0].familiar().as_str()), (image.id, "two:2"));
    images.prune(true, |_| None).unwrap();
    skopeo(
        dir.path(),
        &["--preserve-digests", "oci-archive:saved.tar", "oci-archive:theirs.oci:example.org/two:3"],
    );
    let mut bytes = Vec::new();
    File::open(at("theirs.oci")).unwrap().read_to_end(&mut bytes).unwrap();
    let loaded = images.load_stream(&gzip(&bytes)[..]).unwrap();
    assert_eq!((loaded[0].image.id, loaded[0].image.manifest), (image.id, image.manifest));
    assert_eq!(loaded[0].names[0].to_string(), "example.org/two:3");
}
