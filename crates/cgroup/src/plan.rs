//! What limits mean for the files of v1 and v2: pure, so that the translation is testable as a table.

use crate::limits::{BlockIo, Cpu, DeviceRate, Memory};
use crate::{Error, Limits, Result};

/// Longest text of a processor or node list; the largest machines need a few hundred bytes.
const MAX_LIST: usize = 4096;
/// Highest processor or node number that a list may name (`CONFIG_NR_CPUS` goes to 8192).
const MAX_LIST_NUMBER: u32 = 8191;

/// One file to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Write {
    /// The controller it belongs to; `None` for a file that every v2 cgroup may have.
    pub(crate) controller: Option<&'static str>,
    /// Its name in the cgroup's directory.
    pub(crate) file: String,
    /// What to write.
    pub(crate) value: String,
}

/// The two versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    V1,
    V2,
}

struct Plan {
    version: Version,
    writes: Vec<Write>,
}

/// The writes that set `limits`, in order; devices apart, which are no file on v2.
pub(crate) fn writes(limits: &Limits, version: Version) -> Result<Vec<Write>> {
    let mut plan = Plan { version, writes: Vec::new() };
    plan.cpu(&limits.cpu)?;
    plan.cpuset(&limits.cpu)?;
    plan.memory(&limits.memory)?;
    if let Some(pids) = limits.pids {
        plan.both("pids", "pids.max", "pids.max", limit_or_max(pids));
    }
    plan.block_io(&limits.block_io)?;
    plan.others(limits)?;
    Ok(plan.writes)
}

impl Plan {
    fn write(&mut self, controller: &'static str, file: impl Into<String>, value: impl ToString) {
        self.writes.push(Write { controller: Some(controller), file: file.into(), value: value.to_string() });
    }

    fn both(&mut self, controller: &'static str, v1: &str, v2: &str, value: impl ToString) {
        let file = if self.version == Version::V1 { v1 } else { v2 };
        self.write(controller, file, value);
    }

    fn v1_only(
        &mut self,
        limit: &'static str,
        controller: &'static str,
        file: &str,
        value: impl ToString,
    ) -> Result<()> {
        if self.version == Version::V2 {
            return Err(Error::NoSuchLimit { limit, version: "v2" });
        }
        self.write(controller, file, value);
        Ok(())
    }

    fn cpu(&mut self, cpu: &Cpu) -> Result<()> {
        if let Some(shares) = cpu.shares.filter(|shares| *shares != 0) {
            match self.version {
                Version::V1 => self.write("cpu", "cpu.shares", shares),
                Version::V2 => self.write("cpu", "cpu.weight", shares_to_weight(shares)),
            }
        }
        match self.version {
            Version::V1 => {
                // The period first: a quota is checked against it.
                if let Some(period) = cpu.period.filter(|period| *period != 0) {
                    self.write("cpu", "cpu.cfs_period_us", period);
                }
                if let Some(quota) = cpu.quota.filter(|quota| *quota != 0) {
                    self.write("cpu", "cpu.cfs_quota_us", quota.max(-1));
                }
            }
            Version::V2 => {
                let quota = cpu.quota.filter(|quota| *quota != 0);
                let period = cpu.period.filter(|period| *period != 0);
                if quota.is_some() || period.is_some() {
                    let quota = quota.map_or("max".into(), limit_or_max);
                    let value = period.map_or(quota.clone(), |period| format!("{quota} {period}"));
                    self.write("cpu", "cpu.max", value);
                }
            }
        }
        if let Some(burst) = cpu.burst {
            self.both("cpu", "cpu.cfs_burst_us", "cpu.max.burst", burst);
        }
        if let Some(period) = cpu.realtime_period.filter(|period| *period != 0) {
            self.v1_only("cpu.realtimePeriod", "cpu", "cpu.rt_period_us", period)?;
        }
        if let Some(runtime) = cpu.realtime_runtime.filter(|runtime| *runtime != 0) {
            self.v1_only("cpu.realtimeRuntime", "cpu", "cpu.rt_runtime_us", runtime)?;
        }
        if let Some(idle) = cpu.idle {
            self.both("cpu", "cpu.idle", "cpu.idle", idle);
        }
        Ok(())
    }

