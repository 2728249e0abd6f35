//! The monitor's end of one conversation.

use std::collections::VecDeque;
use std::os::fd::{AsFd, OwnedFd};

use linux::SeqSocket;
use rustix::event::epoll::EventFlags;
use rustix::io::Errno;

use super::poller::{Poller, Token};
use crate::protocol::{self, Event, WaitFor};

/// Bytes that may wait for a slow session before the container's output is no longer read.
pub(super) const MAX_QUEUED: usize = 1 << 20;

/// A session's number; never used twice in one monitor.
pub(super) type SessionId = u64;

/// What a session receives of the container's output.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Attached {
    pub(super) stdin: bool,
    pub(super) stdout: bool,
    pub(super) stderr: bool,
}

impl Attached {
    pub(super) fn any(self) -> bool {
        self.stdin || self.stdout || self.stderr
    }
}

/// One client.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) id: SessionId,
    socket: SeqSocket,
    queue: VecDeque<(Vec<u8>, Vec<OwnedFd>)>,
    queued: usize,
    interest: EventFlags,
    pub(super) attached: Attached,
    pub(super) wait: Option<WaitFor>,
    /// It promised to clean up after the last exit.
    pub(super) cleans_up: bool,
    /// Its packets are left in the socket until the container has read its input.
    pub(super) held_back: bool,
    /// The peer is gone, or broke the protocol.
    pub(super) closed: bool,
}

impl Session {
    pub(super) fn new(id: SessionId, socket: SeqSocket, poller: &Poller) -> crate::Result<Self> {
        socket.set_nonblocking(true)?;
        poller.add(&socket, Token::Dynamic(id), EventFlags::IN)?;
        Ok(Self {
            id,
            socket,
            queue: VecDeque::new(),
            queued: 0,
            interest: EventFlags::IN,
            attached: Attached::default(),
            wait: None,
            cleans_up: false,
            held_back: false,
            closed: false,
        })
    }

    /// Whether so much waits for this session that the container must wait, too.
    pub(super) fn is_full(&self) -> bool {
        !self.closed && self.queued >= MAX_QUEUED
    }

    /// Whether something waits to be sent.
    pub(super) fn is_pending(&self) -> bool {
        !self.closed && !self.queue.is_empty()
    }

    pub(super) fn event(&mut self, event: &Event) {
        self.event_with(event, Vec::new());
    }

    pub(super) fn event_with(&mut self, event: &Event, fds: Vec<OwnedFd>) {
        let mut packet = vec![protocol::JSON];
        // Our own types always serialise; were it not so, the client would see an unreadable packet.
        let _ = serde_json::to_writer(&mut packet, event);
        self.packet(&packet, fds);
    }

    /// Sends a packet, or queues it behind what waits already.
    pub(super) fn packet(&mut self, packet: &[u8], fds: Vec<OwnedFd>) {
        if self.closed {
            return;
        }
        if self.queue.is_empty() && self.try_send(packet, &fds) {
            return;
        }
        if !self.closed {
            self.queued += packet.len();
            self.queue.push_back((packet.to_vec(), fds));
        }
    }

    /// Sends what waits, as far as there is room.
    pub(super) fn flush(&mut self) {
        while let Some((packet, fds)) = self.queue.pop_front() {
            if !self.try_send(&packet, &fds) {
                if !self.closed {
                    self.queue.push_front((packet, fds));
                }
                return;
            }
            self.queued -= packet.len();
        }
        self.queue = VecDeque::new();
    }

    fn try_send(&mut self, packet: &[u8], fds: &[OwnedFd]) -> bool {
        let fds: Vec<_> = fds.iter().map(AsFd::as_fd).collect();
        match self.socket.send(packet, &fds) {
            Ok(()) => true,
            Err(error) if matches!(error.errno, Errno::AGAIN | Errno::NOBUFS) => false,
            Err(_) => {
                self.closed = true;
                false
            }
        }
    }

    /// The next packet of the client; none when there is none now, or the session is closed.
    pub(super) fn receive(&mut self, buffer: &mut [u8]) -> Option<(usize, Vec<OwnedFd>)> {
        match self.socket.recv(buffer) {
            Ok(Some(received)) => Some((received.len, received.fds)),
            Err(error) if error.errno == Errno::AGAIN => None,
            Ok(None) | Err(_) => {
                self.closed = true;
                None
            }
        }
    }

    /// Makes the poll set fit what this session waits for.
    pub(super) fn update_interest(&mut self, poller: &Poller) {
        let mut wanted = EventFlags::empty();
        wanted.set(EventFlags::IN, !self.held_back);
        wanted.set(EventFlags::OUT, !self.queue.is_empty());
        if wanted != self.interest && !self.closed {
            if poller.modify(&self.socket, Token::Dynamic(self.id), wanted).is_ok() {
                self.interest = wanted;
            } else {
                self.closed = true;
            }
        }
    }

    pub(super) fn unregister(&self, poller: &Poller) {
        poller.remove(&self.socket);
    }
}
