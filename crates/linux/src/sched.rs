//! Scheduling, I/O priority, execution domain and memory policy of the calling process.

use crate::syscall::check;
use crate::{Error, Result};

/// What `sched_setattr(2)` sets, in its own terms.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scheduler {
    /// `SCHED_OTHER` 0, `FIFO` 1, `RR` 2, `BATCH` 3, `ISO` 4, `IDLE` 5, `DEADLINE` 6.
    pub policy: u32,
    /// `SCHED_FLAG_*`.
    pub flags: u64,
    /// Nice value, -20..=19, for `OTHER` and `BATCH`.
    pub nice: i32,
    /// Static priority for `FIFO` and `RR`.
    pub priority: u32,
    /// Runtime in nanoseconds for `DEADLINE`.
    pub runtime: u64,
    /// Deadline in nanoseconds.
    pub deadline: u64,
    /// Period in nanoseconds.
    pub period: u64,
}

/// `sched_setattr(2)` on the caller.
///
/// # Errors
/// `EPERM` without `CAP_SYS_NICE`, `EINVAL` for values that do not fit the policy.
pub fn set_scheduler(wanted: &Scheduler) -> Result<()> {
    let raw = libc::sched_attr {
        size: size_of::<libc::sched_attr>() as u32,
        sched_policy: wanted.policy,
        sched_flags: wanted.flags,
        sched_nice: wanted.nice,
        sched_priority: wanted.priority,
        sched_runtime: wanted.runtime,
        sched_deadline: wanted.deadline,
        sched_period: wanted.period,
    };
    // SAFETY: `raw` carries its own size and outlives the call.
    check(unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const raw, 0) })
        .map_err(|errno| Error::new("sched_setattr", errno))?;
    Ok(())
}

/// `ioprio_set(2)` on the caller: class 1 real time, 2 best effort, 3 idle; priority 0..=7.
///
/// # Errors
/// `EPERM` for real time without `CAP_SYS_NICE`.
pub fn set_io_priority(class: u8, priority: u8) -> Result<()> {
    const IOPRIO_WHO_PROCESS: i32 = 1;
    let value = (i32::from(class) << 13) | i32::from(priority);
    // SAFETY: integers only.
    check(unsafe { libc::syscall(libc::SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0, value) })
        .map_err(|errno| Error::new("ioprio_set", errno))?;
    Ok(())
}

/// The execution domain: 0 is `PER_LINUX`, 8 is `PER_LINUX32`.
///
/// # Errors
/// `EINVAL`.
pub fn set_personality(domain: u32) -> Result<()> {
    // SAFETY: an integer only.
    check(unsafe { libc::personality(domain.into()) }.into())
        .map_err(|errno| Error::new("personality", errno))?;
    Ok(())
}

/// `set_mempolicy(2)`: `mode` with its flags, and the NUMA nodes as bits of 64-bit words.
///
/// # Errors
/// `EINVAL` for a mode that does not fit the nodes, or nodes the caller may not use.
pub fn set_memory_policy(mode: i32, nodes: &[u64]) -> Result<()> {
    // The kernel reads maxnode - 1 bits.
    let bits = if nodes.is_empty() { 0 } else { nodes.len() * 64 + 1 };
    let pointer = if nodes.is_empty() { std::ptr::null() } else { nodes.as_ptr() };
    // SAFETY: the pointer is null, or to as many 64-bit words as `bits` says.
    check(unsafe { libc::syscall(libc::SYS_set_mempolicy, mode, pointer, bits) })
        .map_err(|errno| Error::new("set_mempolicy", errno))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_accepted_and_bad_ones_refused() {
        let pid = crate::fork(|| {
            set_scheduler(&Scheduler { policy: 3, nice: 5, ..Default::default() }).unwrap();
            set_io_priority(2, 6).unwrap();
            set_personality(8).unwrap();
            set_memory_policy(0, &[]).unwrap();
            assert!(set_scheduler(&Scheduler { policy: 99, ..Default::default() }).is_err());
            assert!(set_memory_policy(99, &[1]).is_err());
            let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
            let fields: Vec<_> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
            // Fields 19 (nice) and 41 (policy) of proc(5); the first after the name is field 3.
            assert_eq!((fields[16], fields[38]), ("5", "3"));
            0
        })
        .unwrap();
        let (_, status) =
            rustix::process::waitpid(Some(pid), rustix::process::WaitOptions::empty()).unwrap().unwrap();
        assert_eq!(status.exit_status(), Some(0));
    }
}
