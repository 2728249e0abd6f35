//! `exec`: another process in a running container.

use std::os::fd::AsFd;
use std::path::PathBuf;

use oci_spec::runtime::{Capabilities, LinuxCapabilities, Process, Spec, User};
use serde_json::Value;

use super::create::check_console;
use super::{CONFIG, console, file_error, parse_spec, read_bounded, seccomp_cache, write_atomically};
use crate::exec::ExecRequest;
use crate::filter::Filter;
use crate::launch::{Parent, Stdio};
use crate::state::{StateDir, Status};
use crate::{Error, Result};

/// What `exec` is given.
#[derive(Clone, Debug, Default)]
pub struct Exec {
    /// Directory of all states.
    pub root: PathBuf,
    /// The container's id.
    pub id: String,
    /// Program and arguments; empty with `process_file`.
    pub args: Vec<String>,
    /// A process object to be used instead of arguments and flags.
    pub process_file: Option<PathBuf>,
    /// Working directory.
    pub cwd: Option<PathBuf>,
    /// `NAME=VALUE`, after those of the container.
    pub env: Vec<String>,
    /// `uid[:gid]`, numbers only.
    pub user: Option<String>,
    /// Supplementary groups.
    pub additional_gids: Vec<u32>,
    /// Capabilities in addition to the container's.
    pub caps: Vec<String>,
    /// With a terminal.
    pub tty: bool,
    /// Return once the program runs.
    pub detach: bool,
    /// Set no_new_privs.
    pub no_new_privs: bool,
    /// SELinux label.
    pub process_label: Option<String>,
    /// AppArmor profile.
    pub apparmor: Option<String>,
    /// Unix socket for the terminal's master.
    pub console_socket: Option<PathBuf>,
    /// Unix socket for the process's pidfd.
    pub pidfd_socket: Option<PathBuf>,
    /// File for the process's id.
    pub pid_file: Option<PathBuf>,
    /// Descriptors after the standard streams that are handed on.
    pub preserve_fds: u32,
    /// Do not refuse a paused container.
    pub ignore_paused: bool,
}

/// Runs the process; returns its exit code (0 when detached) and warnings.
///
/// # Errors
/// [`Error::Wrong`] for a container that is not running, [`Error::Exec`] when the program cannot be executed.
pub fn exec(request: &Exec) -> Result<(i32, Vec<String>)> {
    let dir = StateDir::at(&request.root, &request.id)?;
    let state = dir.read()?;
    let wrong = |status, reason| Err(Error::Wrong { id: request.id.clone(), status, reason });
    let alive = match dir.look(&state)? {
        (status, None) => return wrong(status, "container not running"),
        (Status::Paused, _) if !request.ignore_paused => {
            return wrong(
                Status::Paused,
                "cannot exec in a paused container (use --ignore-paused to override)",
            );
        }
        (_, Some(alive)) => alive,
    };
    let config = dir.path().join(CONFIG);
    let spec = parse_spec(&config, &read_bounded(&config)?)?;
    let mut process = process(request, &spec)?;
    if !request.detach {
        console::adopt_size(&mut process);
    }
    let terminal = process.terminal().unwrap_or(false);
    check_console(request.console_socket.as_deref(), terminal, request.detach)?;
    let filter = Filter::of(&spec, None);
    let cache = filter.as_ref().and_then(|_| seccomp_cache(&request.root));
    let wanted = ExecRequest {
        process,
        filter,
        user: None,
        stdio: Stdio::Inherit,
        parent: Parent::Caller,
        seccomp_cache: cache.as_deref(),
        keep_fds: request.preserve_fds,
    };
    let launched = crate::exec::exec_in(&state, &alive, wanted)?;
    let handed = hand_out(request, &launched);
    if handed.is_err() {
        launched.pidfd.kill()?;
    }
    handed?;
    if request.detach {
        return Ok((0, launched.warnings));
    }
    Ok((console::attend(&launched.pidfd, launched.terminal)?, launched.warnings))
}

fn hand_out(request: &Exec, launched: &crate::launch::Launched) -> Result<()> {
    if let (Some(path), Some(master)) = (&request.console_socket, &launched.terminal) {
        console::send(path, master.as_fd(), b"/dev/ptmx")?;
    }
    if let Some(path) = &request.pidfd_socket {
        console::send(path, launched.pidfd.as_fd(), b"pidfd")?;
    }
    let pid = launched.pid.as_raw_nonzero().to_string();
    request.pid_file.as_deref().map_or(Ok(()), |path| write_atomically(path, pid.as_bytes()))
}

