//! A container as it is: what was written when it was made, and its state, which is derived and never stored.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use monitor::{Exit, Phase};
use serde::{Deserialize, Serialize};

use crate::{ContainerId, ContainerSpec, Engine, Error, Name, Result, files};

/// How long a monitor may take to say what it is doing.
const PATIENCE: Duration = Duration::from_secs(2);

/// `summary.json`: what a list shows, in one small file. Written last, and first to be read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// Version of this document: 1.
    pub version: u32,
    /// Its id.
    pub id: ContainerId,
    /// Its name.
    pub name: Name,
    /// The image as asked for.
    pub image: String,
    /// The image's id, `sha256:<hex>`.
    pub image_id: String,
    /// The program and its arguments.
    pub args: Vec<String>,
    /// RFC 3339 with nanoseconds, UTC.
    pub created: String,
    /// The image's labels and its own.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Removed after its last exit.
    #[serde(default)]
    pub auto_remove: bool,
    /// Its volumes.
    #[serde(default)]
    pub volumes: Vec<UsedVolume>,
}

/// A volume of a container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsedVolume {
    /// Its name.
    pub name: Name,
    /// Where it is mounted.
    pub target: String,
    /// Removed with the container when that is asked for.
    pub anonymous: bool,
    /// Nothing can be written through this mount.
    #[serde(default)]
    pub read_only: bool,
}

/// What a container is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Never started.
    Created,
    /// Its program runs.
    Running,
    /// Its program is frozen.
    Paused,
    /// Its program ended and will be started again.
    Restarting,
    /// Its program ended.
    Exited,
}

impl Status {
    /// docker's word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Restarting => "restarting",
            Self::Exited => "exited",
        }
    }

    /// Whether it has a monitor that looks after it.
    pub fn is_live(self) -> bool {
        matches!(self, Self::Running | Self::Paused | Self::Restarting)
    }
}

/// A container's state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// What it is doing.
    pub status: Status,
    /// The first process in the host's pid namespace; 0 when there is none.
    pub pid: i32,
    /// The monitor's pid; 0 when there is none.
    pub monitor: i32,
    /// When the current or last run began; empty before the first.
    pub started_at: String,
    /// Automatic restarts since a user last started it.
    pub restart_count: u32,
    /// How the last run that has ended did so.
    pub exit: Option<Exit>,
    /// Log bytes lost because the disk was full.
    pub log_dropped: u64,
}

/// Everything about a container.
#[derive(Clone, Debug)]
pub struct Container {
    /// What it is.
    pub summary: Summary,
    /// What was asked for.
    pub spec: ContainerSpec,
    /// Its OCI configuration.
    pub config: serde_json::Value,
    /// What it is doing.
    pub state: State,
    /// Its directory.
    pub directory: PathBuf,
}

