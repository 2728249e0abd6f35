//! One container for one test: a busybox bundle, its run directory, and its monitor.
#![allow(clippy::unwrap_used, dead_code, unreachable_pub)]

use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::{Duration, Instant};

use monitor::{Event, Exit, Incoming, Request, Session, Spawn, Task, client};

pub const PATIENCE: Duration = Duration::from_secs(20);

/// A container that is cleaned up by force when the test ends.
pub struct Container {
    pub bundle: testkit::Bundle,
    runs: tempfile::TempDir,
    pub task: Task,
    children: Vec<Child>,
}

pub fn program() -> PathBuf {
    // target/<triple>/debug/deps/<test> -> target/<triple>/debug/examples/monitor
    let test = std::env::current_exe().unwrap();
    test.parent().unwrap().parent().unwrap().join("examples/monitor")
}

fn random_id() -> String {
    let mut bytes = [0u8; 32];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty()).unwrap();
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Container {
    /// A container that runs `script` with busybox's shell.
    pub fn sh(script: &str) -> Container {
        Self::of(&["sh", "-c", script])
    }

    pub fn of(args: &[&str]) -> Container {
        let mut bundle = testkit::Bundle::new(args);
        let id = random_id();
        let cgroup = format!("/{id}");
        bundle.config["linux"]["cgroupsPath"] = cgroup.clone().into();
        bundle.write();
        for applet in
            ["dd", "head", "tail", "kill", "stty", "tty", "cut", "seq", "yes", "awk", "wc", "md5sum", "trap"]
        {
            let _ = std::os::unix::fs::symlink("busybox", bundle.rootfs().join("bin").join(applet));
        }
        let task = format!(r#"{{"version":1,"id":"{id}","name":"t","cgroup":"{cgroup}"}}"#);
        let task = serde_json::from_str(&task).unwrap();
        let runs = tempfile::Builder::new().prefix("sampan-test-run-").tempdir().unwrap();
        Container { bundle, runs, task, children: Vec::new() }
    }

    pub fn tty(mut self) -> Container {
        self.task.tty = true;
        self.task.open_stdin = true;
        self.bundle.config["process"]["terminal"] = true.into();
        self.bundle.write();
        self
    }

    pub fn interactive(mut self) -> Container {
        self.task.open_stdin = true;
        self.task.stdin_once = true;
        self
    }

    pub fn restart(mut self, policy: &str, max: u32) -> Container {
        self.task.restart = serde_json::from_str(&format!(r#"{{"policy":"{policy}","max":{max}}}"#)).unwrap();
        self
    }

    pub fn data(&self) -> &Path {
        self.bundle.path()
    }

    pub fn run(&self) -> PathBuf {
        self.runs.path().join(&self.task.id)
    }

    /// Spawns the monitor.
    pub fn spawn(&mut self) -> Session {
        self.spawn_as(false)
    }

    pub fn adopt(&mut self) -> Session {
        self.spawn_as(true)
    }

    fn spawn_as(&mut self, adopt: bool) -> Session {
        std::fs::write(self.data().join("task.json"), serde_json::to_vec(&self.task).unwrap()).unwrap();
        let program = program();
        let spawn = Spawn {
            program: &program,
            data: self.data(),
            run: &self.run(),
            adopt,
            early: false,
            network: false,
        };
        let (session, child) = client::spawn(spawn).unwrap();
        self.children.push(child);
        session
    }

    /// Spawns it, attaches to everything and starts.
    pub fn start(&mut self) -> Session {
        let mut session = self.spawn();
        let stdin = self.task.open_stdin;
        session.send(&Request::Attach { stdin, stdout: true, stderr: true }, &[]).unwrap();
        session.send(&Request::Start { explain: false }, &[]).unwrap();
        loop {
            match session.next_event(Some(PATIENCE)).unwrap().0 {
                Event::Started { .. } => return session,
                Event::Ok { .. } => {}
                other => panic!("{other:?}"),
            }
        }
    }

    pub fn connect(&self) -> Session {
        client::connect(&self.run()).unwrap().expect("a monitor")
    }

    pub fn monitor_pid(&self) -> u32 {
        self.children.last().unwrap().id()
    }

    /// `kill -9` of the monitor, and its reaping.
    pub fn kill_monitor(&mut self) {
        let mut child = self.children.pop().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Waits for the monitor's own end.
    pub fn monitor_ends(&mut self, limit: Duration) -> bool {
        let end = Instant::now() + limit;
        while Instant::now() < end {
            if self.children.last_mut().unwrap().try_wait().unwrap().is_some() {
                return true;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        false
    }

    pub fn exit_json(&self) -> Option<Exit> {
        serde_json::from_slice(&std::fs::read(self.data().join("exit.json")).ok()?).ok()
    }

    pub fn status(&self) -> monitor::Status {
        let mut session = self.connect();
        session.send(&Request::Status, &[]).unwrap();
        match session.next_event(Some(PATIENCE)).unwrap().0 {
            Event::Status(status) => status,
            other => panic!("{other:?}"),
        }
    }

    pub fn log(&self) -> String {
        let mut reader = logs::LogReader::open(&self.data().join("log"), Default::default()).unwrap();
        let mut text = Vec::new();
        while let Some(entry) = reader.try_next().unwrap() {
            text.extend(entry.log);
        }
        String::from_utf8(text).unwrap()
    }

    pub fn cgroups(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        for root in std::fs::read_dir("/sys/fs/cgroup").unwrap() {
            let dir = root.unwrap().path().join(self.task.cgroup.trim_start_matches('/'));
            if dir.exists() {
                found.push(dir);
            }
        }
        found
    }

    /// Nothing of it is left but its data directory.
    pub fn assert_gone(&self) {
        assert!(
            !self.run().exists(),
            "run directory: {:?}",
            std::fs::read_dir(self.run()).map(|d| d.count())
        );
        assert_eq!(self.cgroups(), Vec::<PathBuf>::new());
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        if let Ok(text) = std::fs::read(self.run().join("state.json"))
            && let Ok(state) = serde_json::from_slice::<runtime::State>(&text)
            && let Ok(Some(pidfd)) = state.process()
        {
            let _ = pidfd.kill();
        }
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
        for dir in self.cgroups() {
            for pid in std::fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default().lines() {
                if let Some(pid) = pid.parse().ok().and_then(rustix::process::Pid::from_raw) {
                    let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
                }
            }
            for _ in 0..100 {
                if std::fs::remove_dir(&dir).is_ok() {
                    break;
                }
                std::thread::sleep(Duration::from_millis(5));
            }
        }
    }
}

/// Reads a session to its `exited` event: both outputs and the end.
pub fn collect(session: &mut Session) -> (Vec<u8>, Vec<u8>, Exit) {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    loop {
        match session.next(Some(PATIENCE)).unwrap() {
            Incoming::Stdout(bytes) => out.extend_from_slice(bytes),
            Incoming::Stderr(bytes) => err.extend_from_slice(bytes),
            Incoming::Event(Event::Exited { exit, .. }, _) => return (out, err, exit),
            Incoming::Event(Event::Error { failure, .. }, _) => panic!("{failure}"),
            Incoming::Event(..) => {}
            Incoming::Closed => panic!("closed; so far {:?}", String::from_utf8_lossy(&out)),
        }
    }
}

/// Reads output until it contains `text`.
pub fn expect_output(session: &mut Session, text: &str) -> String {
    let mut seen = String::new();
    let end = Instant::now() + PATIENCE;
    while !seen.contains(text) {
        assert!(Instant::now() < end, "{text:?} not in {seen:?}");
        match session.next(Some(PATIENCE)) {
            Ok(Incoming::Stdout(bytes)) => seen.push_str(&String::from_utf8_lossy(bytes)),
            Ok(Incoming::Closed) => panic!("closed before {text:?}: {seen:?}"),
            Ok(_) => {}
            Err(error) => panic!("{error} before {text:?}: {seen:?}"),
        }
    }
    seen
}

/// The next event of the wanted kind, others being skipped.
pub fn event(session: &mut Session, wanted: impl Fn(&Event) -> bool) -> Event {
    loop {
        let (event, _) = session.next_event(Some(PATIENCE)).unwrap();
        if wanted(&event) {
            return event;
        }
    }
}
