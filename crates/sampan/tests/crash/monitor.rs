//! The monitor is killed: the container goes on (without its terminal it ends), and any verb may be the first after it.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use testkit::points::kill_9;
use testkit::{Host, binary, eventually};

use super::{IMAGE, NAME, PATIENCE};

/// Prints a number a line for ever; ends with 5 when it is asked to.
const COUNT: &str = "trap 'exit 5' TERM; echo up; i=0; while :; do echo $i; i=$((i+1)); done";
/// The same in no hurry.
const TICK: &str = "trap 'exit 5' TERM; echo up; i=0; while :; do echo $i; i=$((i+1)); sleep 0.02; done";
const QUIET: &str = "trap 'exit 5' TERM; echo up; while :; do sleep 0.05; done";

/// The first verb after the monitor's death.
const VERBS: [&str; 6] = ["ps", "logs", "exec", "stop", "rm", "start"];

fn each_verb(options: &[&str], program: &str) {
    let host = Host::new();
    for verb in VERBS {
        super::run(&host, options, &["sh", "-c", program]);
        super::wait_for_log(&host, "up");
        let (pid, before) = (super::number(&host, "Pid"), super::log(&host));
        super::kill_monitor(&host);
        assert!(super::is_alive(pid), "{verb}: the container ended with its monitor");
        first_verb(&host, verb, pid, &before);
        super::rm(&host);
    }
}

/// `verb` works on a container that runs without a monitor as if it had one.
fn first_verb(host: &Host, verb: &str, pid: i32, before: &str) {
    match verb {
        "ps" => {
            let shown = host.sampan(["ps", "--format", "{{.Names}} {{.State}}"]).expect_code(0);
            assert_eq!(shown.line(), "box running");
        }
        // Of much output the first part is rotated away.
        "logs" => assert!(super::log(host).starts_with(before) || before.len() > 10_000),
        "exec" => {
            let run =
                host.sampan(["exec", NAME, "/bin/busybox", "sh", "-c", "echo inside; exit 3"]).expect_code(3);
            assert_eq!(run.line(), "inside");
        }
        "stop" => {
            host.sampan(["stop", NAME]).expect_code(0);
            assert_eq!(super::status(host), "exited");
            let code = super::number(host, "ExitCode");
            // Without Linux 6.15 nobody can learn how it ended; then that is said.
            assert!(code == 5 || (code == 255 && super::inspect(host)["State"]["Error"] != ""), "{code}");
            return;
        }
        "rm" => {
            super::rm(host);
            assert!(eventually(PATIENCE, || super::is_gone(host)));
            assert!(!super::is_alive(pid));
            return;
        }
        _ => assert_eq!(host.sampan(["start", NAME]).expect_code(0).line(), NAME),
    }
    assert_eq!((super::status(host).as_str(), super::number(host, "Pid")), ("running", pid), "{verb}");
    assert_ne!(super::number(host, "MonitorPid"), 0, "{verb}");
}

#[test]
fn a_quiet_container_outlives_its_monitor() {
    each_verb(&[], QUIET);
}

#[test]
fn a_container_with_little_output_outlives_its_monitor() {
    each_verb(&[], TICK);
}

#[test]
fn a_container_with_much_output_outlives_its_monitor() {
    each_verb(&["--log-opt", "max-size=1m", "--log-opt", "max-file=2"], COUNT);
}

#[test]
fn no_line_is_lost_but_those_that_the_monitor_held() {
    let host = Host::new();
    super::run(&host, &[], &["sh", "-c", TICK]);
    super::wait_for_log(&host, "\n5\n");
    super::kill_monitor(&host);
    std::thread::sleep(Duration::from_millis(200));
    host.sampan(["ps"]).expect_code(0);
    super::wait_for_log(&host, "\n30\n");
    let log = super::log(&host);
    let numbers: Vec<u32> = log.lines().skip(1).map(|line| line.parse().unwrap()).collect();
    let expected: Vec<u32> = (0..).take(numbers.len()).collect();
    assert_eq!(numbers, expected);
    super::rm(&host);
}

