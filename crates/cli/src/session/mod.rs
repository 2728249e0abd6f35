//! A command line in the foreground: it copies between its own standard streams and a container, passes signals and the
//! terminal's size on, and ends with the container, by the detach keys, or with the monitor.
//!
//! One thread, one poll(2). Nothing here blocks on a peer: output that nobody reads stops only the output, so signals
//! still work.

mod exec;
mod foreground;
mod streams;

pub(crate) use self::{
    exec::{ExecStreams, exec_session},
    foreground::{Foreground, foreground},
};

use std::os::fd::{AsFd, BorrowedFd};

use linux::signals::{self, SignalFd, SignalSet};
use monitor::{Failure, Op};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::process::Signal;

/// How a session in the foreground ended.
#[derive(Debug, PartialEq)]
pub(crate) enum End<T> {
    /// The program ended.
    Exited(T),
    /// The detach keys were typed; the program goes on.
    Detached,
    /// The monitor refused what was asked for.
    Failed(Op, Failure),
    /// The monitor has ended; what became of the program is for the engine to find out.
    Gone,
    /// This signal asked the command line itself to end; the program goes on.
    Signalled(i32),
}

/// The end, and whether all output was written.
#[derive(Debug, PartialEq)]
pub(crate) struct Ended<T> {
    /// How.
    pub(crate) end: End<T>,
    /// Why output could not be written, other than that nobody reads it (`EPIPE`).
    pub(crate) write_error: Option<Errno>,
}

/// What is polled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Slot {
    Session,
    Control,
    Signals,
    Stdin,
    Stdout,
    Stderr,
    Master,
}

/// What poll(2) said.
struct Ready(Vec<(Slot, PollFlags)>);

impl Ready {
    /// Something can be read, or an end or an error be learnt by reading.
    fn readable(&self, slot: Slot) -> bool {
        self.any(slot, PollFlags::IN | PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL)
    }

    /// Something can be written, or an error be learnt by writing.
    fn writable(&self, slot: Slot) -> bool {
        self.any(slot, PollFlags::OUT | PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL)
    }

    fn any(&self, slot: Slot, flags: PollFlags) -> bool {
        self.0.iter().any(|(other, ready)| *other == slot && ready.intersects(flags))
    }
}

/// The descriptors to wait for.
#[derive(Default)]
struct Waiting<'a> {
    slots: Vec<Slot>,
    fds: Vec<PollFd<'a>>,
}

impl<'a> Waiting<'a> {
    /// Waits for `slot` as well. One of which nothing is wanted is left out: its end would be reported again and again.
    fn on<Fd: AsFd>(&mut self, slot: Slot, fd: &'a Fd, read: bool, write: bool) {
        let mut flags = PollFlags::empty();
        flags.set(PollFlags::IN, read);
        flags.set(PollFlags::OUT, write);
        if !flags.is_empty() {
            self.slots.push(slot);
            self.fds.push(PollFd::new(fd, flags));
        }
    }

    fn wait(mut self) -> linux::Result<Ready> {
        loop {
            match poll(&mut self.fds, None) {
                Ok(_) => break,
                Err(Errno::INTR) => {}
                Err(errno) => return Err(linux::Error::new("poll", errno)),
            }
        }
        Ok(Ready(self.slots.into_iter().zip(self.fds.iter().map(PollFd::revents)).collect()))
    }
}

/// Signals that ask the command line itself to end, unless they are the container's.
const ENDING: [Signal; 4] = [Signal::HUP, Signal::INT, Signal::QUIT, Signal::TERM];
/// Signals that are passed on beside those. Not the ones of job control: a stopped command line is stopped itself, and
/// so is what the shell in front of it expects.
const PASSED: [Signal; 12] = [
    Signal::ABORT,
    Signal::ALARM,
    Signal::IO,
    Signal::POWER,
    Signal::PROF,
    Signal::STKFLT,
    Signal::USR1,
    Signal::USR2,
    Signal::VTALARM,
    Signal::WINCH,
    Signal::XCPU,
    Signal::XFSZ,
];
/// The first real-time signal that programs use.
const RTMIN: i32 = 34;

/// The signals of a session, read from a descriptor as long as this lives.
#[derive(Debug)]
struct Signals {
    fd: SignalFd,
    before: SignalSet,
}

impl Signals {
    /// Takes the signals that end the command line and, with a terminal, its change of size; and every other that can be
    /// passed on when `proxy` says so.
    fn take(tty: bool, proxy: bool) -> linux::Result<Self> {
        // Ignored ones stay ignored, as under nohup(1).
        let ending =
            ENDING.iter().map(|signal| signal.as_raw()).filter(|signal| !signals::is_ignored(*signal));
        let passed = PASSED.iter().map(|signal| signal.as_raw()).chain(RTMIN..=signals::MAX);
        let size = tty.then_some(Signal::WINCH.as_raw());
        let wanted: Vec<i32> = ending.chain(size).chain(passed.filter(|_| proxy)).collect();
        let set = wanted.iter().fold(SignalSet::EMPTY, |set, signal| set.with(*signal));
        let fd = SignalFd::new(set)?;
        // All at first, so that none is let through on the way to the union of what was blocked and what is taken.
        let before = signals::set_mask(SignalSet::FULL)?;
        let this = Self { fd, before };
        let both = (1..=signals::MAX).filter(|signal| before.contains(*signal)).fold(set, SignalSet::with);
        signals::set_mask(both)?;
        Ok(this)
    }

    fn next(&self) -> linux::Result<Option<i32>> {
        self.fd.next()
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        // Nothing can be wrong with a mask that was set before.
        let _ = signals::set_mask(self.before);
    }
}

#[cfg(test)]
mod tests;
