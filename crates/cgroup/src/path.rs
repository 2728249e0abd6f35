use std::path::Path;

use crate::{Error, Result};

/// Longest path, in bytes: what the kernel still shows in `/proc/PID/cgroup` with room to spare.
const MAX_BYTES: usize = 1024;

/// A cgroup's place below the root of every hierarchy: absolute, without `.`, `..` or empty components.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CgroupPath(String);

impl CgroupPath {
    /// Checks an absolute path such as `/sampan/4f00…`.
    ///
    /// # Errors
    /// [`Error::Path`] with the reason.
    pub fn new(path: &str) -> Result<Self> {
        let fail = |reason| Error::Path { path: path.chars().take(80).collect(), reason };
        let Some(rest) = path.strip_prefix('/') else { return Err(fail("it is not absolute")) };
        if path.len() > MAX_BYTES {
            return Err(fail("it is longer than 1024 bytes"));
        }
        if rest.split('/').any(|part| part.is_empty() || part == "." || part == "..") {
            return Err(fail("it has an empty, `.` or `..` component"));
        }
        if path.bytes().any(|byte| byte == 0 || byte == b'\n') {
            return Err(fail("it has a NUL or a line end"));
        }
        Ok(Self(path.to_owned()))
    }

    /// What `linux.cgroupsPath` of the runtime-spec means: absolute, relative (then below the root, as runc has it), or
    /// absent (then `default`).
    ///
    /// # Errors
    /// [`Error::Path`]; the `slice:prefix:name` form belongs to the systemd driver and is refused here.
    pub fn from_spec(path: Option<&str>, default: &str) -> Result<Self> {
        match path.filter(|path| !path.is_empty()) {
            None => Self::new(default),
            Some(path) if path.split(':').count() == 3 && !path.starts_with('/') => Err(Error::Path {
                path: path.chars().take(80).collect(),
                reason: "slice:prefix:name is for the systemd driver, which is not built in; use cgroupfs paths",
            }),
            Some(path) if path.starts_with('/') => Self::new(path.trim_end_matches('/')),
            Some(path) => Self::new(&format!("/{}", path.trim_end_matches('/'))),
        }
    }

    /// The path, with its leading slash.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The path below a hierarchy's root.
    pub(crate) fn relative(&self) -> &Path {
        Path::new(&self.0[1..])
    }

    /// The components, outermost first.
    pub(crate) fn components(&self) -> impl Iterator<Item = &str> {
        self.0.split('/').skip(1)
    }
}

impl std::fmt::Display for CgroupPath {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spec_paths() {
        let ok = |path| CgroupPath::from_spec(path, "/sampan/id").unwrap().to_string();
        assert_eq!(ok(None), "/sampan/id");
        assert_eq!(ok(Some("")), "/sampan/id");
        assert_eq!(ok(Some("/a/b")), "/a/b");
        assert_eq!(ok(Some("a/b/")), "/a/b");
        for wrong in ["/", "/a/../b", "/a//b", "..", "system.slice:docker:id", "/a\0b", &"x/".repeat(600)] {
            assert!(CgroupPath::from_spec(Some(wrong), "/d").is_err(), "{wrong}");
        }
    }
}
