//! `linux.resources` as limits of a cgroup, with the devices that every container may use.

use cgroup::{
    Access, BlockIo, Cpu, DeviceKind, DeviceRate, DeviceRule, DeviceWeight, HugePages, Limits, Memory,
    Network, Rdma,
};
use oci_spec::runtime::{
    LinuxBlockIo, LinuxDeviceCgroup, LinuxDeviceType, LinuxResources, LinuxThrottleDevice,
};

use super::budget;
use crate::{Error, Result};

/// Turns `linux.resources` into limits; used by a start and by `update`.
///
/// With `devices`, the device filter is always there: everything is denied but the listed devices, the default ones and
/// making nodes, which gives access to nothing by itself (runc's list).
///
/// # Errors
/// [`Error::Spec`] naming the field.
pub fn limits(resources: Option<&LinuxResources>, devices: bool) -> Result<Limits> {
    let mut limits = Limits::default();
    let listed = resources.and_then(|r| r.devices().as_deref()).unwrap_or_default();
    budget("linux.resources.devices", listed.len())?;
    if devices {
        limits.devices.push(DeviceRule::DENY_ALL);
    }
    for (i, rule) in listed.iter().enumerate() {
        limits.devices.push(device_rule(&format!("linux.resources.devices[{i}]"), rule)?);
    }
    if devices {
        limits.devices.extend(always_allowed());
    }
    let Some(resources) = resources else { return Ok(limits) };
    if let Some(memory) = resources.memory() {
        limits.memory = Memory {
            limit: memory.limit(),
            reservation: memory.reservation(),
            swap: memory.swap(),
            kernel_tcp: memory.kernel_tcp(),
            swappiness: memory.swappiness(),
            disable_oom_killer: memory.disable_oom_killer(),
            check_before_update: memory.check_before_update(),
        };
    }
    if let Some(cpu) = resources.cpu() {
        limits.cpu = Cpu {
            shares: cpu.shares(),
            quota: cpu.quota(),
            burst: cpu.burst(),
            period: cpu.period(),
            realtime_runtime: cpu.realtime_runtime(),
            realtime_period: cpu.realtime_period(),
            cpus: cpu.cpus().clone().filter(|text| !text.is_empty()),
            mems: cpu.mems().clone().filter(|text| !text.is_empty()),
            idle: cpu.idle(),
        };
    }
    limits.pids = resources.pids().as_ref().map(|pids| pids.limit()).filter(|limit| *limit != 0);
    limits.block_io = resources.block_io().as_ref().map(block_io).unwrap_or_default();
    for entry in resources.hugepage_limits().iter().flatten() {
        let limit = u64::try_from(entry.limit())
            .map_err(|_| Error::spec("linux.resources.hugepageLimits", "a limit must not be negative"))?;
        limits.huge_pages.push(HugePages { page_size: entry.page_size().clone(), limit });
    }
    if let Some(network) = resources.network() {
        let priorities = network.priorities().iter().flatten();
        limits.network = Network {
            class_id: network.class_id(),
            priorities: priorities.map(|p| (p.name().clone(), p.priority())).collect(),
        };
    }
    for (name, entry) in resources.rdma().iter().flatten() {
        let rdma = Rdma { hca_handles: entry.hca_handles(), hca_objects: entry.hca_objects() };
        limits.rdma.insert(name.clone(), rdma);
    }
    limits.unified = resources.unified().iter().flatten().map(|(k, v)| (k.clone(), v.clone())).collect();
    Ok(limits)
}

fn block_io(spec: &LinuxBlockIo) -> BlockIo {
    let rates = |list: &Option<Vec<LinuxThrottleDevice>>| {
        let list = list.iter().flatten();
        list.map(|d| DeviceRate { major: d.major(), minor: d.minor(), rate: d.rate() }).collect()
    };
    let weights = spec.weight_device().iter().flatten();
    BlockIo {
        weight: spec.weight(),
        leaf_weight: spec.leaf_weight(),
        weight_devices: weights
            .filter_map(|d| {
                d.weight().map(|weight| DeviceWeight { major: d.major(), minor: d.minor(), weight })
            })
            .collect(),
        read_bps: rates(spec.throttle_read_bps_device()),
        write_bps: rates(spec.throttle_write_bps_device()),
        read_iops: rates(spec.throttle_read_iops_device()),
        write_iops: rates(spec.throttle_write_iops_device()),
    }
}

fn device_rule(field: &str, rule: &LinuxDeviceCgroup) -> Result<DeviceRule> {
    let kind = match rule.typ().unwrap_or(LinuxDeviceType::A) {
        LinuxDeviceType::A => DeviceKind::All,
        LinuxDeviceType::B => DeviceKind::Block,
        LinuxDeviceType::C | LinuxDeviceType::U => DeviceKind::Char,
        LinuxDeviceType::P => return Err(Error::spec(format!("{field}.type"), "\"p\" is no device")),
    };
    // Absent and -1 both mean any.
    let number = |name: &str, value: Option<i64>| match value {
        None | Some(-1) => Ok(None),
        Some(n) => u32::try_from(n)
            .map(Some)
            .map_err(|_| Error::spec(format!("{field}.{name}"), format!("{n} is no device number"))),
    };
    let letters = rule.access().as_deref().unwrap_or("rwm");
    if letters.is_empty() || letters.bytes().any(|b| !b"rwm".contains(&b)) {
        return Err(Error::spec(
            format!("{field}.access"),
            format!("{letters:?} must be made of r, w and m"),
        ));
    }
    let access =
        Access { read: letters.contains('r'), write: letters.contains('w'), mknod: letters.contains('m') };
    Ok(DeviceRule {
        allow: rule.allow(),
        kind,
        major: number("major", rule.major())?,
        minor: number("minor", rule.minor())?,
        access,
    })
}

fn always_allowed() -> impl Iterator<Item = DeviceRule> {
    let mknod = Access { read: false, write: false, mknod: true };
    let any = |kind| DeviceRule { allow: true, kind, major: None, minor: None, access: mknod };
    let numbers = [
        (1, Some(3)),
        (1, Some(5)),
        (1, Some(7)),
        (1, Some(8)),
        (1, Some(9)),
        (5, Some(0)),
        (5, Some(1)),
        (5, Some(2)),
        (136, None),
    ];
    let known = numbers.into_iter().map(|(major, minor)| DeviceRule {
        allow: true,
        kind: DeviceKind::Char,
        major: Some(major),
        minor,
        access: Access::ALL,
    });
    [any(DeviceKind::Char), any(DeviceKind::Block)].into_iter().chain(known)
}
