//! Images to and from a real registry, Debian's docker-registry on loopback, through the real binary.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::process::{Command, Stdio};
use std::time::Duration;

use testkit::{Host, Registry, Run};

fn digest_of(text: &str) -> String {
    let at = text.find("sha256:").unwrap_or_else(|| panic!("no digest in {text}"));
    text[at..at + 71].to_owned()
}

fn nothing_partial(host: &Host) {
    let ingest = host.data().join("content/ingest");
    let left: Vec<_> = std::fs::read_dir(&ingest).into_iter().flatten().flatten().collect();
    assert!(left.is_empty(), "{left:?}");
    let layers = std::fs::read_dir(host.data().join("layers")).unwrap().flatten();
    assert!(layers.into_iter().all(|layer| !layer.file_name().to_string_lossy().starts_with('.')));
}

#[test]
fn an_image_goes_to_a_registry_and_comes_back() {
    let (host, registry) = (Host::new(), Registry::start());
    let name = format!("{}/tools/box:1", registry.name());
    host.sampan(["image", "from-host", "busybox", "-t", &name]).expect_code(0);
    let pushed = host.sampan(["push", &name]).expect_code(0);
    assert!(pushed.stdout.contains("The push refers to repository"), "{pushed:?}");
    let digest = digest_of(&pushed.stdout);
    let again = host.sampan(["push", &name]).expect_code(0);
    assert!(again.stdout.contains("Layer already exists") && digest_of(&again.stdout) == digest, "{again:?}");
    let removed = host.sampan(["rmi", &name]).expect_code(0);
    assert!(
        removed.stdout.contains(&format!("Untagged: {}/tools/box@{digest}", registry.name())),
        "{removed:?}"
    );
    assert!(removed.stdout.contains("Deleted: sha256:"), "{removed:?}");
    host.sampan(["run", "--rm", "--pull", "never", &name, "true"]).expect_code(125);
    let pulled = host.sampan(["pull", &name]).expect_code(0);
    assert_eq!(digest_of(&pulled.stdout), digest);
    assert!(pulled.stdout.contains("Status: Downloaded newer image for"), "{pulled:?}");
    let run = host.sampan(["run", "--rm", &name, "echo", "back"]).expect_code(0);
    assert_eq!(run.stdout, "back\n");
    let again = host.sampan(["pull", &name]).expect_code(0);
    assert!(again.stdout.contains("Status: Image is up to date for"), "{again:?}");
    let by_digest = format!("{}/tools/box@{digest}", registry.name());
    host.sampan(["pull", "-q", &by_digest]).expect_code(0);
    host.sampan(["run", "--rm", &by_digest, "true"]).expect_code(0);
    nothing_partial(&host);
    let other = host.sampan(["pull", "--platform", "linux/riscv64", &name]);
    assert!(other.code == 1 && other.stderr.contains("no image for the platform linux/riscv64"), "{other:?}");
    for missing in ["tools/box:2", "tools/nothing:1"] {
        let none = host.sampan(["pull", &format!("{}/{missing}", registry.name())]);
        assert!(none.code == 1 && none.stderr.contains("error:"), "{none:?}");
    }
    host.sampan(["rmi", "-f", &name]).expect_code(0);
}

#[test]
fn dockers_name_is_served_by_a_mirror() {
    let (host, registry) = (Host::new(), Registry::start());
    let sampan = |words: &[&str]| host.sampan(words);
    sampan(&["image", "from-host", "busybox", "-t", "docker.io/library/box:latest"]).expect_code(0);
    let nobody = sampan(&["push", "box"]);
    assert!(nobody.code == 1 && nobody.stderr.contains("127.0.0.1:1"), "{nobody:?}");
    let mirror = format!(
        "server = \"http://127.0.0.1:1\"\n[host.\"http://{}\"]\n  capabilities = [\"pull\", \"resolve\", \"push\"]\n",
        registry.name()
    );
    std::fs::write(host.hosts_dir().join("docker.io/hosts.toml"), mirror).unwrap();
    sampan(&["push", "box"]).expect_code(0);
    sampan(&["rmi", "-f", "box"]).expect_code(0);
    // A run pulls what is missing.
    let run = sampan(&["run", "--rm", "box", "echo", "here"]).expect_code(0);
    assert_eq!(run.stdout, "here\n");
    assert!(run.stderr.contains("Unable to find image 'box:latest' locally"), "{run:?}");
    let images = sampan(&["images", "box", "--format", "{{.Repository}}:{{.Tag}}"]).expect_code(0);
    assert_eq!(images.line(), "box:latest");
    let always = sampan(&["run", "--rm", "--pull", "always", "box", "true"]).expect_code(0);
    assert!(always.stderr.contains("Image is up to date"), "{always:?}");
    sampan(&["rmi", "-f", "box"]).expect_code(0);
}

