//! From the sessions to the container's standard input.

use std::os::fd::OwnedFd;

use rustix::event::epoll::EventFlags;
use rustix::io::Errno;

use super::poller::{Poller, Token};

/// Bytes that may wait before the sessions that send them are no longer read.
const MAX_PENDING: usize = 64 * 1024;

/// The writing end, and what the container has not taken yet.
#[derive(Debug, Default)]
pub(super) struct Input {
    /// None before the start, after the end of the input, and for a container without one.
    fd: Option<OwnedFd>,
    pending: Vec<u8>,
    sent: usize,
    /// No more will come: close when nothing is pending.
    ending: bool,
    polled: bool,
}

impl Input {
    /// Takes the writing end of a new run; what was sent before the start goes first.
    pub(super) fn begin(&mut self, fd: OwnedFd, poller: &Poller) {
        self.fd = Some(fd);
        self.polled = false;
        self.flush(poller);
    }

    /// The run is over.
    pub(super) fn reset(&mut self, poller: &Poller) {
        self.close(poller);
        self.ending = false;
    }

    /// Takes input from a session. `starting`: there will be a container that reads it.
    pub(super) fn write(&mut self, bytes: &[u8], starting: bool, poller: &Poller) {
        if self.ending || (self.fd.is_none() && !starting) {
            return;
        }
        self.pending.extend_from_slice(bytes);
        self.flush(poller);
    }

    /// Closes the container's input once it has taken everything.
    pub(super) fn end(&mut self, poller: &Poller) {
        self.ending = true;
        self.flush(poller);
    }

    /// Whether so much waits that senders must wait, too.
    pub(super) fn is_full(&self) -> bool {
        self.pending.len() - self.sent >= MAX_PENDING
    }

    /// Writes as much as the container takes now.
    pub(super) fn flush(&mut self, poller: &Poller) {
        let Some(fd) = &self.fd else {
            return;
        };
        while self.sent < self.pending.len() {
            match rustix::io::write(fd, &self.pending[self.sent..]) {
                Ok(written) => self.sent += written,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => {
                    if !self.polled {
                        self.polled = poller.add(fd, Token::Stdin, EventFlags::OUT).is_ok();
                    }
                    return;
                }
                // Nobody reads it any more.
                Err(_) => return self.close(poller),
            }
        }
        self.pending = Vec::new();
        self.sent = 0;
        if self.polled {
            poller.remove(fd);
            self.polled = false;
        }
        if self.ending {
            self.close(poller);
        }
    }

    fn close(&mut self, poller: &Poller) {
        if let Some(fd) = self.fd.take() {
            poller.remove(&fd);
        }
        self.polled = false;
        self.pending = Vec::new();
        self.sent = 0;
    }
}
