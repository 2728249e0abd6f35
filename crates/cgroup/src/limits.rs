use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::DeviceRule;

/// What a cgroup may use: `linux.resources` of the runtime-spec. Only what is set is written.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Limits {
    /// Device access; empty leaves the device filter as it is.
    pub devices: Vec<DeviceRule>,
    /// Memory.
    pub memory: Memory,
    /// Processor time and processors.
    pub cpu: Cpu,
    /// Most processes and threads; negative is no limit.
    pub pids: Option<i64>,
    /// Block devices.
    pub block_io: BlockIo,
    /// Huge pages by page size.
    pub huge_pages: Vec<HugePages>,
    /// Packet marking (v1 only).
    pub network: Network,
    /// RDMA by device.
    pub rdma: BTreeMap<String, Rdma>,
    /// Files of v2 and their text, written as they are.
    pub unified: BTreeMap<String, String>,
}

/// Memory limits in bytes; -1 is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    /// Hard limit.
    pub limit: Option<i64>,
    /// Soft limit.
    pub reservation: Option<i64>,
    /// Memory and swap together.
    pub swap: Option<i64>,
    /// TCP buffers (v1 only).
    pub kernel_tcp: Option<i64>,
    /// Tendency to swap, 0 to 100 (v1 only).
    pub swappiness: Option<u64>,
    /// No killing at the limit: processes wait (v1 only).
    pub disable_oom_killer: Option<bool>,
    /// Refuse a limit below what is in use instead of reclaiming.
    pub check_before_update: Option<bool>,
}

/// Processor limits.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cpu {
    /// Relative weight, 2 to 262144, 1024 by default.
    pub shares: Option<u64>,
    /// Microseconds per period; negative is no limit.
    pub quota: Option<i64>,
    /// Microseconds that may be saved up.
    pub burst: Option<u64>,
    /// Microseconds.
    pub period: Option<u64>,
    /// Real-time microseconds per period (v1 only).
    pub realtime_runtime: Option<i64>,
    /// Real-time period in microseconds (v1 only).
    pub realtime_period: Option<u64>,
    /// Processors, as in `0-3,7`.
    pub cpus: Option<String>,
    /// Memory nodes, as in `0-1`.
    pub mems: Option<String>,
    /// 1 runs only when nothing else wants to.
    pub idle: Option<i64>,
}

/// Block device limits.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlockIo {
    /// Relative weight, 10 to 1000.
    pub weight: Option<u16>,
    /// Relative weight against child cgroups (v1 only).
    pub leaf_weight: Option<u16>,
    /// Weights by device.
    pub weight_devices: Vec<DeviceWeight>,
    /// Bytes per second.
    pub read_bps: Vec<DeviceRate>,
    /// Bytes per second.
    pub write_bps: Vec<DeviceRate>,
    /// Operations per second.
    pub read_iops: Vec<DeviceRate>,
    /// Operations per second.
    pub write_iops: Vec<DeviceRate>,
}

/// A weight for one block device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceWeight {
    /// Device number, major.
    pub major: i64,
    /// Device number, minor.
    pub minor: i64,
    /// 10 to 1000.
    pub weight: u16,
}

/// A rate for one block device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceRate {
    /// Device number, major.
    pub major: i64,
    /// Device number, minor.
    pub minor: i64,
    /// Bytes or operations per second; 0 is no limit.
    pub rate: u64,
}

/// A limit of one size of huge pages.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HugePages {
    /// As in the file's name, e.g. `2MB`.
    pub page_size: String,
    /// Bytes.
    pub limit: u64,
}

/// Packet marking.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    /// `net_cls.classid`.
    pub class_id: Option<u32>,
    /// Interface and priority.
    pub priorities: Vec<(String, u32)>,
}

/// RDMA limits of one device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rdma {
    /// Most handles.
    pub hca_handles: Option<u32>,
    /// Most objects.
    pub hca_objects: Option<u32>,
}
