//! Limits, devices and kernel parameters.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::spec::{ContainerSpec, NamespaceMode, NetworkMode, Profile, Resources};
use crate::{Error, Result};

use super::Facts;

/// Processes and threads of a container for which nobody set a limit; docker has none, so one fork bomb takes the host.
const PIDS: i64 = 4096;
/// The least memory docker lets a container have.
const MIN_MEMORY: u64 = 6 << 20;
/// docker's period of processor time, in microseconds.
const PERIOD: u64 = 100_000;

/// The devices every container may use; nodes are made by the runtime (runtime-spec config-linux.md, "Default Devices").
const DEVICES: [(u32, u32); 7] = [(1, 3), (1, 5), (1, 7), (1, 8), (1, 9), (5, 0), (5, 2)];

/// Values that contradict each other or that the kernel would take for something else.
pub(super) fn check(resources: &Resources) -> Result<()> {
    let refuse = |text: String| Err(Error::Request(text));
    if let Some(memory) = resources.memory {
        if memory < MIN_MEMORY {
            return refuse("Minimum memory limit allowed is 6MB".into());
        }
        if let Some(swap) = resources.memory_swap.and_then(|swap| u64::try_from(swap).ok())
            && swap < memory
        {
            return refuse("Minimum memoryswap limit should be larger than memory limit, see usage".into());
        }
        if resources.memory_reservation.is_some_and(|soft| soft > memory) {
            return refuse(
                "Minimum memory limit can not be less than memory reservation limit, see usage".into(),
            );
        }
    } else if resources.memory_swap.is_some_and(|swap| swap > 0) {
        return refuse(
            "You should always set the Memory limit when using Memoryswap limit, see usage".into(),
        );
    }
    if let Some(cpus) = resources.nano_cpus {
        let online = std::thread::available_parallelism().map_or(1, std::num::NonZero::get) as u64;
        // 10 ms of each period is the least the kernel takes (1 ms of quota).
        if !(10_000_000..=online * 1_000_000_000).contains(&cpus) {
            return refuse(format!(
                "Range of CPUs is from 0.01 to {online}.00, as there are only {online} CPUs available"
            ));
        }
    }
    if resources.nano_cpus.is_some() && (resources.cpu_period.is_some() || resources.cpu_quota.is_some()) {
        return refuse("Conflicting options: Nano CPUs and CPU Period or Quota cannot both be set".into());
    }
    if resources.cpu_period.is_some_and(|period| !(1000..=1_000_000).contains(&period)) {
        return refuse(
            "CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)".into(),
        );
    }
    if resources.cpu_quota.is_some_and(|quota| (0..1000).contains(&quota)) {
        return refuse("CPU cfs quota can not be less than 1ms (i.e. 1000)".into());
    }
    if resources.cpu_shares == Some(1) {
        return refuse("The minimum allowed cpu-shares is 2".into());
    }
    Ok(())
}

/// The OCI `linux.resources`.
pub(super) fn resources(spec: &ContainerSpec, facts: &Facts) -> Result<Value> {
    let own = &spec.resources;
    let mut memory = Map::new();
    if let Some(limit) = own.memory {
        memory.insert("limit".into(), limit.into());
        // Without a word about swap there is as much of it as memory, as docker has it.
        let swap = own.memory_swap.unwrap_or_else(|| i64::try_from(limit.saturating_mul(2)).unwrap_or(-1));
        memory.insert("swap".into(), swap.into());
    }
    if let Some(soft) = own.memory_reservation {
        memory.insert("reservation".into(), soft.into());
    }
    let mut cpu = Map::new();
    if let Some(nano) = own.nano_cpus {
        cpu.insert("period".into(), PERIOD.into());
        cpu.insert("quota".into(), (nano / (1_000_000_000 / PERIOD)).into());
    }
    if let Some(period) = own.cpu_period {
        cpu.insert("period".into(), period.into());
    }
    if let Some(quota) = own.cpu_quota {
        cpu.insert("quota".into(), quota.into());
    }
    if let Some(shares) = own.cpu_shares.filter(|shares| *shares > 0) {
        cpu.insert("shares".into(), shares.into());
    }
    for (key, value) in [("cpus", &own.cpuset_cpus), ("mems", &own.cpuset_mems)] {
        if let Some(list) = value {
            check_list(list)?;
            cpu.insert(key.into(), list.as_str().into());
        }
    }
    let mut resources = json!({ "devices": device_rules(spec, facts) });
    for (key, value) in [("memory", memory), ("cpu", cpu)] {
        if !value.is_empty() {
            resources[key] = Value::Object(value);
        }
    }
    if let Some(limit) = pids(spec) {
        resources["pids"] = json!({ "limit": limit });
    }
    Ok(resources)
}

