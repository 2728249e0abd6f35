//! `exec`: another process in a running container.

use std::os::fd::BorrowedFd;

use linux::CapSet;
use monitor::{Request, Session, Task};
use serde_json::json;

use crate::container::Status;
use crate::{ContainerId, Engine, Error, Result, create, files, oci};

/// What to run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExecSpec {
    /// The program and its arguments.
    pub args: Vec<String>,
    /// `NAME=VALUE`, over the container's.
    pub env: Vec<String>,
    /// Instead of the container's.
    pub user: Option<String>,
    /// Instead of the container's.
    pub working_dir: Option<String>,
    /// With every capability.
    pub privileged: bool,
    /// A terminal of this many rows and columns (0 for what the kernel says).
    pub tty: Option<(u16, u16)>,
}

impl Engine {
    /// Starts a process in a container. Without a terminal `stdio` are its three standard streams. The session then
    /// brings `exec_started`, with the terminal's master, or `error`, and at the end `exec_exited`.
    ///
    /// # Errors
    /// [`Error::Conflict`] for a container that does not run, or is frozen.
    pub fn exec(&self, id: &ContainerId, spec: &ExecSpec, stdio: &[BorrowedFd<'_>]) -> Result<Session> {
        match self.state(id)?.status {
            Status::Running => {}
            Status::Paused => {
                return Err(Error::Conflict(format!(
                    "container {id} is paused, unpause the container before exec"
                )));
            }
            _ => return Err(Error::Conflict(format!("container {id} is not running"))),
        }
        let (process, user) = self.exec_process(id, spec)?;
        let session = self.living(id)?;
        let session = session.ok_or_else(|| Error::Conflict(format!("container {id} is not running")))?;
        let (rows, cols) = spec.tty.unwrap_or_default();
        let request = Request::Exec { process: Some(process), user, tty: spec.tty.is_some(), rows, cols };
        session.send(&request, if spec.tty.is_some() { &[] } else { stdio })?;
        Ok(session)
    }

    /// The OCI `process`, with the container's confinement, and docker's user.
    fn exec_process(&self, id: &ContainerId, spec: &ExecSpec) -> Result<(String, Option<String>)> {
        if spec.args.is_empty() {
            return Err(Error::Request("No exec command specified".into()));
        }
        if let Some(dir) = spec.working_dir.as_ref().filter(|dir| !dir.starts_with('/')) {
            return Err(Error::invalid("working directory", dir, "it must be an absolute path"));
        }
        let mut process = self.config(id)?["process"].take();
        let mut env: Vec<String> = serde_json::from_value(process["env"].take()).unwrap_or_default();
        if spec.tty.is_some() {
            oci::set_env(&mut env, "TERM=xterm");
        }
        spec.env.iter().for_each(|entry| oci::set_env(&mut env, entry));
        process["env"] = json!(env);
        process["args"] = json!(spec.args);
        process["terminal"] = spec.tty.is_some().into();
        if let Some(dir) = &spec.working_dir {
            process["cwd"] = dir.as_str().into();
        }
        if spec.privileged {
            let names = CapSet::names(create::possible()?);
            process["capabilities"] = json!({ "bounding": names, "effective": names, "permitted": names });
        }
        let task: Option<Task> = files::read(&self.data_of(id).join("task.json"))?;
        let user = spec.user.clone().or_else(|| task.and_then(|task| task.user));
        let text = serde_json::to_string(&process).map_err(|error| Error::Request(error.to_string()))?;
        Ok((text, user))
    }
}
