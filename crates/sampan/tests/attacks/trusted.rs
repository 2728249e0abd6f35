//! What an image says configures the workload and never the engine, nor is it filled from the caller's surroundings.

use serde_json::{Value, json};
use testkit::{Host, Run};

use crate::evil::{Tree, tamper};

fn with_secrets(host: &Host, args: &[&str]) -> Run {
    let mut command = host.command(args);
    command.env("AWS_SECRET_ACCESS_KEY", "the secret").env("HOME", "/the secret").env("TERM", "the secret");
    Run::of(command.output().unwrap())
}

/// An entry of the image's environment without a value is no request for the caller's.
#[test]
fn nothing_is_filled_from_the_callers_environment() {
    let host = Host::new();
    Tree::new().import(&host, "env", &[]);
    tamper(&host, "env", |config, _| {
        config["config"]["Env"] =
            json!(["AWS_SECRET_ACCESS_KEY", "HOME", "", "=x", "SET=${AWS_SECRET_ACCESS_KEY}$HOME"]);
    });
    let run = with_secrets(&host, &["run", "--rm", "env", "/bin/busybox", "env"]).expect_code(0);
    assert!(!run.stdout.contains("the secret"), "{}", run.stdout);
    assert!(
        !run.stdout.contains("AWS_SECRET_ACCESS_KEY\n") && run.stdout.contains("SET=${AWS"),
        "{}",
        run.stdout
    );
    with_secrets(&host, &["run", "-d", "--name", "target", "env", "/bin/sh", "-c", "sleep 600"])
        .expect_code(0);
    let exec = with_secrets(&host, &["exec", "target", "/bin/busybox", "env"]).expect_code(0);
    assert!(!exec.stdout.contains("the secret"), "{}", exec.stdout);
    let pid = state(&host)["State"]["Pid"].to_string();
    let all = std::fs::read(format!("/proc/{pid}/environ")).unwrap();
    assert!(!String::from_utf8_lossy(&all).contains("the secret"));
    host.sampan(["rm", "-f", "target"]).expect_code(0);
}

fn state(host: &Host) -> Value {
    let text = host.sampan(["inspect", "target"]).expect_code(0).stdout;
    serde_json::from_str::<Value>(&text).unwrap()[0].clone()
}

/// Labels and annotations by which other engines and runtimes are configured, and ones that this one might know.
const KEYS: [&str; 8] = [
    "io.sampan.privileged",
    "sampan.profile",
    "run.oci.handler",
    "run.oci.hooks.stdout",
    "run.oci.seccomp_fail_unknown_syscall",
    "io.kubernetes.cri.untrusted-workload",
    "io.podman.annotations.privileged",
    "org.systemd.property.TimeoutStopUSec",
];

#[test]
fn labels_and_annotations_configure_nothing() {
    let host = Host::new();
    Tree::new().import(&host, "plain", &[]);
    Tree::new().import(&host, "labels", &[]);
    tamper(&host, "labels", |config, manifest| {
        let all: serde_json::Map<String, Value> =
            KEYS.iter().map(|key| ((*key).to_owned(), "true".into())).collect();
        config["config"]["Labels"] = Value::Object(all.clone());
        for (key, value) in [
            ("Privileged", json!(true)),
            ("HostConfig", json!({ "Privileged": true, "Binds": ["/:/host"] })),
            ("Mounts", json!([{ "Type": "bind", "Source": "/", "Target": "/host" }])),
            ("Devices", json!(["/dev/kvm"])),
            ("LogPath", json!("/etc/passwd")),
            ("Hooks", json!({ "prestart": [{ "path": "/bin/sh" }] })),
        ] {
            config["config"][key] = value;
        }
        manifest["annotations"] = Value::Object(all);
    });
    let script = "grep -E 'Cap|Seccomp|NoNew' /proc/self/status; cut -d' ' -f2- </proc/mounts | grep -v '^/ '; ls /dev | sort";
    let plain = host.sampan(["run", "--rm", "plain", "/bin/sh", "-c", script]).expect_code(0);
    let labelled = host.sampan(["run", "--rm", "labels", "/bin/sh", "-c", script]).expect_code(0);
    assert_eq!(plain.stdout, labelled.stdout);
    let id = host.sampan(["create", "--name", "target", "labels", "/bin/sh"]).expect_code(0);
    let dir = host.data().join("containers").join(id.line());
    let config: Value = serde_json::from_slice(&std::fs::read(dir.join("config.json")).unwrap()).unwrap();
    assert!(config.get("annotations").is_none() && config.get("hooks").is_none(), "{config}");
    let task = std::fs::read_to_string(dir.join("task.json")).unwrap();
    assert!(KEYS.iter().all(|key| !task.contains(key)), "{task}");
    assert_eq!(state(&host)["Config"]["Labels"][KEYS[0]], "true");
    host.sampan(["rm", "target"]).expect_code(0);
}

/// Documents that say something that cannot be meant.
#[test]
fn nonsense_of_an_image_is_refused_or_harmless() {
    let host = Host::new();
    type Change = fn(&mut Value);
    let table: [(Change, bool); 9] = [
        (|config| config["User"] = "root\nevil:x:0:0".into(), false),
        (|config| config["WorkingDir"] = "../..".into(), false),
        (|config| config["Entrypoint"] = json!(["/bin/sh\u{0}x"]), false),
        (|config| config["Volumes"] = json!({ "relative": {} }), false),
        (|config| config["Env"] = json!({ "A": "b" }), false),
        (|config| config["StopSignal"] = "SIGNONSENSE".into(), true),
        (|config| config["Labels"] = json!({ "a\nb": "c\u{1b}[2J" }), true),
        (|config| config["ExposedPorts"] = json!({ "../../x/tcp": {} }), true),
        (|config| config["Healthcheck"] = json!({ "Test": ["CMD", "/bin/false"], "Interval": -1 }), true),
    ];
    for (number, (change, runs)) in table.into_iter().enumerate() {
        Tree::new().import(&host, "odd", &[]);
        tamper(&host, "odd", |config, _| change(&mut config["config"]));
        let run = host.sampan(["run", "--rm", "odd", "/bin/sh", "-c", "echo ran"]);
        assert_eq!(run.code == 0 && run.line() == "ran", runs, "{number}: {run:?}");
        assert!(runs || run.stderr.contains("error:"), "{number}: {run:?}");
    }
}
