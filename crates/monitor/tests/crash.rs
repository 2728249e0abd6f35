//! What survives when something is killed, and what the kernel does to a container.
#![allow(clippy::unwrap_used)]

mod common;

use std::time::Duration;

use common::{Container, PATIENCE, collect, event, expect_output};
use monitor::{Event, Phase, Request, WaitFor, client};
use rustix::process::{Pid, Signal, kill_process};

fn kill(pid: i32) {
    kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
}

fn alive(pid: i32) -> bool {
    runtime::state::process_stat(Pid::from_raw(pid).unwrap()).is_some_and(|(_, alive)| alive)
}

fn pid_of(container: &Container) -> i32 {
    let text = std::fs::read(container.run().join("state.json")).unwrap();
    serde_json::from_slice::<runtime::State>(&text).unwrap().pid
}

#[test]
fn a_container_outlives_its_monitor_and_is_adopted_with_its_output() {
    let script = "i=0; while [ $i -lt 100 ]; do echo line $i; i=$((i+1)); sleep 0.02; done; exit 9";
    let mut container = Container::sh(script);
    let mut session = container.start();
    expect_output(&mut session, "line 10");
    let started = container.status().started_at;
    container.kill_monitor();
    assert!(client::connect(&container.run()).unwrap().is_none());
    assert!(!client::is_monitored(&container.run()).unwrap(), "the lock dies with the monitor");
    std::thread::sleep(Duration::from_millis(300));
    assert!(alive(pid_of(&container)));
    let mut session = container.adopt();
    let Event::Status(status) = event(&mut session, |_| true) else { panic!() };
    assert_eq!((status.phase, &status.started_at), (Phase::Running, &started));
    session.send(&Request::Attach { stdin: false, stdout: true, stderr: true }, &[]).unwrap();
    expect_output(&mut session, "line 99");
    let (_, _, exit) = collect(&mut session);
    // This test is the parent of nobody here: the container's new parent reaps it.
    if exit.exit_code == 255 {
        assert!(exit.error.is_some());
    } else {
        assert_eq!((exit.exit_code, exit.error), (9, None));
    }
    assert_eq!(exit.started_at, started);
    let expected: String = (0..100).map(|i| format!("line {i}\n")).collect();
    assert_eq!(container.log(), expected);
    container.assert_gone();
}

#[test]
fn much_output_waits_for_the_adoption() {
    let mut container = Container::sh("sleep 0.2; seq 1 200000; sleep 0.2");
    let session = container.start();
    container.kill_monitor();
    drop(session);
    std::thread::sleep(Duration::from_millis(600));
    let mut session = container.adopt();
    session.send(&Request::Wait { condition: WaitFor::NextExit }, &[]).unwrap();
    collect(&mut session);
    let expected: String = (1..=200_000).map(|i| format!("{i}\n")).collect();
    assert!(container.log() == expected);
}

#[test]
fn a_container_with_a_terminal_ends_with_its_monitor_and_that_is_recorded() {
    // The first reads its terminal, and sees it end. The second does not care: pid 1 without a handler ignores the hang-up
    // signal; without its terminal nobody can look after it, so the adoption ends it.
    for (script, dies) in [("echo up; read x", true), ("echo up; while :; do sleep 0.05; done", false)] {
        let mut container = Container::sh(script).tty();
        let mut session = container.start();
        expect_output(&mut session, "up");
        let pid = pid_of(&container);
        container.kill_monitor();
        if dies {
            assert!(testkit::eventually(PATIENCE, || !alive(pid)));
        }
        terminal_end_is_recorded(container);
    }
}

fn terminal_end_is_recorded(mut container: Container) {
    let session = container.adopt();
    session.send(&Request::Wait { condition: WaitFor::NotRunning }, &[]).ok();
    assert!(container.monitor_ends(PATIENCE));
    let exit = container.exit_json().unwrap();
    assert_eq!(exit.exit_code, 255);
    assert!(exit.error.unwrap().contains("terminal"));
    container.assert_gone();
}

#[test]
fn a_killed_armed_monitor_is_replaced() {
    let mut container = Container::sh("exit 6");
    let session = container.spawn();
    assert!(testkit::eventually(PATIENCE, || container.run().join("ctl.sock").exists()));
    container.kill_monitor();
    drop(session);
    let mut session = container.start();
    assert_eq!(collect(&mut session).2.exit_code, 6);
    container.assert_gone();
}

