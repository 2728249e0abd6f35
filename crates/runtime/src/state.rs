//! What is remembered of a container between two commands: `<root>/<id>/state.json`, and how its status is told.
//!
//! The file says which process is the container's first; whether it still is that process is asked of the kernel
//! (pid, start time and boot id must agree), so that a pid used again or a restart of the host is never taken for it.
//! Everything the kernel holds for a container can be found from its id and the `cgroup` of the first state that is
//! written, before anything is made: a command killed at any point leaves a directory that `delete --force` cleans.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, Permissions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use cgroup::{Cgroup, CgroupPath, Host};
use linux::PidFd;
use rustix::process::Pid;
use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// Most bytes of a state file: annotations may be large, a state is not.
const MAX_STATE: u64 = 4 << 20;
/// Name of the state's file.
const FILE: &str = "state.json";
/// The FIFO on which a created container waits for `start`.
pub const EXEC_FIFO: &str = "exec.fifo";
/// Longest id, so that every file name made of it fits.
const MAX_ID: usize = 128;

/// `state.json`. The first fields are the runtime-spec's state (runtime.md, 'State') as callers read it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct State {
    /// Version of the runtime-spec.
    pub oci_version: String,
    /// The container's id.
    pub id: String,
    /// First process; 0 while there is none.
    pub pid: i32,
    /// The bundle's directory.
    pub bundle: PathBuf,
    /// Annotations of the configuration.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// The process's start time in clock ticks since boot (field 22 of `/proc/PID/stat`).
    pub start_time: u64,
    /// `/proc/sys/kernel/random/boot_id` of the boot it belongs to.
    pub boot_id: String,
    /// When it was created, RFC 3339 in UTC.
    pub created: String,
    /// The root file system's directory.
    pub rootfs: PathBuf,
    /// Its cgroup below the root of every hierarchy.
    pub cgroup: String,
    /// User id of who created it.
    pub owner: u32,
}

/// The runtime-spec's status, and `paused`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// There is no first process yet.
    Creating,
    /// It waits for `start`.
    Created,
    /// The user's program runs.
    Running,
    /// Its cgroup is frozen.
    Paused,
    /// It has ended.
    Stopped,
}

impl std::fmt::Display for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Status::Creating => "creating",
            Status::Created => "created",
            Status::Running => "running",
            Status::Paused => "paused",
            Status::Stopped => "stopped",
        })
    }
}

/// What a container that has not ended is reached by.
pub(crate) struct Alive {
    /// Its first process.
    pub init: PidFd,
    /// Its cgroup.
    pub cgroup: Cgroup,
}

/// The directory of one container under the runtime's root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateDir {
    path: PathBuf,
    id: String,
}

impl StateDir {
    /// The place of `id` under `root`, whether it exists or not.
    ///
    /// # Errors
    /// [`Error::Id`] for an id that is no plain file name.
    pub fn at(root: &Path, id: &str) -> Result<StateDir> {
        check_id(id)?;
        Ok(StateDir { path: root.join(id), id: id.to_owned() })
    }

    /// Claims the id: of two at once one gets it.
    ///
    /// # Errors
    /// [`Error::Exists`] when there is such a container.
    pub fn claim(root: &Path, id: &str) -> Result<StateDir> {
        let dir = StateDir::at(root, id)?;
        DirBuilder::new().recursive(true).mode(0o700).create(root).map_err(|e| file_error(root, e))?;
        match DirBuilder::new().mode(0o711).create(&dir.path) {
            Ok(()) => Ok(dir),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Err(Error::Exists(id.to_owned())),
            Err(error) => Err(file_error(&dir.path, error)),
        }
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes the state so that a reader sees the old one or the new one.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn write(&self, state: &State) -> Result<()> {
        let (path, new) = (self.path.join(FILE), self.path.join(".state.json.new"));
        let text = serde_json::to_vec(state).map_err(|e| file_error(&path, e.into()))?;
        let write = || {
            let mut file = fs::File::create(&new)?;
            file.set_permissions(Permissions::from_mode(0o600))?;
            file.write_all(&text)?;
            replace(&new, &path)
        };
        write().map_err(|e| file_error(&path, e))
    }

    /// Reads the state.
    ///
    /// # Errors
    /// [`Error::NotFound`] without such a container, [`Error::File`] for a state that cannot be read.
    pub fn read(&self) -> Result<State> {
        let path = self.path.join(FILE);
        let size = match fs::metadata(&path) {
            Ok(metadata) => metadata.len(),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Err(Error::NotFound(self.id.clone()));
            }
            Err(error) => return Err(file_error(&path, error)),
        };
        if size > MAX_STATE {
            return Err(file_error(&path, std::io::Error::new(ErrorKind::FileTooLarge, "more than 4 MiB")));
        }
        let text = fs::read(&path).map_err(|e| file_error(&path, e))?;
        serde_json::from_slice(&text).map_err(|e| file_error(&path, e.into()))
    }

