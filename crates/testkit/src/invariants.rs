//! What must not be left when a test's containers are gone (SECURITY.md 4b), read from the kernel and the roots.
//!
//! A host's cgroup root has the name of its temporary directory, so that cgroups are found without knowing any id: also
//! those of containers whose directories are gone.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::mount::UnmountFlags;
use rustix::process::{Pid, Signal, kill_process};

/// Kernel objects vanish a little after the process that held them (mount and network namespaces, overlays), so the
/// checker looks again for up to this long before it calls something a leftover.
const SETTLE: Duration = Duration::from_secs(2);

/// Everything that still exists of the containers whose roots lie under `root`, once things had time to settle.
pub fn leftovers_after_settling(root: &Path) -> Vec<String> {
    crate::eventually(SETTLE, || leftovers(root).is_empty());
    leftovers(root)
}

/// Everything that exists now of the containers whose roots lie under `root`: mounts, processes, cgroups, run
/// directories, names and container directories.
pub fn leftovers(root: &Path) -> Vec<String> {
    let ids = container_ids(root);
    let mut left = Vec::new();
    left.extend(mounts_under(root).into_iter().map(|m| format!("mount {m}")));
    left.extend(processes_naming(root).into_iter().map(|(pid, line)| format!("process {pid}: {line}")));
    left.extend(cgroups(root, &ids).into_iter().map(|c| format!("cgroup {c}")));
    for dir in ["run/containers", "data/containers", "data/names", "runtime"] {
        // Compiled filters are kept between containers; no id begins with an `@`.
        for entry in list(&root.join(dir)).into_iter().filter(|entry| !entry.starts_with('@')) {
            left.push(format!("{dir}/{entry}"));
        }
    }
    left
}

/// Removes by force what [`leftovers`] names, so that one failing test does not disturb the next.
pub fn force_clean(root: &Path) {
    let ids = container_ids(root);
    for (pid, _) in processes_naming(root) {
        if let Some(pid) = Pid::from_raw(pid) {
            // It may be gone by now, which is what we want.
            let _ = kill_process(pid, Signal::KILL);
        }
    }
    for cgroup in cgroups(root, &ids) {
        for pid in fs::read_to_string(Path::new(&cgroup).join("cgroup.procs")).unwrap_or_default().lines() {
            if let Some(pid) = pid.parse().ok().and_then(Pid::from_raw) {
                let _ = kill_process(pid, Signal::KILL);
            }
        }
        crate::eventually(SETTLE, || fs::remove_dir(&cgroup).is_ok() || !Path::new(&cgroup).exists());
    }
    remove_cgroup_root(root);
    for mount in mounts_under(root).into_iter().rev() {
        let _ = rustix::mount::unmount(mount.as_str(), UnmountFlags::DETACH);
    }
}

/// Removes the cgroup root of the host whose roots lie under `root`, where nothing is in it: an empty parent of every
/// container's cgroup is no leftover of a container, but one of the host.
pub fn remove_cgroup_root(root: &Path) {
    for parent in cgroup_parents(root) {
        let _ = fs::remove_dir(parent);
    }
}

/// The cgroup root of the host whose roots lie under `root`: it has the same random name.
pub fn cgroup_root(root: &Path) -> String {
    format!("/{}", root.file_name().unwrap_or_default().to_string_lossy())
}

/// The directories of that cgroup root, in each hierarchy that has it.
fn cgroup_parents(root: &Path) -> Vec<PathBuf> {
    let name = cgroup_root(root);
    let mount = Path::new("/sys/fs/cgroup");
    // v2 is mounted at the place itself, the hierarchies of v1 below it.
    let all = list(mount).into_iter().map(|hierarchy| mount.join(hierarchy)).chain([mount.to_owned()]);
    all.map(|hierarchy| hierarchy.join(name.trim_start_matches('/'))).filter(|dir| dir.is_dir()).collect()
}

