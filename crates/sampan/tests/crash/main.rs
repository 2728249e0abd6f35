//! What survives when a part of a container is killed, and that the next command finds it as it is.
#![allow(clippy::unwrap_used, reason = "a test's helper fails the test")]

mod clients;
mod monitor;
mod points;
mod races;

use std::time::Duration;

use serde_json::Value;
use testkit::points::kill_9;
use testkit::{Host, Run, eventually};

/// Far above what anything here takes.
const PATIENCE: Duration = Duration::from_secs(20);
/// One static program, so that the image is made at once.
const IMAGE: &str = "host:busybox";
/// The container, where there is one.
const NAME: &str = "box";

/// `sampan run OPTIONS --name box IMAGE PROGRAM` in the background.
fn run(host: &Host, options: &[&str], program: &[&str]) {
    let args = [&["run", "-d", "--name", NAME], options, &[IMAGE], program].concat();
    host.sampan(args).expect_code(0);
}

fn inspect(host: &Host) -> Value {
    let shown = host.sampan(["inspect", NAME]).expect_code(0);
    serde_json::from_str::<Value>(&shown.stdout).unwrap()[0].take()
}

/// One number of `inspect`'s State.
fn number(host: &Host, key: &str) -> i32 {
    i32::try_from(inspect(host)["State"][key].as_i64().unwrap()).unwrap()
}

fn status(host: &Host) -> String {
    inspect(host)["State"]["Status"].as_str().unwrap().to_owned()
}

fn log(host: &Host) -> String {
    host.sampan(["logs", NAME]).expect_code(0).stdout
}

/// Waits until the container's log has a line.
fn wait_for_log(host: &Host, text: &str) {
    assert!(eventually(PATIENCE, || log(host).contains(text)), "no {text:?} in {:?}", log(host));
}

/// Whether the container is removed, with everything that was its.
fn is_gone(host: &Host) -> bool {
    testkit::invariants::leftovers(host.root()).is_empty()
}

/// Kills the container's monitor, and waits until it is no more.
fn kill_monitor(host: &Host) {
    kill_and_wait(number(host, "MonitorPid"));
}

fn kill_and_wait(pid: i32) {
    assert!(pid > 0);
    kill_9(pid);
    assert!(eventually(PATIENCE, || !is_alive(pid)));
}

fn is_alive(pid: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit_once(')').map(|(_, rest)| rest.trim_start().chars().next());
    !matches!(state, None | Some(Some('Z' | 'X')))
}

fn rm(host: &Host) -> Run {
    host.sampan(["rm", "-f", NAME]).expect_code(0)
}
