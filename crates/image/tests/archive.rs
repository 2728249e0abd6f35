//! Images from documents and archives, and back: round trips, other tools' archives, hostile ones (root).
#![allow(clippy::unwrap_used, reason = "a test may panic, its helpers too")]

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::Path;
use std::process::Command;

use content::Digest;
use image::{Error, Image, Images, Manifest, Platform, choose};
use serde_json::{Value, json};
use tar::{EntryType, Header};

const OCI: &str = "application/vnd.oci.image.manifest.v1+json";
const DOCKER: &str = "application/vnd.docker.distribution.manifest.v2+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

fn fresh() -> (tempfile::TempDir, Images) {
    let dir = tempfile::Builder::new().prefix("sampan-test-archive-").tempdir().unwrap();
    let images = Images::open(&dir.path().join("data")).unwrap();
    (dir, images)
}

/// A tarball of files (name, content); `->` in the content makes a symlink.
fn tarball(files: &[(&str, &[u8])]) -> Vec<u8> {
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

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut child = Command::new("gzip")
        .arg("-nc")
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(bytes).unwrap();
    child.wait_with_output().unwrap().stdout
}

fn sha(bytes: &[u8]) -> String {
    Digest::of(bytes).to_string()
}

/// A manifest, its config and blobs.
struct Fixture {
    manifest: Value,
    config: Vec<u8>,
    blobs: BTreeMap<String, Vec<u8>>,
}

