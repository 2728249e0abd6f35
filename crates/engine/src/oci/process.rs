//! `process`: the image's words and the user's.

use image::Config;
use linux::CapSet;
use serde_json::{Value, json};

use crate::spec::{ContainerSpec, Profile, Ulimit};
use crate::{ContainerId, Error, Result};

use super::Facts;

const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What runs, once image and request are put together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Merged {
    pub entrypoint: Vec<String>,
    pub command: Vec<String>,
    pub env: Vec<String>,
    pub user: String,
    pub working_dir: String,
    pub labels: std::collections::BTreeMap<String, String>,
    pub stop_signal: i32,
    /// Paths that the image wants volumes at.
    pub volumes: Vec<String>,
}

impl Merged {
    /// The program and its arguments.
    pub(crate) fn args(&self) -> impl Iterator<Item = &String> {
        self.entrypoint.iter().chain(&self.command)
    }
}

/// Puts the image's configuration and the request together, as docker does: an entrypoint of the request makes the
/// image's command void.
///
/// # Errors
/// [`Error::Request`] when there is nothing to run.
pub(crate) fn merge(
    id: &ContainerId,
    spec: &ContainerSpec,
    image: &Config,
    hostname: Option<&str>,
) -> Result<Merged> {
    let (entrypoint, image_command) = match &spec.entrypoint {
        Some(own) => (own.clone(), Vec::new()),
        None => (image.entrypoint.clone().unwrap_or_default(), image.cmd.clone().unwrap_or_default()),
    };
    let command = if spec.command.is_empty() { image_command } else { spec.command.clone() };
    if entrypoint.is_empty() && command.is_empty() {
        return Err(Error::Request("no command specified".into()));
    }
    let mut env = vec![PATH.to_owned(), format!("HOSTNAME={}", hostname.unwrap_or_else(|| id.short()))];
    if spec.tty {
        env.push("TERM=xterm".into());
    }
    image.env.iter().chain(&spec.env).for_each(|entry| set_env(&mut env, entry));
    let mut labels = image.labels.clone();
    labels.extend(spec.labels.clone());
    let stop_signal = match (spec.stop_signal, image.stop_signal.as_deref()) {
        (Some(number), _) => number,
        // An image that names nonsense is stopped in the usual way rather than not at all.
        (None, Some(name)) => crate::signal::parse(name).unwrap_or(crate::signal::TERM),
        (None, None) => crate::signal::TERM,
    };
    Ok(Merged {
        entrypoint,
        command,
        env,
        user: spec.user.clone().unwrap_or_else(|| image.user.clone()),
        working_dir: working_dir(spec, image)?,
        labels,
        stop_signal,
        volumes: image.volumes.keys().cloned().collect(),
    })
}

/// Replaces an entry of the same name, or appends.
pub(crate) fn set_env(env: &mut Vec<String>, entry: &str) {
    let name = entry.split('=').next().unwrap_or_default();
    let same = |have: &String| have.split('=').next() == Some(name);
    match env.iter().position(same) {
        Some(at) => entry.clone_into(&mut env[at]),
        None => env.push(entry.to_owned()),
    }
}

fn working_dir(spec: &ContainerSpec, image: &Config) -> Result<String> {
    let dir = spec.working_dir.as_ref().unwrap_or(&image.working_dir);
    if dir.is_empty() {
        return Ok("/".into());
    }
    if !dir.starts_with('/') {
        return Err(Error::invalid("working directory", dir, "it must be an absolute path"));
    }
    Ok(dir.clone())
}

/// The OCI `process`.
pub(super) fn process(spec: &ContainerSpec, merged: &Merged, facts: &Facts, caps: CapSet) -> Result<Value> {
    let names = caps.names();
    let security = &spec.security;
    let mut process = json!({
        "terminal": spec.tty,
        // The monitor's task has the user's name, which is resolved inside the container.
        "user": { "uid": 0, "gid": 0 },
        "args": merged.args().collect::<Vec<_>>(),
        "env": merged.env,
        "cwd": merged.working_dir,
        "capabilities": { "bounding": names, "effective": names, "permitted": names },
        "noNewPrivileges": security.no_new_privileges.unwrap_or(security.profile == Profile::Hardened),
        "rlimits": rlimits(spec, &facts.default_limits)?,
    });
    match security.apparmor.as_deref() {
        None | Some("unconfined") => {}
        Some(profile) => process["apparmorProfile"] = profile.into(),
    }
    if let Some(label) = super::security::selinux_label(security) {
        process["selinuxLabel"] = label.into();
    }
    Ok(process)
}

fn rlimits(spec: &ContainerSpec, defaults: &[Ulimit]) -> Result<Vec<Value>> {
    let mut limits: Vec<Ulimit> = Vec::new();
    if spec.security.profile != Profile::Docker && !spec.security.privileged {
        limits.extend(defaults.iter().cloned());
    }
    for own in &spec.resources.ulimits {
        limits.retain(|limit| limit.name != own.name);
        limits.push(own.clone());
    }
    limits.iter().map(rlimit).collect()
}

fn rlimit(limit: &Ulimit) -> Result<Value> {
    const NAMES: [&str; 16] = [
        "as",
        "core",
        "cpu",
        "data",
        "fsize",
        "locks",
        "memlock",
        "msgqueue",
        "nice",
        "nofile",
        "nproc",
        "rss",
        "rtprio",
        "rttime",
        "sigpending",
        "stack",
    ];
    if !NAMES.contains(&limit.name.as_str()) {
        return Err(Error::invalid(
            "ulimit type",
            &limit.name,
            format!("it is none of {}", NAMES.join(", ")),
        ));
    }
    // -1 is RLIM_INFINITY, which is the largest number there is.
    let value = |number: i64| u64::try_from(number).unwrap_or(u64::MAX);
    Ok(json!({
        "type": format!("RLIMIT_{}", limit.name.to_uppercase()),
        "soft": value(limit.soft), "hard": value(limit.hard),
    }))
}
