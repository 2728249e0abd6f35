//! The command line in the foreground is killed: its container goes on.

use std::process::{Child, Stdio};
use std::time::Duration;

use testkit::{Host, eventually};

use super::{IMAGE, NAME, PATIENCE};

fn foreground(host: &Host, options: &[&str], script: &str) -> Child {
    let args = [&["run", "--name", NAME], options, &[IMAGE, "sh", "-c", script]].concat();
    let child = host.command(args).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let up = || host.sampan(["logs", NAME]).stdout.contains("up");
    assert!(eventually(PATIENCE, up));
    child
}

fn kill(mut child: Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn a_container_goes_on_without_its_client() {
    let host = Host::new();
    kill(foreground(&host, &[], "echo up; sleep 0.5; echo later; exit 4"));
    assert_eq!(super::status(&host), "running");
    assert_eq!(host.sampan(["wait", NAME]).expect_code(0).line(), "4");
    assert_eq!(super::log(&host), "up\nlater\n");
    assert_eq!((super::status(&host).as_str(), super::number(&host, "ExitCode")), ("exited", 4));
    host.sampan(["rm", NAME]).expect_code(0);
}

#[test]
fn a_container_that_its_client_was_to_remove_is_removed_without_it() {
    let host = Host::new();
    kill(foreground(&host, &["--rm"], "echo up; sleep 0.5"));
    assert_eq!(super::status(&host), "running");
    assert!(eventually(PATIENCE, || super::is_gone(&host)));
    // And when its monitor has gone, too, by whoever looks next.
    kill(foreground(&host, &["--rm"], "echo up; sleep 0.5"));
    super::kill_monitor(&host);
    std::thread::sleep(Duration::from_millis(1500));
    assert_eq!(host.sampan(["ps", "-aq"]).expect_code(0).stdout, "");
    assert!(eventually(PATIENCE, || super::is_gone(&host)));
}

#[test]
fn a_client_may_be_killed_at_any_moment() {
    let host = Host::new();
    host.sampan(["run", "--rm", IMAGE, "true"]).expect_code(0);
    for n in 0..25u64 {
        let args = ["run", "--rm", "--name", NAME, IMAGE, "true"];
        let child = host.command(args).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(n * 2));
        kill(child);
        // The container may have been made and not started, or be running to its end.
        let gone = || {
            host.sampan(["rm", "-f", NAME]).expect_code(0);
            host.sampan(["ps", "-a"]).expect_code(0);
            super::is_gone(&host)
        };
        assert!(eventually(PATIENCE, gone), "{n}: {:?}", testkit::invariants::leftovers(host.root()));
        host.sampan(args).expect_code(0);
    }
}
