//! What the command line does to who calls it: descriptors, pipes, another user's files.
#![allow(clippy::unwrap_used, reason = "a test's helper fails the test")]

use std::process::Stdio;
use std::time::{Duration, Instant};

use testkit::{Host, binary};

const IMAGE: &str = "host:busybox";

/// Runs a script whose `$S` is the program, in this host; its output and how long it took.
fn script(host: &Host, text: &str) -> (String, Duration) {
    let mut command = host.command(["ps"]);
    let environment: Vec<_> =
        command.get_envs().filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned()))).collect();
    command = std::process::Command::new("sh");
    command.args(["-c", text]).envs(environment).env("S", binary("sampan")).stdin(Stdio::null());
    let began = Instant::now();
    let output = command.output().unwrap();
    (String::from_utf8_lossy(&output.stdout).into_owned(), began.elapsed())
}

#[test]
fn a_detached_container_holds_none_of_its_callers_descriptors() {
    let host = Host::new();
    // The substitution ends when the last holder of the pipe is gone: standard output, and a copy as descriptor 9.
    let (out, took) = script(
        &host,
        &format!("x=$($S run -d --name held {IMAGE} sleep 30 9>&1 7</dev/null); echo ${{#x}}; $S rm -f held"),
    );
    assert_eq!(out, "64\nheld\n");
    assert!(took < Duration::from_secs(10), "{took:?}: somebody kept the pipe");
}

#[test]
fn a_reader_that_leaves_early_ends_the_output_and_not_the_container() {
    let host = Host::new();
    let (out, _) = script(
        &host,
        &format!(
            "$S run --name early {IMAGE} sh -c 'seq 1 100000; echo done > /done' | head -n 2; $S wait early; $S logs early | head -n 1; $S rm early"
        ),
    );
    assert_eq!(out, "1\n2\n0\n1\nearly\n");
}

#[test]
fn a_container_whose_output_is_not_kept_says_so() {
    let host = Host::new();
    host.sampan(["run", "--name", "mute", "--log-driver", "none", IMAGE, "echo", "x"]).expect_code(0);
    let logs = host.sampan(["logs", "mute"]).expect_code(1);
    assert!(logs.stderr.contains("does not support reading"), "{}", logs.stderr);
    host.sampan(["rm", "mute"]).expect_code(0);
}
