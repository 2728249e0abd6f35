//! What the kernel allows: the same namespaces made by nobody's runtime, for the ratios to have a ground.

use super::contender::Contender;

/// Puts a command into a private mount namespace with an empty tmpfs over the hybrid hierarchy's cgroup2 mount, since
/// crun refuses a hybrid host. The time of it, measured by the floor row of that name, is part of that contender's.
pub(super) const HIDE_UNIFIED: &[&str] = &[
    "unshare",
    "-m",
    "sh",
    "-c",
    "[ ! -d /sys/fs/cgroup/unified ] || mount -t tmpfs none /sys/fs/cgroup/unified; exec \"$@\"",
    "sh",
];

/// Rows without a runtime.
pub(super) fn contenders() -> Vec<Contender> {
    vec![
        Contender::new("floor: exec", &[&["/bin/busybox", "true"]]),
        Contender::new(
            "floor: unshare, 5 namespaces",
            &[&["/bin/busybox", "unshare", "-m", "-p", "-f", "-u", "-i", "-n", "/bin/busybox", "true"]],
        ),
        Contender::new("floor: hiding cgroup2 for crun", &[&["/bin/busybox", "true"]]).within(HIDE_UNIFIED),
    ]
}
