//! What a user asks for, in the engine's own terms: the command line and the servers translate to it.
//!
//! It is kept beside the container (`spec.json`), so that `inspect` can tell what was asked for and a later version can
//! make the container anew.

use std::collections::BTreeMap;
use std::path::PathBuf;

use monitor::{LogConfig, RestartPolicy};
use serde::{Deserialize, Serialize};

use crate::Name;

/// A container to be created. `Default` is docker's `create IMAGE` without flags.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ContainerSpec {
    /// The image, as asked for: a reference, an id, or `host:PROGRAM[,PROGRAM...]`.
    pub image: String,
    /// Its name; without one it gets one.
    pub name: Option<Name>,
    /// Instead of the image's command.
    pub command: Vec<String>,
    /// Instead of the image's entrypoint, whose command then does not count either; empty for none.
    pub entrypoint: Option<Vec<String>>,
    /// `NAME=VALUE`, over the image's. The caller has filled in entries without a value from its own environment.
    pub env: Vec<String>,
    /// `name|uid[:group|gid]`; the image's without it.
    pub user: Option<String>,
    /// Absolute; the image's without it. Made where it is missing.
    pub working_dir: Option<String>,
    /// The host name; the first 12 digits of the id without it.
    pub hostname: Option<String>,
    /// The NIS domain name.
    pub domainname: Option<String>,
    /// Free text for people and tools, over the image's.
    pub labels: BTreeMap<String, String>,
    /// A terminal instead of three pipes.
    pub tty: bool,
    /// The standard input stays open for those who attach.
    pub open_stdin: bool,
    /// It ends with the first who gave input.
    pub stdin_once: bool,
    /// What is mounted, in order.
    pub mounts: Vec<MountSpec>,
    /// The network.
    pub network: NetworkMode,
    /// The other namespaces.
    pub namespaces: NamespaceModes,
    /// Limits.
    pub resources: Resources,
    /// Confinement.
    pub security: Security,
    /// The root file system is read-only.
    pub read_only: bool,
    /// A small reaper as pid 1.
    pub init: bool,
    /// When it starts again by itself.
    pub restart: RestartPolicy,
    /// The signal that asks it to end, by number; the image's or `SIGTERM` without it.
    pub stop_signal: Option<i32>,
    /// Seconds until `SIGKILL` follows; negative waits for ever. 10 without it.
    pub stop_timeout_s: Option<i64>,
    /// Removed, with its anonymous volumes, after its last exit.
    pub auto_remove: bool,
    /// Bytes of `/dev/shm`; 64 MiB without it.
    pub shm_size: Option<u64>,
    /// Extra lines for `/etc/hosts`: name and address.
    pub extra_hosts: Vec<(String, String)>,
    /// What happens to the output.
    pub log: LogConfig,
    /// The cgroup below which its own is made; the engine's without it.
    pub cgroup_parent: Option<String>,
}

/// One mount.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MountSpec {
    /// Where: absolute, inside the container.
    pub target: String,
    /// What.
    pub source: MountSource,
    /// Nothing can be written through it.
    #[serde(default)]
    pub read_only: bool,
}

/// What is mounted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum MountSource {
    /// A file or directory of the host.
    Bind {
        /// Absolute.
        source: PathBuf,
        /// Make it, as a directory, where it is missing (`-v`; `--mount` refuses).
        create: bool,
        /// Without what is mounted below it.
        non_recursive: bool,
        /// How mount events pass; private (recursively) without it.
        propagation: Option<Propagation>,
    },
    /// A volume of the engine.
    Volume {
        /// Its name; anonymous without one.
        name: Option<Name>,
        /// Do not fill a new one with what the image has at the target.
        no_copy: bool,
    },
    /// A file system in memory.
    Tmpfs {
        /// Bytes; unlimited (the kernel's half of the memory) without it.
        size: Option<u64>,
        /// Permissions of its root; 1777 without it.
        mode: Option<u32>,
        /// More mount options, as `--tmpfs` takes them.
        options: Vec<String>,
    },
}

/// How mount events pass between a bind mount and its source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs, reason = "the kernel's own words, see mount_namespaces(7)")]
pub enum Propagation {
    Private,
    RPrivate,
    Shared,
    RShared,
    Slave,
    RSlave,
}

