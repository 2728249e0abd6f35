//! The creator: a fork of the monitor, without exec, that makes one container or exec and ends. The large documents are
//! parsed here, so that their memory goes with it.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use fault::Kind;
use linux::descriptor::close_all_but;
use linux::signals::{SignalSet, set_mask};
use linux::{PidFd, SeqSocket};
use rustix::event::epoll::EventFlags;
use rustix::process::Pid;
use serde::{Deserialize, Serialize};

use super::Monitor;
use super::home;
use super::poller::Token;
use super::session::SessionId;
use crate::protocol::{self, Failure};
use crate::{Error, Result};

/// First byte of the creator's last message: what it made.
const MADE: u8 = b'M';
/// First byte of the creator's last message: why it failed.
const FAILED: u8 = b'F';
/// Most bytes of one text in a failure, so that the message fits a packet.
const MAX_TEXT: usize = 4096;

/// What a creator is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// The container, for the session that asked, if one did.
    Container(Option<SessionId>),
    /// Another process in it.
    Exec(SessionId),
}

/// A creator at work.
#[derive(Debug)]
pub(super) struct Creator {
    pub(super) id: u64,
    pub(super) purpose: Purpose,
    pid: Pid,
    socket: SeqSocket,
}

/// What a creator made.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Made {
    pub(super) pid: i32,
    pub(super) warnings: Vec<String>,
}

/// How a creator ended.
pub(super) enum Outcome {
    Made(Made, Option<OwnedFd>),
    Failed(Failure),
}

impl Monitor {
    /// Forks a creator that does `job` and holds nothing of ours but `keep`.
    pub(super) fn create(
        &mut self,
        purpose: Purpose,
        keep: &[&OwnedFd],
        job: impl FnOnce(&Monitor, &SeqSocket) -> Result<Work, Failure>,
    ) -> Result<()> {
        let (ours, theirs) = SeqSocket::pair()?;
        let mut numbers: Vec<_> = keep.iter().map(|fd| fd.as_raw_fd()).collect();
        numbers.extend([0, 1, 2, theirs.as_fd().as_raw_fd()]);
        let monitor = &*self;
        let pid = linux::fork(|| {
            // The lock above all: a flock lives as long as any copy of its descriptor.
            let outcome = match close_all_but(&mut numbers).and_then(|()| set_mask(SignalSet::EMPTY)) {
                Ok(_) => {
                    home::restore_oom_score(monitor.oom_score);
                    job(monitor, &theirs)
                }
                Err(error) => Err(Failure::of(&Error::from(error))),
            };
            report(&theirs, outcome)
        })?;
        drop(theirs);
        ours.set_nonblocking(true)?;
        let id = self.new_id();
        self.poller.add(&ours, Token::Dynamic(id), EventFlags::IN)?;
        self.creators.push(Creator { id, purpose, pid, socket: ours });
        Ok(())
    }

    /// Takes a creator's messages; the last one, or its end without one, is its outcome.
    pub(super) fn hear_creator(&mut self, id: u64) {
        let Some(at) = self.creators.iter().position(|creator| creator.id == id) else {
            return;
        };
        let outcome = loop {
            let creator = &self.creators[at];
            match creator.socket.recv(&mut self.scratch) {
                Err(error) if error.errno == rustix::io::Errno::AGAIN => return,
                Err(error) => break Outcome::Failed(Failure::of(&Error::from(error))),
                Ok(None) => break self.lost_creator(at),
                Ok(Some(mut received)) => match self.scratch[..received.len].split_first() {
                    // A step, as a whole packet for the client.
                    Some((&protocol::JSON, _)) => {
                        let packet = self.scratch[..received.len].to_vec();
                        if let Purpose::Container(Some(session)) | Purpose::Exec(session) = creator.purpose
                            && let Some(session) = self.session(session)
                        {
                            session.packet(&packet, Vec::new());
                        }
                    }
                    Some((&MADE, text)) => match serde_json::from_slice(text) {
                        Ok(made) => break Outcome::Made(made, received.fds.pop()),
                        Err(error) => break unreadable(&error),
                    },
                    Some((&FAILED, text)) => match serde_json::from_slice(text) {
                        Ok(failure) => break Outcome::Failed(failure),
                        Err(error) => break unreadable(&error),
                    },
                    _ => break self.lost_creator(at),
                },
            }
        };
        let creator = self.creators.swap_remove(at);
        self.poller.remove(&creator.socket);
        match creator.purpose {
            Purpose::Container(session) => self.container_made(session, outcome),
            Purpose::Exec(session) => self.exec_made(session, outcome),
        }
        // The creator itself, and what may have ended before it was known.
        self.reap();
    }

    /// A creator died before its report, so nobody knows what it had made: every child that we cannot account for is
    /// killed. Init itself also sees the creator's end, unless it had gone further already.
    fn lost_creator(&mut self, at: usize) -> Outcome {
        if self.creators.len() == 1 {
            let mut known: Vec<Pid> = self.execs.iter().map(|exec| exec.pid).collect();
            known.extend(self.running.as_ref().map(|running| running.pid));
            known.push(self.creators[at].pid);
            let thread = rustix::thread::gettid();
            let children = std::fs::read_to_string(format!("/proc/self/task/{thread}/children"));
            let children = children.unwrap_or_default();
            let pids = children.split_ascii_whitespace().filter_map(|pid| Pid::from_raw(pid.parse().ok()?));
            for pid in pids.filter(|pid| !known.contains(pid)) {
                // Our own child, not reaped yet, so the number is still its.
                let _ = PidFd::open(pid).and_then(|pidfd| pidfd.kill());
            }
        }
        Outcome::Failed(Failure::new(Kind::System, "the process that creates the container was killed"))
    }
}

fn unreadable(error: &serde_json::Error) -> Outcome {
    Outcome::Failed(Failure::new(Kind::System, format!("the creator's report cannot be read: {error}")))
}

/// What a job hands over.
pub(super) struct Work {
    pub(super) pid: Pid,
    pub(super) terminal: Option<OwnedFd>,
    pub(super) warnings: Vec<String>,
}

/// Sends the last message; the creator's exit status.
fn report(socket: &SeqSocket, outcome: Result<Work, Failure>) -> i32 {
    let sent = match outcome {
        Ok(mut work) => {
            work.warnings.iter_mut().for_each(|text| truncate(text, MAX_TEXT / 4));
            work.warnings.truncate(16);
            let made = Made { pid: work.pid.as_raw_nonzero().get(), warnings: work.warnings };
            let fds: Vec<_> = work.terminal.iter().map(AsFd::as_fd).collect();
            socket.send(&packet(MADE, &made), &fds)
        }
        Err(mut failure) => {
            truncate(&mut failure.message, MAX_TEXT);
            failure.causes.truncate(4);
            failure.causes.iter_mut().for_each(|text| truncate(text, MAX_TEXT / 4));
            socket.send(&packet(FAILED, &failure), &[])
        }
    };
    i32::from(sent.is_err())
}

pub(super) fn packet<T: Serialize>(kind: u8, value: &T) -> Vec<u8> {
    let mut packet = vec![kind];
    // Plain structs of texts and numbers always serialise.
    let _ = serde_json::to_writer(&mut packet, value);
    packet
}

fn truncate(text: &mut String, limit: usize) {
    let end = (0..=limit.min(text.len())).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0);
    text.truncate(end);
}
