//! The limits of processes that a container gets where nobody says.

use linux::CapSet;
use rustix::process::{Resource, getrlimit};

use crate::spec::Ulimit;

/// As SECURITY.md 3a: a soft limit of descriptors that old programs can loop over, no core files, little locked memory.
const DEFAULTS: [(&str, Resource, u64, u64); 3] = [
    ("nofile", Resource::Nofile, 1024, 524_288),
    ("core", Resource::Core, 0, 0),
    ("memlock", Resource::Memlock, 8 << 20, 8 << 20),
];

/// The defaults. Raising a hard limit needs `CAP_SYS_RESOURCE`; without it nobody asked for more than there is, so that
/// is what the container gets, without a warning.
pub(crate) fn defaults(possible: CapSet) -> Vec<Ulimit> {
    let can_raise = CapSet::from_name("CAP_SYS_RESOURCE").is_some_and(|cap| possible.contains(cap));
    let limit = |(name, resource, soft, hard): (&str, Resource, u64, u64)| {
        let most = if can_raise { None } else { getrlimit(resource).maximum };
        let cut = |value: u64| i64::try_from(value.min(most.unwrap_or(u64::MAX))).unwrap_or(-1);
        Ulimit { name: name.into(), soft: cut(soft), hard: cut(hard) }
    };
    DEFAULTS.map(limit).to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_above_what_can_be_given() {
        let limits = defaults(CapSet::EMPTY);
        assert_eq!(limits.len(), 3);
        let most = getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX);
        assert_eq!(limits[0].hard as u64, most.min(524_288));
        assert_eq!((limits[1].soft, limits[1].hard), (0, 0));
    }
}
