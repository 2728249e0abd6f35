//! A container in a user namespace of its own over image layers of root's, through its monitor.
#![allow(clippy::unwrap_used)]

mod common;

use std::fs::File;
use std::io::Read;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;

use common::{Container, PATIENCE, event, expect_output};
use monitor::{Event, Request};
use serde_json::json;

const BASE: u32 = 1_879_048_192;

fn container(script: &str) -> Container {
    let mut container = Container::sh(script);
    let map = json!([{"containerID": 0, "hostID": BASE, "size": 65_536}]);
    let linux = &mut container.bundle.config["linux"];
    linux["namespaces"].as_array_mut().unwrap().push(json!({"type": "user"}));
    (linux["uidMappings"], linux["gidMappings"]) = (map.clone(), map);
    container.bundle.write();
    let at = |name: &str| {
        let path = container.data().join(name);
        std::fs::create_dir(&path).unwrap();
        path
    };
    let overlay = runtime::Overlay {
        upper: at("upper"),
        work: at("work"),
        mount_at: at("at"),
        lowers: vec![container.bundle.rootfs()],
        volatile: false,
        read_only: false,
    };
    container.task.overlay = Some(overlay);
    container
}

fn exec(container: &Container, script: &str) -> String {
    let mut session = container.connect();
    let (from, stdout) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
    let null = File::open("/dev/null").unwrap();
    let process =
        json!({"args": ["sh", "-c", script], "cwd": "/", "env": ["PATH=/bin"], "user": {"uid": 0, "gid": 0}});
    let request =
        Request::Exec { process: Some(process.to_string()), user: None, tty: false, rows: 0, cols: 0 };
    session.send(&request, &[null.as_fd(), stdout.as_fd(), stdout.as_fd()]).unwrap();
    drop(stdout);
    let mut out = String::new();
    File::from(from).read_to_string(&mut out).unwrap();
    let code = event(&mut session, |event| matches!(event, Event::ExecExited { .. }));
    format!("{out}{code:?}")
}

#[test]
fn streams_exec_and_adoption() {
    let mut container = container("echo up > /dev/stdout; echo a > /made; while :; do sleep 0.05; done");
    let mut session = container.start();
    expect_output(&mut session, "up");
    let script = "id -u; stat -c %u:%g /made; echo again > /dev/stdout; cat /proc/self/uid_map | grep -c 1879048192; exit 4";
    let wanted = "0\n0:0\nagain\n1\nExecExited { exit_code: 4 }";
    assert_eq!(exec(&container, script), wanted);
    assert_eq!(std::fs::metadata(container.run().join("stdout")).unwrap().uid(), BASE);
    assert_eq!(std::fs::metadata(container.data().join("upper/made")).unwrap().uid(), 0);
    drop(session);
    container.kill_monitor();
    let mut session = container.adopt();
    assert!(matches!(event(&mut session, |_| true), Event::Status(_)));
    session.send(&Request::Attach { stdin: false, stdout: true, stderr: true }, &[]).unwrap();
    assert_eq!(exec(&container, script), wanted);
    session.send(&Request::Signal { signal: 9 }, &[]).unwrap();
    event(&mut session, |event| matches!(event, Event::Exited { .. }));
    assert!(container.monitor_ends(PATIENCE));
    container.assert_gone();
}

#[test]
fn a_restart_has_its_streams_and_files_again() {
    let mut container = container("echo run > /dev/stdout; echo x >> /count; [ $(cat /count | wc -l) = 3 ]");
    container.task.restart = serde_json::from_str(r#"{"policy":"on-failure","max":5}"#).unwrap();
    let mut session = container.start();
    event(&mut session, |event| {
        matches!(event, Event::Exited { .. })
            && std::fs::read_to_string(container.data().join("upper/count")).unwrap().len() == 6
    });
    drop(session);
    assert!(container.monitor_ends(PATIENCE));
    container.assert_gone();
}
