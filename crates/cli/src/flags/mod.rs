//! docker's flags of `run` and `create`, and their translation to what the engine takes.
//!
//! [`ContainerFlags`] and [`RunFlags`] are only the grammar: everything but switches and plain numbers arrives as text.
//! [`ContainerFlags::into_spec`] reads the texts, one family of flags per file, and is the only place that knows what
//! goes with what. Messages follow docker's where docker has one, because scripts and people know them.

mod csv;
mod env;
mod mounts;
mod namespaces;
mod resources;
mod restart;
mod security;
pub(crate) mod size;

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use clap::{Arg, ArgAction};
use engine::ContainerSpec;
use engine::spec::{NamespaceMode, NetworkMode, Security};
use fault::{Fault, Kind};
use monitor::{LogConfig, LogDriver};

use crate::terminal::DetachKeys;

/// What a parser of one value says: the value, or what is wrong with it.
type Parsed<T> = Result<T, String>;

/// A flag that makes no sense.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum FlagError {
    /// One flag's value.
    #[error("invalid argument {value:?} for \"--{flag}\" flag: {why}")]
    Argument {
        /// The flag's long name.
        flag: &'static str,
        /// As given, shortened.
        value: String,
        /// What is wrong with it.
        why: String,
    },
    /// Flags that do not go together.
    #[error("{0}")]
    Conflict(String),
    /// A file that a flag names cannot be read.
    #[error("--{flag}: {}: {source}", .path.display())]
    File {
        /// The flag's long name.
        flag: &'static str,
        /// Which file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

impl FlagError {
    /// For `map_err`: what is wrong with the value of a flag.
    fn of(flag: &'static str, value: &str) -> impl Fn(String) -> Self + use<> {
        let value: String = value.chars().take(120).collect();
        move |why| Self::Argument { flag, value: value.clone(), why }
    }
}

impl Fault for FlagError {
    fn kind(&self) -> Kind {
        Kind::Invalid
    }
}

/// The flags of `run` and `create`, with the image and its command behind them.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(disable_help_flag = true, args_override_self = true, mut_args = as_docker)]
pub(crate) struct ContainerFlags {
    /// Print help
    #[arg(long, action = ArgAction::Help)]
    help: Option<bool>,

    /// Assign a name to the container
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Host name of the container
    #[arg(short = 'h', long, value_name = "NAME")]
    hostname: Option<String>,
    /// NIS domain name of the container
    #[arg(long, value_name = "NAME")]
    domainname: Option<String>,
    /// Set an environment variable; without a value, to the one it has here
    #[arg(short, long, value_name = "NAME[=VALUE]")]
    env: Vec<String>,
    /// Read environment variables from a file
    #[arg(long, value_name = "FILE")]
    env_file: Vec<String>,
    /// Set a label
    #[arg(short, long, value_name = "KEY[=VALUE]")]
    label: Vec<String>,
    /// Read labels from a file
    #[arg(long, value_name = "FILE")]
    label_file: Vec<String>,
    /// User, and group, of the program
    #[arg(short, long, value_name = "USER[:GROUP]")]
    user: Option<String>,
    /// Working directory inside the container
    #[arg(short, long, value_name = "DIR")]
    workdir: Option<String>,
    /// Instead of the image's entrypoint; "" for none
    #[arg(long, value_name = "PROGRAM")]
    entrypoint: Option<String>,
    /// Give it a terminal
    #[arg(short, long, value_name = "BOOL", value_parser = boolean)]
    tty: Option<bool>,
    /// Keep its standard input open
    #[arg(short, long, value_name = "BOOL", value_parser = boolean)]
    interactive: Option<bool>,
    /// Attach to STDIN, STDOUT or STDERR
    #[arg(short, long, value_name = "STREAM")]
    attach: Vec<String>,
    /// Run a small init as process 1, which reaps and passes signals on
    #[arg(long, value_name = "BOOL", value_parser = boolean)]
    init: Option<bool>,
    /// Remove the container, with its anonymous volumes, when it has ended
    #[arg(long, value_name = "BOOL", value_parser = boolean)]
    rm: Option<bool>,
    /// When it starts again by itself: no, always, unless-stopped, on-failure[:N]
    #[arg(long, value_name = "POLICY")]
    restart: Option<String>,
    /// Signal that asks it to end
    #[arg(long, value_name = "SIGNAL")]
    stop_signal: Option<String>,
    /// Seconds until it is killed after that; negative waits for ever
    #[arg(long, value_name = "SECONDS")]
    stop_timeout: Option<i64>,
    /// Pull the image before: always, missing, never
    #[arg(long, value_name = "WHEN")]
    pull: Option<String>,
    /// Do not show a pull
    #[arg(short, long, value_name = "BOOL", value_parser = boolean)]
    quiet: Option<bool>,
    /// Write the container's id to a file
    #[arg(long, value_name = "FILE")]
    cidfile: Option<PathBuf>,

    /// Mount a path of the host or a volume: [SOURCE:]TARGET[:OPTIONS]
    #[arg(short, long, value_name = "VOLUME")]
    volume: Vec<String>,
    /// Mount something: type=bind|volume|tmpfs,source=...,target=...
    #[arg(long, value_name = "MOUNT")]
    mount: Vec<String>,
    /// Mount a file system in memory
    #[arg(long, value_name = "PATH[:OPTIONS]")]
    tmpfs: Vec<String>,
    /// Mount the root file system read-only
    #[arg(long, value_name = "BOOL", value_parser = boolean)]
    read_only: Option<bool>,
    /// Size of /dev/shm
    #[arg(long, value_name = "BYTES")]
    shm_size: Option<String>,

    /// Network: none, host, container:NAME
    #[arg(long, alias = "net", value_name = "NETWORK")]
    network: Option<String>,
    /// Add a line to /etc/hosts
    #[arg(long, value_name = "NAME:ADDRESS")]
    add_host: Vec<String>,
    /// Processes: host, container:NAME
    #[arg(long, value_name = "MODE")]
    pid: Option<String>,
    /// IPC: private, shareable, host, container:NAME
    #[arg(long, value_name = "MODE")]
    ipc: Option<String>,
    /// Host name: host
    #[arg(long, value_name = "MODE")]
    uts: Option<String>,
    /// View of cgroups: private, host
    #[arg(long, value_name = "MODE")]
    cgroupns: Option<String>,
    /// Users: host, auto
    #[arg(long, value_name = "MODE")]
    userns: Option<String>,

    /// Limit memory
    #[arg(short, long, value_name = "BYTES")]
    memory: Option<String>,
    /// Limit memory and swap together; -1 for unlimited swap
    #[arg(long, value_name = "BYTES")]
    memory_swap: Option<String>,
    /// Memory that is taken from it last
    #[arg(long, value_name = "BYTES")]
    memory_reservation: Option<String>,
    /// Number of processors, such as 1.5
    #[arg(long, value_name = "NUMBER")]
    cpus: Option<String>,
    /// Weight against other containers
    #[arg(short, long, value_name = "WEIGHT")]
    cpu_shares: Option<u64>,
    /// Period of the quota, in microseconds
    #[arg(long, value_name = "MICROSECONDS")]
    cpu_period: Option<i64>,
    /// Processor time in each period, in microseconds
    #[arg(long, value_name = "MICROSECONDS")]
    cpu_quota: Option<i64>,
    /// Processors it may run on, such as 0-2,4
    #[arg(long, value_name = "LIST")]
    cpuset_cpus: Option<String>,
    /// Memory nodes it may use
    #[arg(long, value_name = "LIST")]
    cpuset_mems: Option<String>,
    /// Limit processes and threads; -1 for no limit
    #[arg(long, value_name = "NUMBER")]
    pids_limit: Option<i64>,
    /// Set a resource limit of processes
    #[arg(long, value_name = "NAME=SOFT[:HARD]")]
    ulimit: Vec<String>,
    /// Give it a device of the host
    #[arg(long, value_name = "HOST[:CONTAINER[:rwm]]")]
    device: Vec<String>,
    /// Set a kernel parameter of its namespaces
    #[arg(long, value_name = "KEY=VALUE")]
    sysctl: Vec<String>,
    /// Make its cgroup below this one
    #[arg(long, value_name = "PATH")]
    cgroup_parent: Option<String>,

    /// Confinement to begin with: default, docker, hardened
    #[arg(long, value_name = "PROFILE")]
    profile: Option<String>,
    /// Add a capability
    #[arg(long, value_name = "CAPABILITY")]
    cap_add: Vec<String>,
    /// Drop a capability
    #[arg(long, value_name = "CAPABILITY")]
    cap_drop: Vec<String>,
    /// Every capability and device, nothing masked, no filter
    #[arg(long, value_name = "BOOL", value_parser = boolean)]
    privileged: Option<bool>,
    /// no-new-privileges, seccomp=..., apparmor=..., label=..., systempaths=unconfined
    #[arg(long, value_name = "OPTION")]
    security_opt: Vec<String>,

    /// What happens to the output: json-file, none
    #[arg(long, value_name = "DRIVER")]
    log_driver: Option<String>,
    /// max-size=BYTES, max-file=NUMBER
    #[arg(long, value_name = "KEY=VALUE")]
    log_opt: Vec<String>,

    /// The image, and the command to run in it
    // One argument, not two: only so does everything behind the image belong to its command, flags included.
    #[arg(required = true, num_args = 1.., trailing_var_arg = true, value_name = "IMAGE [COMMAND] [ARG...]")]
    image_and_command: Vec<String>,
}

/// The flags of `run` alone.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(mut_args = as_docker)]
pub(crate) struct RunFlags {
    /// Run in the background and print the container's id
    #[arg(short, long, value_name = "BOOL", value_parser = boolean)]
    pub(crate) detach: Option<bool>,
    /// Keys that detach, such as ctrl-p,ctrl-q
    #[arg(long, value_name = "KEYS")]
    pub(crate) detach_keys: Option<String>,
    /// Pass signals on to the container
    #[arg(long, value_name = "BOOL", value_parser = boolean)]
    pub(crate) sig_proxy: Option<bool>,
    /// Print every step of the start, with its time and the command that would do the same by hand
    #[arg(long, value_name = "BOOL", value_parser = boolean)]
    pub(crate) explain: Option<bool>,
}

/// Makes clap read flags as docker does: `--rm`, `--rm=false`; and a value may begin with a hyphen.
pub(crate) fn as_docker(arg: Arg) -> Arg {
    if arg.is_positional() || !arg.get_action().takes_values() {
        return arg;
    }
    if arg.get_value_names().is_some_and(|names| names == ["BOOL"]) {
        return arg.num_args(0..=1).require_equals(true).default_missing_value("true");
    }
    arg.allow_hyphen_values(true)
}

/// The variables of an `exec`, as those of a container.
///
/// # Errors
/// [`FlagError::Argument`], [`FlagError::File`].
pub(crate) fn environment(
    files: &[String],
    entries: &[String],
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<Vec<String>, FlagError> {
    env::environment(files, entries, env)
}

/// `--detach-keys`; docker's keys where it is not given or empty.
///
/// # Errors
/// [`FlagError::Argument`].
pub(crate) fn detach_keys(text: Option<&str>) -> Result<DetachKeys, FlagError> {
    let text = text.unwrap_or_default();
    DetachKeys::parse(text).map_err(FlagError::of("detach-keys", text))
}

/// A switch's value, in the words that docker takes.
pub(crate) fn boolean(text: &str) -> Parsed<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(format!("invalid boolean value {text:?}: must be true or false")),
    }
}

