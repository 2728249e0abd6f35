//! Fixtures for integration tests: private hosts, containers from the real binaries, and the invariant checker.
//!
//! A [`Host`] is a pair of private roots (data and run) on this machine; the real binaries work in it. When it is
//! dropped the [`invariants`] are checked: no mount, cgroup, process, socket or file of its containers may be left.
#![forbid(unsafe_code)]

mod bundle;
mod host;
pub mod hostile;
pub mod invariants;
pub mod points;
mod registry;

pub use bundle::{BUSYBOX, Bundle};
pub use host::{Host, Run, binary};
pub use registry::Registry;

use std::time::{Duration, Instant};

/// Asks `probe` every few milliseconds until it answers true; false once `limit` has passed.
pub fn eventually(limit: Duration, mut probe: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + limit;
    loop {
        if probe() {
            return true;
        }
        if Instant::now() >= end {
            return false;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}
