//! `/dev`: nodes, links and the terminal, made through descriptors of directories inside the root.

use std::ffi::OsStr;
use std::os::fd::AsFd;
use std::path::Path;

use linux::descriptor::{StdStream, redirect};
use linux::{MountFd, RootDir, SeqSocket};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, makedev};
use rustix::io::Errno;
use rustix::pty::OpenptFlags;
use rustix::thread::{Gid, Uid};

use super::Nodes;
use super::mounts::{Mounted, attach};
use crate::plan::{Device, Plan};
use crate::step::{Cause, Failure, Frame, Reporter, Step, send};

/// config-linux.md, "Default Devices", and the links that every runtime makes.
const LINKS: [(&str, &str); 6] = [
    ("/proc/self/fd", "fd"),
    ("/proc/self/fd/0", "stdin"),
    ("/proc/self/fd/1", "stdout"),
    ("/proc/self/fd/2", "stderr"),
    ("/proc/kcore", "core"),
    ("pts/ptmx", "ptmx"),
];

pub(super) fn make(
    plan: &Plan,
    nodes: &Nodes,
    root: &RootDir,
    report: &mut Reporter<'_>,
) -> Result<(), Failure> {
    for (i, device) in plan.devices.iter().enumerate() {
        report.step(Step::Device(device), || match nodes {
            Nodes::Make => node(root, device),
            Nodes::Made(tmpfs) => {
                let made = MountFd::clone_of(tmpfs, i.to_string(), false)?;
                attach(root, &device.path, &made)
            }
            Nodes::Host(list) => {
                let host = list.get(i).ok_or_else(|| Cause::Reason("it was not opened".into()))?;
                attach(root, &device.path, host)
            }
        })?;
    }
    report.step(Step::DeviceLinks, || {
        let dev = root.mkdir_p(Path::new("/dev"), Mode::from_raw_mode(0o755))?;
        for (target, name) in LINKS {
            match rustix::fs::symlinkat(target, &dev, name) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(errno) => return Err(linux::Error::on("symlinkat", name, errno)),
            }
        }
        Ok(())
    })
}

fn node(root: &RootDir, device: &Device) -> Result<(), Cause> {
    let (Some(parent), Some(name)) = (device.path.parent(), device.path.file_name()) else {
        return Err(Cause::Reason("is not a path of a file".into()));
    };
    let dir = root.mkdir_p(parent, Mode::from_raw_mode(0o755))?;
    let number = makedev(device.major, device.minor);
    let make = || rustix::fs::mknodat(&dir, name, device.file_type, Mode::from_raw_mode(device.mode), number);
    match make() {
        // The image brought something of this name: it is replaced, never used or followed.
        Err(Errno::EXIST) => {
            rustix::fs::unlinkat(&dir, name, AtFlags::empty())
                .and_then(|()| make())
                .map_err(|errno| on("mknodat", name, errno))?;
        }
        other => other.map_err(|errno| on("mknodat", name, errno))?,
    }
    if device.uid != 0 || device.gid != 0 {
        let (uid, gid) = (Uid::from_raw(device.uid), Gid::from_raw(device.gid));
        rustix::fs::chownat(&dir, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|errno| on("fchownat", name, errno))?;
    }
    Ok(())
}

fn on(call: &'static str, name: &OsStr, errno: Errno) -> linux::Error {
    linux::Error::on(call, name.to_string_lossy(), errno)
}

/// Makes a pseudo-terminal on the container's own devpts, by its mount's descriptor: no path inside the container is
/// trusted for it (CVE-2025-52565). The master goes to the creator; the other end becomes the streams and `/dev/console`.
pub(super) fn terminal(
    plan: &Plan,
    mounted: &Mounted,
    root: &RootDir,
    socket: &SeqSocket,
) -> Result<(), Cause> {
    let devpts = mounted.devpts.as_ref().ok_or_else(|| Cause::Reason("there is no devpts mount".into()))?;
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let master = rustix::fs::openat(devpts, "ptmx", flags, Mode::empty())
        .map_err(|errno| linux::Error::on("openat", "ptmx", errno))?;
    rustix::pty::unlockpt(&master).map_err(|errno| linux::Error::new("ioctl(TIOCSPTLCK)", errno))?;
    if let Some(size) = plan.process.console_size {
        rustix::termios::tcsetwinsize(&master, size)
            .map_err(|errno| linux::Error::new("ioctl(TIOCSWINSZ)", errno))?;
    }
    let open = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let slave = rustix::pty::ioctl_tiocgptpeer(&master, open)
        .map_err(|errno| linux::Error::new("ioctl(TIOCGPTPEER)", errno))?;
    let console = MountFd::clone_of(&slave, "", false)?;
    attach(root, Path::new("/dev/console"), &console)?;
    send(socket, &Frame::Terminal, &[master.as_fd()])?;
    for stream in [StdStream::Stdin, StdStream::Stdout, StdStream::Stderr] {
        redirect(slave.as_fd(), stream)?;
    }
    rustix::process::ioctl_tiocsctty(&slave).map_err(|errno| linux::Error::new("ioctl(TIOCSCTTY)", errno))?;
    Ok(())
}

/// Whether a descriptor is the null device: checked by number, never by name.
pub(super) fn is_null(fd: impl AsFd) -> bool {
    rustix::fs::fstat(fd).is_ok_and(|stat| {
        FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice && stat.st_rdev == makedev(1, 3)
    })
}