    fn cpuset(&mut self, cpu: &Cpu) -> Result<()> {
        for (limit, file, list) in
            [("cpu.cpus", "cpuset.cpus", &cpu.cpus), ("cpu.mems", "cpuset.mems", &cpu.mems)]
        {
            if let Some(list) = list.as_deref().filter(|list| !list.is_empty()) {
                check_list(limit, list)?;
                self.both("cpuset", file, file, list);
            }
        }
        Ok(())
    }

    fn memory(&mut self, memory: &Memory) -> Result<()> {
        if let Some(limit) = memory.limit.filter(|limit| *limit != 0) {
            match self.version {
                Version::V1 => self.write("memory", "memory.limit_in_bytes", limit.max(-1)),
                Version::V2 => self.write("memory", "memory.max", limit_or_max(limit)),
            }
        }
        if let Some(swap) = memory.swap.filter(|swap| *swap != 0) {
            match self.version {
                Version::V1 => self.write("memory", "memory.memsw.limit_in_bytes", swap.max(-1)),
                Version::V2 => self.write("memory", "memory.swap.max", swap_alone(swap, memory.limit)?),
            }
        }
        if let Some(soft) = memory.reservation.filter(|soft| *soft != 0) {
            match self.version {
                Version::V1 => self.write("memory", "memory.soft_limit_in_bytes", soft.max(-1)),
                Version::V2 => self.write("memory", "memory.low", limit_or_max(soft)),
            }
        }
        if let Some(bytes) = memory.kernel_tcp {
            self.v1_only("memory.kernelTCP", "memory", "memory.kmem.tcp.limit_in_bytes", bytes)?;
        }
        if let Some(swappiness) = memory.swappiness {
            if swappiness > 100 {
                let value = swappiness.to_string();
                return Err(Error::Value {
                    limit: "memory.swappiness",
                    value,
                    reason: "it goes from 0 to 100",
                });
            }
            self.v1_only("memory.swappiness", "memory", "memory.swappiness", swappiness)?;
        }
        if memory.disable_oom_killer == Some(true) {
            self.v1_only("memory.disableOOMKiller", "memory", "memory.oom_control", 1)?;
        }
        Ok(())
    }

    fn block_io(&mut self, io: &BlockIo) -> Result<()> {
        if let Some(weight) = io.weight.filter(|weight| *weight != 0) {
            self.both("blkio", "blkio.weight", "io.bfq.weight", weight);
        }
        if let Some(weight) = io.leaf_weight.filter(|weight| *weight != 0) {
            self.v1_only("blockIO.leafWeight", "blkio", "blkio.leaf_weight", weight)?;
        }
        for device in &io.weight_devices {
            let value = format!("{}:{} {}", device.major, device.minor, device.weight);
            self.both("blkio", "blkio.weight_device", "io.bfq.weight", value);
        }
        let rates: [(&str, &str, &[DeviceRate]); 4] = [
            ("blkio.throttle.read_bps_device", "rbps", &io.read_bps),
            ("blkio.throttle.write_bps_device", "wbps", &io.write_bps),
            ("blkio.throttle.read_iops_device", "riops", &io.read_iops),
            ("blkio.throttle.write_iops_device", "wiops", &io.write_iops),
        ];
        for (v1, v2, devices) in rates {
            for DeviceRate { major, minor, rate } in devices {
                match self.version {
                    Version::V1 => self.write("blkio", v1, format!("{major}:{minor} {rate}")),
                    Version::V2 => {
                        let rate = if *rate == 0 { "max".into() } else { rate.to_string() };
                        self.write("io", "io.max", format!("{major}:{minor} {v2}={rate}"));
                    }
                }
            }
        }
        Ok(())
    }

