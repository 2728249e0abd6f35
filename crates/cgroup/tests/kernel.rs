//! Limits, freezing and killing as the kernel of this machine carries them out: v1, hybrid or v2.
#![allow(clippy::unwrap_used, reason = "a test's helper fails the test")]

use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use cgroup::{
    Access, Cgroup, CgroupPath, Controllers, Cpu, DeviceKind, DeviceRule, Host, Layout, Limits, Memory,
};
use rustix::process::Pid;

/// A cgroup of this test that is killed and removed at the end, whatever happens.
struct Group(Option<Cgroup>, CgroupPath);

impl Group {
    fn new(name: &str) -> Group {
        let path = CgroupPath::new(&format!("/sampan-test-{}-{name}", std::process::id())).unwrap();
        let group = Cgroup::create(&Host::probe().unwrap(), &path, &Controllers::All).unwrap();
        Group(Some(group), path)
    }

    fn get(&self) -> &Cgroup {
        self.0.as_ref().expect("taken only when dropped")
    }

    /// Starts `sh -c script` in the cgroup: the shell waits for a line before it goes on.
    fn run(&self, script: &str) -> Child {
        let mut child = Command::new("sh")
            .args(["-c", &format!("read line; {script}")])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        self.get().join(Pid::from_child(&child)).unwrap();
        drop(child.stdin.take());
        child
    }

    fn outcome(&self, script: &str) -> std::process::ExitStatus {
        self.run(script).wait().unwrap()
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let group = self.0.take().expect("dropped once");
        let killed = group.kill();
        let removed = group.remove();
        if !std::thread::panicking() {
            killed.unwrap();
            removed.unwrap();
            let gone = Cgroup::open(&Host::probe().unwrap(), &self.1).unwrap();
            assert!(gone.is_gone());
            assert!(!gone.is_frozen().unwrap());
        }
    }
}

#[test]
fn memory_limit_kills_and_is_counted() {
    let group = Group::new("memory");
    let memory = Memory { limit: Some(8 << 20), ..Default::default() };
    group.get().set(&Limits { memory, ..Default::default() }).unwrap();
    assert_eq!(group.get().oom_kills().unwrap(), 0);
    // dd fills a buffer of 64 MiB, which does not fit into 8.
    let status = group.outcome("exec dd if=/dev/zero of=/dev/null bs=64M count=1");
    assert_eq!(status.signal(), Some(9), "{status}");
    assert_eq!(group.get().oom_kills().unwrap(), 1);
    let stats = group.get().stats().unwrap();
    assert_eq!(stats.memory.limit, Some(8 << 20));
    assert!(stats.cpu.usage.is_some_and(|usage| usage > 0));
    // Growing beyond the old limit of memory and swap needs the right order on v1.
    let memory = Memory { limit: Some(64 << 20), swap: Some(64 << 20), ..Default::default() };
    match group.get().set(&Limits { memory, ..Default::default() }) {
        Ok(()) => {}
        // A kernel without swap accounting.
        Err(error) => assert!(matches!(error, cgroup::Error::NoController { .. }), "{error}"),
    }
}

#[test]
fn process_limit_stops_forks() {
    let group = Group::new("pids");
    group.get().set(&Limits { pids: Some(2), ..Default::default() }).unwrap();
    let status = group.outcome("(sleep 0.1 & sleep 0.1 & sleep 0.1 & wait) 2>/dev/null");
    assert!(!status.success());
    assert_eq!(group.get().stats().unwrap().pids_limit, Some(2));
    group.get().set(&Limits { pids: Some(-1), ..Default::default() }).unwrap();
    assert!(group.outcome("(sleep 0 & sleep 0 & wait)").success());
}

