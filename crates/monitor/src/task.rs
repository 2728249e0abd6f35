use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::Overlay;

/// Everything that a start, and each restart, of one container needs: `task.json`, written by the engine beside the
/// OCI configuration and read by the monitor. Small on purpose: the monitor keeps it in memory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Task {
    /// Version of this document: 1.
    pub version: u32,
    /// The container's id, 64 lowercase hex digits.
    pub id: String,
    /// The container's name, for messages.
    pub name: String,
    /// A terminal instead of three pipes.
    #[serde(default)]
    pub tty: bool,
    /// The standard input is a pipe that sessions can write to, instead of `/dev/null`.
    #[serde(default)]
    pub open_stdin: bool,
    /// The standard input ends with the first session that wrote to it (only without a terminal, as docker).
    #[serde(default)]
    pub stdin_once: bool,
    /// What happens to the output.
    #[serde(default)]
    pub log: LogConfig,
    /// When the container starts again by itself.
    #[serde(default)]
    pub restart: RestartPolicy,
    /// The signal that asks the container to end (number; `SIGTERM` is 15).
    #[serde(default = "default_stop_signal")]
    pub stop_signal: i32,
    /// Seconds between that signal and `SIGKILL`; negative waits for ever.
    #[serde(default = "default_stop_timeout")]
    pub stop_timeout_s: i64,
    /// The container is removed after its last exit.
    #[serde(default)]
    pub auto_remove: bool,
    /// The root file system; none when `config.json` names a directory.
    #[serde(default)]
    pub overlay: Option<Overlay>,
    /// docker's `USER`: `name|uid[:group|gid]`, resolved inside the container's root.
    #[serde(default)]
    pub user: Option<String>,
    /// Make the working directory where it is missing.
    #[serde(default)]
    pub create_cwd: bool,
    /// Pid 1 is our own small reaper that forks the user's program (`--init`).
    #[serde(default)]
    pub reaper: bool,
    /// The cgroup's path below each hierarchy's root, e.g. `/sampan/<id>`.
    pub cgroup: String,
    /// In which hierarchies it is made.
    #[serde(default)]
    pub controllers: cgroup::Controllers,
    /// Namespaces shared with other containers; resolved to their init process at each start.
    #[serde(default)]
    pub join: Vec<Join>,
    /// The built-in system call filter; none where `config.json` has one of its own, or the container has none.
    #[serde(default)]
    pub default_filter: Option<seccomp::ProfileSet>,
    /// Directory of compiled seccomp programs; none compiles each time.
    #[serde(default)]
    pub seccomp_cache: Option<PathBuf>,
    /// The command that cleans up after the last exit (absolute program path, arguments).
    #[serde(default)]
    pub cleanup: Vec<String>,
}

fn default_stop_signal() -> i32 {
    15
}

fn default_stop_timeout() -> i64 {
    10
}

/// One namespace that is another container's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Join {
    /// Which, by its OCI name: `network`, `pid`, `ipc`, `uts`.
    pub kind: String,
    /// Whose: the other container's id.
    pub container_id: String,
}

/// Where the output goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogConfig {
    /// The format.
    pub driver: LogDriver,
    /// Bytes after which the file is rotated; 0 never rotates.
    pub max_size: u64,
    /// Files kept, the current one included; at least 1.
    pub max_file: u32,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self {
            driver: LogDriver::JsonFile,
            max_size: logs::DEFAULT_MAX_SIZE,
            max_file: logs::DEFAULT_MAX_FILE,
        }
    }
}

/// The log formats.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogDriver {
    /// docker's json-file.
    JsonFile,
    /// The output is not kept.
    None,
}

/// When the container starts again by itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestartPolicy {
    /// After which ends.
    #[serde(default)]
    pub policy: RestartOn,
    /// For `on-failure`: how often at most; 0 is without limit.
    #[serde(default)]
    pub max: u32,
}

/// After which ends a container starts again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RestartOn {
    /// None.
    #[default]
    No,
    /// Every one that no user asked for.
    Always,
    /// Those with an exit code other than 0.
    OnFailure,
    /// As `always`; also not after the boot of a host on which a user had stopped it.
    UnlessStopped,
}
