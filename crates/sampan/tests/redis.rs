//! A real server with little memory: what happens to Debian's redis, and what `inspect` tells of it, as docker would.
//!
//! The constants are what docker 20.10.24 (Debian's docker.io, with containerd 1.6.20 and runc 1.1.5, on cgroup v1)
//! answered when the same was done to the same program: `docker run -d --network host -m 50m --restart unless-stopped
//! --name redis`, values of 8 MB until the kernel killed it, `kill -9` of its process, `docker kill`, `docker start`.
//! moby's daemon/container/state.go of 2026 differs in one point: it forgets OOMKilled when the next run begins.
#![allow(clippy::unwrap_used, reason = "a test's helper fails the test")]

use std::io::Write;
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use serde_json::Value;
use testkit::{Host, eventually};

/// Far above what anything here takes.
const PATIENCE: Duration = Duration::from_secs(20);
/// docker's time that has not come.
const NEVER: &str = "0001-01-01T00:00:00Z";

/// What docker's State says without times and pids.
#[derive(Debug, PartialEq, Eq)]
struct Said {
    status: &'static str,
    running: bool,
    restarting: bool,
    oom_killed: bool,
    exit_code: i64,
    restart_count: i64,
}

const RUNNING: Said = Said {
    status: "running",
    running: true,
    restarting: false,
    oom_killed: false,
    exit_code: 0,
    restart_count: 0,
};
/// In the pause after the kernel had killed it.
const RESTARTING_AFTER_OOM: Said = Said {
    status: "restarting",
    running: true,
    restarting: true,
    oom_killed: true,
    exit_code: 137,
    restart_count: 1,
};
/// The next run has begun; the reason for it is still told.
const RESTARTED_AFTER_OOM: Said = Said {
    status: "running",
    running: true,
    restarting: false,
    oom_killed: true,
    exit_code: 0,
    restart_count: 1,
};
/// In the pause after `kill -9` of the process.
const RESTARTING_AFTER_KILL: Said = Said {
    status: "restarting",
    running: true,
    restarting: true,
    oom_killed: false,
    exit_code: 137,
    restart_count: 2,
};
const RESTARTED_AFTER_KILL: Said = Said {
    status: "running",
    running: true,
    restarting: false,
    oom_killed: false,
    exit_code: 0,
    restart_count: 2,
};
/// After `docker kill`: no policy starts it again, and the count stays.
const KILLED: Said = Said {
    status: "exited",
    running: false,
    restarting: false,
    oom_killed: false,
    exit_code: 137,
    restart_count: 2,
};
/// After `docker kill` or `docker stop` in the pause after the kernel had killed it.
const STOPPED_IN_THE_PAUSE: Said = Said {
    status: "exited",
    running: false,
    restarting: false,
    oom_killed: true,
    exit_code: 137,
    restart_count: 1,
};
/// After `docker stop`: redis ends by itself.
const STOPPED: Said = Said {
    status: "exited",
    running: false,
    restarting: false,
    oom_killed: false,
    exit_code: 0,
    restart_count: 0,
};

/// Free a moment ago, and no other test's; the ports of outgoing connections are elsewhere.
fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = std::process::id() as u16 % 1000 * 10;
    let mut ports = std::iter::repeat_with(|| 20_000 + first + NEXT.fetch_add(1, Ordering::Relaxed));
    ports.find(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok()).unwrap()
}

struct Redis {
    host: Host,
    port: u16,
}

impl Redis {
    fn start() -> Redis {
        assert!(Path::new("/usr/bin/redis-server").exists(), "install redis-server and redis-tools");
        let host = Host::new();
        let port = free_port();
        let number = port.to_string();
        let mut args = vec!["run", "-d", "--network", "host", "-m", "50m", "--restart", "unless-stopped"];
        args.extend(["--name", "redis", "host:redis-server", "--port", &number, "--bind", "127.0.0.1"]);
        args.extend(["--save", "", "--appendonly", "no"]);
        host.sampan(args).expect_code(0);
        let redis = Redis { host, port };
        redis.wait_until_it_answers();
        redis
    }