/// A container's network.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NetworkMode {
    /// A namespace of its own with nothing but the loopback interface.
    #[default]
    None,
    /// The host's.
    Host,
    /// Another container's: its id once the container is created, before that what the user said.
    Container(String),
}

/// Whose namespace of one kind a container is in.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NamespaceMode {
    /// Its own.
    #[default]
    Private,
    /// The host's.
    Host,
    /// Another container's, as in [`NetworkMode::Container`].
    Container(String),
}

/// The namespaces beside the network's and the mounts'.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct NamespaceModes {
    /// Processes.
    pub pid: NamespaceMode,
    /// System V IPC and POSIX message queues.
    pub ipc: NamespaceMode,
    /// Host name.
    pub uts: NamespaceMode,
    /// The view of cgroups.
    pub cgroup: NamespaceMode,
    /// Users.
    pub user: UserNamespace,
}

/// Whose users a container's are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum UserNamespace {
    /// What the profile says.
    #[default]
    Profile,
    /// The host's.
    Host,
    /// A range of 65536 ids of its own; files of images and volumes keep their owners (idmapped mounts).
    Auto,
}

/// Limits; none is unlimited unless it says otherwise.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Resources {
    /// Bytes of memory.
    pub memory: Option<u64>,
    /// Bytes of memory and swap together; -1 is unlimited, none is twice the memory.
    pub memory_swap: Option<i64>,
    /// Bytes below which the kernel takes memory last.
    pub memory_reservation: Option<u64>,
    /// Processor time: thousand-millionths of a processor.
    pub nano_cpus: Option<u64>,
    /// Microseconds of a period, in place of `nano_cpus`; 100000 without it.
    pub cpu_period: Option<u64>,
    /// Microseconds of processor time in each period, in place of `nano_cpus`; negative is unlimited.
    pub cpu_quota: Option<i64>,
    /// Relative weight, 1024 by default.
    pub cpu_shares: Option<u64>,
    /// Processors it may run on, e.g. `0-2,4`.
    pub cpuset_cpus: Option<String>,
    /// Memory nodes it may use.
    pub cpuset_mems: Option<String>,
    /// Processes and threads; -1 is unlimited, none is the profile's default.
    pub pids_limit: Option<i64>,
    /// `--ulimit`.
    pub ulimits: Vec<Ulimit>,
    /// Devices beside the default ones.
    pub devices: Vec<DeviceSpec>,
    /// Kernel parameters of its namespaces.
    pub sysctls: BTreeMap<String, String>,
}

/// A resource limit of processes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ulimit {
    /// Lower case without `RLIMIT_`: `nofile`.
    pub name: String,
    /// -1 is infinity.
    pub soft: i64,
    /// -1 is infinity.
    pub hard: i64,
}

/// A device of the host given to the container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceSpec {
    /// On the host.
    pub host: PathBuf,
    /// In the container.
    pub container: PathBuf,
    /// Letters of `rwm`.
    pub access: String,
}

/// Confinement.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Security {
    /// What the rest begins with.
    pub profile: Profile,
    /// Every capability and device, nothing masked, no filter.
    pub privileged: bool,
    /// Capabilities beside the profile's: upper case with or without `CAP_`, or `ALL`.
    pub cap_add: Vec<String>,
    /// Capabilities taken away, likewise.
    pub cap_drop: Vec<String>,
    /// No gaining of privileges by execve(2); the profile's without it.
    pub no_new_privileges: Option<bool>,
    /// The system call filter.
    pub seccomp: SeccompSpec,
    /// The AppArmor profile.
    pub apparmor: Option<String>,
    /// The SELinux label's parts (`user:x`, `type:x`, ...), or `disable`.
    pub label: Vec<String>,
    /// Nothing in /proc and /sys is masked or made read-only.
    pub unmasked: bool,
}

/// A set of defaults.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Profile {
    /// This project's: narrower than docker's, and what ordinary images need.
    #[default]
    Default,
    /// docker's, exactly.
    Docker,
    /// As narrow as possible: also no new privileges and a user namespace.
    Hardened,
}

/// A system call filter.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SeccompSpec {
    /// The profile's; none for a privileged container.
    #[default]
    Default,
    /// None.
    Unconfined,
    /// A document in docker's format.
    Custom(String),
}