impl Engine {
    /// Finds a container: a whole id, a name, or the first digits of an id.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Ambiguous`].
    pub fn resolve(&self, text: &str) -> Result<ContainerId> {
        if let Ok(id) = text.parse::<ContainerId>()
            && self.data_of(&id).exists()
        {
            return Ok(id);
        }
        if let Ok(name) = text.parse::<Name>()
            && let Some(id) = self.owner_of(&name)?
        {
            return Ok(id);
        }
        let not_found = || Error::NotFound(text.chars().take(200).collect());
        if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(not_found());
        }
        let mut found = self.ids()?.into_iter().filter(|id| id.as_str().starts_with(text));
        match (found.next(), found.next()) {
            (Some(id), None) => Ok(id),
            (Some(_), Some(_)) => Err(Error::Ambiguous(text.to_owned())),
            (None, _) => Err(not_found()),
        }
    }

    /// The ids of all containers, in no order.
    pub(crate) fn ids(&self) -> Result<Vec<ContainerId>> {
        let dir = self.containers();
        let names = linux::tree::entries(files::open_dir(&dir)?)?;
        Ok(names.iter().filter_map(|(name, _)| name.to_str()?.parse().ok()).collect())
    }

    /// What a list shows of a container.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Damaged`].
    pub fn summary(&self, id: &ContainerId) -> Result<Summary> {
        self.document(id, "summary.json")
    }

    /// What was asked for.
    pub(crate) fn spec(&self, id: &ContainerId) -> Result<ContainerSpec> {
        self.document(id, "spec.json")
    }

    pub(crate) fn config(&self, id: &ContainerId) -> Result<serde_json::Value> {
        self.document(id, "config.json")
    }

    /// One of the documents that every container has.
    fn document<T: serde::de::DeserializeOwned>(&self, id: &ContainerId, name: &str) -> Result<T> {
        let dir = self.data_of(id);
        let path = dir.join(name);
        match files::read(&path)? {
            Some(document) => Ok(document),
            None if dir.exists() => Err(Error::Damaged { path, why: "it is missing".into() }),
            None => Err(Error::NotFound(id.to_string())),
        }
    }

    /// Everything about a container, as it is now.
    ///
    /// # Errors
    /// As [`Engine::summary`].
    pub fn inspect(&self, id: &ContainerId) -> Result<Container> {
        let state = self.state(id)?;
        // Not shown, but without them it can neither be started nor adopted: better told here than then.
        self.document::<monitor::Task>(id, "task.json")?;
        if matches!(state.status, Status::Running | Status::Paused) {
            self.check_run(id)?;
        }
        Ok(Container {
            state,
            summary: self.summary(id)?,
            spec: self.spec(id)?,
            config: self.config(id)?,
            directory: self.data_of(id),
        })
    }

    /// Whether the state by which a running container would be adopted can be read.
    fn check_run(&self, id: &ContainerId) -> Result<()> {
        let path = self.run_of(id).join("state.json");
        match files::read::<runtime::State>(&path)? {
            Some(_) => Ok(()),
            // It may have ended just now.
            None if !self.state(id)?.status.is_live() || path.exists() => Ok(()),
            None => Err(Error::Damaged { path, why: "it is missing".into() }),
        }
    }

    /// What the container's monitor says, in its file or, while there is none that can be read, itself.
    fn live(&self, id: &ContainerId) -> Result<Option<monitor::Status>> {
        let run = self.run_of(id);
        let written: Result<Option<monitor::Status>> = files::read(&run.join("status.json"));
        if let Ok(Some(_)) = written {
            return written;
        }
        // It is armed, or starting, or somebody has damaged its file.
        let Some(mut session) = monitor::client::connect(&run)? else { return written };
        session.send(&monitor::Request::Status, &[])?;
        match session.next_event(Some(PATIENCE)) {
            Ok((monitor::Event::Status(status), _)) => Ok(Some(status)),
            Ok(_) | Err(_) => written,
        }
    }

    /// What a container is doing now. One that lost its monitor gets a new one first, which finds out.
    ///
    /// # Errors
    /// [`Error::Monitor`] when no monitor can be started.
    pub fn state(&self, id: &ContainerId) -> Result<State> {
        let run = self.run_of(id);
        if run.exists() && !monitor::client::is_monitored(&run)? {
            self.take_over(id)?;
        }
        let live = self.live(id)?;
        let exit: Option<Exit> = files::read(&self.data_of(id).join("exit.json"))?;
        let status = match live.as_ref().map(|live| live.phase) {
            Some(Phase::Running) => Status::Running,
            Some(Phase::Paused) => Status::Paused,
            Some(Phase::Restarting) => Status::Restarting,
            // It is about to run, or has just ended: what was before is what can be said.
            None | Some(Phase::Armed | Phase::Starting | Phase::Exited) => match &exit {
                None => Status::Created,
                Some(exit) if exit.started_at.is_empty() => Status::Created,
                Some(_) => Status::Exited,
            },
        };
        // Nothing says that it ever ran, and that is also what is left of one that was removed meanwhile.
        if status == Status::Created && !self.data_of(id).exists() {
            return Err(Error::NotFound(id.to_string()));
        }
        let live = live.filter(|_| status.is_live());
        // What is on disk while it runs is the end that the host's crash would be.
        let exit = match &live {
            Some(live) => live.last_exit.clone(),
            None => exit,
        };
        Ok(State {
            status,
            pid: live.as_ref().map_or(0, |live| live.pid),
            monitor: live.as_ref().map_or(0, |live| live.monitor),
            started_at: match (&live, &exit) {
                (Some(live), _) => live.started_at.clone(),
                (None, Some(exit)) => exit.started_at.clone(),
                (None, None) => String::new(),
            },
            restart_count: match (&live, &exit) {
                (Some(live), _) => live.restart_count,
                (None, exit) => exit.as_ref().map_or(0, |exit| exit.restart_count),
            },
            log_dropped: live.as_ref().map_or(0, |live| live.log_dropped),
            exit,
        })
    }
}