    /// Whether the directory exists, with a state or without.
    pub fn exists(&self) -> bool {
        self.path.is_dir()
    }

    /// Removes the directory; one that is gone is no error.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn remove(&self) -> Result<()> {
        match fs::remove_dir_all(&self.path) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(file_error(&self.path, error)),
            _ => Ok(()),
        }
    }

    /// Status of a container with this state, as the kernel has it now.
    ///
    /// # Errors
    /// [`Error::Cgroup`] when its cgroup cannot be asked.
    pub fn status(&self, state: &State) -> Result<Status> {
        self.look(state).map(|(status, _)| status)
    }

    /// The status, and of a container that has not ended what was opened to tell it.
    pub(crate) fn look(&self, state: &State) -> Result<(Status, Option<Alive>)> {
        if state.pid == 0 {
            return Ok((Status::Creating, None));
        }
        let Some(init) = state.process()? else { return Ok((Status::Stopped, None)) };
        let cgroup = state.open_cgroup()?;
        let status = match cgroup.is_frozen()? {
            true => Status::Paused,
            false if self.path.join(EXEC_FIFO).exists() => Status::Created,
            false => Status::Running,
        };
        Ok((status, Some(Alive { init, cgroup })))
    }
}

/// Puts `new` in the place of `path`. Exchanged, not renamed over it: ext4 and btrfs write a file to the disk before it
/// replaces another by name, and whoever removes it next waits for that. A state need not outlive a crash of the host:
/// the boot id in it is another one then.
fn replace(new: &Path, path: &Path) -> std::io::Result<()> {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    match renameat_with(CWD, new, CWD, path, RenameFlags::EXCHANGE) {
        Ok(()) => fs::remove_file(new),
        // There is nothing to replace, or the file system cannot exchange.
        Err(_) => fs::rename(new, path),
    }
}

/// The ids under a root, in order.
///
/// # Errors
/// [`Error::File`]; a root that does not exist holds none.
pub fn ids(root: &Path) -> Result<Vec<String>> {
    let entries = match fs::read_dir(root) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(|e| file_error(root, e))?,
    };
    let mut ids: Vec<String> = entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| check_id(name).is_ok() && root.join(name).is_dir())
        .collect();
    ids.sort();
    Ok(ids)
}

impl State {
    /// The first process, if it is still the one that this state means and has not ended.
    ///
    /// # Errors
    /// [`Error::Kernel`] when the kernel refuses a pidfd for another reason than that there is no such process.
    pub fn process(&self) -> Result<Option<PidFd>> {
        let Some(pid) = Pid::from_raw(self.pid).filter(|_| self.boot_id == boot_id()) else {
            return Ok(None);
        };
        let pidfd = match PidFd::open(pid) {
            Err(error) if error.errno == rustix::io::Errno::SRCH => return Ok(None),
            other => other?,
        };
        // Read after the pidfd was opened, so that both are about one process.
        match process_stat(pid) {
            Some((start_time, alive)) if start_time == self.start_time && alive => Ok(Some(pidfd)),
            _ => Ok(None),
        }
    }

    /// As [`State::process`], for what needs a container that has not ended.
    ///
    /// # Errors
    /// [`Error::Wrong`] when it has.
    pub fn running_process(&self) -> Result<PidFd> {
        let status = if self.pid == 0 { Status::Creating } else { Status::Stopped };
        let wrong = || Error::Wrong { id: self.id.clone(), status, reason: "container not running" };
        self.process()?.ok_or_else(wrong)
    }

    /// Its cgroup, in the hierarchies where it exists.
    ///
    /// # Errors
    /// [`Error::Cgroup`].
    pub fn open_cgroup(&self) -> Result<Cgroup> {
        Ok(Cgroup::open(&Host::probe()?, &self.cgroup_path()?)?)
    }

