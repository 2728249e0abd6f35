//! How much a monitor costs. Meaningful for a release build: `cargo test --release -p monitor --test size -- --nocapture`.
#![allow(clippy::unwrap_used)]

mod common;

use std::time::Instant;

use common::{Container, PATIENCE, collect, expect_output};

fn kilobytes(rollup: &str, name: &str) -> u64 {
    let line = rollup.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.split_ascii_whitespace().next().unwrap().parse().unwrap()
}

#[test]
fn a_monitor_is_small_before_and_after_much_output() {
    let scripts =
        ["echo up; while :; do sleep 0.5; done", "seq 1 200000; echo up; while :; do sleep 0.5; done"];
    for script in scripts {
        let mut container = Container::sh(script);
        let mut session = container.start();
        expect_output(&mut session, "up");
        // By then it has given back what it does not need.
        std::thread::sleep(std::time::Duration::from_millis(600));
        let path = format!("/proc/{}/smaps_rollup", container.monitor_pid());
        let rollup = std::fs::read_to_string(path).unwrap();
        let (pss, anonymous) = (kilobytes(&rollup, "Pss:"), kilobytes(&rollup, "Anonymous:"));
        if std::env::var_os("MAPS").is_some() {
            println!(
                "{}",
                std::fs::read_to_string(format!("/proc/{}/smaps", container.monitor_pid())).unwrap()
            );
        }
        println!("monitor: PSS {pss} kB, anonymous {anonymous} kB ({script})");
        // A debug build's relocations alone are larger than a whole release build.
        assert!(anonymous < if cfg!(debug_assertions) { 1_000 } else { 300 }, "{anonymous} kB");
    }
}

#[test]
fn a_run_takes_milliseconds() {
    let mut times = Vec::new();
    for _ in 0..20 {
        let mut container = Container::of(&["true"]);
        let began = Instant::now();
        collect(&mut container.start());
        times.push(began.elapsed());
        assert!(container.monitor_ends(PATIENCE));
    }
    times.sort();
    println!("spawn to exited: median {:?}, fastest {:?}", times[10], times[0]);
}
