//! Where programs and libraries are looked for: PATH, and the dynamic linker's rules (ld.so(8)).

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use rustix::fs::Access;

/// Directories that a configuration may name.
const MAX_DIRS: usize = 1000;
/// Bytes of one configuration file.
const MAX_CONF: u64 = 1 << 20;

/// The absolute path of a program: itself where it has a slash, else the first executable of the caller's PATH.
pub(super) fn program(name: &str) -> Option<PathBuf> {
    if name.contains('/') {
        let path = Path::new(name);
        return (path.is_absolute() && executable(path)).then(|| path.to_owned());
    }
    let path = std::env::var_os("PATH").unwrap_or_else(|| super::PATH.into());
    // The image's own PATH must find it too, so that comes first.
    let fixed = std::env::split_paths(super::PATH).collect::<Vec<_>>();
    let own = std::env::split_paths(&path).filter(|dir| dir.is_absolute());
    fixed.into_iter().chain(own).map(|dir| dir.join(name)).find(|path| executable(path))
}

fn executable(path: &Path) -> bool {
    rustix::fs::access(path, Access::EXEC_OK).is_ok() && path.is_file()
}

/// The directories of `/etc/ld.so.conf` and what it includes, in order, and the files that were read.
pub(super) fn configured() -> (Vec<PathBuf>, BTreeSet<PathBuf>) {
    let (mut dirs, mut files) = (Vec::new(), BTreeSet::new());
    configuration(Path::new("/etc/ld.so.conf"), &mut dirs, &mut files, 0);
    (dirs, files)
}

fn configuration(path: &Path, dirs: &mut Vec<PathBuf>, files: &mut BTreeSet<PathBuf>, depth: usize) {
    let small = fs::metadata(path).is_ok_and(|m| m.is_file() && m.len() <= MAX_CONF);
    if depth > 8 || !small || !files.insert(path.to_owned()) {
        return;
    }
    let Ok(text) = fs::read_to_string(path) else { return };
    for line in text.lines() {
        let line = line.split('#').next().unwrap_or_default().trim();
        if let Some(pattern) =
            line.strip_prefix("include").filter(|rest| rest.starts_with(char::is_whitespace))
        {
            for file in included(path, pattern.trim()) {
                configuration(&file, dirs, files, depth + 1);
            }
        } else if line.starts_with('/') && dirs.len() < MAX_DIRS {
            dirs.push(PathBuf::from(line));
        }
    }
}

/// The files that an `include` means: a glob whose last component alone may have one `*`.
fn included(from: &Path, pattern: &str) -> Vec<PathBuf> {
    let pattern = from.parent().unwrap_or(Path::new("/")).join(pattern);
    let (Some(dir), Some(name)) = (pattern.parent(), pattern.file_name().and_then(|n| n.to_str())) else {
        return Vec::new();
    };
    let Some((prefix, suffix)) = name.split_once('*') else { return vec![pattern] };
    let Ok(entries) = fs::read_dir(dir) else { return Vec::new() };
    let matches = |name: &str| {
        name.len() >= prefix.len() + suffix.len() && name.starts_with(prefix) && name.ends_with(suffix)
    };
    let mut files: Vec<_> = entries
        .flatten()
        .filter(|entry| entry.file_name().to_str().is_some_and(matches))
        .map(|entry| entry.path())
        .collect();
    files.sort();
    files
}

/// The directories in which the linker looks when nothing else says so.
pub(super) fn defaults(interpreter: Option<&Path>, is_64: bool) -> Vec<PathBuf> {
    let name = interpreter.and_then(Path::file_name).map(|n| n.to_string_lossy()).unwrap_or_default();
    let dirs: &[&str] = match (name.starts_with("ld-musl-"), is_64) {
        (true, _) => &["/lib", "/usr/local/lib", "/usr/lib"],
        (false, true) => &["/lib64", "/usr/lib64", "/lib", "/usr/lib"],
        (false, false) => &["/lib", "/usr/lib", "/lib32", "/usr/lib32"],
    };
    let mut dirs: Vec<PathBuf> = dirs.iter().map(PathBuf::from).collect();
    let triplet = match (std::env::consts::ARCH, is_64) {
        ("x86_64", true) => "x86_64-linux-gnu",
        ("x86_64" | "x86", false) => "i386-linux-gnu",
        ("aarch64", true) => "aarch64-linux-gnu",
        _ => return dirs,
    };
    dirs.splice(0..0, ["/lib", "/usr/lib"].map(|lib| Path::new(lib).join(triplet)));
    dirs
}

/// A RPATH or RUNPATH as directories, `$ORIGIN`, `$LIB` and `$PLATFORM` replaced (ld.so(8), "Dynamic string tokens").
pub(super) fn expand(list: &str, origin: &Path) -> Vec<PathBuf> {
    // What $LIB is differs by distribution: `lib64`, `lib`, or Debian's multiarch directory.
    let libs = ["lib64".to_owned(), "lib".to_owned(), format!("lib/{}-linux-gnu", std::env::consts::ARCH)];
    let replace = |text: &str, token: &str, value: &str| {
        text.replace(&format!("${{{token}}}"), value).replace(&format!("${token}"), value)
    };
    let mut dirs = Vec::new();
    for part in list.split([':', ';']).filter(|part| !part.is_empty()) {
        let part = replace(part, "ORIGIN", &origin.to_string_lossy());
        let part = replace(&part, "PLATFORM", std::env::consts::ARCH);
        let variants = if part.contains("LIB") { &libs[..] } else { &libs[..1] };
        dirs.extend(variants.iter().map(|lib| PathBuf::from(replace(&part, "LIB", lib))));
        if dirs.len() > MAX_DIRS {
            break;
        }
    }
    // A relative directory means the current one of whoever runs the program: nothing an image can have.
    dirs.retain(|dir| dir.is_absolute());
    dirs.dedup();
    dirs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_replaced() {
        let dirs = expand("$ORIGIN/../lib:${ORIGIN}:rel::/x", Path::new("/opt/a/bin"));
        assert_eq!(dirs, ["/opt/a/bin/../lib", "/opt/a/bin", "/x"].map(PathBuf::from));
        assert!(expand("/usr/$LIB", Path::new("/")).contains(&PathBuf::from("/usr/lib64")));
    }
}