/// What the containers of `root` have of cgroups: everything below its cgroup root, and what bears the id of one of them
/// elsewhere; the deepest first.
fn cgroups(root: &Path, ids: &BTreeSet<String>) -> Vec<String> {
    let mut found: BTreeSet<String> = cgroups_of(ids).into_iter().collect();
    let mut queue = cgroup_parents(root);
    while let Some(dir) = queue.pop() {
        for path in list(&dir).into_iter().map(|name| dir.join(name)).filter(|path| path.is_dir()) {
            found.insert(path.to_string_lossy().into_owned());
            queue.push(path);
        }
    }
    let mut found: Vec<String> = found.into_iter().collect();
    found.sort_by_key(|path| std::cmp::Reverse(path.len()));
    found
}

fn list(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

fn container_ids(root: &Path) -> BTreeSet<String> {
    ["run/containers", "data/containers", "runtime"].iter().flat_map(|dir| list(&root.join(dir))).collect()
}

/// Mount points of this mount namespace that lie under `root`, in the order of the mount table.
fn mounts_under(root: &Path) -> Vec<String> {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let root = root.to_string_lossy();
    let points = table.lines().filter_map(|line| line.split(' ').nth(4));
    points.filter(|point| point.starts_with(&*root)).map(str::to_owned).collect()
}

/// Processes whose command line names `root` (monitors, clients), except this one.
fn processes_naming(root: &Path) -> Vec<(i32, String)> {
    let root = root.to_string_lossy();
    let own = std::process::id() as i32;
    let pids = list(Path::new("/proc")).into_iter().filter_map(|name| name.parse::<i32>().ok());
    pids.filter(|pid| *pid != own)
        .filter_map(|pid| {
            let line = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
            let line = String::from_utf8_lossy(&line).replace('\0', " ");
            line.contains(&*root).then_some((pid, line))
        })
        .collect()
}

/// Cgroup directories, in any hierarchy, whose name is one of `ids`.
fn cgroups_of(ids: &BTreeSet<String>) -> Vec<String> {
    let mut found = Vec::new();
    let mut queue: Vec<(std::path::PathBuf, u8)> = vec![("/sys/fs/cgroup".into(), 0)];
    while let Some((dir, depth)) = queue.pop() {
        for name in list(&dir) {
            let path = dir.join(&name);
            if depth < 4 && path.is_dir() {
                if ids.contains(&name) {
                    found.push(path.to_string_lossy().into_owned());
                }
                queue.push((path, depth + 1));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_a_process_and_a_directory_are_seen_and_cleaned() {
        let dir = tempfile::Builder::new().prefix("sampan-test-").tempdir().expect("temporary directory");
        let root = dir.path();
        assert!(leftovers(root).is_empty());
        fs::create_dir_all(root.join("run/containers/abc")).expect("mkdir");
        rustix::mount::mount_bind(root.join("run"), root.join("run")).expect("bind mount as root");
        let mut child = std::process::Command::new("sh")
            .args(["-c", "read never", &*root.to_string_lossy()])
            .stdin(std::process::Stdio::piped())
            .spawn()
            .expect("sh starts");
        // A child started by vfork(2) has no command line until its execve(2) has set up the new stack.
        let cgroup =
            cgroup_parent_of_some_hierarchy().join(cgroup_root(root).trim_start_matches('/')).join("left");
        fs::create_dir_all(&cgroup).expect("mkdir of a cgroup as root");
        let wanted = ["mount ", "process ", "run/containers/abc", "cgroup "];
        let all_seen = || {
            let seen = leftovers(root).join("\n");
            wanted.iter().all(|word| seen.contains(word))
        };
        assert!(crate::eventually(SETTLE, all_seen), "{:?}", leftovers(root));
        force_clean(root);
        child.wait().expect("the child was killed");
        assert_eq!(leftovers(root), ["run/containers/abc"]);
        assert!(cgroup_parents(root).is_empty());
    }

    /// Where a cgroup can be made on this host.
    fn cgroup_parent_of_some_hierarchy() -> PathBuf {
        let v1 = Path::new("/sys/fs/cgroup/pids");
        if v1.is_dir() { v1.to_owned() } else { "/sys/fs/cgroup".into() }
    }
}
