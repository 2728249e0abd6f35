//! Terminals: the master handed to a caller's socket, or copied to and from our own terminal.

use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use linux::PidFd;
use linux::signals::{SignalFd, SignalSet, set_mask};
use oci_spec::runtime::{BoxBuilder, Process};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags,
    SocketType,
};
use rustix::process::Signal;
use rustix::termios::{OptionalActions, Termios};

use super::file_error;
use crate::{Error, Result};

/// Sends one descriptor with a name to a unix stream socket, as runc does.
pub(super) fn send(path: &Path, fd: BorrowedFd<'_>, name: &[u8]) -> Result<()> {
    let on = |errno: Errno| file_error(path, errno);
    let socket =
        rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None);
    let socket = socket.map_err(on)?;
    rustix::net::connect(&socket, &SocketAddrUnix::new(path).map_err(on)?).map_err(on)?;
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let fds = [fd];
    control.push(SendAncillaryMessage::ScmRights(&fds));
    rustix::net::sendmsg(&socket, &[IoSlice::new(name)], &mut control, SendFlags::NOSIGNAL).map_err(on)?;
    Ok(())
}

/// Gives a process our own terminal's size from the start, where none is asked for: the program may look at it before a
/// later change of size arrives.
pub(super) fn adopt_size(process: &mut Process) {
    if !process.terminal().unwrap_or(false) || process.console_size().is_some() {
        return;
    }
    let Ok(ours) = rustix::termios::tcgetwinsize(std::io::stdin()) else { return };
    let size = BoxBuilder::default().height(ours.ws_row).width(ours.ws_col).build();
    process.set_console_size(size.ok());
}

/// Our own terminal in raw mode, put back when dropped.
struct RawMode(Termios);

impl RawMode {
    /// `None` when standard input is no terminal.
    fn enter() -> Option<Self> {
        let stdin = std::io::stdin();
        let before = rustix::termios::tcgetattr(&stdin).ok()?;
        let mut raw = before.clone();
        raw.make_raw();
        rustix::termios::tcsetattr(&stdin, OptionalActions::Now, &raw).ok()?;
        Some(Self(before))
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        // The terminal may be gone.
        let _ = rustix::termios::tcsetattr(std::io::stdin(), OptionalActions::Now, &self.0);
    }
}

/// Stays in front of a process until it ends: forwards signals, copies the terminal. Returns the exit code, 128 + n for
/// a signal.
pub(super) fn attend(pidfd: &PidFd, master: Option<OwnedFd>) -> Result<i32> {
    let kernel = |call| move |errno| Error::Kernel(linux::Error::new(call, errno));
    let not_forwarded = [Signal::CHILD, Signal::URG, Signal::PIPE, Signal::TTIN, Signal::TTOU, Signal::TSTP]
        .map(Signal::as_raw);
    let mut set = SignalSet::EMPTY;
    for number in (1..=linux::signals::MAX).filter(|n| !not_forwarded.contains(n) && ![32, 33].contains(n)) {
        set = set.with(number);
    }
    set_mask(set)?;
    let signals = SignalFd::new(set)?;
    let raw = master.as_ref().and_then(|_| RawMode::enter());
    if let Some(master) = &master {
        resize(master);
        rustix::io::ioctl_fionbio(master, true).map_err(kernel("ioctl(FIONBIO)"))?;
    }
    let stdin = std::io::stdin();
    let mut input_open = master.is_some();
    let mut output_open = master.is_some();
    loop {
        let mut fds = vec![PollFd::new(pidfd, PollFlags::IN), PollFd::new(&signals, PollFlags::IN)];
        if let Some(master) = &master {
            let wanted = |open: bool| if open { PollFlags::IN } else { PollFlags::empty() };
            if output_open {
                fds.push(PollFd::new(master, PollFlags::IN));
            }
            if input_open {
                fds.push(PollFd::new(&stdin, wanted(input_open)));
            }
        }
        match poll(&mut fds, None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(kernel("poll")(errno)),
        }
        let ready: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
        drop(fds);
        while let Some(signal) = signals.next()? {
            match &master {
                Some(master) if signal == Signal::WINCH.as_raw() => resize(master),
                // It may have ended; the next turn sees that.
                _ => drop(pidfd.signal(signal)),
            }
        }
        if let Some(master) = &master {
            if output_open {
                output_open = copy(master.as_fd(), std::io::stdout().as_fd());
            }
            if input_open && ready.last() == Some(&true) && ready.len() == 3 + usize::from(output_open) {
                input_open = copy_once(stdin.as_fd(), master.as_fd());
            }
        }
        if ready.first() == Some(&true) {
            break;
        }
    }
    if let Some(master) = &master {
        copy(master.as_fd(), std::io::stdout().as_fd());
    }
    drop(raw);
    let status = pidfd.wait()?;
    let signalled = status.terminating_signal().map(|n| 128 + n);
    Ok(status.exit_status().or(signalled).unwrap_or(255))
}

fn resize(master: &OwnedFd) {
    if let Ok(size) = rustix::termios::tcgetwinsize(std::io::stdin()) {
        // A master whose other end is gone has no size to set.
        let _ = rustix::termios::tcsetwinsize(master, size);
    }
}

/// Copies what is there; false when the other end is gone.
fn copy(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> bool {
    let mut buffer = [0; 16 << 10];
    loop {
        match rustix::io::read(from, &mut buffer) {
            Ok(0) => return false,
            Ok(n) => {
                if linux::tree::write_all(to, &buffer[..n]).is_err() {
                    return false;
                }
            }
            Err(Errno::INTR) => {}
            Err(errno) => return errno == Errno::AGAIN,
        }
    }
}

/// One read and its write.
fn copy_once(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> bool {
    let mut buffer = [0; 4096];
    let Ok(length) = rustix::io::read(from, &mut buffer) else { return false };
    let mut left = &buffer[..length];
    while !left.is_empty() {
        match rustix::io::write(to, left) {
            Ok(n) => left = &left[n..],
            Err(Errno::AGAIN) => {
                let mut fds = [PollFd::new(&to, PollFlags::OUT)];
                if poll(&mut fds, None).is_err() {
                    return false;
                }
            }
            Err(_) => return false,
        }
    }
    length > 0
}
