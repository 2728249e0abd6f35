//! Our own standard streams, as the loops use them.

use std::os::fd::{AsFd, BorrowedFd};

use monitor::protocol::MAX_DATA;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::FileType;
use rustix::io::Errno;

use crate::terminal::DetachKeys;

/// Bytes that a pipe which is writable takes without blocking (`PIPE_BUF`).
const CHUNK: usize = 4096;

/// What is read from our standard input and waits to be sent.
#[derive(Debug)]
pub(super) struct Input<'a> {
    fd: Option<BorrowedFd<'a>>,
    keys: Option<DetachKeys>,
    waiting: Vec<u8>,
    sent: usize,
    /// The end of the input is still to be told.
    ending: bool,
}

impl<'a> Input<'a> {
    /// Reads from `fd`, if there is one; with `keys` watching for those that detach.
    pub(super) fn new(fd: Option<BorrowedFd<'a>>, keys: Option<DetachKeys>) -> Self {
        Self { fd, keys, waiting: Vec::new(), sent: 0, ending: false }
    }

    /// What to poll for more, when there is room for it.
    pub(super) fn wanted(&self) -> Option<&BorrowedFd<'a>> {
        self.fd.as_ref().filter(|_| self.waiting.is_empty())
    }

    /// What waits to be sent.
    pub(super) fn unsent(&self) -> &[u8] {
        &self.waiting[self.sent..]
    }

    /// Whether everything before the end was sent, and the end was not.
    pub(super) fn must_end(&self) -> bool {
        self.ending && self.waiting.is_empty()
    }

    /// Whether there is something to send.
    pub(super) fn is_pending(&self) -> bool {
        self.ending || !self.waiting.is_empty()
    }

    /// `count` bytes were sent.
    pub(super) fn consume(&mut self, count: usize) {
        self.sent += count;
        if self.sent >= self.waiting.len() {
            self.waiting.clear();
            self.sent = 0;
        }
    }

    /// The end was told, or nobody takes input any more.
    pub(super) fn close(&mut self) {
        self.fd = None;
        self.ending = false;
        self.waiting = Vec::new();
        self.sent = 0;
    }

    /// Reads what is there; `true` when the detach keys were in it.
    pub(super) fn read(&mut self) -> bool {
        let Some(fd) = self.fd else { return false };
        self.waiting.resize(MAX_DATA, 0);
        let read = rustix::io::read(fd, &mut self.waiting);
        self.waiting.truncate(*read.as_ref().unwrap_or(&0));
        match read {
            Ok(1..) => {
                let Some(keys) = &mut self.keys else { return false };
                let typed = std::mem::take(&mut self.waiting);
                return keys.feed(&typed, &mut self.waiting);
            }
            Err(Errno::AGAIN | Errno::INTR) => {}
            // Its end; a terminal that has gone away ends with EIO, and no other error can be mended either.
            Ok(_) | Err(_) => {
                if let Some(keys) = &mut self.keys {
                    keys.finish(&mut self.waiting);
                }
                self.fd = None;
                self.ending = true;
            }
        }
        false
    }
}

/// One of our standard output and error.
#[derive(Debug)]
pub(super) struct Output<'a> {
    fd: BorrowedFd<'a>,
    /// A file always takes everything at once; anything else may block in the middle of a large write.
    regular: bool,
    waiting: Vec<u8>,
    written: usize,
    /// Nothing can be written any more; what comes is dropped.
    dead: bool,
    error: Option<Errno>,
}

impl<'a> Output<'a> {
    pub(super) fn new(fd: BorrowedFd<'a>) -> Self {
        let regular = rustix::fs::fstat(fd)
            .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile);
        Self { fd, regular, waiting: Vec::new(), written: 0, dead: false, error: None }
    }

    /// Whether everything was written, as far as it can be.
    pub(super) fn is_idle(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Why something could not be written.
    pub(super) fn error(&self) -> Option<Errno> {
        self.error
    }

    /// Writes bytes, or keeps those that do not fit.
    pub(super) fn take(&mut self, bytes: &[u8]) {
        if !self.dead {
            self.waiting.extend_from_slice(bytes);
            self.flush();
        }
    }

    /// Writes what fits now.
    pub(super) fn flush(&mut self) {
        while self.written < self.waiting.len() && (self.regular || self.has_room()) {
            let rest = &self.waiting[self.written..];
            let part = if self.regular { rest } else { &rest[..rest.len().min(CHUNK)] };
            match rustix::io::write(self.fd, part) {
                Ok(count) => self.written += count,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return,
                Err(errno) => {
                    self.dead = true;
                    self.error = (errno != Errno::PIPE).then_some(errno);
                    self.written = self.waiting.len();
                }
            }
        }
        if self.written >= self.waiting.len() {
            self.waiting.clear();
            self.written = 0;
        }
    }

    fn has_room(&self) -> bool {
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        poll(&mut [PollFd::new(&self.fd, PollFlags::OUT)], Some(&now)).is_ok_and(|ready| ready > 0)
    }
}

impl AsFd for Output<'_> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd
    }
}