#[test]
fn a_container_with_a_terminal_ends_with_its_monitor_and_that_is_said() {
    let host = Host::new();
    for verb in VERBS {
        super::run(&host, &["-t"], &["sh", "-c", "echo up; sleep 1000"]);
        super::wait_for_log(&host, "up");
        super::kill_monitor(&host);
        match verb {
            "ps" => {
                let shown = host.sampan(["ps", "-a", "--format", "{{.Names}} {{.Status}}"]).expect_code(0);
                assert!(shown.line().starts_with("box Exited (255)"), "{}", shown.stdout);
            }
            "logs" => assert_eq!(super::log(&host).trim_end(), "up"),
            "exec" => {
                let refused = host.sampan(["exec", NAME, "true"]);
                assert!(refused.code != 0 && refused.stderr.contains("is not running"), "{refused:?}");
            }
            "stop" => drop(host.sampan(["stop", NAME]).expect_code(0)),
            "rm" => {
                super::rm(&host);
                assert!(eventually(PATIENCE, || super::is_gone(&host)));
                continue;
            }
            _ => {
                host.sampan(["start", NAME]).expect_code(0);
                assert_eq!(super::status(&host), "running");
                super::rm(&host);
                continue;
            }
        }
        let state = super::inspect(&host)["State"].take();
        assert_eq!((&state["Status"], &state["ExitCode"]), (&"exited".into(), &255.into()), "{verb}");
        assert!(state["Error"].as_str().unwrap().contains("terminal"), "{verb}: {state}");
        super::rm(&host);
    }
}

/// A monitor that waits for `start`, as the one of a command line that was killed between the two.
fn armed(host: &Host) -> Child {
    let id = super::inspect(host)["Id"].as_str().unwrap().to_owned();
    let mut command = Command::new(binary("sampan-runtime"));
    command.arg("monitor").arg("--data").arg(host.data().join("containers").join(&id));
    command.arg("--run").arg(host.run().join("containers").join(&id));
    let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let socket = host.run().join("containers").join(&id).join("ctl.sock");
    assert!(eventually(PATIENCE, || socket.exists()));
    child
}

#[test]
fn an_armed_monitor_may_be_killed_before_any_verb() {
    let host = Host::new();
    for (verb, killed) in VERBS.into_iter().flat_map(|verb| [(verb, true), (verb, false)]) {
        host.sampan(["create", "--name", NAME, IMAGE, "sh", "-c", "echo up; sleep 1000"]).expect_code(0);
        let mut monitor = armed(&host);
        if killed {
            monitor.kill().unwrap();
            monitor.wait().unwrap();
        }
        match verb {
            "ps" => {
                let shown = host.sampan(["ps", "-a", "--format", "{{.Names}} {{.Status}}"]).expect_code(0);
                assert_eq!(shown.line(), "box Created");
            }
            "logs" => assert_eq!(super::log(&host), ""),
            "exec" => {
                let refused = host.sampan(["exec", NAME, "true"]);
                assert!(refused.code != 0 && refused.stderr.contains("is not running"), "{refused:?}");
            }
            "stop" => drop(host.sampan(["stop", NAME]).expect_code(0)),
            "start" => {
                host.sampan(["start", NAME]).expect_code(0);
                super::wait_for_log(&host, "up");
                assert_eq!(super::status(&host), "running");
            }
            _ => {}
        }
        super::rm(&host);
        monitor.wait().unwrap();
    }
}

#[test]
fn a_creator_may_be_killed_at_any_moment() {
    let host = Host::new();
    let mut failed = 0;
    for n in 0..30u64 {
        host.sampan(["create", "--name", NAME, IMAGE, "sleep", "1000"]).expect_code(0);
        let mut monitor = armed(&host);
        let children = format!("/proc/{0}/task/{0}/children", monitor.id());
        let start = host.command(["start", NAME]).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let mut start = start.unwrap();
        let mut creator = None;
        eventually(PATIENCE, || {
            let text = std::fs::read_to_string(&children).unwrap_or_default();
            creator = text.split_ascii_whitespace().next().and_then(|pid| pid.parse::<i32>().ok());
            creator.is_some()
        });
        std::thread::sleep(Duration::from_micros(n * 400));
        kill_9(creator.unwrap());
        let started = start.wait().unwrap().success();
        let status = super::status(&host);
        if !started {
            failed += 1;
            assert_eq!(status, "created", "{n}");
            // A second attempt is as good as a first.
            host.sampan(["start", NAME]).expect_code(0);
        } else {
            // Too late: either the creator had reported, or this was init, which then has ended.
            assert!(matches!(status.as_str(), "running" | "exited"), "{n}: {status}");
        }
        super::rm(&host);
        monitor.wait().unwrap();
    }
    assert!(failed > 0, "no creator was killed in time");
}

/// Kills monitor and program with nobody seeing the program's end.
fn kill_both(host: &Host) {
    let (monitor, pid) = (super::number(host, "MonitorPid"), super::number(host, "Pid"));
    super::kill_and_wait(monitor);
    super::kill_and_wait(pid);
}