impl Fixture {
    /// Two layers, one plain and one compressed.
    fn new() -> Self {
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

    fn bytes(&self) -> Vec<u8> {
        serde_json::to_vec_pretty(&self.manifest).unwrap()
    }

    fn admit(&self, images: &Images, names: &[&str]) -> Result<Image, Error> {
        let plan = images.plan(&self.bytes(), OCI, &self.config)?;
        for (index, layer) in plan.layers().iter().enumerate().filter(|(_, layer)| !layer.here) {
            images.apply_layer(&plan, index, &self.blobs[&layer.descriptor.digest.to_string()][..])?;
        }
        images.admit(plan, &names.iter().map(|name| name.parse().unwrap()).collect::<Vec<_>>())
    }

    /// The same as an image layout.
    fn layout(&self, index: &Value) -> Vec<u8> {
        let (manifest, index) = (self.bytes(), serde_json::to_vec(index).unwrap());
        let mut files = vec![("oci-layout".to_owned(), br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec())];
        files.push(("index.json".into(), index));
        for bytes in self.blobs.values().chain([&manifest, &self.config]) {
            files.push((format!("./blobs/sha256/{}", Digest::of(bytes).hex()), bytes.clone()));
        }
        tarball(&files.iter().map(|(name, bytes)| (&**name, &**bytes)).collect::<Vec<_>>())
    }

    fn index(&self) -> Value {
        let bytes = self.bytes();
        json!({ "schemaVersion": 2, "manifests": [{
            "mediaType": OCI, "digest": sha(&bytes), "size": bytes.len(),
            "annotations": { "org.opencontainers.image.ref.name": "example.org/two:1" },
        }] })
    }
}

fn blobs(images_dir: &Path) -> usize {
    fs::read_dir(images_dir.join("data/content/blobs/sha256")).unwrap().count()
}

fn save(images: &Images, names: &[&str]) -> Vec<u8> {
    let mut bytes = Vec::new();
    images.save(&names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>(), &mut bytes).unwrap();
    bytes
}

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
fn hostile_archives_are_refused() {
    let (dir, images) = fresh();
    fs::write(dir.path().join("secret"), "host").unwrap();
    let secret = format!("->{}", dir.path().join("secret").display());
    let fixture = Fixture::new();
    let docker = |config: &str, layers: &[&str]| {
        json!([{ "Config": config, "RepoTags": null, "Layers": layers }]).to_string()
    };
    let layout = br#"{"imageLayoutVersion":"1.0.0"}"#;
    let outside = docker("../../etc/passwd", &[]);
    let linked = docker("c", &[]);
    let short = docker("c", &["l"]);
    let misnamed = docker(&format!("{}.json", "0".repeat(64)), &[]);
    let long = vec![b' '; (4 << 20) + 1];
    let zeros = format!("{}.json", "0".repeat(64));
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("nothing", tarball(&[("hello", b"x")])),
        ("outside", tarball(&[("manifest.json", outside.as_bytes())])),
        ("absolute link", tarball(&[("manifest.json", linked.as_bytes()), ("c", secret.as_bytes())])),
        ("link out", tarball(&[("manifest.json", linked.as_bytes()), ("c", b"->../../etc/passwd")])),
        (
            "two links",
            tarball(&[("manifest.json", linked.as_bytes()), ("c", b"->d"), ("d", b"->e"), ("e", b"{}")]),
        ),
        ("loop", tarball(&[("manifest.json", linked.as_bytes()), ("c", b"->c")])),
        ("name out", tarball(&[("../manifest.json", linked.as_bytes())])),
        ("twice", tarball(&[("manifest.json", b"[]"), ("manifest.json", b"[]")])),
        ("none in it", tarball(&[("manifest.json", b"[]")])),
        ("not an array", tarball(&[("manifest.json", b"{}")])),
        ("key twice", tarball(&[("manifest.json", br#"[{"Config":"a","Config":"b","Layers":[]}]"#)])),
        ("too long", tarball(&[("manifest.json", &long)])),
        ("config too long", tarball(&[("manifest.json", linked.as_bytes()), ("c", &long)])),
        ("fewer layers", tarball(&[("manifest.json", linked.as_bytes()), ("c", &fixture.config)])),
        (
            "more diff ids",
            tarball(&[("manifest.json", short.as_bytes()), ("c", &fixture.config), ("l", b"")]),
        ),
        ("misnamed", tarball(&[("manifest.json", misnamed.as_bytes()), (&zeros, &fixture.config)])),
        ("version", tarball(&[("oci-layout", br#"{"imageLayoutVersion":"2.0.0"}"#), ("index.json", b"{}")])),
        ("no index", tarball(&[("oci-layout", layout)])),
        (
            "empty index",
            tarball(&[("oci-layout", layout), ("index.json", br#"{"schemaVersion":2,"manifests":[]}"#)]),
        ),
        ("nested", tarball(&[("manifest.json", "[".repeat(100_000).as_bytes())])),
        ("empty", Vec::new()),
    ];
    for (case, archive) in cases {
        let file = dir.path().join("case.tar");
        fs::write(&file, &archive).unwrap();
        let error = images.load_archive(File::open(&file).unwrap()).unwrap_err();
        assert!(!matches!(error, Error::Kernel(_) | Error::Io { .. }), "{case}: {error:?}");
        let error = images.load_stream(&archive[..]).unwrap_err();
        assert!(!matches!(error, Error::Kernel(_) | Error::Io { .. }), "{case}: {error:?}");
    }
    // A layout that is whole but for one thing.
    let index = fixture.index();
    assert_eq!(
        images.load_stream(&fixture.layout(&index)[..]).unwrap()[0].names[0].to_string(),
        "example.org/two:1"
    );
    images.prune(true, |_| None).unwrap();
    for (key, value) in [
        ("size", json!(1)),
        ("size", json!(-1)),
        ("size", json!(1u64 << 40)),
        ("digest", json!("sha256:../../../secret")),
        ("digest", json!(sha(b"other"))),
        ("mediaType", json!(DOCKER)),
        ("mediaType", json!("text/plain")),
        ("annotations", json!({ "io.containerd.image.name": "../../x" })),
    ] {
        let mut index = index.clone();
        index["manifests"][0][key] = value.clone();
        assert!(images.load_stream(&fixture.layout(&index)[..]).is_err(), "{key} {value}");
    }
    assert_eq!(blobs(dir.path()), 0, "nothing of all that is stored");
}

#[test]
fn hostile_manifests_are_refused() {
    let (_dir, images) = fresh();
    let good = Fixture::new();
    let refused = |change: &dyn Fn(&mut Value)| {
        let mut manifest = good.manifest.clone();
        change(&mut manifest);
        let bytes = serde_json::to_vec(&manifest).unwrap();
        images.plan(&bytes, OCI, &good.config).err().unwrap_or_else(|| panic!("{manifest} was taken"))
    };
    let one = good.manifest["layers"][0].clone();
    let cases: [&dyn Fn(&mut Value); 17] = [
        &|m| m["manifests"] = json!([]),
        &|m| m["manifests"] = json!(null),
        &|m| m["Layers"] = json!([]),
        &|m| m["fsLayers"] = json!([]),
        &|m| m["mediaType"] = json!(DOCKER),
        &|m| m["mediaType"] = json!(INDEX),
        &|m| m["mediaType"] = json!(null),
        &|m| m["schemaVersion"] = json!(1),
        &|m| m["layers"] = json!(vec![one.clone(); 513]),
        &|m| m["layers"] = json!([one.clone()]),
        &|m| m["layers"][0]["mediaType"] = json!("application/vnd.oci.image.layer.nondistributable.v1.tar"),
        &|m| m["layers"][0]["mediaType"] = json!("application/vnd.oci.image.layer.v1.tar+xz"),
        &|m| m["layers"][0]["digest"] = json!("sha512:00"),
        &|m| m["layers"][0]["digest"] = json!(sha(b"").to_uppercase()),
        &|m| m["config"]["mediaType"] = json!("application/vnd.cncf.helm.config.v1+json"),
        &|m| m["config"]["size"] = json!(good.config.len() + 1),
        &|m| m["config"]["digest"] = json!(sha(b"other")),
    ];
    for change in cases {
        refused(change);
    }
    for text in ["null", "[]", "{}", "\"x\"", "", r#"{"schemaVersion":2,"schemaVersion":2}"#] {
        assert!(Manifest::parse(text.as_bytes(), OCI).is_err(), "{text}");
    }
    // Without a mediaType inside it is OCI's; docker's needs one.
    let mut bare = good.manifest.clone();
    bare.as_object_mut().unwrap().remove("mediaType");
    let bare = serde_json::to_vec(&bare).unwrap();
    Manifest::parse(&bare, OCI).unwrap();
    for media_type in [DOCKER, INDEX, "application/json", ""] {
        assert!(Manifest::parse(&bare, media_type).is_err(), "{media_type}");
    }
    let docker = String::from_utf8(good.bytes()).unwrap().replace(OCI, DOCKER);
    let docker =
        docker.replace(&format!("{LAYER}+gzip"), "application/vnd.docker.image.rootfs.diff.tar.gzip");
    images.plan(docker.as_bytes(), DOCKER, &good.config).unwrap();
    let long = [&good.config[..], &vec![b' '; 4 << 20]].concat();
    let mut manifest = good.manifest.clone();
    (manifest["config"]["size"], manifest["config"]["digest"]) = (json!(long.len()), json!(sha(&long)));
    assert!(images.plan(&serde_json::to_vec(&manifest).unwrap(), OCI, &long).is_err(), "a config of 4 MiB");
}

#[test]
fn blobs_that_are_not_what_was_promised_are_not_kept() {
    let (dir, images) = fresh();
    let good = Fixture::new();
    let digest = good.manifest["layers"][0]["digest"].as_str().unwrap().to_owned();
    let blob = &good.blobs[&digest];
    let longer = [&blob[..], b"more"].concat();
    let mut other = blob.clone();
    other[512] ^= 1;
    for (case, bytes) in
        [("longer", &longer[..]), ("shorter", &blob[..blob.len() - 1]), ("other", &other), ("empty", b"")]
    {
        let plan = images.plan(&good.bytes(), OCI, &good.config).unwrap();
        assert!(images.apply_layer(&plan, 0, bytes).is_err(), "{case}");
        assert!(images.apply_layer(&plan, 2, bytes).is_err(), "there are two");
    }
    // The right content in another blob than promised.
    let plan = images.plan(&good.bytes(), OCI, &good.config).unwrap();
    let mut wrong = good.manifest.clone();
    wrong["layers"][0]["digest"] = json!(sha(b"other"));
    let wrong = images.plan(&serde_json::to_vec(&wrong).unwrap(), OCI, &good.config).unwrap();
    let result = images.apply_layer(&wrong, 0, &blob[..]);
    assert!(matches!(result, Err(Error::Content(content::Error::Mismatch { .. }))), "{result:?}");
    for (size, longer) in [(blob.len() - 1, true), (blob.len() + 1, false)] {
        let mut wrong = good.manifest.clone();
        wrong["layers"][0]["size"] = json!(size);
        let wrong = images.plan(&serde_json::to_vec(&wrong).unwrap(), OCI, &good.config).unwrap();
        match images.apply_layer(&wrong, 0, &blob[..]) {
            Err(Error::Size { longer: found, .. }) => assert_eq!(found, longer),
            other => panic!("{other:?}"),
        }
    }
    // The promised blob with another content than the config says.
    let config = String::from_utf8(good.config.clone()).unwrap().replace(&digest, &sha(b"other"));
    let mut wrong = good.manifest.clone();
    (wrong["config"]["size"], wrong["config"]["digest"]) =
        (json!(config.len()), json!(sha(config.as_bytes())));
    let wrong = images.plan(&serde_json::to_vec(&wrong).unwrap(), OCI, config.as_bytes()).unwrap();
    let result = images.apply_layer(&wrong, 0, &blob[..]);
    assert!(matches!(result, Err(Error::Snapshot(snapshot::Error::Mismatch { .. }))), "{result:?}");
    drop((plan, wrong));
    assert_eq!(blobs(dir.path()), 0);
    assert_eq!(fs::read_dir(dir.path().join("data/content/ingest")).unwrap().count(), 0);
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
