//! Several commands at once.

use std::process::{Child, Stdio};

use testkit::{Host, eventually};

use super::{IMAGE, NAME, PATIENCE};

fn spawn(host: &Host, args: &[&str]) -> Child {
    host.command(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

fn end(child: Child) -> (bool, String) {
    let output = child.wait_with_output().unwrap();
    (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn of_two_starts_at_once_both_find_it_running() {
    let host = Host::new();
    host.sampan(["create", "--name", NAME, IMAGE, "sh", "-c", "echo up; sleep 1000"]).expect_code(0);
    for n in 0..15 {
        let starts: Vec<Child> = (0..3).map(|_| spawn(&host, &["start", NAME])).collect();
        for (success, stderr) in starts.into_iter().map(end) {
            assert!(success, "{n}: {stderr}");
        }
        assert_eq!(super::status(&host), "running");
        // The program is started, and may not have spoken yet.
        eventually(PATIENCE, || super::log(&host).lines().count() > n);
        assert_eq!(super::log(&host).lines().count(), n + 1, "started more than once");
        host.sampan(["kill", NAME]).expect_code(0);
    }
    super::rm(&host);
}

#[test]
fn of_two_removals_at_once_both_succeed() {
    let host = Host::new();
    for n in 0..15 {
        super::run(&host, &[], &["sleep", "1000"]);
        let removals: Vec<Child> = (0..3).map(|_| spawn(&host, &["rm", "-f", NAME])).collect();
        for (success, stderr) in removals.into_iter().map(end) {
            assert!(success, "{n}: {stderr}");
        }
        assert!(eventually(PATIENCE, || super::is_gone(&host)), "{n}");
    }
}

#[test]
fn a_name_is_free_when_the_command_returns() {
    // 500 times, if there is time: SAMPAN_TEST_ROUNDS.
    let rounds = std::env::var("SAMPAN_TEST_ROUNDS").map_or(200, |rounds| rounds.parse().unwrap());
    let host = Host::new();
    for n in 0..rounds {
        let run = host.sampan(["run", "--rm", "--name", NAME, IMAGE, "true"]);
        assert_eq!(run.code, 0, "{n}: {}", run.stderr);
    }
}

#[test]
fn who_waits_for_a_container_that_is_just_ending_is_told() {
    let host = Host::new();
    for n in 0..40 {
        super::run(&host, &[], &["sh", "-c", "exit 3"]);
        for verb in [&["wait", NAME][..], &["logs", "-f", NAME]] {
            let mut child = spawn(&host, verb);
            let ended = eventually(PATIENCE, || child.try_wait().unwrap().is_some());
            let _ = child.kill();
            assert!(ended, "{n}: {verb:?} waits for ever");
            let output = child.wait_with_output().unwrap();
            let expected = if verb[0] == "wait" { "3\n" } else { "" };
            assert_eq!(String::from_utf8_lossy(&output.stdout), expected, "{n}: {verb:?}");
        }
        host.sampan(["rm", NAME]).expect_code(0);
    }
}

#[test]
fn a_name_that_is_taken_costs_nothing() {
    let host = Host::new();
    let args = ["create", "--name", NAME, "-v", "/anonymous", IMAGE, "true"];
    host.sampan(args).expect_code(0);
    let volumes = || std::fs::read_dir(host.data().join("volumes")).unwrap().count();
    assert_eq!(volumes(), 1);
    assert!(host.sampan(args).expect_code(1).stderr.contains("already in use"));
    assert_eq!(volumes(), 1);
    host.sampan(["rm", "-v", NAME]).expect_code(0);
    assert_eq!(volumes(), 0);
}

#[test]
fn twenty_at_once() {
    let host = Host::new();
    host.sampan(["run", "--rm", IMAGE, "true"]).expect_code(0);
    let name = |n: usize| format!("{NAME}-{n}");
    let code = |n: usize| format!("echo {n}; exit {n}");
    let runs: Vec<Child> = (0..20)
        .map(|n| spawn(&host, &["run", "--rm", "--name", &name(n), IMAGE, "sh", "-c", &code(n)]))
        .collect();
    for (n, child) in runs.into_iter().enumerate() {
        let output = child.wait_with_output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(n as i32), "{stderr}");
        assert_eq!(String::from_utf8_lossy(&output.stdout), format!("{n}\n"), "{stderr}");
    }
}
