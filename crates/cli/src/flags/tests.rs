use clap::Parser;
use engine::spec::{Profile, SeccompSpec, UserNamespace};
use monitor::{RestartOn, RestartPolicy};
use proptest::prelude::*;

use super::*;

/// As the verb `run` is made.
#[derive(Parser)]
#[command(name = "run", args_override_self = true)]
struct Run {
    #[command(flatten)]
    container: ContainerFlags,
    #[command(flatten)]
    run: RunFlags,
}

fn parse(args: &[&str]) -> Result<Run, clap::Error> {
    Run::try_parse_from([&["run"], args].concat())
}

/// The flags, with an image behind them.
pub(super) fn flags(args: &[&str]) -> ContainerFlags {
    parse(&[args, &["image"]].concat()).unwrap().container
}

fn spec(args: &[&str]) -> Result<ContainerSpec, String> {
    flags(args).into_spec(&|_| None).map_err(|error| error.to_string())
}

fn image() -> ContainerSpec {
    ContainerSpec { image: "image".into(), ..ContainerSpec::default() }
}

#[test]
fn the_grammar_is_sound() {
    use clap::CommandFactory;
    Run::command().debug_assert();
    let help = Run::command().render_help().to_string();
    assert!(help.contains("-h, --hostname <NAME>"), "{help}");
    assert!(parse(&["--help"]).is_err_and(|error| error.kind() == clap::error::ErrorKind::DisplayHelp));
}

#[test]
fn everything_behind_the_image_is_the_command() {
    for (args, command) in [
        (&["image"][..], &[][..]),
        (&["image", "sh"], &["sh"]),
        (&["image", "-it", "--rm"], &["-it", "--rm"]),
        (&["image", "sh", "-c", "x", "--", "-y"], &["sh", "-c", "x", "--", "-y"]),
        (&["image", "--", "ls"], &["--", "ls"]),
        (&["image", "--no-such-flag"], &["--no-such-flag"]),
        (&["--", "image", "-t"], &["-t"]),
        (&["image", "", "-h"], &["", "-h"]),
    ] {
        let spec = parse(args).unwrap().container.into_spec(&|_| None).unwrap();
        assert_eq!(
            (spec.image.as_str(), &spec.command[..]),
            ("image", &command.iter().map(|&word| word.to_owned()).collect::<Vec<_>>()[..]),
            "{args:?}"
        );
        assert!(!spec.tty && !spec.auto_remove);
    }
    for bad in [&[][..], &["--no-such-flag", "image"], &["-it"], &["--memory"]] {
        assert!(parse(bad).is_err(), "{bad:?}");
    }
}

#[test]
fn switches_as_docker_has_them() {
    for (args, tty, stdin, rm) in [
        (&["-it", "--rm"][..], true, true, true),
        (&["-ti"], true, true, false),
        (&["-t=false", "-i"], false, true, false),
        (&["--tty=1", "--interactive=0", "--rm=true"], true, false, true),
        (&["--rm", "--rm=false"], false, false, false),
        (&["-t", "-t"], true, false, false),
    ] {
        let spec = spec(args).unwrap();
        assert_eq!((spec.tty, spec.open_stdin, spec.auto_remove), (tty, stdin, rm), "{args:?}");
    }
    assert!(parse(&["--rm=maybe", "image"]).is_err());
    // A value that is not joined by `=` is the image.
    assert_eq!(parse(&["--rm", "false"]).unwrap().container.into_spec(&|_| None).unwrap().image, "false");
    let run = parse(&["-dit", "--detach-keys", "a", "--sig-proxy=false", "--explain", "image"]).unwrap().run;
    assert_eq!((run.detach, run.sig_proxy, run.explain), (Some(true), Some(false), Some(true)));
    assert_eq!(run.detach_keys.as_deref(), Some("a"));
}

#[test]
fn values_may_begin_with_a_hyphen() {
    let got = spec(&["-e", "-x=1", "--entrypoint", "-sh", "--stop-timeout", "-1", "-l", "--l"]).unwrap();
    assert_eq!(got.env, ["-x=1"]);
    assert_eq!(got.entrypoint, Some(vec!["-sh".into()]));
    assert_eq!(got.stop_timeout_s, Some(-1));
    assert!(got.labels.contains_key("--l"));
}

