//! One container from start to end, for real.
#![allow(clippy::unwrap_used)]

mod common;

use std::time::{Duration, Instant};

use common::{Container, PATIENCE, collect, event, expect_output};
use monitor::{Event, Phase, Request, WaitFor};

#[test]
fn output_exit_code_log_and_nothing_left() {
    let mut container = Container::sh("echo out; echo err >&2; exit 7");
    let mut session = container.start();
    let (out, err, exit) = collect(&mut session);
    assert_eq!((&out[..], &err[..]), (&b"out\n"[..], &b"err\n"[..]));
    assert_eq!((exit.exit_code, exit.signal, exit.oom_killed), (7, None, false));
    assert!(exit.pid > 0 && exit.finished_at > exit.started_at && !exit.started_at.is_empty());
    assert_eq!(container.exit_json().unwrap(), exit);
    container.assert_gone();
    let log = container.log();
    assert!(log.contains("out\n") && log.contains("err\n"), "{log}");
    assert!(container.monitor_ends(PATIENCE));
}

#[test]
fn a_program_that_is_not_there_is_127_and_not_executable_126() {
    for (program, code) in [("/nonsense", 127), ("/etc/passwd", 126), ("nonsense", 127)] {
        let mut container = Container::of(&[program]);
        let mut session = container.spawn();
        session.send(&Request::Start { explain: false }, &[]).unwrap();
        match event(&mut session, |event| !matches!(event, Event::Ok { .. })) {
            Event::Error { failure, .. } => assert_eq!(failure.exit, code, "{failure}"),
            other => panic!("{other:?}"),
        }
        assert!(container.monitor_ends(PATIENCE));
        let exit = container.exit_json().unwrap();
        assert_eq!((exit.exit_code, exit.started_at.as_str(), exit.pid), (code, "", 0));
        assert!(exit.error.is_some());
        container.assert_gone();
    }
}

#[test]
fn explain_reports_steps_of_creator_and_init() {
    let mut container = Container::sh("true");
    let mut session = container.spawn();
    session.send(&Request::Start { explain: true }, &[]).unwrap();
    let mut by = Vec::new();
    loop {
        match session.next_event(Some(PATIENCE)).unwrap().0 {
            Event::Step(step) => by.push(step.by),
            Event::Started { .. } => break,
            other => panic!("{other:?}"),
        }
    }
    assert!(by.contains(&"creator".into()) && by.contains(&"init".into()), "{by:?}");
}

#[test]
fn a_hundred_megabytes_arrive_whole_at_session_and_log() {
    // 100 MB in lines of 100 bytes, numbered.
    let lines = 1_000_000;
    let mut container =
        Container::sh(&format!("awk 'BEGIN {{ for (i = 0; i < {lines}; i++) printf \"%099d\\n\", i }}'"));
    container.task.log.max_size = 0;
    let mut session = container.start();
    let (out, _, exit) = collect(&mut session);
    assert_eq!(exit.exit_code, 0);
    assert_eq!(out.len(), lines * 100);
    for (n, line) in out.chunks(100).enumerate() {
        assert_eq!(std::str::from_utf8(&line[..99]).unwrap().parse::<usize>().unwrap(), n);
        assert_eq!(line[99], b'\n');
    }
    let mut reader = logs::LogReader::open(&container.data().join("log"), Default::default()).unwrap();
    let mut read = 0;
    while let Some(entry) = reader.try_next().unwrap() {
        assert_eq!(entry.log[..], out[read..read + entry.log.len()]);
        read += entry.log.len();
    }
    assert_eq!((read, reader.skipped(), exit.log_dropped), (out.len(), 0, 0));
}

#[test]
fn a_slow_reader_slows_the_container_but_no_other_session() {
    let mut container = Container::sh("dd if=/dev/zero bs=1000000 count=20 2>/dev/null");
    container.task.log.driver = monitor::LogDriver::None;
    let mut slow = container.start();
    std::thread::sleep(Duration::from_millis(500));
    // It waits for the slow session; others are served.
    let began = Instant::now();
    assert_eq!(container.status().phase, Phase::Running);
    assert!(began.elapsed() < Duration::from_millis(500));
    let memory = std::fs::read_to_string(format!("/proc/{}/status", container.monitor_pid())).unwrap();
    let rss: u64 = memory
        .lines()
        .find_map(|line| line.strip_prefix("RssAnon:"))
        .and_then(|line| line.split_ascii_whitespace().next()?.parse().ok())
        .unwrap();
    assert!(rss < 4_000, "bounded: {rss} kB");
    let (out, _, exit) = collect(&mut slow);
    assert_eq!((out.len(), exit.exit_code), (20_000_000, 0));
}