#[test]
fn processors_are_limited() {
    let group = Group::new("cpuset");
    let cpu = Cpu {
        cpus: Some("0".into()),
        shares: Some(512),
        quota: Some(50_000),
        period: Some(100_000),
        ..Default::default()
    };
    group.get().set(&Limits { cpu, ..Default::default() }).unwrap();
    assert!(group.outcome("grep -q '^Cpus_allowed_list:\t0$' /proc/self/status").success());
    let unified = Host::probe().unwrap().layout() == Layout::V2;
    let (controller, file, value) =
        if unified { (None, "cpu.max", "50000 100000") } else { (Some("cpu"), "cpu.cfs_quota_us", "50000") };
    let file = group.get().directory(controller).unwrap().join(file);
    assert_eq!(std::fs::read_to_string(file).unwrap().trim(), value);
    let cpu = Cpu { cpus: Some("4000".into()), ..Default::default() };
    let error = group.get().set(&Limits { cpu, ..Default::default() }).unwrap_err();
    assert!(error.to_string().contains("cpuset.cpus"), "{error}");
}

#[test]
fn devices_are_denied_until_allowed() {
    let group = Group::new("devices");
    let null = DeviceRule {
        allow: true,
        kind: DeviceKind::Char,
        major: Some(1),
        minor: Some(3),
        access: Access::ALL,
    };
    group.get().set(&Limits { devices: vec![DeviceRule::DENY_ALL, null], ..Default::default() }).unwrap();
    assert!(group.outcome("cat /dev/null").success());
    assert!(!group.outcome("head -c 1 /dev/zero").success());
    // A second list replaces the first, and the last rule that fits decides.
    let reading = Access { read: true, ..Default::default() };
    let zero = DeviceRule { minor: Some(5), access: reading, ..null };
    let deny_null = DeviceRule { allow: false, ..null };
    let rules = vec![DeviceRule::DENY_ALL, null, zero, deny_null];
    group.get().set(&Limits { devices: rules, ..Default::default() }).unwrap();
    assert!(group.outcome("head -c 1 /dev/zero").success());
    assert!(!group.outcome("echo x > /dev/zero").success());
    assert!(!group.outcome("cat /dev/null").success());
    // A denial that is wider than the allowance before it is a denial too, which v1 left alone ignores.
    let wide = DeviceRule { minor: None, ..deny_null };
    group
        .get()
        .set(&Limits { devices: vec![DeviceRule::DENY_ALL, null, wide], ..Default::default() })
        .unwrap();
    assert!(!group.outcome("cat /dev/null").success());
}

#[test]
fn frozen_processes_stand_still_and_die_when_killed() {
    let group = Group::new("freeze");
    let mut child = group.run("sleep 0.2; exit 7");
    group.get().freeze().unwrap();
    assert!(group.get().is_frozen().unwrap());
    std::thread::sleep(Duration::from_millis(400));
    assert!(child.try_wait().unwrap().is_none());
    group.get().thaw().unwrap();
    assert!(!group.get().is_frozen().unwrap());
    assert_eq!(child.wait().unwrap().code(), Some(7));
    let mut frozen = group.run("sleep 100");
    group.get().freeze().unwrap();
    group.get().kill().unwrap();
    assert_eq!(frozen.wait().unwrap().signal(), Some(9));
}

#[test]
fn a_forking_tree_is_killed_whole() {
    let group = Group::new("kill");
    let mut child = group.run("while :; do sleep 10 & sleep 0.001; done");
    std::thread::sleep(Duration::from_millis(100));
    group.get().kill().unwrap();
    assert_eq!(child.wait().unwrap().signal(), Some(9));
    assert!(group.get().pids().unwrap().is_empty());
}

#[test]
fn nested_cgroups_go_with_their_parent() {
    let group = Group::new("nested");
    let path = CgroupPath::new(&format!("{}/a/b", group.1)).unwrap();
    let nested =
        Cgroup::create(&Host::probe().unwrap(), &path, &Controllers::Only(vec!["memory".into()])).unwrap();
    assert!(nested.directory(Some("memory")).is_some() || nested.v2_dir().is_some());
    assert!(nested.directory(Some("cpu")).is_none());
    drop(nested);
}
