//! Archives, manifests and blobs that lie.

use std::fs::{self, File};

use content::Digest;
use image::{Error, Manifest};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::fixture::*;

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
    // For another machine.
    let mut foreign = index.clone();
    foreign["manifests"][0]["platform"] = json!({ "os": "linux", "architecture": "s390x" });
    let error = images.load_stream(&fixture.layout(&foreign)[..]).unwrap_err();
    assert!(error.to_string().contains("linux/s390x"), "{error}");
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

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    /// A byte changed anywhere, or an end anywhere: the same image, or an error; no panic and nothing half made.
    #[test]
    fn a_damaged_archive_is_the_same_image_or_refused(at in any::<usize>(), with in any::<u8>(), cut in any::<bool>()) {
        let (_dir, images) = fresh();
        let fixture = Fixture::new();
        let mut bytes = fixture.layout(&fixture.index());
        let at = at % bytes.len();
        if cut { bytes.truncate(at) } else { bytes[at] = with }
        if let Ok(loaded) = images.load_stream(&bytes[..]) {
            prop_assert_eq!(loaded[0].image.id, Digest::of(&fixture.config));
        } else {
            prop_assert!(images.list(&image::Filter::default()).unwrap().is_empty());
        }
    }
}