#[test]
fn a_stuck_session_that_leaves_lets_the_container_go_on() {
    let mut container = Container::sh("dd if=/dev/zero bs=1000000 count=20 2>/dev/null; exit 3");
    container.task.log.driver = monitor::LogDriver::None;
    let stuck = container.start();
    let mut waiter = container.connect();
    waiter.send(&Request::Wait { condition: WaitFor::NextExit }, &[]).unwrap();
    std::thread::sleep(Duration::from_millis(200));
    drop(stuck);
    assert_eq!(collect(&mut waiter).2.exit_code, 3);
}

#[test]
fn input_and_its_end_reach_the_program() {
    let mut container = Container::sh("wc -c").interactive();
    let mut session = container.start();
    let input = vec![b'x'; 300_000];
    let mut sent = 0;
    while sent < input.len() {
        match session.send_stdin(&input[sent..]).unwrap() {
            0 => std::thread::sleep(Duration::from_millis(1)),
            n => sent += n,
        }
    }
    session.send_stdin(&[]).unwrap();
    let (out, _, exit) = collect(&mut session);
    assert_eq!(String::from_utf8(out).unwrap().trim(), "300000");
    assert_eq!(exit.exit_code, 0);
}

#[test]
fn input_ends_with_the_session_that_gave_it() {
    let mut container = Container::sh("cat; echo over").interactive();
    let session = container.start();
    session.send_stdin(b"last\n").unwrap();
    let mut waiter = container.connect();
    waiter.send(&Request::Wait { condition: WaitFor::NotRunning }, &[]).unwrap();
    drop(session);
    assert_eq!(collect(&mut waiter).2.exit_code, 0);
    assert_eq!(container.log(), "last\nover\n");
}

/// Whoever waits for the end of what does not run has nothing to wait for.
#[test]
fn a_wait_on_an_armed_monitor_is_over() {
    let mut container = Container::sh("exit 6");
    let mut session = container.spawn();
    session.send(&Request::Wait { condition: WaitFor::NotRunning }, &[]).unwrap();
    let Event::Exited { exit, restarting: false } = event(&mut session, |_| true) else { panic!("an end") };
    assert_eq!((exit.exit_code, exit.started_at.as_str()), (0, ""));
}

#[test]
fn without_open_stdin_it_is_dev_null() {
    let mut container = Container::sh("cat; echo end");
    assert_eq!(collect(&mut container.start()).0, b"end\n");
}

#[test]
fn signals_stop_and_kill() {
    // The shell is pid 1 and has a handler.
    let mut container = Container::sh("trap 'echo got; exit 5' TERM; echo up; while :; do sleep 0.05; done");
    let mut session = container.start();
    expect_output(&mut session, "up");
    session.send(&Request::Signal { signal: 15 }, &[]).unwrap();
    let (_, _, exit) = collect(&mut session);
    assert_eq!((exit.exit_code, exit.stopped_by_user), (5, true));

    let mut container = Container::sh("echo up; while :; do sleep 0.05; done");
    let mut session = container.start();
    expect_output(&mut session, "up");
    let mut other = container.connect();
    let began = Instant::now();
    // pid 1 without a handler ignores SIGTERM, so only the deadline helps.
    other.send(&Request::Stop { signal: None, timeout_s: Some(1) }, &[]).unwrap();
    event(&mut other, |event| matches!(event, Event::Ok { .. }));
    assert!((1.0..3.0).contains(&began.elapsed().as_secs_f64()), "{:?}", began.elapsed());
    let (_, _, exit) = collect(&mut session);
    assert_eq!((exit.exit_code, exit.signal, exit.stopped_by_user), (137, Some(9), true));
    container.assert_gone();
}

#[test]
fn a_terminal_has_its_size_and_one_stream() {
    let script = "tty; stty size; read x; stty size; echo bye >&2; exit 4";
    let mut container = Container::sh(script).tty();
    let mut session = container.spawn();
    session.send(&Request::Attach { stdin: true, stdout: true, stderr: true }, &[]).unwrap();
    session.send(&Request::Resize { rows: 33, cols: 99 }, &[]).unwrap();
    session.send(&Request::Start { explain: false }, &[]).unwrap();
    let seen = expect_output(&mut session, "33 99");
    assert!(seen.contains("/dev/"), "{seen}");
    session.send(&Request::Resize { rows: 11, cols: 22 }, &[]).unwrap();
    session.send_stdin(b"\n").unwrap();
    let (out, err, exit) = collect(&mut session);
    let out = String::from_utf8(out).unwrap();
    assert!(out.contains("11 22") && out.contains("bye"), "{out}");
    assert_eq!((err.len(), exit.exit_code), (0, 4));
}