#[test]
fn skopeo_sees_the_same_image() {
    let (host, registry) = (Host::new(), Registry::start());
    let name = format!("{}/box:1", registry.name());
    host.sampan(["image", "from-host", "busybox", "-t", &name]).expect_code(0);
    let digest = digest_of(&host.sampan(["push", &name]).expect_code(0).stdout);
    let skopeo = |words: &[&str]| {
        let run = Run::of(Command::new("skopeo").args(words).output().expect("skopeo is installed"));
        run.expect_code(0)
    };
    let source = format!("docker://{name}");
    let seen = skopeo(&["inspect", "--tls-verify=false", "--format", "{{.Digest}}", &source]);
    assert_eq!(seen.line(), digest);
    // What skopeo makes of it in docker's format, and compressed by zstd, comes back.
    for (tag, words) in [
        ("docker", &["--format", "v2s2"][..]),
        ("zstd", &["--dest-compress-format", "zstd", "--format", "oci"]),
    ] {
        let copy = format!("{}/copy:{tag}", registry.name());
        let to = format!("docker://{copy}");
        let all = ["copy", "-q", "--src-tls-verify=false", "--dest-tls-verify=false"];
        let all: Vec<&str> = all.iter().chain(words).copied().chain([&*source, &*to]).collect();
        skopeo(&all);
        host.sampan(["pull", &copy]).expect_code(0);
        let run = host.sampan(["run", "--rm", &copy, "echo", tag]).expect_code(0);
        assert_eq!(run.line(), tag);
    }
}

#[test]
fn a_pull_that_is_killed_is_gone_on_with() {
    let (host, registry) = (Host::new(), Registry::start());
    let name = format!("{}/box:1", registry.name());
    host.sampan(["image", "from-host", "busybox", "sh", "ls", "-t", &name]).expect_code(0);
    host.sampan(["push", &name]).expect_code(0);
    host.sampan(["rmi", "-f", &name]).expect_code(0);
    for pause in 0..12 {
        let mut child = host.command(["pull", &name]).stdout(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(pause * 3));
        child.kill().unwrap();
        child.wait().unwrap();
        let listed = host.sampan(["images", "-q"]).expect_code(0);
        if !listed.stdout.is_empty() {
            host.sampan(["run", "--rm", &name, "true"]).expect_code(0);
            host.sampan(["rmi", "-f", &name]).expect_code(0);
        }
    }
    host.sampan(["pull", &name]).expect_code(0);
    host.sampan(["run", "--rm", &name, "true"]).expect_code(0);
    host.sampan(["rmi", "-f", &name]).expect_code(0);
}

#[test]
fn two_pull_the_same_at_once() {
    let (host, registry) = (Host::new(), Registry::start());
    let name = format!("{}/box:1", registry.name());
    host.sampan(["image", "from-host", "busybox", "-t", &name]).expect_code(0);
    host.sampan(["push", &name]).expect_code(0);
    host.sampan(["rmi", "-f", &name]).expect_code(0);
    let all: Vec<_> = (0..4).map(|_| host.command(["pull", "-q", &name]).spawn().unwrap()).collect();
    for child in all {
        assert!(child.wait_with_output().unwrap().status.success());
    }
    host.sampan(["run", "--rm", &name, "true"]).expect_code(0);
    nothing_partial(&host);
}

/// Two images of one layer: removing the one takes away what a pull of the other has found to be here.
#[test]
fn a_pull_is_not_disturbed_by_a_removal() {
    let (host, registry) = (Host::new(), Registry::start());
    let root = host.root().join("root");
    host.sampan(["rootfs", "busybox", root.to_str().unwrap()]).expect_code(0);
    let tar = host.root().join("root.tar");
    let made = Command::new("tar").arg("-C").arg(&root).arg("-cf").arg(&tar).arg(".").status().unwrap();
    assert!(made.success());
    let names = ["one", "two"].map(|name| format!("{}/{name}:1", registry.name()));
    for name in &names {
        let change = format!("ENV NAME={name}");
        host.sampan(["image", "import", "--change", &change, tar.to_str().unwrap(), name]).expect_code(0);
        host.sampan(["push", name]).expect_code(0);
    }
    for round in 0..20 {
        let (pulled, removed) = (&names[round % 2], &names[(round + 1) % 2]);
        host.sampan(["rmi", pulled]);
        host.sampan(["pull", "-q", removed]).expect_code(0);
        let pull = host.command(["pull", "-q", pulled]).stderr(Stdio::piped()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(round as u64));
        host.sampan(["rmi", removed]).expect_code(0);
        Run::of(pull.wait_with_output().unwrap()).expect_code(0);
        host.sampan(["run", "--rm", "--pull", "never", pulled, "/bin/busybox", "true"]).expect_code(0);
    }
    nothing_partial(&host);
}

#[test]
fn a_registry_that_wants_a_password_gets_it() {
    let (host, registry) = (Host::new(), Registry::start_with_login());
    let name = format!("{}/box:1", registry.name());
    let config = host.root().join("docker");
    let sampan = |words: &[&str], input: &str| {
        let mut command = host.command(words);
        command.stdin(Stdio::piped());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        std::io::Write::write_all(&mut child.stdin.take().unwrap(), input.as_bytes()).unwrap();
        Run::of(child.wait_with_output().unwrap())
    };
    sampan(&["image", "from-host", "busybox", "-t", &name], "").expect_code(0);
    let refused = sampan(&["push", &name], "");
    assert!(refused.code == 1, "{refused:?}");
    let address = registry.name();
    let wrong = sampan(&["login", "-u", "user", "--password-stdin", &address], "other\n");
    assert!(wrong.code == 1 && !config.join("config.json").exists(), "{wrong:?}");
    let right = sampan(&["login", "-u", "user", "--password-stdin", &address], "password\n").expect_code(0);
    assert!(right.stdout.contains("Login Succeeded"));
    sampan(&["push", &name], "").expect_code(0);
    sampan(&["rmi", "-f", &name], "").expect_code(0);
    sampan(&["pull", &name], "").expect_code(0);
    sampan(&["logout", &address], "").expect_code(0);
    assert!(sampan(&["pull", &name], "").code == 1);
}
