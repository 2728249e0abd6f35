//! Create, limit, freeze, measure and kill cgroups on v1, v2 and hybrid hosts.
//!
//! A [`Host`] says which hierarchies are mounted where. A [`Cgroup`] is one path in all hierarchies it needs; what its
//! [`Limits`] mean for the files of v1 and v2 is worked out by a pure function (`plan`) and then written, relative to
//! descriptors of directories that were checked to be cgroup file systems.
#![forbid(unsafe_code)]

mod devices;
mod error;
mod group;
mod host;
mod kill;
mod limits;
mod path;
mod plan;
mod stats;

pub use devices::{Access, DeviceKind, DeviceRule};
pub use error::{Error, Result};
pub use group::{Cgroup, Controllers, enter};
pub use host::{Hierarchy, Host, Layout, parse_mountinfo};
pub use limits::{BlockIo, Cpu, DeviceRate, DeviceWeight, HugePages, Limits, Memory, Network, Rdma};
pub use path::CgroupPath;
pub use plan::shares_to_weight;
pub use stats::{CpuStats, MemoryStats, Stats};