#[test]
fn restarts_back_off_count_and_end() {
    let mut container = Container::sh("echo run; exit 3").restart("on-failure", 3);
    let began = Instant::now();
    let mut session = container.start();
    let mut codes = Vec::new();
    let last = loop {
        let Event::Exited { exit, restarting } = event(&mut session, |e| matches!(e, Event::Exited { .. }))
        else {
            unreachable!()
        };
        codes.push(exit.exit_code);
        if !restarting {
            break exit;
        }
    };
    // 100 + 200 + 400 ms.
    assert!((0.7..3.0).contains(&began.elapsed().as_secs_f64()), "{:?}", began.elapsed());
    assert_eq!((codes, last.restart_count), (vec![3; 4], 3));
    assert_eq!(container.log(), "run\n".repeat(4));
    container.assert_gone();
}

#[test]
fn a_user_stop_ends_an_always_policy_also_between_two_runs() {
    let mut container = Container::sh("exit 0").restart("always", 0);
    let mut session = container.start();
    for _ in 0..4 {
        event(&mut session, |event| matches!(event, Event::Exited { restarting: true, .. }));
    }
    assert_eq!(container.status().phase, Phase::Restarting);
    session.send(&Request::Stop { signal: None, timeout_s: None }, &[]).unwrap();
    event(&mut session, |event| matches!(event, Event::Ok { .. }));
    assert!(container.exit_json().unwrap().stopped_by_user);
    assert!(container.monitor_ends(PATIENCE));
    container.assert_gone();
}

#[test]
fn killing_the_program_from_outside_restarts_it_and_restart_resets_the_count() {
    let mut container = Container::sh("echo up; while :; do sleep 0.05; done").restart("unless-stopped", 0);
    let mut session = container.start();
    expect_output(&mut session, "up");
    let pid = rustix::process::Pid::from_raw(container.status().pid).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    expect_output(&mut session, "up");
    assert_eq!(container.status().restart_count, 1);
    session.send(&Request::Restart { signal: Some(9), timeout_s: None }, &[]).unwrap();
    event(&mut session, |event| matches!(event, Event::Started { .. }));
    let status = container.status();
    assert_eq!((status.restart_count, status.phase), (0, Phase::Running));
    session.send(&Request::Stop { signal: Some(9), timeout_s: None }, &[]).unwrap();
    event(&mut session, |event| matches!(event, Event::Ok { .. }));
    container.assert_gone();
}

#[test]
fn of_two_starts_at_once_one_wins() {
    let mut container = Container::sh("while :; do sleep 0.05; done");
    let mut sessions = [container.spawn(), container.spawn()];
    let mut won = 0;
    for session in &mut sessions {
        // The loser may have closed already; with our request unread its last words are lost to ECONNRESET.
        let _ = session.send(&Request::Start { explain: false }, &[]);
        match session.next_event(Some(PATIENCE)).map(|(event, _)| event) {
            Ok(Event::Started { .. }) => won += 1,
            Ok(Event::Error { failure, .. }) => {
                assert_eq!(failure.class(), fault::Kind::Conflict, "{failure}")
            }
            Err(monitor::Error::Gone) => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(won, 1);
    let session = container.connect();
    session.send(&Request::Start { explain: false }, &[]).unwrap();
    let mut session = session;
    assert!(matches!(session.next_event(Some(PATIENCE)).unwrap().0, Event::Error { .. }));
    session.send(&Request::Signal { signal: 9 }, &[]).unwrap();
    event(&mut session, |event| matches!(event, Event::Ok { .. }));
    assert!(testkit::eventually(PATIENCE, || !container.run().exists()));
}

#[test]
fn an_armed_monitor_without_clients_ends_after_ten_seconds() {
    let mut container = Container::sh("true");
    let session = container.spawn();
    session.send(&Request::Status, &[]).unwrap();
    assert!(testkit::eventually(PATIENCE, || container.run().join("ctl.sock").exists()));
    assert!(!container.monitor_ends(Duration::from_secs(1)));
    drop(session);
    let began = Instant::now();
    assert!(container.monitor_ends(PATIENCE));
    assert!((9.0..12.0).contains(&began.elapsed().as_secs_f64()), "{:?}", began.elapsed());
    assert_eq!(container.exit_json(), None);
    container.assert_gone();
}

#[test]
fn cleanup_is_the_clients_if_it_stays_and_ours_if_not() {
    for stays in [true, false] {
        let mut container = Container::sh("sleep 0.3");
        let mark = container.data().join("cleaned");
        container.task.auto_remove = true;
        container.task.cleanup = ["/bin/busybox", "touch", mark.to_str().unwrap()].map(String::from).to_vec();
        let mut session = container.start();
        session.send(&Request::CleanupByMe, &[]).unwrap();
        event(&mut session, |event| matches!(event, Event::Ok { .. }));
        if stays {
            collect(&mut session);
            assert!(container.monitor_ends(PATIENCE));
            assert!(!mark.exists());
        } else {
            drop(session);
            let mut waiter = container.connect();
            waiter.send(&Request::Wait { condition: WaitFor::Removed }, &[]).unwrap();
            event(&mut waiter, |event| matches!(event, Event::Removed));
            assert!(mark.exists());
        }
        container.assert_gone();
    }
}
