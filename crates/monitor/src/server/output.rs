//! From the container's pipes or terminal to the log and the sessions.

use std::os::fd::OwnedFd;

use logs::{LogWriter, Stream, Timestamp};
use rustix::event::epoll::EventFlags;
use rustix::io::Errno;

use super::Monitor;
use super::poller::{Poller, Token};
use crate::exit::Phase;
use crate::protocol;

/// Reads of one stream in a row, so that others get their turn.
const READS_IN_A_ROW: usize = 8;

/// The reading ends.
#[derive(Debug, Default)]
pub(super) struct Output {
    pub(super) log: Option<LogWriter>,
    pub(super) stdout: Option<OwnedFd>,
    pub(super) stderr: Option<OwnedFd>,
    /// Not in the poll set, because a session is too slow.
    held_back: bool,
}

/// What one read found.
enum Found {
    Data,
    Nothing,
    End,
}

impl Output {
    /// Takes the reading ends of a new run; they are read from [`Output::release`] on.
    pub(super) fn prepare(&mut self, stdout: OwnedFd, stderr: Option<OwnedFd>) {
        self.stdout = Some(stdout);
        self.stderr = stderr;
        self.held_back = true;
    }

    fn fd(&self, stream: Stream) -> Option<&OwnedFd> {
        match stream {
            Stream::Stdout => self.stdout.as_ref(),
            Stream::Stderr => self.stderr.as_ref(),
        }
    }

    fn end(&mut self, stream: Stream, poller: &Poller) {
        let ended = match stream {
            Stream::Stdout => self.stdout.take(),
            Stream::Stderr => self.stderr.take(),
        };
        if let Some(fd) = ended {
            poller.remove(&fd);
        }
    }

    fn hold_back(&mut self, poller: &Poller) {
        if !std::mem::replace(&mut self.held_back, true) {
            // Out of the set, not without flags: a hang-up is reported whatever the flags are.
            [&self.stdout, &self.stderr].into_iter().flatten().for_each(|fd| poller.remove(fd));
        }
    }

    /// Reads, or reads again.
    pub(super) fn release(&mut self, poller: &Poller) -> crate::Result<()> {
        if std::mem::replace(&mut self.held_back, false) {
            if let Some(fd) = &self.stdout {
                poller.add(fd, Token::Stdout, EventFlags::IN)?;
            }
            if let Some(fd) = &self.stderr {
                poller.add(fd, Token::Stderr, EventFlags::IN)?;
            }
        }
        Ok(())
    }
}

impl Monitor {
    /// Reads what a stream has, a few times at most.
    pub(super) fn pump(&mut self, stream: Stream) {
        for _ in 0..READS_IN_A_ROW {
            match self.read_once(stream) {
                Found::Data if self.sessions.iter().any(|session| session.is_full()) => break,
                Found::Data => {}
                Found::Nothing => break,
                Found::End => {
                    self.output.end(stream, &self.poller);
                    break;
                }
            }
        }
    }

    /// Reads all that is left after the container's end, whatever waits for the sessions.
    pub(super) fn drain_output(&mut self) {
        for stream in [Stream::Stdout, Stream::Stderr] {
            while let Found::Data = self.read_once(stream) {}
            self.output.end(stream, &self.poller);
            if let Some(log) = &mut self.output.log {
                log.finish(stream, Timestamp::now());
            }
        }
        if let Some(log) = &mut self.output.log {
            log.shrink();
        }
    }

    fn read_once(&mut self, stream: Stream) -> Found {
        let Some(fd) = self.output.fd(stream) else {
            return Found::Nothing;
        };
        let (kind, wanted): (u8, fn(&super::session::Session) -> bool) = match stream {
            Stream::Stdout => (protocol::OUTPUT, |session| session.attached.stdout),
            Stream::Stderr => (protocol::ERRPUT, |session| session.attached.stderr),
        };
        self.scratch[0] = kind;
        let read = match rustix::io::read(fd, &mut self.scratch[1..]) {
            Ok(0) => return Found::End,
            Ok(read) => read,
            Err(Errno::AGAIN | Errno::INTR) => return Found::Nothing,
            // A terminal whose last user is gone answers EIO.
            Err(_) => return Found::End,
        };
        let packet = &self.scratch[..=read];
        if let Some(log) = &mut self.output.log {
            log.write(stream, &packet[1..], Timestamp::now());
        }
        for session in self.sessions.iter_mut().filter(|session| wanted(session)) {
            session.packet(packet, Vec::new());
        }
        Found::Data
    }

    /// Stops reading while a session is too slow, and goes on when it is not any more or is gone.
    pub(super) fn regulate_output(&mut self) -> crate::Result<()> {
        if self.phase == Phase::Starting {
            // `started` comes first.
            Ok(())
        } else if self.sessions.iter().any(|session| session.is_full()) {
            self.output.hold_back(&self.poller);
            Ok(())
        } else {
            self.output.release(&self.poller)
        }
    }
}
