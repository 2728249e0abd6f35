//! Against Debian's `docker-registry`.

use std::io::Read as _;
use std::sync::Arc;

use fault::{Fault as _, Kind};
use registry::{Access, Credential, Error, Fixed, Options, Registry, Secret};
use sha2::Digest as _;

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

fn digest(bytes: &[u8]) -> String {
    let hex: String = sha2::Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

/// A layer, a configuration and a manifest of both.
fn push(registry: &Registry, tag: &str, layer: &[u8]) -> (String, Vec<u8>) {
    let config = b"{}";
    for blob in [layer, config] {
        registry.upload(&digest(blob), blob.len() as u64, &mut &*blob).unwrap();
    }
    let manifest = format!(
        r#"{{"schemaVersion":2,"mediaType":"{MANIFEST}","config":{{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"{}","size":2}},"layers":[{{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":"{}","size":{}}}]}}"#,
        digest(config),
        digest(layer),
        layer.len()
    );
    let put = registry.put_manifest(tag, MANIFEST, manifest.as_bytes()).unwrap();
    (put, manifest.into_bytes())
}

fn bytes(count: u32) -> Vec<u8> {
    (0..count).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect()
}

#[test]
fn a_push_comes_back() {
    let server = testkit::Registry::start();
    let options = Options::default();
    let to = Registry::open(&server.name(), "one/app", Access::Push, &options).unwrap();
    to.check().unwrap();
    let layer = bytes(300_000);
    let name = digest(&layer);
    assert!(!to.has_blob(&name).unwrap());
    let (manifest_digest, manifest) = push(&to, "v1", &layer);
    assert!(to.has_blob(&name).unwrap());

    let from = Registry::open(&server.name(), "one/app", Access::Pull, &options).unwrap();
    for reference in ["v1", &manifest_digest] {
        let got = from.manifest(reference).unwrap();
        assert_eq!((got.media_type.as_str(), &got.bytes), (MANIFEST, &manifest));
        assert_eq!(got.digest.as_ref(), Some(&manifest_digest));
        let head = from.head_manifest(reference).unwrap();
        assert_eq!((head.size, head.digest), (Some(manifest.len() as u64), got.digest));
    }
    // Whole, from the middle, from the end; at once.
    std::thread::scope(|scope| {
        for begin in [0, 1, 700_000, layer.len() as u64] {
            let (from, layer, name) = (&from, &layer, &name);
            scope.spawn(move || {
                let mut blob = from.blob(name, begin).unwrap();
                assert_eq!((blob.size(), blob.from()), (Some(layer.len() as u64), begin), "from {begin}");
                let mut got = Vec::new();
                blob.read_to_end(&mut got).unwrap();
                assert!(got == layer[begin as usize..]);
            });
        }
    });

    // Into another repository without the bytes.
    let other = Registry::open(&server.name(), "two/app", Access::Push, &options).unwrap();
    assert!(other.mount(&name, "one/app").unwrap());
    assert!(other.has_blob(&name).unwrap());
    assert!(!other.mount(&digest(b"nowhere"), "one/app").unwrap());

    for tag in ["v2", "v3"] {
        to.put_manifest(tag, MANIFEST, &manifest).unwrap();
    }
    let mut tags = from.tags().unwrap();
    tags.sort();
    assert_eq!(tags, ["v1", "v2", "v3"]);
    to.delete_manifest(&manifest_digest).unwrap();
    let error = from.manifest("v1").unwrap_err();
    assert!(
        matches!(&error, Error::NotFound(refusal) if refusal.code.as_deref() == Some("MANIFEST_UNKNOWN")),
        "{error}"
    );
    assert_eq!(error.kind(), Kind::NotFound);
    assert!(error.to_string().contains("one/app") && error.to_string().contains(&server.name()), "{error}");
}

#[test]
fn others_understand_what_was_pushed() {
    let server = testkit::Registry::start();
    let options = Options::default();
    let to = Registry::open(&server.name(), "app", Access::Push, &options).unwrap();
    let (_, manifest) = push(&to, "v1", &bytes(1000));
    let skopeo = |arguments: &[&str]| {
        let output =
            std::process::Command::new("skopeo").args(arguments).output().expect("skopeo is installed");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    };
    let name = format!("docker://{}/app:v1", server.name());
    assert!(skopeo(&["inspect", "--raw", "--tls-verify=false", &name]) == manifest);
    // And the other way round.
    let copy = format!("docker://{}/copy:v2", server.name());
    skopeo(&[
        "copy",
        "-q",
        "--preserve-digests",
        "--insecure-policy",
        "--src-tls-verify=false",
        "--dest-tls-verify=false",
        &name,
        &copy,
    ]);
    let from = Registry::open(&server.name(), "copy", Access::Pull, &options).unwrap();
    assert_eq!(from.manifest("v2").unwrap().bytes, manifest);
}

#[test]
fn wrong_content_is_not_stored() {
    let server = testkit::Registry::start();
    let to = Registry::open(&server.name(), "app", Access::Push, &Options::default()).unwrap();
    let error = to.upload(&digest(b"right"), 5, &mut &b"wrong"[..]).unwrap_err();
    assert!(
        matches!(&error, Error::Status(refusal) if refusal.code.as_deref() == Some("DIGEST_INVALID")),
        "{error}"
    );
    let error = to.upload(&digest(b"long"), 400_000, &mut &b"short"[..]).unwrap_err();
    assert!(matches!(&error, Error::Source(_)), "{error}");
    to.upload(&digest(b""), 0, &mut &b""[..]).unwrap();
    assert_eq!(to.blob(&digest(b""), 0).unwrap().size(), Some(0));
}

#[test]
fn a_login_is_wanted() {
    let server = testkit::Registry::start_with_login();
    let with = |password: &str| Options {
        credentials: Arc::new(Fixed::new(
            server.name(),
            Credential::Password {
                username: testkit::Registry::USER.into(),
                password: Secret::new(password),
            },
        )),
        ..Options::default()
    };
    for options in [Options::default(), with("wrong")] {
        let error = Registry::login(&server.name(), &options).unwrap().check().unwrap_err();
        assert!(matches!(error, Error::Unauthorized(_)), "{error}");
    }
    let options = with(testkit::Registry::PASSWORD);
    Registry::login(&server.name(), &options).unwrap().check().unwrap();
    let to = Registry::open(&server.name(), "app", Access::Push, &options).unwrap();
    push(&to, "v1", b"layer");
    assert!(!server.log().contains(testkit::Registry::PASSWORD));
}

#[test]
fn a_certificate_has_to_be_trusted() {
    let server = testkit::Registry::start_with_tls();
    let dir = tempfile::tempdir().unwrap();
    let own = dir.path().join(server.name());
    std::fs::create_dir(&own).unwrap();
    let options = Options { hosts_dirs: vec![dir.path().into()], ..Options::default() };
    // Its certificate is for localhost, and 127.0.0.1 is not that: trust in who signed it is not enough.
    let other = server.name().replace("localhost", "127.0.0.1");
    std::fs::create_dir(dir.path().join(&other)).unwrap();
    std::fs::write(dir.path().join(&other).join("hosts.toml"), format!("ca = {:?}", server.ca())).unwrap();
    for (name, options) in [(server.name(), &Options::default()), (other, &options)] {
        let to = Registry::open(&name, "app", Access::Push, options).unwrap();
        let blob = digest(b"x");
        for outcome in [
            to.check(),
            to.manifest("v1").map(drop),
            to.head_manifest("v1").map(drop),
            to.blob(&blob, 0).map(drop),
            to.has_blob(&blob).map(drop),
            to.mount(&blob, "other").map(drop),
            to.upload(&blob, 1, &mut &b"x"[..]),
            to.put_manifest("v1", MANIFEST, b"{}").map(drop),
            to.delete_manifest("v1"),
            to.tags().map(drop),
        ] {
            let error = outcome.unwrap_err();
            assert!(matches!(error, Error::Tls { .. }), "{error}");
        }
    }
    for line in [format!("ca = {:?}", server.ca()), "skip_verify = true".to_owned()] {
        std::fs::write(own.join("hosts.toml"), line).unwrap();
        let to = Registry::open(&server.name(), "app", Access::Push, &options).unwrap();
        to.check().unwrap();
        push(&to, "v1", b"layer");
        assert_eq!(to.tags().unwrap(), ["v1"]);
    }
}

#[test]
fn a_certificate_of_ours_is_shown() {
    let server = testkit::Registry::start_with_client_tls();
    let dir = tempfile::tempdir().unwrap();
    let own = dir.path().join(server.name());
    std::fs::create_dir(&own).unwrap();
    let options = Options { hosts_dirs: vec![dir.path().into()], ..Options::default() };
    let open = || Registry::open(&server.name(), "app", Access::Push, &options).unwrap();
    // As docker has them.
    std::fs::copy(server.ca(), own.join("ca.crt")).unwrap();
    let error = open().check().unwrap_err();
    assert!(matches!(error, Error::Tls { .. } | Error::Network { .. }), "{error:?}");
    std::fs::copy(server.ca(), own.join("me.cert")).unwrap();
    std::fs::copy(server.key(), own.join("me.key")).unwrap();
    open().check().unwrap();
    push(&open(), "v1", b"layer");
    // As containerd has them.
    std::fs::write(own.join("hosts.toml"), "ca = \"ca.crt\"\nclient = [[\"me.cert\", \"me.key\"]]\n")
        .unwrap();
    assert_eq!(open().tags().unwrap(), ["v1"]);
    std::fs::write(own.join("hosts.toml"), "ca = \"ca.crt\"\nclient = \"me.cert\"\n").unwrap();
    let error = Registry::open(&server.name(), "app", Access::Pull, &options).unwrap_err();
    assert!(matches!(error, Error::Hosts { .. }), "{error}");
}
