//! Devices of the host for a container.

use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use crate::oci::Device;
use crate::spec::ContainerSpec;
use crate::{Error, Result};

/// Directories of /dev that are file systems of their own, or views of other directories.
const NOT_DEVICES: [&str; 5] = ["pts", "shm", "mqueue", "fd", "hugepages"];
/// Nodes that every container has already.
const USUAL: [&str; 8] = ["null", "zero", "full", "random", "urandom", "tty", "console", "ptmx"];
/// Directories deep, below /dev.
const MAX_DEPTH: usize = 4;

/// The devices asked for; all of the host's for a privileged container.
pub(crate) fn find(spec: &ContainerSpec) -> Result<Vec<Device>> {
    let mut found = Vec::new();
    for wanted in &spec.resources.devices {
        let container = wanted.container.to_string_lossy();
        if !wanted.access.bytes().all(|byte| b"rwm".contains(&byte)) || wanted.access.is_empty() {
            return Err(Error::invalid("device mode", &wanted.access, "it must be letters of rwm"));
        }
        if !container.starts_with('/') {
            return Err(Error::invalid("device", &container, "it must be an absolute path in the container"));
        }
        let real =
            std::fs::canonicalize(&wanted.host).map_err(Error::file("find the device", &wanted.host))?;
        let metadata = std::fs::metadata(&real).map_err(Error::file("stat", &real))?;
        if metadata.is_dir() {
            collect(&real, &container, &wanted.access, 0, &mut found);
        } else {
            let device = device(&metadata, &container, &wanted.access).ok_or_else(|| {
                Error::invalid("device", &wanted.host.to_string_lossy(), "it is not a device node")
            })?;
            found.push(device);
        }
    }
    if spec.security.privileged {
        let mut all = Vec::new();
        collect(Path::new("/dev"), "/dev", "rwm", 0, &mut all);
        all.retain(|device| !found.iter().any(|own| own.path == device.path));
        found.append(&mut all);
    }
    Ok(found)
}

/// All devices below a directory. What vanishes or cannot be read meanwhile is left out, as it is in docker.
fn collect(dir: &Path, container: &str, access: &str, depth: usize, found: &mut Vec<Device>) {
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let Ok(metadata) = std::fs::symlink_metadata(entry.path()) else { continue };
        let path = format!("{}/{name}", container.trim_end_matches('/'));
        let top = depth == 0 && dir == Path::new("/dev");
        if metadata.is_dir() {
            if depth < MAX_DEPTH && !(top && NOT_DEVICES.contains(&name.as_str())) {
                collect(&entry.path(), &path, access, depth + 1, found);
            }
        } else if !(top && USUAL.contains(&name.as_str())) {
            found.extend(device(&metadata, &path, access));
        }
    }
}

fn device(metadata: &std::fs::Metadata, path: &str, access: &str) -> Option<Device> {
    let kind = metadata.file_type();
    let kind = if kind.is_char_device() {
        'c'
    } else if kind.is_block_device() {
        'b'
    } else {
        return None;
    };
    Some(Device {
        path: path.to_owned(),
        kind,
        major: rustix::fs::major(metadata.rdev()),
        minor: rustix::fs::minor(metadata.rdev()),
        mode: metadata.mode() & 0o777,
        uid: metadata.uid(),
        gid: metadata.gid(),
        access: access.to_owned(),
    })
}