/// Which streams the caller is attached to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Attached {
    pub(crate) stdin: bool,
    pub(crate) stdout: bool,
    pub(crate) stderr: bool,
}

impl ContainerFlags {
    /// The file that `--cidfile` names.
    pub(crate) fn cidfile(&self) -> Option<&Path> {
        self.cidfile.as_deref()
    }

    /// Whether `--attach` was given, which does not go with `--detach`.
    pub(crate) fn chooses_streams(&self) -> bool {
        !self.attach.is_empty()
    }

    /// The streams that a `run` in the foreground is attached to.
    ///
    /// # Errors
    /// [`FlagError::Argument`] for a stream that there is not.
    pub(crate) fn attached(&self) -> Result<Attached, FlagError> {
        let mut attached = Attached {
            stdin: self.interactive.unwrap_or(false),
            stdout: self.attach.is_empty(),
            stderr: self.attach.is_empty(),
        };
        for text in &self.attach {
            match text.to_ascii_lowercase().as_str() {
                "stdin" => attached.stdin = true,
                "stdout" => attached.stdout = true,
                "stderr" => attached.stderr = true,
                _ => {
                    let why = "valid streams are STDIN, STDOUT and STDERR".into();
                    return Err(FlagError::of("attach", text)(why));
                }
            }
        }
        Ok(attached)
    }

