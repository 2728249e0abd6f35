//! Freezing, thawing and killing everything in a cgroup.

use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::process::{Pid, Signal};

use crate::{Cgroup, Error, Result};

/// How long freezing and killing may take before it is called a failure: a process in an uninterruptible sleep.
const WITHIN: Duration = Duration::from_secs(10);

impl Cgroup {
    /// Freezes every process; returns when the kernel says that they are.
    ///
    /// # Errors
    /// [`Error::Timeout`] after ten seconds (it is thawed again then), [`Error::NoController`] without a freezer.
    pub fn freeze(&self) -> Result<()> {
        self.set_frozen(true).inspect_err(|error| {
            if matches!(error, Error::Timeout { .. }) {
                // Half frozen is worse than not: the first error is the one to report.
                let _ = self.set_frozen(false);
            }
        })
    }

    /// Lets frozen processes go on.
    ///
    /// # Errors
    /// As [`Cgroup::freeze`].
    pub fn thaw(&self) -> Result<()> {
        self.set_frozen(false)
    }

    /// Whether the processes are frozen, or about to be; a cgroup that is removed meanwhile has none.
    ///
    /// # Errors
    /// [`Error::System`].
    pub fn is_frozen(&self) -> Result<bool> {
        let state = match (self.v2(), self.v1("freezer")) {
            (Some(dir), _) => dir.read(self.path(), "cgroup.freeze").map(|state| state.trim() == "1"),
            (None, Some(dir)) => dir.read(self.path(), "freezer.state").map(|state| state.trim() != "THAWED"),
            (None, None) => Ok(false),
        };
        match state {
            Err(Error::System { errno: Errno::NODEV | Errno::NOENT, .. }) => Ok(false),
            state => state,
        }
    }

    fn set_frozen(&self, frozen: bool) -> Result<()> {
        if let Some(dir) = self.v2() {
            dir.write(self.path(), "cgroup.freeze", if frozen { "1" } else { "0" })?;
            let wanted = if frozen { "frozen 1" } else { "frozen 0" };
            return self.wait_until(if frozen { "not frozen" } else { "not thawed" }, || {
                Ok(dir.read(self.path(), "cgroup.events")?.lines().any(|line| line == wanted))
            });
        }
        let missing = || Error::NoController { controller: "freezer", file: "freezer.state".into() };
        let dir = self.v1("freezer").ok_or_else(missing)?;
        let wanted = if frozen { "FROZEN" } else { "THAWED" };
        self.wait_until(if frozen { "not frozen" } else { "not thawed" }, || {
            // v1 must be told again: a process that was forked meanwhile keeps it in FREEZING.
            dir.write(self.path(), "freezer.state", wanted)?;
            Ok(dir.read(self.path(), "freezer.state")?.trim() == wanted)
        })
    }

    /// Kills everything in the cgroup and below it; returns when nothing is left but zombies.
    ///
    /// # Errors
    /// [`Error::Timeout`] when something does not die.
    pub fn kill(&self) -> Result<()> {
        if let Some(dir) = self.v2() {
            let empty =
                || Ok(dir.read(self.path(), "cgroup.events")?.lines().any(|line| line == "populated 0"));
            // The kill itself takes the lock of all cgroups, and waits for whoever has it: milliseconds, to kill nobody.
            if empty().unwrap_or(false) {
                return Ok(());
            }
            match dir.write(self.path(), "cgroup.kill", "1") {
                Ok(()) => return self.wait_until("not dead", empty),
                // Before Linux 5.14 there is no such file.
                Err(Error::System { errno: Errno::NOENT, .. }) => {}
                Err(error) => return Err(error),
            }
        }
        self.wait_until("not dead", || {
            let pids = self.pids()?;
            pids.iter().try_for_each(|pid| signal(*pid, Signal::KILL))?;
            // A frozen process of v1 does not see its signal.
            if self.v1("freezer").is_some() && self.is_frozen()? {
                self.thaw()?;
            }
            Ok(pids.is_empty())
        })
    }

    /// Sends a signal to every process of this cgroup itself.
    ///
    /// # Errors
    /// [`Error::System`].
    pub fn signal_all(&self, number: Signal) -> Result<()> {
        self.pids()?.into_iter().try_for_each(|pid| signal(pid, number))
    }

    /// Asks `done` with growing pauses; a cgroup that vanished meanwhile counts as done.
    fn wait_until(&self, what: &'static str, mut done: impl FnMut() -> Result<bool>) -> Result<()> {
        let deadline = Instant::now() + WITHIN;
        let mut pause = Duration::from_micros(100);
        loop {
            match done() {
                Ok(true) | Err(Error::System { errno: Errno::NODEV | Errno::NOENT, .. }) => return Ok(()),
                Ok(false) => {}
                Err(error) => return Err(error),
            }
            if Instant::now() >= deadline {
                let path = self.path().to_string();
                return Err(Error::Timeout { path, what, seconds: WITHIN.as_secs() });
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(10));
        }
    }
}

/// One that has ended by now is no error.
fn signal(pid: Pid, number: Signal) -> Result<()> {
    match rustix::process::kill_process(pid, number) {
        Ok(()) | Err(Errno::SRCH) => Ok(()),
        Err(errno) => Err(Error::system("kill", format!("/proc/{pid}"), errno)),
    }
}