#[test]
fn a_killed_creator_leaves_nothing() {
    // The creator is killed at many moments between its fork and its report.
    let mut failed = 0;
    for n in 0..40u64 {
        let mut container = Container::sh("sleep 100");
        let mut session = container.spawn();
        assert!(testkit::eventually(PATIENCE, || container.run().join("ctl.sock").exists()));
        let monitor = container.monitor_pid();
        let children = format!("/proc/{monitor}/task/{monitor}/children");
        session.send(&Request::Start { explain: false }, &[]).unwrap();
        let creator = loop {
            let text = std::fs::read_to_string(&children).unwrap();
            if let Some(pid) = text.split_ascii_whitespace().next() {
                break pid.parse::<i32>().unwrap();
            }
        };
        std::thread::sleep(Duration::from_micros(n * 150));
        let _ = kill_process(Pid::from_raw(creator).unwrap(), Signal::KILL);
        match event(&mut session, |event| !matches!(event, Event::Ok { .. })) {
            Event::Error { .. } => {
                failed += 1;
                assert!(container.monitor_ends(PATIENCE));
                assert_eq!(container.exit_json().unwrap().exit_code, 125);
            }
            // Too late: it had reported.
            Event::Started { .. } => {
                session.send(&Request::Signal { signal: 9 }, &[]).unwrap();
                assert!(container.monitor_ends(PATIENCE));
            }
            other => panic!("{other:?}"),
        }
        assert!(testkit::eventually(PATIENCE, || container.cgroups().is_empty()), "{n}");
        container.assert_gone();
        let id = container.data().display().to_string();
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        assert!(!mounts.contains(&id));
    }
    assert!(failed > 0, "no creator was killed in time");
}

#[test]
fn a_dead_client_changes_nothing() {
    let mut container = Container::sh("while :; do echo tick; sleep 0.02; done");
    let session = container.start();
    let pid = pid_of(&container);
    drop(session);
    std::thread::sleep(Duration::from_millis(100));
    assert!(alive(pid));
    kill(pid);
    assert!(container.monitor_ends(PATIENCE));
    assert_eq!(container.exit_json().unwrap().exit_code, 137);
    container.assert_gone();
}

#[test]
fn out_of_memory_is_recorded() {
    let mut container = Container::of(&["sh", "-c", "a=x; while :; do a=$a$a; done"]);
    container.bundle.config["linux"]["resources"] =
        serde_json::json!({ "memory": { "limit": 20 << 20, "swap": 20 << 20 } });
    container.bundle.write();
    let (_, _, exit) = collect(&mut container.start());
    assert!(exit.oom_killed, "{exit:?}");
    assert_eq!(exit.exit_code, 137);
    container.assert_gone();
}

#[test]
fn paused_it_stands_still_and_a_stop_still_works() {
    let mut container = Container::sh("trap 'exit 8' TERM; while :; do echo tick; sleep 0.02; done");
    let mut session = container.start();
    expect_output(&mut session, "tick");
    let mut other = container.connect();
    other.send(&Request::Pause, &[]).unwrap();
    event(&mut other, |event| matches!(event, Event::Ok { .. }));
    assert_eq!(container.status().phase, Phase::Paused);
    std::thread::sleep(Duration::from_millis(100));
    while session.try_next().unwrap().is_some() {}
    std::thread::sleep(Duration::from_millis(200));
    assert!(session.try_next().unwrap().is_none(), "it still ticks");
    other.send(&Request::Resume, &[]).unwrap();
    event(&mut other, |event| matches!(event, Event::Ok { .. }));
    expect_output(&mut session, "tick");
    other.send(&Request::Pause, &[]).unwrap();
    event(&mut other, |event| matches!(event, Event::Ok { .. }));
    other.send(&Request::Stop { signal: None, timeout_s: Some(10) }, &[]).unwrap();
    event(&mut other, |event| matches!(event, Event::Ok { .. }));
    assert_eq!(container.exit_json().unwrap().exit_code, 8);
    container.assert_gone();
}

#[test]
fn a_container_in_the_hosts_pid_namespace_leaves_no_process() {
    let mut container = Container::sh("sleep 1000 & echo up; exit 2");
    container.bundle.config["linux"]["namespaces"] =
        serde_json::json!([{"type": "mount"}, {"type": "ipc"}, {"type": "uts"}, {"type": "network"}]);
    container.bundle.write();
    let (out, _, exit) = collect(&mut container.start());
    assert_eq!((&out[..], exit.exit_code), (&b"up\n"[..], 2));
    container.assert_gone();
}