    /// `--pull` and `--quiet`.
    pub(crate) fn pull(&self) -> Result<(PullPolicy, bool), FlagError> {
        Ok((given(&self.pull, "pull", pull)?.unwrap_or_default(), self.quiet.unwrap_or(false)))
    }

    /// What the engine is asked for. `env` is the caller's environment.
    ///
    /// `stdin_once` is set as docker does for an attached container; a `run --detach` clears it.
    ///
    /// # Errors
    /// Every [`FlagError`].
    pub(crate) fn into_spec(self, env: &dyn Fn(&str) -> Option<String>) -> Result<ContainerSpec, FlagError> {
        let attached = self.attached()?;
        let open_stdin = self.interactive.unwrap_or(false);
        let mut spec = ContainerSpec {
            name: given(&self.name, "name", |text| {
                text.parse().map_err(|error: engine::Error| error.to_string())
            })?,
            entrypoint: self.entrypoint.clone().map(|text| if text.is_empty() { vec![] } else { vec![text] }),
            env: env::environment(&self.env_file, &self.env, env)?,
            user: self.user.clone().filter(|user| !user.is_empty()),
            working_dir: given(&self.workdir, "workdir", working_dir)?,
            hostname: given(&self.hostname, "hostname", namespaces::host_name)?,
            domainname: given(&self.domainname, "domainname", namespaces::host_name)?,
            labels: env::labels(&self.label_file, &self.label)?,
            tty: self.tty.unwrap_or(false),
            open_stdin,
            stdin_once: open_stdin && attached.stdin,
            mounts: mounts::mounts(&self.volume, &self.mount, &self.tmpfs)?,
            network: given(&self.network, "network", namespaces::network)?.unwrap_or_default(),
            resources: resources::resources(&self)?,
            security: self.security()?,
            read_only: self.read_only.unwrap_or(false),
            init: self.init.unwrap_or(false),
            restart: given(&self.restart, "restart", restart::parse)?.unwrap_or_default(),
            stop_signal: given(&self.stop_signal, "stop-signal", stop_signal)?,
            stop_timeout_s: self.stop_timeout,
            auto_remove: self.rm.unwrap_or(false),
            shm_size: given(&self.shm_size, "shm-size", size::parse)?.filter(|bytes| *bytes > 0),
            log: log(self.log_driver.as_deref(), &self.log_opt)?,
            cgroup_parent: given(&self.cgroup_parent, "cgroup-parent", cgroup_parent)?,
            ..ContainerSpec::default()
        };
        spec.namespaces.pid = given(&self.pid, "pid", namespaces::pid)?.unwrap_or_default();
        spec.namespaces.ipc = given(&self.ipc, "ipc", namespaces::ipc)?.unwrap_or_default();
        spec.namespaces.uts = given(&self.uts, "uts", namespaces::uts)?.unwrap_or_default();
        spec.namespaces.cgroup = given(&self.cgroupns, "cgroupns", namespaces::cgroup)?.unwrap_or_default();
        spec.namespaces.user = given(&self.userns, "userns", namespaces::user)?.unwrap_or_default();
        for text in &self.add_host {
            spec.extra_hosts.push(env::extra_host(text).map_err(FlagError::of("add-host", text))?);
        }
        self.pull()?;
        let mut words = self.image_and_command.into_iter();
        spec.image = words.next().unwrap_or_default();
        spec.command = words.collect();
        agree(&spec)?;
        Ok(spec)
    }

