//! What the kernel allows: the same namespaces made by nobody's runtime, for the ratios to have a ground.

use super::contender::Contender;

/// Rows without a runtime.
pub(super) fn contenders() -> Vec<Contender> {
    vec![
        Contender::new("floor: exec", &[&["/bin/busybox", "true"]]),
        Contender::new(
            "floor: unshare, 5 namespaces",
            &[&["/bin/busybox", "unshare", "-m", "-p", "-f", "-u", "-i", "-n", "/bin/busybox", "true"]],
        ),
    ]
}
