use std::path::Path;

use rustix::io::Errno;
use serde::Serialize;

use crate::group::Dir;
use crate::{Cgroup, CgroupPath, Error, Hierarchy, Host, Layout, Result};

/// Most bytes of one of the kernel's files; they have some hundred.
const MAX_FILE: usize = 64 << 10;

/// What a cgroup has used. A figure that the host does not keep is absent.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Stats {
    /// Processor time.
    pub cpu: CpuStats,
    /// Memory.
    pub memory: MemoryStats,
    /// Processes and threads.
    pub pids: Option<u64>,
    /// The most there may be.
    pub pids_limit: Option<u64>,
}

/// Processor time in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct CpuStats {
    /// All of it.
    pub usage: Option<u64>,
    /// In user mode.
    pub user: Option<u64>,
    /// In the kernel.
    pub system: Option<u64>,
    /// Waiting for quota.
    pub throttled: Option<u64>,
}

/// Memory in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct MemoryStats {
    /// In use, page cache included.
    pub usage: Option<u64>,
    /// The most that was ever in use.
    pub peak: Option<u64>,
    /// The hard limit.
    pub limit: Option<u64>,
    /// Page cache that can be given back at once.
    pub inactive_file: Option<u64>,
    /// How often the out-of-memory killer has killed here.
    pub oom_kills: Option<u64>,
}

/// v1 shows no limit as the largest multiple of a page.
const V1_UNLIMITED: u64 = 0x7fff_ffff_ffff_f000;

impl Cgroup {
    /// Measures the cgroup.
    ///
    /// # Errors
    /// [`Error::System`] when a file exists but cannot be read.
    pub fn stats(&self) -> Result<Stats> {
        let memory = if self.pure_v2() { self.memory_v2()? } else { self.memory_v1()? };
        let pids = if self.pure_v2() { self.v2() } else { self.v1("pids") };
        Ok(Stats {
            cpu: self.cpu()?,
            memory,
            pids: self.number(pids, "pids.current")?,
            pids_limit: self.number(pids, "pids.max")?,
        })
    }

    /// How often the out-of-memory killer has killed in this cgroup; 0 where memory is not accounted.
    ///
    /// # Errors
    /// [`Error::System`].
    pub fn oom_kills(&self) -> Result<u64> {
        let (dir, file) = match self.pure_v2() {
            true => (self.v2(), "memory.events"),
            false => (self.v1("memory"), "memory.oom_control"),
        };
        Ok(self.text(dir, file)?.and_then(|text| keyed(&text, "oom_kill")).unwrap_or(0))
    }

    /// [`Cgroup::oom_kills`] of a cgroup that is not open, by opening no more than the one file; 0 where it does not exist.
    ///
    /// # Errors
    /// [`Error::System`].
    pub fn oom_kills_at(host: &Host, path: &CgroupPath) -> Result<u64> {
        let pure_v2 = host.layout() == Layout::V2;
        let file = if pure_v2 { "memory.events" } else { "memory.oom_control" };
        let accounts = |hierarchy: &&Hierarchy| {
            if pure_v2 {
                hierarchy.unified
            } else {
                hierarchy.controllers.iter().any(|name| name == "memory")
            }
        };
        let Some(hierarchy) = host.hierarchies().iter().find(accounts) else { return Ok(0) };
        let name = Path::new(path.relative()).join(file);
        match linux::tree::read_small(hierarchy.open()?, &name, MAX_FILE) {
            Ok(bytes) => Ok(keyed(&String::from_utf8_lossy(&bytes), "oom_kill").unwrap_or(0)),
            Err(error) if error.errno == Errno::NOENT => Ok(0),
            Err(error) => Err(Error::system("read", hierarchy.mount.join(name), error.errno)),
        }
    }

    /// Bytes in use; 0 where memory is not accounted.
    pub(crate) fn memory_usage(&self) -> Result<u64> {
        let (dir, file) = match self.pure_v2() {
            true => (self.v2(), "memory.current"),
            false => (self.v1("memory"), "memory.usage_in_bytes"),
        };
        Ok(self.number(dir, file)?.unwrap_or(0))
    }

    fn cpu(&self) -> Result<CpuStats> {
        // Every v2 cgroup has cpu.stat, with or without the controller, so a hybrid host's will do as well.
        if let Some(text) = self.text(self.v2(), "cpu.stat")? {
            let nanoseconds = |key| keyed(&text, key).map(|micros| micros.saturating_mul(1000));
            return Ok(CpuStats {
                usage: nanoseconds("usage_usec"),
                user: nanoseconds("user_usec"),
                system: nanoseconds("system_usec"),
                throttled: nanoseconds("throttled_usec"),
            });
        }
        let throttled =
            self.text(self.v1("cpu"), "cpu.stat")?.and_then(|text| keyed(&text, "throttled_time"));
        let accounting = self.v1("cpuacct");
        Ok(CpuStats {
            usage: self.number(accounting, "cpuacct.usage")?,
            user: self.number(accounting, "cpuacct.usage_user")?,
            system: self.number(accounting, "cpuacct.usage_sys")?,
            throttled,
        })
    }

    fn memory_v1(&self) -> Result<MemoryStats> {
        let dir = self.v1("memory");
        let stat = self.text(dir, "memory.stat")?;
        Ok(MemoryStats {
            usage: self.number(dir, "memory.usage_in_bytes")?,
            peak: self.number(dir, "memory.max_usage_in_bytes")?,
            limit: self.number(dir, "memory.limit_in_bytes")?.filter(|limit| *limit < V1_UNLIMITED),
            inactive_file: stat.and_then(|text| keyed(&text, "total_inactive_file")),
            oom_kills: dir.map(|_| self.oom_kills()).transpose()?,
        })
    }

    fn memory_v2(&self) -> Result<MemoryStats> {
        let dir = self.v2();
        let stat = self.text(dir, "memory.stat")?;
        Ok(MemoryStats {
            usage: self.number(dir, "memory.current")?,
            peak: self.number(dir, "memory.peak")?,
            limit: self.number(dir, "memory.max")?,
            inactive_file: stat.and_then(|text| keyed(&text, "inactive_file")),
            oom_kills: self.text(dir, "memory.events")?.and_then(|text| keyed(&text, "oom_kill")),
        })
    }

    /// A file's text; `None` when there is no such hierarchy or file.
    fn text(&self, dir: Option<&Dir>, file: &str) -> Result<Option<String>> {
        match dir.map(|dir| dir.read(self.path(), file)).transpose() {
            Err(Error::System { errno: rustix::io::Errno::NOENT, .. }) => Ok(None),
            other => other,
        }
    }

    /// A file with one number; `None` for `max` too.
    fn number(&self, dir: Option<&Dir>, file: &str) -> Result<Option<u64>> {
        Ok(self.text(dir, file)?.and_then(|text| text.trim().parse().ok()))
    }
}

/// The number behind `key` in a file of lines `key number`.
fn keyed(text: &str, key: &str) -> Option<u64> {
    let mut pairs = text.lines().filter_map(|line| line.split_once(' '));
    pairs.find(|(name, _)| *name == key).and_then(|(_, number)| number.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::keyed;

    #[test]
    fn keyed_files() {
        let text = "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n";
        assert_eq!(keyed(text, "oom_kill"), Some(3));
        assert_eq!(keyed(text, "oom"), None);
        assert_eq!(keyed("x\ny z\n", "y"), None);
    }
}