#[test]
fn killed_with_its_monitor_a_container_has_ended_with_an_unknown_code() {
    let host = Host::new();
    super::run(&host, &[], &["sh", "-c", QUIET]);
    kill_both(&host);
    let state = super::inspect(&host)["State"].take();
    assert_eq!(
        (&state["Status"], &state["ExitCode"], &state["Pid"]),
        (&"exited".into(), &255.into(), &0.into())
    );
    assert!(state["Error"].as_str().unwrap().contains("no monitor"), "{state}");
    assert_eq!(host.sampan(["wait", NAME]).expect_code(0).line(), "255");
    host.sampan(["rm", NAME]).expect_code(0);
}

#[test]
fn after_a_crash_of_the_host_containers_have_ended_and_can_be_started() {
    let host = Host::new();
    super::run(&host, &[], &["sh", "-c", QUIET]);
    host.sampan(["run", "-d", "--rm", "--name", "fleeting", IMAGE, "sleep", "1000"]).expect_code(0);
    let shown = host.sampan(["inspect", "-f", "{{.State.MonitorPid}} {{.State.Pid}}", NAME, "fleeting"]);
    for pid in shown.stdout.split_ascii_whitespace() {
        super::kill_and_wait(pid.parse().unwrap());
    }
    // The run root is on a tmpfs.
    std::fs::remove_dir_all(host.run()).unwrap();
    let list = host.sampan(["ps", "-a", "--format", "{{.Names}} {{.State}}"]).expect_code(0);
    assert_eq!(list.line(), "box exited");
    let state = super::inspect(&host)["State"].take();
    assert_eq!(state["ExitCode"], 255);
    assert!(state["Error"].as_str().unwrap().contains("host"), "{state}");
    host.sampan(["start", NAME]).expect_code(0);
    super::wait_for_log(&host, "up\nup\n");
    super::rm(&host);
    // A reboot would also have taken the cgroups of those that ran then.
    testkit::invariants::force_clean(host.root());
}

#[test]
fn killed_with_its_monitor_a_container_is_started_again_once_if_its_policy_says_so() {
    let host = Host::new();
    for policy in ["always", "unless-stopped", "on-failure:3"] {
        super::run(&host, &["--restart", policy], &["sh", "-c", QUIET]);
        super::wait_for_log(&host, "up");
        kill_both(&host);
        // Several ask at once; one of them finds out.
        let mut asking: Vec<Child> = (0..4)
            .map(|_| host.command(["ps"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
            .collect();
        asking.iter_mut().for_each(|child| assert!(child.wait().unwrap().success(), "{policy}"));
        assert!(eventually(PATIENCE, || super::status(&host) == "running"), "{policy}");
        super::wait_for_log(&host, "up\nup\n");
        std::thread::sleep(Duration::from_millis(400));
        assert_eq!(super::log(&host), "up\nup\n", "{policy}");
        assert_eq!(super::inspect(&host)["RestartCount"], 1, "{policy}");
        super::rm(&host);
    }
}

#[test]
fn a_policy_outlives_the_monitor_in_a_pause_between_two_runs() {
    let host = Host::new();
    super::run(&host, &["--restart", "always"], &["sh", "-c", "echo up; exit 3"]);
    // The pauses double: by now one is long enough to be hit.
    let long = || super::inspect(&host)["RestartCount"].as_i64().unwrap() >= 4;
    assert!(eventually(PATIENCE, || long() && super::status(&host) == "restarting"));
    super::kill_monitor(&host);
    let count = super::inspect(&host)["RestartCount"].as_i64().unwrap();
    assert!(eventually(PATIENCE, || super::inspect(&host)["RestartCount"].as_i64().unwrap() > count));
    host.sampan(["stop", NAME]).expect_code(0);
    assert_eq!((super::status(&host).as_str(), super::number(&host, "ExitCode")), ("exited", 3));
    super::rm(&host);
}

#[test]
fn a_stop_that_was_under_way_counts_after_the_monitors_death() {
    let host = Host::new();
    let slow = "trap 'sleep 0.5; exit 0' TERM; echo up; while :; do sleep 0.05; done";
    super::run(&host, &["--restart", "always"], &["sh", "-c", slow]);
    super::wait_for_log(&host, "up");
    let (monitor, pid) = (super::number(&host, "MonitorPid"), super::number(&host, "Pid"));
    let mut stop = host.command(["stop", NAME]).stdout(Stdio::null()).spawn().unwrap();
    std::thread::sleep(Duration::from_millis(200));
    super::kill_and_wait(monitor);
    assert!(stop.wait().unwrap().success());
    assert!(!super::is_alive(pid));
    assert_eq!(super::status(&host), "exited");
    assert_eq!(super::log(&host), "up\n");
    super::rm(&host);
}
