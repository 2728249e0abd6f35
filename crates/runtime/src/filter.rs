//! The system call filter: compiled, or taken from the cache, before the container's process exists, and loaded in it.

use std::collections::BTreeSet;
use std::path::Path;

use linux::CapSet;
use oci_spec::runtime::{LinuxSeccomp, Spec};
use rustix::fs::{CWD, Mode, OFlags};
use seccomp::{Arch, Cache, KernelSupport, Profile, ProfileSet, compile, default_profile};

use crate::process::LoadFilter;
use crate::step::Cause;
use crate::{Error, Result};

/// A container's system call filter.
#[derive(Clone, Debug)]
pub enum Filter<'a> {
    /// `linux.seccomp` of its configuration.
    Oci(&'a LinuxSeccomp),
    /// A built-in profile, for a container with these capabilities (`CAP_...`) in its bounding set. It is told by name,
    /// because its text is by far the longest part of a configuration, and its program is usually there already.
    Default(ProfileSet, BTreeSet<String>),
}

impl<'a> Filter<'a> {
    /// The filter of a configuration; without one in it, `default` for its bounding set.
    pub fn of(spec: &'a Spec, default: Option<ProfileSet>) -> Option<Self> {
        if let Some(own) = spec.linux().as_ref().and_then(|linux| linux.seccomp().as_ref()) {
            return Some(Self::Oci(own));
        }
        let caps = spec.process().as_ref().and_then(|process| process.capabilities().as_ref());
        let bounding = caps.and_then(|caps| caps.bounding().as_ref());
        // As the plan reads them: what the kernel does not know is not given.
        let known = bounding.into_iter().flatten().filter_map(|name| CapSet::from_name(&name.to_string()));
        let names = known.fold(CapSet::EMPTY, CapSet::or).names();
        Some(Self::Default(default?, names.into_iter().collect()))
    }
}

/// Prepares a filter. `cache` is a directory that is private to us.
///
/// # Errors
/// [`Error::Seccomp`] for a profile that makes no sense, [`Error::Spec`] for one that asks for a supervisor.
pub(crate) fn prepare(filter: &Filter<'_>, cache: Option<&Path>) -> Result<LoadFilter> {
    let kernel = KernelSupport::probe()?;
    let dir = cache.and_then(|path| {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        rustix::fs::openat(CWD, path, flags, Mode::empty()).ok()
    });
    let cache = dir.map(Cache::new);
    let program = match filter {
        Filter::Oci(spec) => {
            let profile = Profile::try_from(*spec)?;
            if profile.notifies() {
                return Err(Error::spec("linux.seccomp", "SCMP_ACT_NOTIFY (listenerPath) is not supported"));
            }
            match cache {
                Some(cache) => cache.get_or_compile(&profile, &kernel)?.program,
                None => compile(&profile, &kernel)?,
            }
        }
        Filter::Default(set, caps) => match (cache, Arch::NATIVE) {
            (Some(cache), _) => cache.get_or_compile_default(caps, *set, &kernel)?.program,
            (None, Some(arch)) => compile(&default_profile(caps, *set, arch), &kernel)?,
            (None, None) => return Err(seccomp::Error::Machine(std::env::consts::ARCH.to_owned()).into()),
        },
    };
    Ok(Box::new(move || match program.load() {
        Ok(_) => Ok(()),
        Err(seccomp::Error::Kernel(error)) => Err(error.into()),
        Err(error) => Err(Cause::Reason(error.to_string())),
    }))
}
