//! One `epoll` descriptor, and who is meant by each of its events.

use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::io::Errno;

use crate::Result;

/// What a descriptor in the poll set is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Token {
    /// New connections.
    Listener,
    /// `SIGCHLD`.
    Signals,
    /// The container's standard output, or its terminal.
    Stdout,
    /// The container's standard error.
    Stderr,
    /// Room in the container's standard input.
    Stdin,
    /// The first process of an adopted container, which is not our child.
    Adopted,
    /// A session or a creator, by its number.
    Dynamic(u64),
}

const FIRST_DYNAMIC: u64 = 16;

impl Token {
    fn number(self) -> u64 {
        match self {
            Self::Listener => 0,
            Self::Signals => 1,
            Self::Stdout => 2,
            Self::Stderr => 3,
            Self::Stdin => 4,
            Self::Adopted => 5,
            Self::Dynamic(number) => FIRST_DYNAMIC + number,
        }
    }

    fn of(number: u64) -> Self {
        match number {
            0 => Self::Listener,
            1 => Self::Signals,
            2 => Self::Stdout,
            3 => Self::Stderr,
            4 => Self::Stdin,
            5 => Self::Adopted,
            other => Self::Dynamic(other.saturating_sub(FIRST_DYNAMIC)),
        }
    }
}

/// The poll set. Level-triggered: what is not finished is reported again.
#[derive(Debug)]
pub(super) struct Poller(OwnedFd);

impl Poller {
    pub(super) fn new() -> Result<Self> {
        let fd =
            epoll::create(CreateFlags::CLOEXEC).map_err(|errno| linux::Error::new("epoll_create1", errno))?;
        Ok(Self(fd))
    }

    pub(super) fn add(&self, fd: impl AsFd, token: Token, flags: EventFlags) -> Result<()> {
        epoll::add(&self.0, fd, EventData::new_u64(token.number()), flags)
            .map_err(|errno| linux::Error::new("epoll_ctl", errno).into())
    }

    pub(super) fn modify(&self, fd: impl AsFd, token: Token, flags: EventFlags) -> Result<()> {
        epoll::modify(&self.0, fd, EventData::new_u64(token.number()), flags)
            .map_err(|errno| linux::Error::new("epoll_ctl", errno).into())
    }

    /// Takes a descriptor out; one that is not in is no error.
    pub(super) fn remove(&self, fd: impl AsFd) {
        let _ = epoll::delete(&self.0, fd);
    }

    /// Waits for events, at most `timeout`.
    pub(super) fn wait(&self, timeout: Option<Duration>, rest: bool) -> Result<Vec<(Token, EventFlags)>> {
        let mut space = [MaybeUninit::<Event>::uninit(); 16];
        let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
        if rest {
            linux::memory::rest();
        }
        match epoll::wait(&self.0, &mut space, timeout.as_ref()) {
            Ok((events, _)) => {
                Ok(events.iter().map(|event| (Token::of(event.data.u64()), event.flags)).collect())
            }
            Err(Errno::INTR) => Ok(Vec::new()),
            Err(errno) => Err(linux::Error::new("epoll_wait", errno).into()),
        }
    }
}