    fn cli(&self, args: &[&str], input: &[u8]) -> (bool, String) {
        let mut command = Command::new("redis-cli");
        command.args(["-p", &self.port.to_string()]).args(args);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("redis-cli starts");
        // It may be refused before it has read anything.
        let _ = child.stdin.take().unwrap().write_all(input);
        let output = child.wait_with_output().unwrap();
        (output.status.success(), String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    fn wait_until_it_answers(&self) {
        assert!(eventually(PATIENCE, || self.cli(&["PING"], b"").1 == "PONG"), "{:?}", self.inspect());
    }

    fn inspect(&self) -> Value {
        let shown = self.host.sampan(["inspect", "redis"]).expect_code(0);
        serde_json::from_str::<Value>(&shown.stdout).unwrap()[0].take()
    }

    /// Waits until `inspect` says a thing, and returns all it says then.
    fn wait_for(&self, expected: &Said) -> Value {
        let mut last = Value::Null;
        eventually(PATIENCE, || {
            last = self.inspect();
            said(&last) == *expected
        });
        assert_eq!(said(&last), *expected, "{:#}", last["State"]);
        last["State"].take()
    }

    /// Gives it more to keep than it has memory for.
    fn fill(&self) {
        let value = vec![b'x'; 8_000_000];
        let killed = (0..30).any(|n| !self.cli(&["-x", "SET", &format!("big{n}")], &value).0);
        assert!(killed, "240 MB fit into 50");
    }

    fn pid(&self) -> i64 {
        self.inspect()["State"]["Pid"].as_i64().unwrap()
    }
}

fn said(inspected: &Value) -> Said {
    let state = &inspected["State"];
    let words = ["running", "restarting", "exited", "created", "paused"];
    Said {
        status: words.into_iter().find(|word| state["Status"] == *word).unwrap_or("something else"),
        running: state["Running"] == true,
        restarting: state["Restarting"] == true,
        oom_killed: state["OOMKilled"] == true,
        exit_code: state["ExitCode"].as_i64().unwrap(),
        restart_count: inspected["RestartCount"].as_i64().unwrap(),
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

#[test]
fn redis_is_killed_for_want_of_memory_and_starts_again_as_in_docker() {
    let redis = Redis::start();
    assert_eq!(redis.cli(&["SET", "greeting", "ahoy"], b"").1, "OK");
    assert_eq!(redis.cli(&["GET", "greeting"], b"").1, "ahoy");
    let first = redis.wait_for(&RUNNING);
    assert_eq!((&first["FinishedAt"], &first["Error"]), (&NEVER.into(), &"".into()));
    assert_ne!(first["Pid"], 0);

    redis.fill();
    let pause = redis.wait_for(&RESTARTING_AFTER_OOM);
    assert_eq!((&pause["Pid"], &pause["StartedAt"]), (&0.into(), &first["StartedAt"]));
    assert!(text(&pause["FinishedAt"]) > text(&pause["StartedAt"]));
    let second = redis.wait_for(&RESTARTED_AFTER_OOM);
    assert_eq!(second["FinishedAt"], pause["FinishedAt"], "the last end is told while the next run goes on");
    assert!(text(&second["StartedAt"]) > text(&second["FinishedAt"]));
    assert_ne!(second["Pid"], first["Pid"]);
    redis.wait_until_it_answers();
    assert_eq!(redis.cli(&["GET", "greeting"], b"").1, "", "a new process, which has saved nothing");

    assert!(Command::new("kill").args(["-9", &redis.pid().to_string()]).status().unwrap().success());
    let pause = redis.wait_for(&RESTARTING_AFTER_KILL);
    assert!(text(&pause["FinishedAt"]) > text(&second["FinishedAt"]));
    let third = redis.wait_for(&RESTARTED_AFTER_KILL);
    assert_eq!(third["FinishedAt"], pause["FinishedAt"]);
    redis.wait_until_it_answers();

    redis.host.sampan(["kill", "redis"]).expect_code(0);
    let killed = redis.wait_for(&KILLED);
    assert_eq!((&killed["Pid"], &killed["StartedAt"]), (&0.into(), &third["StartedAt"]));
    assert!(text(&killed["FinishedAt"]) > text(&killed["StartedAt"]));
    std::thread::sleep(Duration::from_millis(300));
    redis.wait_for(&KILLED);

    redis.host.sampan(["start", "redis"]).expect_code(0);
    let again = redis.wait_for(&RUNNING);
    assert_eq!(again["FinishedAt"], killed["FinishedAt"]);
    redis.wait_until_it_answers();
    redis.host.sampan(["stop", "redis"]).expect_code(0);
    redis.wait_for(&STOPPED);
    redis.host.sampan(["start", "redis"]).expect_code(0);
    redis.wait_until_it_answers();
    // Nothing may be left; the host looks when it is dropped.
    redis.host.sampan(["rm", "-f", "redis"]).expect_code(0);
    assert!(!redis.cli(&["PING"], b"").0);
}

#[test]
fn in_the_pause_a_kill_and_a_stop_keep_it_from_starting_again_and_tell_of_the_last_end() {
    for verb in ["kill", "stop"] {
        let redis = Redis::start();
        redis.fill();
        redis.wait_for(&RESTARTING_AFTER_OOM);
        // In docker the first pause is as short; who is too late for it kills or stops the next run.
        redis.host.sampan([verb, "redis"]).expect_code(0);
        let state = redis.inspect();
        if said(&state).oom_killed {
            assert_eq!(said(&state), STOPPED_IN_THE_PAUSE, "{verb}");
        }
        std::thread::sleep(Duration::from_millis(300));
        assert_eq!(redis.inspect()["State"]["Status"], "exited", "{verb}");
        redis.host.sampan(["rm", "redis"]).expect_code(0);
    }
}
