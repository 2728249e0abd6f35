//! docker's profile format: the OCI object plus `archMap`, and rules that depend on capabilities, machine and kernel.

use std::collections::BTreeSet;

use crate::raw::{RawFilter, RawProfile, arches};
use crate::{Arch, Error, Profile};

/// A kernel's version and major revision, the `6.18` of `6.18.44-generic`; the rest never matters to a profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KernelVersion {
    /// The first number.
    pub version: u32,
    /// The second.
    pub major: u32,
}

impl KernelVersion {
    /// The running kernel's, by uname(2); `None` when its release is not two numbers at the start.
    pub fn running() -> Option<Self> {
        Self::of_release(rustix::system::uname().release().to_str().ok()?)
    }

    /// From a release string such as `6.1.0-18-amd64` or `5.15-rc3`.
    pub fn of_release(release: &str) -> Option<Self> {
        let (version, rest) = release.split_once('.')?;
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        Some(Self { version: version.parse().ok()?, major: rest[..digits].parse().ok()? })
    }

    /// `minKernel`: exactly `<version>.<major>`, each below 256, not `0.0`.
    fn of_profile(text: &str, at: &str) -> Result<Self, Error> {
        let parts: Option<(u8, u8)> =
            text.split_once('.').and_then(|(v, m)| Some((v.parse().ok()?, m.parse().ok()?)));
        match parts {
            Some((version, major)) if (version, major) != (0, 0) => {
                Ok(Self { version: version.into(), major: major.into() })
            }
            _ => Err(Error::value(at, format!("`{text}` is not a kernel version such as `4.8`"))),
        }
    }
}

/// A profile as `--security-opt seccomp=FILE` takes it: docker's format, of which the OCI object is a subset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DockerProfile(RawProfile);

impl DockerProfile {
    /// Parses the file within the budgets of [`Profile::parse`].
    ///
    /// # Errors
    /// [`Error::TooLong`], [`Error::Json`], and [`Error::Value`] where `architectures` and `archMap`, or `name` and `names`, are both given.
    pub fn parse(json: &[u8]) -> Result<Self, Error> {
        let raw = RawProfile::read(json)?;
        if !raw.architectures.is_empty() && !raw.arch_map.is_empty() {
            return Err(Error::value("archMap", "use either `architectures` or `archMap`, not both"));
        }
        if let Some(i) = raw.syscalls.iter().position(|rule| !rule.name.is_empty() && !rule.names.is_empty())
        {
            return Err(Error::value(format!("syscalls[{i}]"), "use either `name` or `names`, not both"));
        }
        Ok(Self(raw))
    }

    /// The OCI profile for a container whose bounding set is `caps` (`CAP_...`) on a machine of `arch` and `kernel`.
    ///
    /// # Errors
    /// Those of [`Profile::parse`] about names, and [`Error::Value`] for a bad `minKernel`.
    pub fn resolve(
        &self,
        caps: &BTreeSet<String>,
        arch: Arch,
        kernel: KernelVersion,
    ) -> Result<Profile, Error> {
        let mut raw = self.0.clone();
        for (i, entry) in raw.arch_map.iter().enumerate() {
            let mut family = vec![entry.architecture.clone()];
            family.extend(entry.sub_architectures.iter().cloned());
            // Every entry is checked, also those of other machines.
            let parsed = arches(&family, &format!("archMap[{i}]"))?;
            if parsed.first() == Some(&arch) && raw.architectures.is_empty() {
                raw.architectures = family;
            }
        }
        let mut kept = Vec::with_capacity(raw.syscalls.len());
        for (i, mut rule) in std::mem::take(&mut raw.syscalls).into_iter().enumerate() {
            let at = format!("syscalls[{i}]");
            let host = Host { caps, arch, kernel };
            if host.excluded(rule.excludes.as_ref(), &at)? || !host.included(rule.includes.as_ref(), &at)? {
                continue;
            }
            if !rule.name.is_empty() {
                rule.names = vec![std::mem::take(&mut rule.name)];
            }
            kept.push(rule);
        }
        raw.syscalls = kept;
        raw.into_profile()
    }
}

/// What a rule's conditions are judged by.
struct Host<'a> {
    caps: &'a BTreeSet<String>,
    arch: Arch,
    kernel: KernelVersion,
}