fn pids(spec: &ContainerSpec) -> Option<i64> {
    match spec.resources.pids_limit {
        // docker: 0 and -1 are no limit.
        Some(limit) if limit <= 0 => None,
        Some(limit) => Some(limit),
        None => (spec.security.profile != Profile::Docker && !spec.security.privileged).then_some(PIDS),
    }
}

/// `0-2,4`: numbers and ranges. The kernel would take minutes over a list like `1-999999999` (CVE-2018-20699).
fn check_list(list: &str) -> Result<()> {
    let number = |text: &str| text.parse::<u32>().ok().filter(|number| *number < 8192);
    let part = |part: &str| match part.split_once('-') {
        Some((from, to)) => matches!((number(from), number(to)), (Some(from), Some(to)) if from <= to),
        None => number(part).is_some(),
    };
    if list.split(',').all(part) {
        return Ok(());
    }
    Err(Error::invalid("cpuset", list, "it must be numbers below 8192 and ranges, such as 0-2,4"))
}

fn device_rules(spec: &ContainerSpec, facts: &Facts) -> Vec<Value> {
    if spec.security.privileged {
        return vec![json!({ "allow": true, "access": "rwm" })];
    }
    let allow = |kind: &str, major: Option<u32>, minor: Option<u32>, access: &str| {
        let mut rule = json!({ "allow": true, "type": kind, "access": access });
        for (key, number) in [("major", major), ("minor", minor)] {
            if let Some(number) = number {
                rule[key] = number.into();
            }
        }
        rule
    };
    let mut rules = vec![json!({ "allow": false, "access": "rwm" })];
    rules.extend(DEVICES.map(|(major, minor)| allow("c", Some(major), Some(minor), "rwm")));
    // The other ends of its terminals.
    rules.push(allow("c", Some(136), None, "rwm"));
    if spec.security.profile == Profile::Docker {
        rules.extend([allow("c", None, None, "m"), allow("b", None, None, "m")]);
        rules.push(allow("c", Some(10), Some(200), "rwm"));
    }
    for device in &facts.devices {
        rules.push(allow(&device.kind.to_string(), Some(device.major), Some(device.minor), &device.access));
    }
    rules
}

/// The kernel parameters: the user's over the defaults.
pub(super) fn sysctls(spec: &ContainerSpec) -> Result<BTreeMap<String, String>> {
    let mut sysctls = BTreeMap::new();
    if spec.network == NetworkMode::None {
        // Neither ping nor a low port needs a capability then. The group range must be mapped where there are maps.
        let range = if super::own_users(spec) { "0 65535" } else { "0 2147483647" };
        sysctls.insert("net.ipv4.ping_group_range".to_owned(), range.to_owned());
        sysctls.insert("net.ipv4.ip_unprivileged_port_start".to_owned(), "0".to_owned());
    }
    for (key, value) in &spec.resources.sysctls {
        let key = key.replace('/', ".");
        if key.starts_with("net.") && spec.network == NetworkMode::Host {
            return Err(Error::Request(format!("sysctl '{key}' not allowed in host network namespace")));
        }
        let ipc = key.starts_with("fs.mqueue.")
            || ["kernel.msg", "kernel.sem", "kernel.shm"].iter().any(|prefix| key.starts_with(prefix));
        if ipc && spec.namespaces.ipc == NamespaceMode::Host {
            return Err(Error::Request(format!("sysctl '{key}' not allowed in host ipc namespace")));
        }
        if !ipc && !key.starts_with("net.") {
            return Err(Error::invalid("sysctl", &key, "it is not one of a container's own namespaces"));
        }
        sysctls.insert(key, value.clone());
    }
    Ok(sysctls)
}

/// The v1 hierarchies in which the container gets a cgroup: each costs a start about 0.1 ms, so only those that limit it
/// or measure it.
pub(crate) fn controllers(spec: &ContainerSpec, has_v2: bool) -> cgroup::Controllers {
    let own = &spec.resources;
    let mut names = vec!["memory", "cpu", "cpuacct", "pids", "devices"];
    if own.cpuset_cpus.is_some() || own.cpuset_mems.is_some() {
        names.push("cpuset");
    }
    if !has_v2 {
        // The v2 tree of a hybrid host can freeze without controllers.
        names.push("freezer");
    }
    cgroup::Controllers::Only(names.into_iter().map(str::to_owned).collect())
}