    fn security(&self) -> Result<Security, FlagError> {
        let capabilities = |flag, names: &[String]| {
            let read = |name: &String| security::capability(name).map_err(FlagError::of(flag, name));
            names.iter().map(read).collect::<Result<Vec<_>, _>>()
        };
        let mut security = Security {
            profile: given(&self.profile, "profile", security::profile)?.unwrap_or_default(),
            privileged: self.privileged.unwrap_or(false),
            cap_add: capabilities("cap-add", &self.cap_add)?,
            cap_drop: capabilities("cap-drop", &self.cap_drop)?,
            ..Security::default()
        };
        for text in &self.security_opt {
            security::option(text, &mut security)?;
        }
        Ok(security)
    }
}

/// What goes with what.
fn agree(spec: &ContainerSpec) -> Result<(), FlagError> {
    let joined = matches!(spec.network, NetworkMode::Container(_));
    let named = spec.hostname.is_some();
    let conflicts = [
        (
            spec.auto_remove && spec.restart.policy != monitor::RestartOn::No,
            "conflicting options: cannot specify both --restart and --rm",
        ),
        (joined && named, "conflicting options: hostname and the network mode"),
        (
            named && spec.namespaces.uts == NamespaceMode::Host,
            "conflicting options: hostname and the UTS mode",
        ),
        (
            joined && !spec.extra_hosts.is_empty(),
            "conflicting options: custom host-to-IP mapping and the network mode",
        ),
    ];
    match conflicts.into_iter().find(|(wrong, _)| *wrong) {
        Some((_, text)) => Err(FlagError::Conflict(text.into())),
        None => Ok(()),
    }
}