    fn others(&mut self, limits: &Limits) -> Result<()> {
        for huge in &limits.huge_pages {
            check_name("hugepageLimits.pageSize", &huge.page_size)?;
            let (v1, v2) = (
                format!("hugetlb.{}.limit_in_bytes", huge.page_size),
                format!("hugetlb.{}.max", huge.page_size),
            );
            self.both("hugetlb", &v1, &v2, huge.limit);
        }
        if let Some(class) = limits.network.class_id {
            self.v1_only("network.classID", "net_cls", "net_cls.classid", class)?;
        }
        for (interface, priority) in &limits.network.priorities {
            check_name("network.priorities", interface)?;
            self.v1_only(
                "network.priorities",
                "net_prio",
                "net_prio.ifpriomap",
                format!("{interface} {priority}"),
            )?;
        }
        for (device, rdma) in &limits.rdma {
            check_name("rdma", device)?;
            let mut value = device.clone();
            value.extend(rdma.hca_handles.map(|n| format!(" hca_handle={n}")));
            value.extend(rdma.hca_objects.map(|n| format!(" hca_object={n}")));
            self.both("rdma", "rdma.max", "rdma.max", value);
        }
        for (file, value) in &limits.unified {
            if self.version == Version::V1 {
                return Err(Error::NoSuchLimit { limit: "unified", version: "v1" });
            }
            check_name("unified", file)?;
            self.writes.push(Write { controller: None, file: file.clone(), value: value.clone() });
        }
        Ok(())
    }
}

/// v1 `cpu.shares` (2 to 262144, 1024 by default) to v2 `cpu.weight` (1 to 10000, 100 by default): the quadratic in the
/// logarithm that maps minimum, default and maximum onto each other, as runc and crun use it since 2025.
pub fn shares_to_weight(shares: u64) -> u64 {
    match shares {
        0..=2 => 1,
        262_144.. => 10_000,
        _ => {
            let log = (shares as f64).log2();
            let exponent = (log * log + 125.0 * log) / 612.0 - 7.0 / 34.0;
            // The default is exactly 10^2; a rounding error above it must not become 101.
            (10f64.powf(exponent) - 1e-9).ceil() as u64
        }
    }
}

fn limit_or_max(value: i64) -> String {
    if value < 0 { "max".into() } else { value.to_string() }
}

/// v1 counts memory and swap together, v2 swap alone.
fn swap_alone(swap: i64, memory: Option<i64>) -> Result<String> {
    let wrong = |reason| Error::Value { limit: "memory.swap", value: swap.to_string(), reason };
    match memory {
        _ if swap < 0 => Ok("max".into()),
        Some(limit) if limit > 0 && swap >= limit => Ok((swap - limit).to_string()),
        Some(limit) if limit > 0 => Err(wrong("memory and swap together are less than memory alone")),
        _ => Err(wrong("it needs a memory limit")),
    }
}

/// `0-3,7`: short, and with numbers that a kernel can have (CVE-2018-20699: a list of 999999999 processors).
fn check_list(limit: &'static str, list: &str) -> Result<()> {
    let wrong = |reason| Error::Value { limit, value: list.chars().take(80).collect(), reason };
    if list.len() > MAX_LIST {
        return Err(wrong("it is longer than 4096 bytes"));
    }
    for range in list.trim_end().split(',') {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let number =
            |text: &str| text.parse::<u32>().ok().filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()));
        match (number(first), number(last)) {
            (Some(first), Some(last)) if first <= last && last <= MAX_LIST_NUMBER => {}
            (Some(_), Some(_)) => return Err(wrong("a range is reversed or goes beyond 8191")),
            _ => return Err(wrong("it is not a list of numbers and ranges such as 0-3,7")),
        }
    }
    Ok(())
}