impl Host<'_> {
    fn new_enough(&self, filter: &RawFilter, at: &str) -> Result<Option<bool>, Error> {
        let Some(text) = filter.min_kernel.as_deref().filter(|text| !text.is_empty()) else {
            return Ok(None);
        };
        Ok(Some(self.kernel >= KernelVersion::of_profile(text, &format!("{at}.minKernel"))?))
    }

    /// Any one reason excludes.
    fn excluded(&self, filter: Option<&RawFilter>, at: &str) -> Result<bool, Error> {
        let Some(filter) = filter else { return Ok(false) };
        Ok(filter.arches.iter().any(|arch| arch == self.arch.docker_name())
            || filter.caps.iter().any(|cap| self.caps.contains(cap))
            || self.new_enough(filter, at)? == Some(true))
    }

    /// Every condition that is given must hold.
    fn included(&self, filter: Option<&RawFilter>, at: &str) -> Result<bool, Error> {
        let Some(filter) = filter else { return Ok(true) };
        Ok((filter.arches.is_empty() || filter.arches.iter().any(|arch| arch == self.arch.docker_name()))
            && filter.caps.iter().all(|cap| self.caps.contains(cap))
            && self.new_enough(filter, at)? != Some(false))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Action;

    const FILE: &str = r#"{
        "defaultAction": "SCMP_ACT_ERRNO",
        "archMap": [{"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86"]},
                    {"architecture": "SCMP_ARCH_RISCV64", "subArchitectures": null}],
        "syscalls": [
            {"name": "read", "action": "SCMP_ACT_ALLOW"},
            {"names": ["mount"], "action": "SCMP_ACT_ALLOW", "args": null, "includes": {"caps": ["CAP_SYS_ADMIN"]}},
            {"names": ["ptrace"], "action": "SCMP_ACT_ALLOW", "includes": {"minKernel": "4.8"}},
            {"names": ["arch_prctl"], "action": "SCMP_ACT_ALLOW", "includes": {"arches": ["amd64", "x32"]}},
            {"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38, "excludes": {"caps": ["CAP_SYS_ADMIN"]}}
        ]}"#;

    fn names(profile: &Profile) -> Vec<&str> {
        profile.rules.iter().flat_map(|rule| &rule.names).map(String::as_str).collect()
    }

    fn version(version: u32, major: u32) -> KernelVersion {
        KernelVersion { version, major }
    }

    #[test]
    fn rules_follow_caps_machine_and_kernel() {
        let file = DockerProfile::parse(FILE.as_bytes()).unwrap();
        let none = BTreeSet::new();
        let admin = BTreeSet::from(["CAP_SYS_ADMIN".to_owned()]);
        let plain = file.resolve(&none, Arch::X86_64, version(6, 1)).unwrap();
        assert_eq!(names(&plain), ["read", "ptrace", "arch_prctl", "clone3"]);
        assert_eq!(plain.architectures, [Arch::X86_64, Arch::X86]);
        assert_eq!(plain.rules[3].action, Action::Errno(38));
        let admin = file.resolve(&admin, Arch::Aarch64, version(4, 7)).unwrap();
        assert_eq!(names(&admin), ["read", "mount"]);
        assert!(admin.architectures.is_empty());
    }

    #[test]
    fn contradictions_are_refused() {
        for (json, at) in [
            (
                r#"{"defaultAction":"SCMP_ACT_ALLOW","architectures":["SCMP_ARCH_X86"],"archMap":[{"architecture":"SCMP_ARCH_X86"}]}"#,
                "archMap",
            ),
            (
                r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"name":"a","names":["b"],"action":"SCMP_ACT_ALLOW"}]}"#,
                "syscalls[0]",
            ),
        ] {
            let error = DockerProfile::parse(json.as_bytes()).unwrap_err();
            assert!(error.to_string().contains(at), "{error}");
        }
        let json = r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["b"],"action":"SCMP_ACT_ALLOW","includes":{"minKernel":"4"}}]}"#;
        let file = DockerProfile::parse(json.as_bytes()).unwrap();
        assert!(file.resolve(&BTreeSet::new(), Arch::X86_64, version(6, 1)).is_err());
    }

    #[test]
    fn releases() {
        for (release, expected) in [
            ("6.18.44-fc-v657", Some(version(6, 18))),
            ("3.12-1-amd64", Some(version(3, 12))),
            ("5.15", Some(version(5, 15))),
            ("linux", None),
            ("6.x", None),
        ] {
            assert_eq!(KernelVersion::of_release(release), expected, "{release}");
        }
        assert!(KernelVersion::running().unwrap() >= version(4, 0));
    }
}
