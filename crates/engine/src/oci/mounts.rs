//! `mounts`: the usual ones, ours, and the user's.

use std::path::PathBuf;

use serde_json::{Value, json};

use crate::spec::{ContainerSpec, MountSource, NamespaceMode, Profile, Propagation};
use crate::{Error, Result};

use super::{Facts, own_users};

/// Bytes of `/dev/shm` where nobody says.
const SHM: u64 = 64 << 20;

/// A mount of the user's whose source is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ReadyMount {
    pub target: String,
    pub source: ReadySource,
    pub read_only: bool,
}

/// Where it comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ReadySource {
    Bind { source: PathBuf, non_recursive: bool, propagation: Option<Propagation>, volume: bool },
    Tmpfs { size: Option<u64>, mode: Option<u32>, options: Vec<String> },
}

/// All mounts in the order in which they are made.
pub(super) fn mounts(spec: &ContainerSpec, facts: &Facts) -> Result<Vec<Value>> {
    let own: Vec<&str> = facts.mounts.iter().map(|mount| mount.target.as_str()).collect();
    let usual = usual(spec);
    let mut all: Vec<Value> =
        usual.into_iter().filter(|mount| !own.iter().any(|target| *target == mount["destination"])).collect();
    if let Some(dir) = &facts.files {
        for (file, target) in
            [("hosts", "/etc/hosts"), ("resolv.conf", "/etc/resolv.conf"), ("hostname", "/etc/hostname")]
        {
            if !own.contains(&target) {
                let mut options = vec!["bind", "rprivate"];
                if own_users(spec) {
                    options.push("idmap");
                }
                all.push(json!({ "destination": target, "type": "bind", "source": dir.join(file), "options": options }));
            }
        }
    }
    let mut users = facts.mounts.iter().collect::<Vec<_>>();
    // What lies below another mount's target must come after it.
    users.sort_by_key(|mount| mount.target.split('/').filter(|part| !part.is_empty()).count());
    for mount in users {
        all.push(one(mount, own_users(spec))?);
    }
    Ok(all)
}

fn usual(spec: &ContainerSpec) -> Vec<Value> {
    let security = &spec.security;
    let dev = match security.profile {
        Profile::Docker => vec!["nosuid", "strictatime", "mode=755", "size=65536k"],
        // Nodes and links only: there is nothing to execute and little to store.
        _ => vec!["nosuid", "noexec", "strictatime", "mode=755", "size=1024k", "nr_inodes=1k"],
    };
    let writable = if security.privileged { "rw" } else { "ro" };
    let mut mounts = vec![
        json!({ "destination": "/proc", "type": "proc", "source": "proc", "options": ["nosuid", "noexec", "nodev"] }),
        json!({ "destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": dev }),
        json!({ "destination": "/dev/pts", "type": "devpts", "source": "devpts",
                "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"] }),
        json!({ "destination": "/sys", "type": "sysfs", "source": "sysfs",
                "options": ["nosuid", "noexec", "nodev", writable] }),
        json!({ "destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup",
                "options": ["nosuid", "noexec", "nodev", writable] }),
    ];
    // It shows the queues of the IPC namespace it is mounted in, also where that is the host's or another's.
    mounts.push(json!({ "destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue",
                        "options": ["nosuid", "noexec", "nodev"] }));
    if spec.namespaces.ipc == NamespaceMode::Host {
        mounts.push(json!({ "destination": "/dev/shm", "type": "bind", "source": "/dev/shm",
                            "options": ["rbind", "rprivate", "nosuid", "noexec", "nodev"] }));
    } else {
        let size = format!("size={}", spec.shm_size.unwrap_or(SHM));
        mounts.push(json!({ "destination": "/dev/shm", "type": "tmpfs", "source": "shm",
                            "options": ["nosuid", "noexec", "nodev", "mode=1777", size] }));
    }
    mounts
}

fn one(mount: &ReadyMount, own_users: bool) -> Result<Value> {
    let access = if mount.read_only { "ro" } else { "rw" };
    match &mount.source {
        ReadySource::Bind { source, non_recursive, propagation, volume } => {
            let propagation = match propagation {
                None | Some(Propagation::RPrivate) => "rprivate",
                Some(Propagation::Private) => "private",
                Some(Propagation::Shared) => "shared",
                Some(Propagation::RShared) => "rshared",
                Some(Propagation::Slave) => "slave",
                Some(Propagation::RSlave) => "rslave",
            };
            let mut options = vec![if *non_recursive { "bind" } else { "rbind" }, access, propagation];
            if mount.read_only && !non_recursive {
                // Also what is mounted below: docker has it since 25.0.
                options.push("rro");
            }
            // A volume's files keep their owners; a host directory is shown as the kernel would show it, so that a
            // container's root is not the host's root on somebody's files.
            if own_users && *volume {
                options.push("idmap");
            }
            Ok(json!({ "destination": mount.target, "type": "bind", "source": source, "options": options }))
        }
        ReadySource::Tmpfs { size, mode, options } => {
            let mut all = vec![access.to_owned()];
            all.extend(["nosuid", "nodev"].map(str::to_owned));
            if !options.iter().any(|option| option == "exec") {
                all.push("noexec".into());
            }
            if let Some(size) = size {
                all.push(format!("size={size}"));
            }
            if !options.iter().any(|option| option.starts_with("mode=")) {
                all.push(format!("mode={:o}", mode.unwrap_or(0o1777)));
            }
            for option in options {
                check_tmpfs(option)?;
                all.push(option.clone());
            }
            Ok(json!({ "destination": mount.target, "type": "tmpfs", "source": "tmpfs", "options": all }))
        }
    }
}

/// The options docker takes for `--tmpfs`.
fn check_tmpfs(option: &str) -> Result<()> {
    const FLAGS: [&str; 25] = [
        "defaults",
        "ro",
        "rw",
        "suid",
        "nosuid",
        "dev",
        "nodev",
        "exec",
        "noexec",
        "sync",
        "async",
        "dirsync",
        "atime",
        "noatime",
        "diratime",
        "nodiratime",
        "relatime",
        "norelatime",
        "strictatime",
        "nostrictatime",
        "nomand",
        "huge=never",
        "huge=always",
        "huge=within_size",
        "huge=advise",
    ];
    const KEYS: [&str; 6] = ["mode", "uid", "gid", "nr_inodes", "nr_blocks", "size"];
    let key = option.split_once('=').map(|(key, _)| key);
    if FLAGS.contains(&option) || key.is_some_and(|key| KEYS.contains(&key)) {
        return Ok(());
    }
    Err(Error::invalid("tmpfs option", option, "tmpfs has none of this name"))
}

/// The root must not be private where a mount below it is to share its events with the host.
pub(super) fn root_propagation(spec: &ContainerSpec) -> &'static str {
    let any = |wanted: &[Propagation]| {
        spec.mounts.iter().any(|mount| {
            matches!(&mount.source, MountSource::Bind { propagation: Some(p), .. } if wanted.contains(p))
        })
    };
    if any(&[Propagation::Shared, Propagation::RShared]) {
        "shared"
    } else if any(&[Propagation::Slave, Propagation::RSlave]) {
        "rslave"
    } else {
        "rprivate"
    }
}