/// A name that becomes part of a file's name or of a line: one word, no slash.
fn check_name(limit: &'static str, name: &str) -> Result<()> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    if !name.is_empty() && name.len() < 128 && name.bytes().all(plain) && !name.contains("..") {
        return Ok(());
    }
    let value = name.chars().take(80).collect();
    Err(Error::Value { limit, value, reason: "it is not a plain name" })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn shown(limits: &Limits, version: Version) -> Vec<String> {
        writes(limits, version).unwrap().into_iter().map(|w| format!("{}={}", w.file, w.value)).collect()
    }

    fn check(limits: Limits, v1: &[&str], v2: &[&str]) {
        assert_eq!(shown(&limits, Version::V1), v1);
        assert_eq!(shown(&limits, Version::V2), v2);
    }

    #[test]
    fn the_same_limits_on_both_versions() {
        check(Limits::default(), &[], &[]);
        check(
            Limits {
                memory: Memory {
                    limit: Some(100),
                    swap: Some(150),
                    reservation: Some(50),
                    ..Default::default()
                },
                ..Default::default()
            },
            &[
                "memory.limit_in_bytes=100",
                "memory.memsw.limit_in_bytes=150",
                "memory.soft_limit_in_bytes=50",
            ],
            &["memory.max=100", "memory.swap.max=50", "memory.low=50"],
        );
        check(
            Limits {
                memory: Memory { limit: Some(-1), swap: Some(-1), ..Default::default() },
                ..Default::default()
            },
            &["memory.limit_in_bytes=-1", "memory.memsw.limit_in_bytes=-1"],
            &["memory.max=max", "memory.swap.max=max"],
        );
        check(
            Limits {
                cpu: Cpu {
                    shares: Some(512),
                    quota: Some(50_000),
                    period: Some(100_000),
                    cpus: Some("0-1".into()),
                    ..Default::default()
                },
                ..Default::default()
            },
            &["cpu.shares=512", "cpu.cfs_period_us=100000", "cpu.cfs_quota_us=50000", "cpuset.cpus=0-1"],
            &["cpu.weight=59", "cpu.max=50000 100000", "cpuset.cpus=0-1"],
        );
        check(Limits { pids: Some(-1), ..Default::default() }, &["pids.max=max"], &["pids.max=max"]);
        let rate = DeviceRate { major: 8, minor: 0, rate: 1000 };
        check(
            Limits { block_io: BlockIo { read_bps: vec![rate], ..Default::default() }, ..Default::default() },
            &["blkio.throttle.read_bps_device=8:0 1000"],
            &["io.max=8:0 rbps=1000"],
        );
    }

    #[test]
    fn weights_keep_minimum_default_and_maximum() {
        for (shares, weight) in [(2, 1), (1024, 100), (262_144, 10_000), (512, 59), (u64::MAX, 10_000)] {
            assert_eq!(shares_to_weight(shares), weight, "{shares}");
        }
    }

    #[test]
    fn senseless_values_are_refused() {
        let cpus = |list: &str| Limits {
            cpu: Cpu { cpus: Some(list.into()), ..Default::default() },
            ..Default::default()
        };
        for list in ["1-999999999", "a", "3-1", "+1", "1,", "0-", &"1,".repeat(4000)] {
            assert!(writes(&cpus(list), Version::V1).is_err(), "{list}");
        }
        let unified = Limits { unified: [("../x".to_owned(), "1".to_owned())].into(), ..Default::default() };
        assert!(writes(&unified, Version::V2).is_err());
        let swap = Limits {
            memory: Memory { limit: Some(100), swap: Some(50), ..Default::default() },
            ..Default::default()
        };
        assert!(writes(&swap, Version::V2).is_err());
    }

    proptest! {
        #[test]
        fn weights_are_monotonic(a in 2u64..=262_144, b in 2u64..=262_144) {
            let (low, high) = (a.min(b), a.max(b));
            prop_assert!(shares_to_weight(low) <= shares_to_weight(high));
            prop_assert!((1..=10_000).contains(&shares_to_weight(a)));
        }

        #[test]
        fn lists_are_read_without_a_panic(list in "[0-9,+ a-]{0,40}") {
            let _ = check_list("cpu.cpus", &list);
        }
    }
}
