//! The shapes in which docker tells of containers and images (`docker inspect`).

use engine::spec::{MountSource, NamespaceMode, NetworkMode, Propagation, UserNamespace};
use engine::{Container, Engine, Status, signal};
use image::Image;
use monitor::{LogDriver, RestartOn};
use serde_json::{Value, json};

/// docker's word for a time that has not come.
const NEVER: &str = "0001-01-01T00:00:00Z";

/// The shape of docker's `GET /images/{name}/json`.
pub(crate) fn image(image: &Image, tags: Vec<String>, digests: Vec<String>) -> Value {
    json!({
        "Id": image.id.to_string(),
        "RepoTags": tags,
        "RepoDigests": digests,
        "Created": image.created,
        "Author": image.author,
        "Architecture": image.architecture,
        "Os": image.os,
        "Size": image.size,
        "Config": image.config,
        "RootFS": { "Type": "layers", "Layers": image.diff_ids.iter().map(ToString::to_string).collect::<Vec<_>>() },
    })
}

/// The shape of docker's `GET /containers/{id}/json`.
pub(crate) fn container(engine: &Engine, container: &Container) -> Value {
    let summary = &container.summary;
    let in_dir = |name: &str| container.directory.join(name).to_string_lossy().into_owned();
    json!({
        "Id": summary.id.as_str(),
        "Created": summary.created,
        "Path": summary.args.first(),
        "Args": summary.args.get(1..).unwrap_or_default(),
        "State": state(container),
        "Image": summary.image_id,
        "ResolvConfPath": in_dir("resolv.conf"),
        "HostnamePath": in_dir("hostname"),
        "HostsPath": in_dir("hosts"),
        "LogPath": engine.log_of(&summary.id).join(logs::CURRENT),
        "Name": format!("/{}", summary.name),
        "RestartCount": container.state.restart_count,
        "Driver": "overlay2",
        "Platform": "linux",
        "MountLabel": "",
        "ProcessLabel": container.config["process"]["selinuxLabel"].as_str().unwrap_or_default(),
        "AppArmorProfile": container.config["process"]["apparmorProfile"].as_str().unwrap_or_default(),
        "HostConfig": host_config(container),
        "GraphDriver": { "Name": "overlay2", "Data": { "UpperDir": in_dir("upper"), "WorkDir": in_dir("work") } },
        "Mounts": mounts(engine, container),
        "Config": config(container),
        "NetworkSettings": { "Networks": {}, "Ports": {} },
    })
}

fn state(container: &Container) -> Value {
    let state = &container.state;
    let exit = state.exit.as_ref();
    let live = state.status.is_live();
    let running = matches!(state.status, Status::Running | Status::Paused);
    // A run that never began has no end; a host that went down did not tell the time.
    let finished = exit.filter(|exit| !exit.started_at.is_empty() && !exit.finished_at.is_empty());
    // As docker 20.10: the last run's end, and whether memory was the reason, are told while the next run goes on; its
    // code and error only while nothing runs.
    let ended = exit.filter(|_| !running);
    json!({
        "Status": state.status.as_str(),
        "Running": live,
        "Paused": state.status == Status::Paused,
        "Restarting": state.status == Status::Restarting,
        "OOMKilled": exit.is_some_and(|exit| exit.oom_killed),
        "Dead": false,
        "Pid": state.pid,
        "ExitCode": ended.map_or(0, |exit| exit.exit_code),
        "Error": ended.and_then(|exit| exit.error.as_deref()).unwrap_or_default(),
        "StartedAt": if state.started_at.is_empty() { NEVER } else { &state.started_at },
        "FinishedAt": finished.map_or(NEVER, |exit| &exit.finished_at),
        "MonitorPid": state.monitor,
        "LogBytesDropped": state.log_dropped,
    })
}

fn config(container: &Container) -> Value {
    let spec = &container.spec;
    let process = &container.config["process"];
    json!({
        "Hostname": container.config["hostname"].as_str().unwrap_or_default(),
        "Domainname": spec.domainname.as_deref().unwrap_or_default(),
        "User": spec.user.as_deref().unwrap_or_default(),
        "AttachStdin": spec.stdin_once,
        "AttachStdout": true,
        "AttachStderr": true,
        "Tty": spec.tty,
        "OpenStdin": spec.open_stdin,
        "StdinOnce": spec.stdin_once,
        "Env": process["env"],
        "Cmd": spec.command,
        "Image": spec.image,
        "WorkingDir": process["cwd"],
        "Entrypoint": spec.entrypoint,
        "Labels": container.summary.labels,
        "StopSignal": spec.stop_signal.map(signal::name),
        "StopTimeout": spec.stop_timeout_s,
    })
}

