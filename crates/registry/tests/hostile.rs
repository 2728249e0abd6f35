//! Against servers that do what they should not.

use std::io::Read as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use fault::{Fault as _, Kind};
use registry::{Access, Cancel, Credential, Error, Fixed, Options, Registry, Secret};
use testkit::hostile::{Hostile, Reply, Request, reply};

const MANIFEST: (&str, &str) = ("content-type", "application/vnd.oci.image.manifest.v1+json");
/// Of the empty content.
const EMPTY: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// Options with which a test does not wait, and a credential for `server`.
fn options(server: &Hostile) -> Options {
    let credential = Credential::Password { username: "user".into(), password: Secret::new("canary") };
    Options {
        credentials: Arc::new(Fixed::new(server.name(), credential)),
        read_timeout: Duration::from_millis(400),
        retry_pause: Duration::from_millis(5),
        ..Options::default()
    }
}

fn open(server: &Hostile) -> Registry {
    Registry::open(&server.name(), "app", Access::Pull, &options(server)).unwrap()
}

fn authorizations(server: &Hostile) -> Vec<String> {
    server
        .requests()
        .iter()
        .filter_map(|request| request.header("authorization").map(str::to_owned))
        .collect()
}

#[test]
fn a_token_is_fetched_kept_and_renewed() {
    let tokens = AtomicU32::new(0);
    let server = Hostile::start(move |port, request: &Request| {
        if request.path.starts_with("/token") {
            let n = tokens.fetch_add(1, Ordering::SeqCst);
            return reply(200, &[], format!(r#"{{"access_token":"t{n}","expires_in":300}}"#));
        }
        // The second token is taken from the fourth request on.
        let good = format!("Bearer t{}", u32::from(request.path.ends_with("late")));
        if request.header("authorization") == Some(&good) {
            return reply(200, &[MANIFEST], "{}");
        }
        let challenge =
            format!(r#"Bearer realm="http://127.0.0.1:{port}/token",service="it self",scope="all""#);
        reply(401, &[("www-authenticate", &challenge)], "")
    });
    let registry = open(&server);
    for tag in ["a", "b", "late", "late"] {
        registry.manifest(tag).unwrap();
    }
    let requests = server.requests();
    let asked: Vec<&Request> = requests.iter().filter(|request| request.path.starts_with("/token")).collect();
    assert_eq!(asked.len(), 2, "{requests:?}");
    assert_eq!(asked[0].path, "/token?service=it%20self&scope=repository%3Aapp%3Apull&account=user");
    assert_eq!(asked[0].header("authorization"), Some("Basic dXNlcjpjYW5hcnk="));
    let basic =
        |request: &&Request| request.header("authorization").is_some_and(|text| text.starts_with("Basic"));
    assert_eq!(requests.iter().filter(basic).count(), 2);
}

#[test]
fn a_short_token_is_not_used_when_it_has_ended() {
    let server = Hostile::start(|port, request: &Request| match request.header("authorization") {
        _ if request.path.starts_with("/token") => reply(200, &[], r#"{"token":"t","expires_in":1}"#),
        Some("Bearer t") => reply(200, &[MANIFEST], "{}"),
        _ => reply(
            401,
            &[("www-authenticate", &format!(r#"Bearer realm="http://127.0.0.1:{port}/token""#))],
            "",
        ),
    });
    let registry = open(&server);
    registry.manifest("a").unwrap();
    std::thread::sleep(Duration::from_millis(950));
    registry.manifest("a").unwrap();
    assert_eq!(server.requests().iter().filter(|request| request.path.starts_with("/token")).count(), 2);
}

#[test]
fn calls_in_parallel_share_a_token() {
    let server = Hostile::start(|port, request: &Request| match request.header("authorization") {
        _ if request.path.starts_with("/token") => reply(200, &[], r#"{"token":"t"}"#),
        Some("Bearer t") => reply(200, &[MANIFEST], "{}"),
        _ => reply(
            401,
            &[("www-authenticate", &format!(r#"Bearer realm="http://127.0.0.1:{port}/token""#))],
            "",
        ),
    });
    let registry = open(&server);
    std::thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| registry.manifest("a").unwrap());
        }
    });
    assert_eq!(server.requests().iter().filter(|request| request.path.starts_with("/token")).count(), 1);
}

#[test]
fn an_identity_token_is_exchanged() {
    let server = Hostile::start(|port, request: &Request| match request.header("authorization") {
        _ if request.path == "/token" => reply(200, &[], r#"{"access_token":"t"}"#),
        Some("Bearer t") => reply(200, &[MANIFEST], "{}"),
        _ => reply(
            401,
            &[("www-authenticate", &format!(r#"Bearer realm="http://127.0.0.1:{port}/token",service=s"#))],
            "",
        ),
    });
    let credential = Credential::IdentityToken(Secret::new("a b"));
    let options =
        Options { credentials: Arc::new(Fixed::new(server.name(), credential)), ..options(&server) };
    Registry::open(&server.name(), "app", Access::Pull, &options).unwrap().manifest("a").unwrap();
    let requests = server.requests();
    let exchange = requests.iter().find(|request| request.path == "/token").unwrap();
    assert_eq!(exchange.method, "POST");
    let body = String::from_utf8_lossy(&exchange.body);
    assert!(body.contains("grant_type=refresh_token") && body.contains("refresh_token=a%20b"), "{body}");
}

#[test]
fn realms_that_no_credentials_go_to() {
    for realm in [
        "http://registry.example/token",
        "http://169.254.169.254/token",
        "https://169.254.169.254/token",
        "https://user@h.example/token",
        "file:///etc/passwd",
        "/token",
        "",
    ] {
        let server = Hostile::start(move |_, _: &Request| {
            reply(401, &[("www-authenticate", &format!(r#"Bearer realm="{realm}""#))], "")
        });
        let error = open(&server).manifest("a").unwrap_err();
        assert!(matches!(error, Error::Protocol { .. }), "{realm}: {error}");
        assert!(authorizations(&server).is_empty());
    }
}

#[test]
fn a_token_server_of_another_site_has_no_credentials() {
    let tokens = Hostile::start(|_, _: &Request| reply(200, &[], r#"{"token":"t"}"#));
    // By name it is another host.
    let realm = tokens.name().replace("127.0.0.1", "localhost");
    let server = Hostile::start(move |_, request: &Request| match request.header("authorization") {
        Some("Bearer t") => reply(200, &[MANIFEST], "{}"),
        _ => reply(401, &[("www-authenticate", &format!(r#"Bearer realm="http://{realm}/token""#))], ""),
    });
    let error = open(&server).manifest("a").unwrap_err();
    assert!(matches!(error, Error::Protocol { .. }), "{error}");
    assert!(tokens.requests().is_empty());
    // Without credentials there is nothing to lose, and the user may say that it is right.
    let anonymous = Options { credentials: Arc::new(registry::Anonymous), ..options(&server) };
    let trusted = Options { token_hosts: vec!["localhost".into()], ..options(&server) };
    for options in [anonymous, trusted] {
        Registry::open(&server.name(), "app", Access::Pull, &options).unwrap().manifest("a").unwrap();
    }
    assert_eq!(authorizations(&tokens), ["Basic dXNlcjpjYW5hcnk="]);
}

#[test]
fn a_redirect_to_another_host_has_no_authorization() {
    let other = Hostile::start(|_, request: &Request| {
        if request.path == "/challenge" {
            return reply(401, &[("www-authenticate", "Basic realm=x")], "");
        }
        reply(200, &[MANIFEST], "{}")
    });
    let to = other.name();
    let server = Hostile::start(move |_, request: &Request| match request.header("authorization") {
        None => reply(401, &[("www-authenticate", "Basic realm=x")], ""),
        Some(_) if request.path.ends_with("b") => {
            reply(302, &[("location", &format!("http://{to}/challenge"))], "")
        }
        Some(_) => reply(307, &[("location", &format!("http://{to}/x?signed=1"))], ""),
    });
    let registry = open(&server);
    registry.manifest("a").unwrap();
    assert!(matches!(registry.manifest("b"), Err(Error::Unauthorized(_))));
    assert_eq!(authorizations(&server), ["Basic dXNlcjpjYW5hcnk="; 2]);
    assert_eq!(other.requests().len(), 2);
    assert!(authorizations(&other).is_empty());
}

#[test]
fn redirects_end() {
    let server = Hostile::start(|_, request: &Request| reply(302, &[("location", &request.path)], ""));
    let error = open(&server).manifest("a").unwrap_err();
    assert!(error.to_string().contains("more than 5 times"), "{error}");
    assert_eq!(server.requests().len(), 6);
    for location in [
        "http://registry.example/",
        "https://169.254.169.254/latest",
        "https://2852039166/",
        "ftp://h/",
        "",
        "//",
    ] {
        let server = Hostile::start(move |_, _: &Request| reply(302, &[("location", location)], ""));
        let error = open(&server).manifest("a").unwrap_err();
        assert!(matches!(error, Error::Protocol { .. }), "{location}: {error}");
    }
}

#[test]
fn a_blob_that_is_cut_off() {
    let server = Hostile::start(|_, _: &Request| reply(200, &[("content-length", "10")], "12345"));
    let mut got = Vec::new();
    let error = open(&server).blob(EMPTY, 0).unwrap().read_to_end(&mut got).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::UnexpectedEof, "{error}");
    assert_eq!(got, b"12345");
}

#[test]
fn ranges_that_are_not_as_asked() {
    let server = Hostile::start(|_, _: &Request| reply(200, &[], "0123456789"));
    let mut blob = open(&server).blob(EMPTY, 4).unwrap();
    assert_eq!((blob.from(), blob.size()), (0, Some(10)));
    let mut got = String::new();
    blob.read_to_string(&mut got).unwrap();
    assert_eq!(got, "0123456789");
    assert_eq!(server.requests()[0].header("range"), Some("bytes=4-"));
    for (range, good) in [
        (Some("bytes 4-9/10"), true),
        (Some("bytes 4-9/*"), true),
        (Some("bytes 3-8/10"), false),
        (Some("bytes 4-9/11"), false),
        (Some("bytes 4-8/9"), false),
        (Some("bytes */10"), false),
        (Some("nonsense"), false),
        (None, false),
    ] {
        let server = Hostile::start(move |_, _: &Request| match range {
            Some(range) => reply(206, &[("content-range", range)], "456789"),
            None => reply(206, &[], "456789"),
        });
        let blob = open(&server).blob(EMPTY, 4);
        assert_eq!(blob.is_ok(), good, "{range:?}: {blob:?}");
    }
    let server = Hostile::start(|_, _: &Request| reply(206, &[("content-range", "bytes 0-5/6")], "456789"));
    assert!(matches!(open(&server).blob(EMPTY, 0), Err(Error::Protocol { .. })));
}

#[test]
fn too_many_requests_and_busy_servers_are_asked_again() {
    for (status, headers) in [(429, &[("retry-after", "0")][..]), (429, &[]), (503, &[])] {
        let left = AtomicU32::new(2);
        let server = Hostile::start(move |_, _: &Request| {
            let busy = left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1)).is_ok();
            if busy { reply(status, headers, "") } else { reply(200, &[MANIFEST], "{}") }
        });
        open(&server).manifest("a").unwrap();
        assert_eq!(server.requests().len(), 3);
    }
    let server = Hostile::start(|_, _: &Request| {
        reply(503, &[], r#"{"errors":[{"code":"X","message":"a\u001b[31m\nb"}]}"#)
    });
    let error = open(&server).manifest("a").unwrap_err();
    assert_eq!((error.kind(), server.requests().len()), (Kind::Unavailable, 3));
    assert!(error.to_string().ends_with(": a [31m b"), "{error}");
    // Longer than anyone waits.
    let server = Hostile::start(|_, _: &Request| reply(429, &[("retry-after", "3600")], ""));
    let begin = Instant::now();
    assert!(matches!(open(&server).manifest("a"), Err(Error::RateLimited(_))));
    assert!(begin.elapsed() < Duration::from_secs(5) && server.requests().len() == 1);
}

#[test]
fn silence_and_slowness_end() {
    let head = b"HTTP/1.1 200 x\r\ncontent-type: a/b\r\ncontent-length: 1000\r\n\r\n".to_vec();
    let rest = vec![b'x'; 1000];
    let pause = Duration::from_millis(50);
    let slow_body = (head.clone(), rest.clone());
    let server = Hostile::start(move |_, request: &Request| {
        if request.path.ends_with("silent") {
            return Reply::Silence(Duration::from_secs(3));
        }
        if request.path.ends_with("head") {
            return Reply::Drip(b"HTTP/1.1 200 x\r\nx: ".to_vec(), slow_body.1.clone(), pause);
        }
        Reply::Drip(slow_body.0.clone(), slow_body.1.clone(), pause)
    });
    let registry = open(&server);
    for tag in ["silent", "head", "slow"] {
        let begin = Instant::now();
        let error = registry.manifest(tag).unwrap_err();
        assert!(matches!(error, Error::Timeout { .. }), "{tag}: {error}");
        assert_eq!(error.kind(), Kind::Timeout);
        assert!(begin.elapsed() < Duration::from_secs(3), "{tag}: {:?}", begin.elapsed());
    }
    let begin = Instant::now();
    let error = registry.blob(EMPTY, 0).unwrap().read_to_end(&mut Vec::new()).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::TimedOut, "{error}");
    assert!(begin.elapsed() < Duration::from_secs(3));
    let server = Hostile::start(move |_, _: &Request| {
        Reply::Drip([&head[..], b"x"].concat(), rest.clone(), Duration::from_secs(2))
    });
    let error = open(&server).blob(EMPTY, 0).unwrap().read_to_end(&mut Vec::new()).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::TimedOut, "{error}");
}

#[test]
fn answers_that_are_too_large_or_lie() {
    let big = "x".repeat((4 << 20) + 1);
    let server = Hostile::start(move |_, request: &Request| match &request.path[request.path.len() - 1..] {
        "a" => reply(200, &[MANIFEST], &big),
        "b" => reply(
            200,
            &[MANIFEST, ("transfer-encoding", "chunked"), ("content-length", "1")],
            format!("{:x}\r\n{big}\r\n0\r\n\r\n", big.len()),
        ),
        "c" => reply(200, &[MANIFEST, ("docker-content-digest", EMPTY)], "{}"),
        "d" => reply(200, &[MANIFEST, ("docker-content-digest", "sha256:../../x")], "{}"),
        "e" => reply(200, &[("content-type", "a b")], "{}"),
        _ => reply(200, &[MANIFEST], "{}"),
    });
    let registry = open(&server);
    for tag in ["a", "b", "c", "d", "e", EMPTY] {
        let error = registry.manifest(tag).unwrap_err();
        assert!(matches!(error, Error::Protocol { .. }), "{tag}: {error}");
    }
}

#[test]
fn mirrors_are_asked_in_order_and_told_for_whom() {
    let missing = Hostile::start(|_, _: &Request| reply(404, &[], ""));
    let mirror = Hostile::start(|_, _: &Request| reply(200, &[MANIFEST], "{}"));
    let server = Hostile::start(|_, _: &Request| reply(500, &[], ""));
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("docker.io")).unwrap();
    let text = format!(
        "server = \"http://{}\"\n[host.\"http://{}\"]\n[host.\"http://{}\"]\ncapabilities = [\"pull\", \"resolve\"]\n",
        server.name(),
        missing.name(),
        mirror.name()
    );
    std::fs::write(dir.path().join("docker.io/hosts.toml"), text).unwrap();
    let options = Options { hosts_dirs: vec![dir.path().into()], ..options(&server) };
    let registry = Registry::open("docker.io", "library/app", Access::Pull, &options).unwrap();
    assert_eq!(registry.manifest("a").unwrap().bytes, b"{}");
    assert_eq!(missing.requests()[0].path, "/v2/library/app/manifests/a?ns=docker.io");
    assert_eq!(mirror.requests().len(), 1);
    assert!(server.requests().is_empty());
}

#[test]
fn uploads_go_on_where_the_registry_may_say() {
    let other = Hostile::start(|_, _: &Request| reply(201, &[], ""));
    let to = other.name();
    let server = Hostile::start(move |_, request: &Request| match request.header("authorization") {
        None => reply(401, &[("www-authenticate", "Basic realm=x")], ""),
        Some(_) if request.method == "POST" => {
            reply(202, &[("location", &format!("http://{to}/up?state=1"))], "")
        }
        Some(_) => reply(500, &[], ""),
    });
    let registry = Registry::open(&server.name(), "app", Access::Push, &options(&server)).unwrap();
    registry.upload(EMPTY, 3, &mut &b"abc"[..]).unwrap();
    let request = &other.requests()[0];
    assert_eq!((request.method.as_str(), request.body.as_slice()), ("PUT", &b"abc"[..]));
    assert!(
        request.path.starts_with("/up?state=1&digest=sha256%3A") && request.header("authorization").is_none()
    );
    for location in ["https://169.254.169.254/x", "http://registry.example/x", "/v2/../x"] {
        let server = Hostile::start(move |_, _: &Request| reply(202, &[("location", location)], ""));
        let registry = Registry::open(&server.name(), "app", Access::Push, &options(&server)).unwrap();
        let error = registry.upload(EMPTY, 3, &mut &b"abc"[..]).unwrap_err();
        assert!(matches!(error, Error::Protocol { .. }), "{location}: {error}");
    }
}

#[test]
fn tags_have_pages_that_end() {
    let server = Hostile::start(|_, request: &Request| match request.path.as_str() {
        path if path.contains("last=b") => reply(200, &[], r#"{"tags":["c"]}"#),
        path if path.contains("/circle/") => reply(200, &[("link", "<?n=1>; rel=next")], r#"{"tags":["c"]}"#),
        path if path.contains("/away/") => {
            reply(200, &[("link", "<http://127.0.0.2/>; rel=next")], r#"{"tags":["c"]}"#)
        }
        path if path.contains("/none/") => reply(200, &[], r#"{"tags":null}"#),
        _ => reply(
            200,
            &[("link", "</v2/app/tags/list?last=b&n=2>; rel=\"next\"")],
            r#"{"name":"app","tags":["a","b"]}"#,
        ),
    });
    let tags =
        |name: &str| Registry::open(&server.name(), name, Access::Pull, &options(&server)).unwrap().tags();
    assert_eq!(tags("app").unwrap(), ["a", "b", "c"]);
    assert!(tags("none").unwrap().is_empty());
    for name in ["circle/x", "away/x"] {
        assert!(matches!(tags(name), Err(Error::Protocol { .. })), "{name}");
    }
}

#[test]
fn a_call_can_be_cancelled() {
    let server = Hostile::start(|_, _: &Request| reply(429, &[("retry-after", "30")], ""));
    let cancel = Cancel::new();
    let options = Options { cancel: cancel.clone(), ..options(&server) };
    let registry = Registry::open(&server.name(), "app", Access::Pull, &options).unwrap();
    let thread = std::thread::spawn(move || registry.manifest("a"));
    std::thread::sleep(Duration::from_millis(200));
    cancel.cancel();
    let error = thread.join().unwrap().unwrap_err();
    assert_eq!(error.kind(), Kind::Cancelled, "{error}");
}

#[test]
fn connections_that_break_are_made_again() {
    for broken in [&b""[..], b"HTTP/1.1 2", b"HTTP/1.1 200 x\r\ncontent-length: 9"] {
        let left = AtomicU32::new(2);
        let server = Hostile::start(move |_, _: &Request| {
            let breaks = left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1)).is_ok();
            if breaks { Reply::Bytes(broken.to_vec()) } else { reply(200, &[MANIFEST], "{}") }
        });
        open(&server).manifest("a").unwrap();
        assert_eq!(server.requests().len(), 3);
    }
    // A manifest that is cut off.
    let left = AtomicU32::new(1);
    let server = Hostile::start(move |_, _: &Request| {
        let breaks = left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1)).is_ok();
        reply(200, &[MANIFEST, ("content-length", "4")], if breaks { "{" } else { "{  }" })
    });
    assert_eq!(open(&server).manifest("a").unwrap().bytes, b"{  }");
}

#[test]
fn answers_that_are_no_http() {
    for answer in [
        &b"hello\r\n\r\n"[..],
        b"HTTP/1.1 abc\r\n\r\n",
        b"HTTP/1.1 200 x\r\ncontent-length: -1\r\n\r\n",
        b"\0\0\0\0",
    ] {
        let server = Hostile::start(move |_, _: &Request| Reply::Bytes(answer.to_vec()));
        let error = open(&server).manifest("a").unwrap_err();
        assert!(matches!(error, Error::Protocol { .. } | Error::Network { .. }), "{error:?}");
    }
    let server = Hostile::start(|_, _: &Request| {
        Reply::Bytes(format!("HTTP/1.1 200 x\r\n{}\r\n", "x: y\r\n".repeat(100_000)).into_bytes())
    });
    assert!(matches!(open(&server).manifest("a"), Err(Error::Protocol { .. })));
}

#[test]
fn an_upload_that_is_refused_early_says_why() {
    let server = Hostile::start(|_, request: &Request| match request.method.as_str() {
        "POST" => reply(202, &[("location", "/up")], ""),
        _ => reply(413, &[], r#"{"errors":[{"code":"SIZE_INVALID","message":"too large"}]}"#),
    });
    let registry = Registry::open(&server.name(), "app", Access::Push, &options(&server)).unwrap();
    let error = registry.upload(EMPTY, 3, &mut &b"abc"[..]).unwrap_err();
    assert!(error.to_string().contains("too large"), "{error}");
    let denied = Hostile::start(|_, _: &Request| reply(403, &[], r#"{"errors":[{"code":"DENIED"}]}"#));
    let registry = Registry::open(&denied.name(), "app", Access::Push, &options(&denied)).unwrap();
    assert!(matches!(registry.upload(EMPTY, 3, &mut &b"abc"[..]), Err(Error::Denied(_))));
    assert!(matches!(registry.mount(EMPTY, "b"), Err(Error::Denied(_))));
}

/// An https server that redirects to plain http: files of answers, which openssl serves as they are.
#[test]
fn https_does_not_become_http() {
    let tls = testkit::Registry::start_with_tls();
    let plain = Hostile::start(|_, _: &Request| reply(200, &[MANIFEST], "{}"));
    let dir = tempfile::tempdir().unwrap();
    let manifests = dir.path().join("v2/app/manifests");
    std::fs::create_dir_all(&manifests).unwrap();
    for (tag, to) in
        [("good", "/v2/app/manifests/end".to_owned()), ("bad", format!("http://{}/x", plain.name()))]
    {
        std::fs::write(
            manifests.join(tag),
            format!("HTTP/1.0 302 x\r\nlocation: {to}\r\ncontent-length: 0\r\n\r\n"),
        )
        .unwrap();
    }
    std::fs::write(
        manifests.join("end"),
        "HTTP/1.0 200 x\r\ncontent-type: a/b\r\ncontent-length: 2\r\n\r\n{}",
    )
    .unwrap();
    let log = dir.path().join("log");
    let mut server = std::process::Command::new("openssl")
        .args(["s_server", "-accept", "127.0.0.1:0", "-HTTP", "-cert"])
        .arg(tls.ca())
        .arg("-key")
        .arg(tls.key())
        .current_dir(dir.path())
        .stdin(std::process::Stdio::null())
        .stdout(std::fs::File::create(&log).unwrap())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let mut port = String::new();
    testkit::eventually(Duration::from_secs(10), || {
        let text = std::fs::read_to_string(&log).unwrap();
        let rest = text.split("ACCEPT 127.0.0.1:").nth(1).unwrap_or_default();
        port = rest.split(|c: char| !c.is_ascii_digit()).next().unwrap_or_default().to_owned();
        !port.is_empty()
    });
    let name = format!("localhost:{port}");
    let own = dir.path().join(&name);
    std::fs::create_dir(&own).unwrap();
    std::fs::write(own.join("hosts.toml"), format!("ca = {:?}", tls.ca())).unwrap();
    let options = Options {
        hosts_dirs: vec![dir.path().into()],
        read_timeout: Duration::from_secs(5),
        ..options(&plain)
    };
    let registry = Registry::open(&name, "app", Access::Pull, &options).unwrap();
    let (good, bad) = (registry.manifest("good"), registry.manifest("bad"));
    server.kill().unwrap();
    server.wait().unwrap();
    assert_eq!(good.unwrap().bytes, b"{}");
    let error = bad.unwrap_err();
    assert!(matches!(error, Error::Protocol { .. }) && error.to_string().contains("plain http"), "{error}");
    assert!(plain.requests().is_empty());
}