/// Reads a flag if it was given; docker takes the empty text for not given.
fn given<T>(
    text: &Option<String>,
    flag: &'static str,
    read: impl FnOnce(&str) -> Parsed<T>,
) -> Result<Option<T>, FlagError> {
    let text = text.as_deref().filter(|text| !text.is_empty());
    text.map(|text| read(text).map_err(FlagError::of(flag, text))).transpose()
}

fn working_dir(text: &str) -> Parsed<String> {
    if text.starts_with('/') {
        return Ok(mounts::clean(text));
    }
    Err(format!("the working directory '{text}' is invalid, it needs to be an absolute path"))
}

fn stop_signal(text: &str) -> Parsed<i32> {
    engine::signal::parse(text).ok_or_else(|| format!("invalid signal: {text}"))
}

fn cgroup_parent(text: &str) -> Parsed<String> {
    if text.split('/').any(|part| part == "..") {
        return Err("a cgroup's path has no '..'".into());
    }
    Ok(text.to_owned())
}

/// When an image is pulled before a container is made of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum PullPolicy {
    /// Each time.
    Always,
    /// When it is not here.
    #[default]
    Missing,
    /// Never.
    Never,
}

fn pull(text: &str) -> Parsed<PullPolicy> {
    match text {
        "always" => Ok(PullPolicy::Always),
        "missing" => Ok(PullPolicy::Missing),
        "never" => Ok(PullPolicy::Never),
        _ => Err("invalid pull option: must be one of \"always\", \"missing\" or \"never\"".into()),
    }
}

/// `--log-driver` and `--log-opt`.
fn log(driver: Option<&str>, options: &[String]) -> Result<LogConfig, FlagError> {
    let mut log = LogConfig::default();
    match driver.unwrap_or_default() {
        "" | "json-file" => {}
        "none" if !options.is_empty() => {
            return Err(FlagError::Conflict("invalid logging opts for driver none".into()));
        }
        "none" => log.driver = LogDriver::None,
        other => {
            let why = "no such log driver; there are json-file and none".into();
            return Err(FlagError::of("log-driver", other)(why));
        }
    }
    for text in options {
        let invalid = FlagError::of("log-opt", text);
        match text.split_once('=').unwrap_or((text, "")) {
            ("max-size", "-1") => log.max_size = 0,
            ("max-size", value) => {
                log.max_size = size::parse_decimal(value).map_err(&invalid)?;
                if log.max_size == 0 {
                    return Err(invalid("max-size must be positive, or -1 for no limit".into()));
                }
            }
            ("max-file", value) => {
                let number = value.parse().ok().filter(|number| *number >= 1);
                log.max_file = number.ok_or_else(|| invalid("max-file must be a positive number".into()))?;
            }
            (key, _) => {
                return Err(invalid(format!("unknown log opt '{key}' for json-file log driver")));
            }
        }
    }
    Ok(log)
}

/// Reads a file whole, if it is not larger than `budget`.
fn read_file(path: &Path, budget: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(budget + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > budget {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("larger than {budget} bytes")));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests;