fn host_config(container: &Container) -> Value {
    let (spec, modes) = (&container.spec, &container.spec.namespaces);
    let (limits, security) = (&spec.resources, &spec.security);
    let network = match &spec.network {
        NetworkMode::None => "none".to_owned(),
        NetworkMode::Host => "host".to_owned(),
        NetworkMode::Container(other) => format!("container:{other}"),
    };
    let mode = |mode: &NamespaceMode, private: &str| match mode {
        NamespaceMode::Private => private.to_owned(),
        NamespaceMode::Host => "host".to_owned(),
        NamespaceMode::Container(other) => format!("container:{other}"),
    };
    let restart = match spec.restart.policy {
        RestartOn::No => "no",
        RestartOn::Always => "always",
        RestartOn::OnFailure => "on-failure",
        RestartOn::UnlessStopped => "unless-stopped",
    };
    let log = match spec.log.driver {
        LogDriver::JsonFile => json!({
            "Type": "json-file",
            "Config": { "max-size": spec.log.max_size.to_string(), "max-file": spec.log.max_file.to_string() },
        }),
        LogDriver::None => json!({ "Type": "none", "Config": {} }),
    };
    let devices = limits.devices.iter().map(|device| {
        json!({
            "PathOnHost": device.host, "PathInContainer": device.container, "CgroupPermissions": device.access,
        })
    });
    let ulimits = limits
        .ulimits
        .iter()
        .map(|limit| json!({ "Name": limit.name, "Soft": limit.soft, "Hard": limit.hard }));
    json!({
        "LogConfig": log,
        "NetworkMode": network,
        "RestartPolicy": { "Name": restart, "MaximumRetryCount": spec.restart.max },
        "AutoRemove": spec.auto_remove,
        "CapAdd": security.cap_add,
        "CapDrop": security.cap_drop,
        "CgroupnsMode": mode(&modes.cgroup, "private"),
        "IpcMode": mode(&modes.ipc, "private"),
        "PidMode": mode(&modes.pid, ""),
        "UTSMode": mode(&modes.uts, ""),
        "UsernsMode": match modes.user {
            UserNamespace::Profile => "",
            UserNamespace::Host => "host",
            UserNamespace::Auto => "auto",
        },
        "Privileged": security.privileged,
        "ReadonlyRootfs": spec.read_only,
        "ExtraHosts": spec.extra_hosts.iter().map(|(name, address)| format!("{name}:{address}")).collect::<Vec<_>>(),
        "ShmSize": spec.shm_size.unwrap_or(64 << 20),
        "Init": spec.init,
        "CgroupParent": spec.cgroup_parent.as_deref().unwrap_or_default(),
        "Memory": limits.memory.unwrap_or(0),
        "MemorySwap": limits.memory_swap.unwrap_or_else(|| {
            i64::try_from(limits.memory.unwrap_or(0).saturating_mul(2)).unwrap_or(-1)
        }),
        "MemoryReservation": limits.memory_reservation.unwrap_or(0),
        "NanoCpus": limits.nano_cpus.unwrap_or(0),
        "CpuPeriod": limits.cpu_period.unwrap_or(0),
        "CpuQuota": limits.cpu_quota.unwrap_or(0),
        "CpuShares": limits.cpu_shares.unwrap_or(0),
        "CpusetCpus": limits.cpuset_cpus.as_deref().unwrap_or_default(),
        "CpusetMems": limits.cpuset_mems.as_deref().unwrap_or_default(),
        "PidsLimit": container.config["linux"]["resources"]["pids"]["limit"],
        "Devices": devices.collect::<Vec<_>>(),
        "Ulimits": ulimits.collect::<Vec<_>>(),
        "Sysctls": limits.sysctls,
        "MaskedPaths": container.config["linux"]["maskedPaths"],
        "ReadonlyPaths": container.config["linux"]["readonlyPaths"],
    })
}

fn mounts(engine: &Engine, container: &Container) -> Vec<Value> {
    let volumes = container.summary.volumes.iter().map(|volume| {
        let source = engine.options().data.join("volumes").join(volume.name.as_str()).join("_data");
        json!({
            "Type": "volume", "Name": volume.name.as_str(), "Source": source, "Destination": volume.target,
            "Driver": "local", "Mode": "z", "RW": !volume.read_only, "Propagation": "",
        })
    });
    let others = container.spec.mounts.iter().filter_map(|mount| match &mount.source {
        MountSource::Bind { source, propagation, .. } => Some(json!({
            "Type": "bind", "Source": source, "Destination": mount.target, "Mode": "", "RW": !mount.read_only,
            "Propagation": propagation.map_or("rprivate", propagation_name),
        })),
        MountSource::Tmpfs { .. } => Some(json!({
            "Type": "tmpfs", "Source": "", "Destination": mount.target, "Mode": "", "RW": !mount.read_only,
            "Propagation": "",
        })),
        MountSource::Volume { .. } => None,
    });
    volumes.chain(others).collect()
}

fn propagation_name(propagation: Propagation) -> &'static str {
    match propagation {
        Propagation::Private => "private",
        Propagation::RPrivate => "rprivate",
        Propagation::Shared => "shared",
        Propagation::RShared => "rshared",
        Propagation::Slave => "slave",
        Propagation::RSlave => "rslave",
    }
}