/// The container's own process with what the flags change, or the file's.
fn process(request: &Exec, spec: &Spec) -> Result<Process> {
    if let Some(path) = &request.process_file {
        return serde_json::from_slice(&read_bounded(path)?).map_err(|e| file_error(path, e));
    }
    let mut process = spec.process().clone().ok_or_else(|| Error::spec("process", "is missing"))?;
    process.set_args(Some(request.args.clone()));
    process.set_terminal(Some(request.tty));
    process.set_console_size(None);
    let mut env = process.env().clone().unwrap_or_default();
    env.extend(request.env.iter().cloned());
    process.set_env(Some(env));
    if let Some(cwd) = &request.cwd {
        process.set_cwd(cwd.clone());
    }
    let mut user = process.user().clone();
    if let Some(text) = &request.user {
        let (uid, gid) = parse_user(text)?;
        let gid = gid.unwrap_or(user.gid());
        user = User::default();
        user.set_uid(uid);
        user.set_gid(gid);
    }
    if !request.additional_gids.is_empty() {
        let mut groups = user.additional_gids().clone().unwrap_or_default();
        groups.extend(&request.additional_gids);
        user.set_additional_gids(Some(groups));
    }
    process.set_user(user);
    if request.no_new_privs {
        process.set_no_new_privileges(Some(true));
    }
    if request.apparmor.is_some() {
        process.set_apparmor_profile(request.apparmor.clone());
    }
    if request.process_label.is_some() {
        process.set_selinux_label(request.process_label.clone());
    }
    if !request.caps.is_empty() {
        add_caps(&mut process, &request.caps)?;
    }
    Ok(process)
}

/// Adds to the bounding, permitted and effective sets, as runc does.
fn add_caps(process: &mut Process, names: &[String]) -> Result<()> {
    let unknown =
        |name: &String| Error::Argument { what: "--cap", value: name.clone(), reason: "is no capability" };
    let mut added = Capabilities::new();
    for name in names {
        linux::CapSet::from_name(name).ok_or_else(|| unknown(name))?;
        let short = name.strip_prefix("CAP_").unwrap_or(name);
        added.insert(serde_json::from_value(Value::from(format!("CAP_{short}"))).map_err(|_| unknown(name))?);
    }
    let mut caps = process.capabilities().clone().unwrap_or_else(|| {
        let mut none = LinuxCapabilities::default();
        for set in [
            LinuxCapabilities::set_bounding,
            LinuxCapabilities::set_permitted,
            LinuxCapabilities::set_effective,
            LinuxCapabilities::set_inheritable,
            LinuxCapabilities::set_ambient,
        ] {
            set(&mut none, None);
        }
        none
    });
    let with = |set: &Option<Capabilities>| Some(set.iter().flatten().chain(&added).copied().collect());
    let (bounding, permitted, effective) =
        (with(caps.bounding()), with(caps.permitted()), with(caps.effective()));
    caps.set_bounding(bounding);
    caps.set_permitted(permitted);
    caps.set_effective(effective);
    process.set_capabilities(Some(caps));
    Ok(())
}

/// `uid[:gid]`: decimal digits only, nothing is wrapped or cut (CVE-2026-30892).
fn parse_user(text: &str) -> Result<(u32, Option<u32>)> {
    let number = |part: &str| {
        let digits = !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        // The last number means "no change" to the kernel.
        part.parse().ok().filter(|n| digits && *n != u32::MAX).ok_or_else(|| Error::Argument {
            what: "--user",
            value: text.to_owned(),
            reason: "must be uid[:gid] in decimal digits, each below 4294967295",
        })
    };
    match text.split_once(':') {
        None => Ok((number(text)?, None)),
        Some((uid, gid)) => Ok((number(uid)?, Some(number(gid)?))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_exact_or_refused() {
        assert_eq!(parse_user("1").unwrap(), (1, None));
        assert_eq!(parse_user("1:2").unwrap(), (1, Some(2)));
        assert_eq!(parse_user("0:0").unwrap(), (0, Some(0)));
        for wrong in [
            "",
            ":",
            "1:",
            ":1",
            "0x1",
            "-1",
            "+1",
            "4294967296",
            "4294967295",
            "1 ",
            " 1",
            "1:2:3",
            "1:-1",
            "root",
        ] {
            assert!(parse_user(wrong).is_err(), "{wrong:?}");
        }
    }
}