    /// Where its cgroup is, whether it exists or not.
    ///
    /// # Errors
    /// [`Error::Cgroup`] for a state that was tampered with.
    pub fn cgroup_path(&self) -> Result<CgroupPath> {
        Ok(CgroupPath::new(&self.cgroup)?)
    }
}

/// Field 22 of `/proc/PID/stat`, and whether the process is neither a zombie nor dead.
pub fn process_stat(pid: Pid) -> Option<(u64, bool)> {
    let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
    parse_stat(&String::from_utf8_lossy(&stat))
}

/// The name in the second field may hold spaces and parentheses; behind the last `)` there are none.
fn parse_stat(stat: &str) -> Option<(u64, bool)> {
    let (_, rest) = stat.rsplit_once(") ")?;
    let mut fields = rest.split(' ');
    let alive = !matches!(fields.next()?, "Z" | "X" | "x");
    let start_time = fields.nth(18)?.parse().ok()?;
    Some((start_time, alive))
}

/// This boot's id; empty where procfs does not have it.
pub fn boot_id() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim_end().to_owned()
}

/// What runc accepts: letters, digits and `_ + - .`, but neither `.` nor `..`.
fn check_id(id: &str) -> Result<()> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_+-.".contains(&byte);
    if !id.is_empty() && id.len() <= MAX_ID && id.bytes().all(plain) && id != "." && id != ".." {
        return Ok(());
    }
    Err(Error::Id(id.chars().take(MAX_ID).collect()))
}

fn file_error(path: &Path, source: std::io::Error) -> Error {
    Error::File { path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn state(id: &str, pid: i32, start_time: u64) -> State {
        State {
            oci_version: "1.3.0".into(),
            id: id.into(),
            pid,
            bundle: "/b".into(),
            annotations: BTreeMap::new(),
            start_time,
            boot_id: boot_id(),
            created: "2026-01-01T00:00:00Z".into(),
            rootfs: "/b/rootfs".into(),
            cgroup: "/sampan-test-none".into(),
            owner: 0,
        }
    }

    #[test]
    fn ids_are_plain_names() {
        let root = Path::new("/nonexistent");
        for id in ["a", "A-1_x+.y", "0", &"x".repeat(128)] {
            assert!(StateDir::at(root, id).is_ok(), "{id}");
        }
        for id in ["", ".", "..", "a/b", "../x", "a b", "a\0", "é", &"x".repeat(129)] {
            assert!(matches!(StateDir::at(root, id), Err(Error::Id(_))), "{id}");
        }
    }

    #[test]
    fn one_of_two_claims_wins_and_states_survive_a_round_trip() {
        let root = tempfile::tempdir().unwrap();
        let dir = StateDir::claim(root.path(), "one").unwrap();
        assert!(matches!(StateDir::claim(root.path(), "one"), Err(Error::Exists(_))));
        assert!(matches!(dir.read(), Err(Error::NotFound(_))));
        let written = state("one", 0, 0);
        dir.write(&written).unwrap();
        assert_eq!(dir.read().unwrap(), written);
        assert_eq!(dir.status(&written).unwrap(), Status::Creating);
        assert_eq!(ids(root.path()).unwrap(), ["one"]);
        dir.remove().unwrap();
        dir.remove().unwrap();
        assert!(ids(root.path()).unwrap().is_empty());
    }

    #[test]
    fn a_pid_of_another_time_or_boot_is_not_the_container() {
        let own = rustix::process::getpid();
        let (start_time, alive) = process_stat(own).unwrap();
        assert!(alive);
        let own = own.as_raw_nonzero().get();
        assert!(state("x", own, start_time).process().unwrap().is_some());
        assert!(state("x", own, start_time + 1).process().unwrap().is_none());
        let rebooted = State { boot_id: "other".into(), ..state("x", own, start_time) };
        assert!(rebooted.process().unwrap().is_none());
    }

    proptest! {
        #[test]
        fn any_stat_line_is_read_without_a_panic(line in "[ -~]{0,200}") {
            let _ = parse_stat(&line);
        }

        #[test]
        fn names_with_parentheses_do_not_confuse(name in "[ -~]{0,15}", time in 0u64..1 << 40) {
            let line = format!("7 ({name}) S{} {time} 0 0", " 1".repeat(18));
            prop_assert_eq!(parse_stat(&line), Some((time, true)));
        }
    }
}