#[test]
fn nothing_given_is_the_default() {
    assert_eq!(spec(&[]).unwrap(), image());
    let empty = [
        "name",
        "hostname",
        "user",
        "workdir",
        "restart",
        "stop-signal",
        "network",
        "pid",
        "ipc",
        "log-driver",
    ];
    let args: Vec<String> = empty.iter().map(|flag| format!("--{flag}=")).collect();
    assert_eq!(spec(&args.iter().map(String::as_str).collect::<Vec<_>>()).unwrap(), image());
}

#[test]
fn every_flag_arrives() {
    let got = spec(&[
        "--name=web",
        "-h",
        "host",
        "--domainname",
        "example.org",
        "-e",
        "A=1",
        "-l",
        "k=v",
        "-u",
        "1:2",
        "-w",
        "/a/../b",
        "--entrypoint",
        "",
        "-itv",
        "/s:/d",
        "--mount",
        "type=tmpfs,dst=/m",
        "--tmpfs",
        "/t",
        "--net",
        "host",
        "-m",
        "64m",
        "--read-only",
        "--cap-add",
        "net_admin",
        "--cap-drop=ALL",
        "--privileged",
        "--security-opt",
        "seccomp=unconfined",
        "--init",
        "--restart",
        "on-failure:3",
        "--stop-signal",
        "SIGUSR1",
        "--stop-timeout",
        "3",
        "--ulimit",
        "core=0",
        "--device",
        "/dev/null",
        "--sysctl",
        "net.a=1",
        "--shm-size",
        "1m",
        "--pid",
        "host",
        "--ipc",
        "container:x",
        "--uts",
        "private",
        "--cgroupns",
        "host",
        "--userns",
        "auto",
        "--cgroup-parent",
        "/my",
        "--log-opt",
        "max-size=1m",
        "--log-opt",
        "max-file=2",
        "--add-host",
        "db:10.0.0.1",
        "--profile",
        "hardened",
        "--pull",
        "never",
    ])
    .unwrap();
    let mut wanted = image();
    wanted.name = Some("web".parse().unwrap());
    wanted.hostname = Some("host".into());
    wanted.domainname = Some("example.org".into());
    wanted.env = vec!["A=1".into()];
    wanted.labels = [("k".to_owned(), "v".to_owned())].into();
    wanted.user = Some("1:2".into());
    wanted.working_dir = Some("/b".into());
    wanted.entrypoint = Some(Vec::new());
    (wanted.tty, wanted.open_stdin, wanted.stdin_once) = (true, true, true);
    wanted.mounts = got.mounts.clone();
    assert_eq!(got.mounts.iter().map(|mount| &*mount.target).collect::<Vec<_>>(), ["/d", "/m", "/t"]);
    wanted.network = NetworkMode::Host;
    wanted.resources.memory = Some(64 << 20);
    wanted.resources.ulimits = got.resources.ulimits.clone();
    wanted.resources.devices = got.resources.devices.clone();
    wanted.resources.sysctls = [("net.a".to_owned(), "1".to_owned())].into();
    assert_eq!((got.resources.ulimits.len(), got.resources.devices.len()), (1, 1));
    (wanted.read_only, wanted.init) = (true, true);
    wanted.security.cap_add = vec!["NET_ADMIN".into()];
    wanted.security.cap_drop = vec!["ALL".into()];
    wanted.security.privileged = true;
    wanted.security.seccomp = SeccompSpec::Unconfined;
    wanted.security.profile = Profile::Hardened;
    wanted.restart = RestartPolicy { policy: RestartOn::OnFailure, max: 3 };
    wanted.stop_signal = Some(10);
    wanted.stop_timeout_s = Some(3);
    wanted.shm_size = Some(1 << 20);
    wanted.namespaces.pid = NamespaceMode::Host;
    wanted.namespaces.ipc = NamespaceMode::Container("x".into());
    wanted.namespaces.cgroup = NamespaceMode::Host;
    wanted.namespaces.user = UserNamespace::Auto;
    wanted.cgroup_parent = Some("/my".into());
    wanted.log = LogConfig { driver: LogDriver::JsonFile, max_size: 1_000_000, max_file: 2 };
    wanted.extra_hosts = vec![("db".into(), "10.0.0.1".into())];
    assert_eq!(got, wanted);
}

