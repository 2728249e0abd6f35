//! Docker's file of credentials, and helpers.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use registry::{Credential, Credentials as _, DockerConfig, Error, Secret};

fn password(username: &str, password: &str) -> Credential {
    Credential::Password { username: username.into(), password: Secret::new(password) }
}

fn with(dir: &Path, text: &str) -> DockerConfig {
    fs::write(dir.join("config.json"), text).unwrap();
    DockerConfig::at(dir).helpers_in(dir)
}

/// A helper that keeps what it was told in `log`, and answers `get` with `answer`.
fn helper(dir: &Path, name: &str, answer: &str) {
    let path = dir.join(format!("docker-credential-{name}"));
    let log = dir.join("log");
    fs::write(
        &path,
        format!("#!/bin/sh\n{{ echo \"$1\"; cat; echo; }} >>{log:?}\n[ \"$1\" != get ] || {{ {answer}; }}\n"),
    )
    .unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn what_the_file_says() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(DockerConfig::at(dir.path()).get("h").unwrap(), None);
    for (text, expected) in [
        ("", None),
        ("{}", None),
        (r#"{"auths":{"h":{}}}"#, None),
        (r#"{"auths":{"h":{"auth":"dTpwOnE="}}}"#, Some(password("u", "p:q"))),
        (r#"{"auths":{"h":{"username":"u","password":"p"}}}"#, Some(password("u", "p"))),
        (r#"{"auths":{"https://h/v1/":{"auth":"dTpw"}}}"#, Some(password("u", "p"))),
        (r#"{"auths":{"h:5000":{"auth":"dTpw"}}}"#, None),
        (r#"{"auths":{"x.h":{"auth":"dTpw"}}}"#, None),
        (
            r#"{"auths":{"h":{"auth":"dTpw","identitytoken":"t"}}}"#,
            Some(Credential::IdentityToken(Secret::new("t"))),
        ),
    ] {
        assert_eq!(with(dir.path(), text).get("h").unwrap(), expected, "{text}");
    }
    let hub = with(dir.path(), r#"{"auths":{"https://index.docker.io/v1/":{"auth":"dTpw"}}}"#);
    assert_eq!(hub.get("docker.io").unwrap(), Some(password("u", "p")));
    for text in [
        "[]",
        "{",
        r#"{"auths":{"h":{"auth":"canary!"}}}"#,
        r#"{"credsStore":"../x"}"#,
        r#"{"credsStore":"a/b"}"#,
    ] {
        let error = with(dir.path(), text).get("h").unwrap_err();
        assert!(matches!(error, Error::Credentials { .. }), "{text}: {error}");
        assert!(!error.to_string().contains("canary"));
    }
}

#[test]
fn logins_are_kept_in_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path().join("new");
    let config = DockerConfig::at(&home);
    config.store("h", &password("u", "p")).unwrap();
    assert_eq!(fs::metadata(&home).unwrap().permissions().mode() & 0o777, 0o700);
    fs::write(
        config.path(),
        r#"{"psFormat":"x","auths":{"https://old/v1/":{"auth":"dTpw"}},"aliases":{"a":[1]}}"#,
    )
    .unwrap();
    fs::set_permissions(config.path(), fs::Permissions::from_mode(0o644)).unwrap();
    config.store("docker.io", &password("u", "p")).unwrap();
    config.store("t", &Credential::IdentityToken(Secret::new("token"))).unwrap();
    assert_eq!(fs::metadata(config.path()).unwrap().permissions().mode() & 0o777, 0o600);
    let text = fs::read_to_string(config.path()).unwrap();
    assert!(
        text.contains("psFormat") && text.contains("aliases") && text.contains("https://index.docker.io/v1/"),
        "{text}"
    );
    assert_eq!(config.get("docker.io").unwrap(), Some(password("u", "p")));
    assert_eq!(config.get("t").unwrap(), Some(Credential::IdentityToken(Secret::new("token"))));
    assert!(config.erase("docker.io").unwrap() && config.erase("old").unwrap());
    assert!(!config.erase("docker.io").unwrap());
    assert_eq!(config.get("docker.io").unwrap(), None);
    assert_eq!(fs::read_dir(&home).unwrap().count(), 1);
    assert!(config.store("h", &password("a:b", "p")).is_err());
}

#[test]
fn helpers_are_asked() {
    let dir = tempfile::tempdir().unwrap();
    helper(dir.path(), "one", r#"echo '{"ServerURL":"x","Username":"u","Secret":"p"}'"#);
    helper(dir.path(), "two", r#"echo '{"Username":"<token>","Secret":"t"}'"#);
    helper(dir.path(), "none", "echo 'credentials not found in native keychain'; exit 1");
    helper(dir.path(), "broken", "echo 'no bus'; exit 1");
    helper(dir.path(), "odd", "echo canary");
    helper(dir.path(), "loud", "exec cat /dev/zero");
    let text = r#"{"credsStore":"one","credHelpers":{"h":"two","n":"none","b":"broken","o":"odd","l":"loud"},"auths":{"n":{"auth":"dTpw"}}}"#;
    let config = with(dir.path(), text);
    assert_eq!(config.get("docker.io").unwrap(), Some(password("u", "p")));
    assert_eq!(config.get("h").unwrap(), Some(Credential::IdentityToken(Secret::new("t"))));
    assert_eq!(config.get("n").unwrap(), Some(password("u", "p")));
    for (host, why) in [("b", "no bus"), ("o", "JSON"), ("l", "too much")] {
        let error = config.get(host).unwrap_err().to_string();
        assert!(error.contains(why) && !error.contains("canary"), "{error}");
    }
    let log = || fs::read_to_string(dir.path().join("log")).unwrap();
    assert!(log().starts_with("get\nhttps://index.docker.io/v1/\nget\nh\n"), "{}", log());
    config.store("x", &password("u", "p")).unwrap();
    assert!(
        log().ends_with("store\n{\"Secret\":\"p\",\"ServerURL\":\"x\",\"Username\":\"u\"}\n"),
        "{}",
        log()
    );
    assert!(config.erase("x").unwrap());
    assert!(log().ends_with("erase\nx\n"), "{}", log());
    assert!(!fs::read_to_string(config.path()).unwrap().contains("\"x\""));
}
