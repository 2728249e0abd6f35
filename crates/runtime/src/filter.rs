//! `linux.seccomp`: compiled, or taken from the cache, before the container's process exists, and loaded in it.

use std::path::Path;

use oci_spec::runtime::LinuxSeccomp;
use rustix::fs::{CWD, Mode, OFlags};
use seccomp::{Cache, KernelSupport, Profile, compile};

use crate::process::LoadFilter;
use crate::step::Cause;
use crate::{Error, Result};

/// Prepares a filter. `cache` is a directory that is private to us.
///
/// # Errors
/// [`Error::Seccomp`] for a profile that makes no sense, [`Error::Spec`] for one that asks for a supervisor.
pub fn prepare(spec: &LinuxSeccomp, cache: Option<&Path>) -> Result<LoadFilter> {
    let profile = Profile::try_from(spec)?;
    if profile.notifies() {
        return Err(Error::spec("linux.seccomp", "SCMP_ACT_NOTIFY (listenerPath) is not supported"));
    }
    let kernel = KernelSupport::probe()?;
    let dir = cache.and_then(|path| {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        rustix::fs::openat(CWD, path, flags, Mode::empty()).ok()
    });
    let program = match dir {
        Some(dir) => Cache::new(dir).get_or_compile(&profile, &kernel)?.program,
        None => compile(&profile, &kernel)?,
    };
    Ok(Box::new(move || match program.load() {
        Ok(_) => Ok(()),
        Err(seccomp::Error::Kernel(error)) => Err(error.into()),
        Err(error) => Err(Cause::Reason(error.to_string())),
    }))
}