#[test]
fn what_does_not_go_together() {
    for (args, why) in [
        (&["--rm", "--restart", "always"][..], "conflicting options: cannot specify both --restart and --rm"),
        (&["--network=container:a", "-h", "x"], "hostname and the network mode"),
        (&["--uts=host", "-h", "x"], "hostname and the UTS mode"),
        (
            &["--network=container:a", "--add-host", "a:1.2.3.4"],
            "custom host-to-IP mapping and the network mode",
        ),
        (&["--log-driver=none", "--log-opt", "max-size=1m"], "invalid logging opts for driver none"),
        (&["--network", "bridge"], "networks are not built yet; use none, host or container:NAME"),
        (&["--pull", "sometimes"], "must be one of"),
        (&["--name", "-"], "only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed"),
        (&["-w", "relative"], "the working directory 'relative' is invalid, it needs to be an absolute path"),
        (&["--stop-signal", "SIGNOT"], "invalid signal: SIGNOT"),
        (&["--cgroup-parent", "/a/../b"], "no '..'"),
        (&["--log-driver", "syslog"], "no such log driver"),
        (&["--log-opt", "max-size=0"], "must be positive"),
        (&["--log-opt", "max-file=0"], "must be a positive number"),
        (&["--log-opt", "compress=true"], "unknown log opt 'compress'"),
        (&["-a", "stdboth"], "valid streams are STDIN, STDOUT and STDERR"),
        (&["-m", "x"], "invalid argument \"x\" for \"--memory\" flag"),
        (&["--env-file", "/no/such/file"], "--env-file: /no/such/file"),
    ] {
        let error = spec(args).unwrap_err();
        assert!(error.contains(why), "{args:?}: {error}");
    }
    assert!(spec(&["--rm", "--restart", "no"]).is_ok());
    assert_eq!(spec(&["--log-driver", "none"]).unwrap().log.driver, LogDriver::None);
    assert_eq!(spec(&["--log-opt", "max-size=-1"]).unwrap().log.max_size, 0);
    for bad in ["-c=x", "--pids-limit=many", "--stop-timeout=1s", "--cpu-quota=1.5"] {
        assert!(parse(&[bad, "image"]).is_err(), "{bad}");
    }
}

#[test]
fn streams() {
    for (args, stdin, stdout, stderr) in [
        (&[][..], false, true, true),
        (&["-i"], true, true, true),
        (&["-a", "STDOUT"], false, true, false),
        (&["-a", "stdin", "-a", "stderr"], true, false, true),
        (&["-i", "-a", "stdout"], true, true, false),
    ] {
        assert_eq!(flags(args).attached().unwrap(), Attached { stdin, stdout, stderr }, "{args:?}");
    }
    // Input that nobody keeps open does not end anything.
    let got = spec(&["-a", "stdin"]).unwrap();
    assert!(!got.open_stdin && !got.stdin_once);
    assert!(flags(&["-a", "stdin"]).chooses_streams() && !flags(&[]).chooses_streams());
    assert_eq!(flags(&["--cidfile", "/x"]).cidfile(), Some(Path::new("/x")));
}

#[test]
fn what_other_verbs_share() {
    assert_eq!(detach_keys(None).unwrap(), DetachKeys::default());
    assert_eq!(detach_keys(Some("ctrl-p,ctrl-q")).unwrap(), DetachKeys::default());
    let error = detach_keys(Some("ctrl-1")).unwrap_err().to_string();
    assert!(error.contains("--detach-keys") && error.contains("unknown character: 'ctrl-1'"), "{error}");
    assert_eq!(environment(&[], &["A".into()], &|name| Some(name.to_lowercase())).unwrap(), ["A=a"]);
}

#[test]
fn switches_have_dockers_words() {
    for (text, wanted) in
        [("1", Some(true)), ("T", Some(true)), ("False", Some(false)), ("yes", None), ("", None)]
    {
        assert_eq!(boolean(text).ok(), wanted, "{text}");
    }
    // The error says what is to be done in one line, and where.
    let error = FlagError::of("memory", &"x".repeat(500))("no".into());
    assert!(error.to_string().len() < 200 && error.kind() == Kind::Invalid);
}

proptest! {
    #[test]
    fn any_command_line_is_read_or_refused(words in prop::collection::vec(
        prop_oneof![any::<String>(), "-[a-z]{1,3}", "--(env|volume|mount|memory|cpus|network|label|rm|tty|restart|log-opt)(=[a-z0-9:/,=.-]{0,9})?"],
        0..6,
    )) {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        if let Ok(run) = parse(&words) {
            let _ = run.container.into_spec(&|_| None);
        }
    }
}
