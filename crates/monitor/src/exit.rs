use serde::{Deserialize, Serialize};

/// How one run of a container ended: `exit.json`, and the payload of the `exited` event.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// The exit code as docker shows it: 128 + n after signal n, 125, 126 or 127 when the program was never started, 255
    /// when nobody could learn it (`error` says why).
    pub exit_code: i32,
    /// The signal that ended the first process.
    #[serde(default)]
    pub signal: Option<i32>,
    /// The kernel killed a process of the container for want of memory.
    #[serde(default)]
    pub oom_killed: bool,
    /// Why it did not start, or why its end is not known.
    #[serde(default)]
    pub error: Option<String>,
    /// RFC 3339 with nanoseconds, UTC; empty when it never started.
    #[serde(default)]
    pub started_at: String,
    /// RFC 3339 with nanoseconds, UTC.
    pub finished_at: String,
    /// Automatic restarts since a user last started it.
    #[serde(default)]
    pub restart_count: u32,
    /// A user asked for the end (stop or kill), so no policy restarts it.
    #[serde(default)]
    pub stopped_by_user: bool,
    /// The first process's pid in the host's pid namespace; 0 when it never started.
    #[serde(default)]
    pub pid: i32,
    /// Log bytes that were lost because the disk was full, over the monitor's life.
    #[serde(default)]
    pub log_dropped: u64,
}

/// Where a container is in its life, as its monitor sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// The monitor waits for `start`.
    Armed,
    /// The creator is at work.
    Starting,
    /// The program runs.
    Running,
    /// The program is frozen.
    Paused,
    /// The program ended and will be started again after a pause.
    Restarting,
    /// The program ended for good.
    Exited,
}

/// `status.json` in the run directory, and the payload of the `status` event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Where it is.
    pub phase: Phase,
    /// The first process's pid in the host's pid namespace; 0 when there is none.
    #[serde(default)]
    pub pid: i32,
    /// RFC 3339 with nanoseconds, UTC, of the current or last run; empty before the first.
    #[serde(default)]
    pub started_at: String,
    /// Automatic restarts since a user last started it.
    #[serde(default)]
    pub restart_count: u32,
    /// How the run before this one ended. `exit.json` says what will be true if the host goes down now.
    #[serde(default)]
    pub last_exit: Option<Exit>,
    /// A user has asked for the end of this run, so no policy starts it again.
    #[serde(default)]
    pub stopped_by_user: bool,
    /// The monitor's own pid.
    #[serde(default)]
    pub monitor: i32,
    /// Log bytes lost because the disk was full.
    #[serde(default)]
    pub log_dropped: u64,
}
