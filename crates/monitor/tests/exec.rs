//! Other processes in a running container.
#![allow(clippy::unwrap_used)]

mod common;

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};

use common::{Container, PATIENCE, event, expect_output};
use monitor::{Event, Request, Session};

const SERVE: &str = "echo up; while :; do sleep 0.05; done";

fn process(args: &[&str]) -> String {
    serde_json::json!({
        "args": args, "cwd": "/", "env": ["PATH=/bin"], "user": { "uid": 0, "gid": 0 },
    })
    .to_string()
}

fn request(process: String, tty: bool) -> Request {
    Request::Exec { process: Some(process), user: None, tty, rows: 12, cols: 34 }
}

fn pipe() -> (OwnedFd, OwnedFd) {
    rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap()
}

/// Runs an exec with pipes: its output and exit code.
fn run(container: &Container, args: &[&str], input: &[u8]) -> (String, i32) {
    let mut session = container.connect();
    let ((stdin, to), (from, stdout)) = (pipe(), pipe());
    session.send(&request(process(args), false), &[stdin.as_fd(), stdout.as_fd(), stdout.as_fd()]).unwrap();
    drop((stdin, stdout));
    let mut to = File::from(to);
    to.write_all(input).unwrap();
    drop(to);
    let mut out = String::new();
    File::from(from).read_to_string(&mut out).unwrap();
    (out, exit_code(&mut session))
}

fn exit_code(session: &mut Session) -> i32 {
    match event(session, |event| !matches!(event, Event::ExecStarted { .. })) {
        Event::ExecExited { exit_code } => exit_code,
        Event::Error { failure, .. } => failure.exit,
        other => panic!("{other:?}"),
    }
}

fn end(mut container: Container, mut session: Session) {
    session.send(&Request::Signal { signal: 9 }, &[]).unwrap();
    event(&mut session, |event| matches!(event, Event::Exited { .. }));
    assert!(container.monitor_ends(PATIENCE));
    container.assert_gone();
}

#[test]
fn pipes_exit_codes_and_errors() {
    let mut container = Container::sh(SERVE);
    let mut session = container.start();
    expect_output(&mut session, "up");
    assert_eq!(run(&container, &["cat"], b"through"), ("through".into(), 0));
    assert_eq!(run(&container, &["sh", "-c", "exit 9"], b"").1, 9);
    assert_eq!(run(&container, &["sh", "-c", "kill -9 $$"], b"").1, 137);
    assert_eq!(run(&container, &["/nonsense"], b"").1, 127);
    assert_eq!(run(&container, &["/etc/passwd"], b"").1, 126);
    // Larger than a request: it travels in a memfd.
    let long = "x".repeat(100_000);
    assert_eq!(run(&container, &["sh", "-c", "echo ${#1}", "-", &long], b"").0, "100000\n");
    end(container, session);
}

#[test]
fn a_terminal_comes_back_and_signals_go_in() {
    let mut container = Container::sh(SERVE);
    let mut session = container.start();
    expect_output(&mut session, "up");
    let mut exec = container.connect();
    exec.send(&request(process(&["sh", "-c", "stty size; read x; echo got $x; sleep 100"]), true), &[])
        .unwrap();
    let (started, mut fds) = exec.next_event(Some(PATIENCE)).unwrap();
    assert!(matches!(started, Event::ExecStarted { .. }), "{started:?}");
    let mut terminal = File::from(fds.pop().unwrap());
    terminal.write_all(b"word\n").unwrap();
    let mut seen = String::new();
    let mut buffer = [0; 256];
    while !seen.contains("got word") {
        let n = terminal.read(&mut buffer).unwrap();
        seen.push_str(&String::from_utf8_lossy(&buffer[..n]));
    }
    assert!(seen.contains("12 34"), "{seen}");
    exec.send(&Request::ExecSignal { signal: 9 }, &[]).unwrap();
    assert!(matches!(
        event(&mut exec, |event| matches!(event, Event::ExecExited { .. })),
        Event::ExecExited { exit_code: 137 }
    ));
    end(container, session);
}

#[test]
fn execs_do_not_keep_an_ended_container() {
    let mut container = Container::sh(SERVE);
    let mut session = container.start();
    expect_output(&mut session, "up");
    let mut exec = container.connect();
    let null = File::options().read(true).write(true).open("/dev/null").unwrap();
    exec.send(&request(process(&["sleep", "1000"]), false), &[null.as_fd(); 3]).unwrap();
    event(&mut exec, |event| matches!(event, Event::ExecStarted { .. }));
    end(container, session);
    assert_eq!(exit_code(&mut exec), 137);
}

#[test]
fn wrong_requests_are_refused() {
    let mut container = Container::sh(SERVE);
    let mut session = container.start();
    expect_output(&mut session, "up");
    let mut exec = container.connect();
    exec.send(&request(process(&["true"]), false), &[]).unwrap();
    assert!(matches!(event(&mut exec, |_| true), Event::Error { .. }));
    exec.send(&request("not json".into(), true), &[]).unwrap();
    assert!(matches!(event(&mut exec, |_| true), Event::Error { .. }));
    exec.send(&Request::ExecSignal { signal: 9 }, &[]).unwrap();
    assert!(matches!(event(&mut exec, |_| true), Event::Error { .. }));
    end(container, session);
}
