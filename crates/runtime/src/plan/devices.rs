//! Device nodes: the specification's defaults and `linux.devices`.

use std::path::{Path, PathBuf};

use oci_spec::runtime::{LinuxDevice, LinuxDeviceType};
use rustix::fs::FileType;

use super::{absolute, budget};
use crate::{Error, Result};

/// One device node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// Where, inside the root.
    pub path: PathBuf,
    /// Character, block or FIFO.
    pub file_type: FileType,
    /// Major number.
    pub major: u32,
    /// Minor number.
    pub minor: u32,
    /// Permission bits.
    pub mode: u32,
    /// Owner, inside the container.
    pub uid: u32,
    /// Group, inside the container.
    pub gid: u32,
}

/// The devices that every container has (config-linux.md, "Default Devices").
pub fn default_devices() -> [Device; 6] {
    [("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0)].map(
        |(name, major, minor)| Device {
            path: Path::new("/dev").join(name),
            file_type: FileType::CharacterDevice,
            major,
            minor,
            mode: 0o666,
            uid: 0,
            gid: 0,
        },
    )
}

/// The defaults, replaced or followed by what the configuration lists.
pub(super) fn plan(list: &[LinuxDevice]) -> Result<Vec<Device>> {
    budget("linux.devices", list.len())?;
    let mut devices: Vec<Device> = default_devices().into();
    for (i, entry) in list.iter().enumerate() {
        let device = one(&format!("linux.devices[{i}]"), entry)?;
        match devices.iter_mut().find(|d| d.path == device.path) {
            Some(old) => *old = device,
            None => devices.push(device),
        }
    }
    Ok(devices)
}

fn one(field: &str, entry: &LinuxDevice) -> Result<Device> {
    let path = absolute(&format!("{field}.path"), entry.path())?;
    if path == Path::new("/") {
        return Err(Error::spec(format!("{field}.path"), "must not be the root itself"));
    }
    let file_type = match entry.typ() {
        LinuxDeviceType::C | LinuxDeviceType::U => FileType::CharacterDevice,
        LinuxDeviceType::B => FileType::BlockDevice,
        LinuxDeviceType::P => FileType::Fifo,
        LinuxDeviceType::A => return Err(Error::spec(format!("{field}.type"), "\"a\" is no node")),
    };
    // The kernel has 12 bits for a major number and 20 for a minor.
    let number = |name: &str, value: i64, bits: u32| {
        u32::try_from(value)
            .ok()
            .filter(|n| *n < 1 << bits)
            .ok_or_else(|| Error::spec(format!("{field}.{name}"), format!("{value} is not below 2^{bits}")))
    };
    let (major, minor) = match file_type {
        FileType::Fifo => (0, 0),
        _ => (number("major", entry.major(), 12)?, number("minor", entry.minor(), 20)?),
    };
    Ok(Device {
        path,
        file_type,
        major,
        minor,
        mode: entry.file_mode().unwrap_or(0o666) & 0o7777,
        uid: entry.uid().unwrap_or(0),
        gid: entry.gid().unwrap_or(0),
    })
}
