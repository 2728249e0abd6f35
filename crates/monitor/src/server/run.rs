//! The poll loop.

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use linux::SeqSocket;
use logs::Stream;
use rustix::event::epoll::EventFlags;
use rustix::net::SocketFlags;

use super::Monitor;
use super::poller::Token;
use super::session::SessionId;
use crate::Result;
use crate::exit::Phase;
use crate::protocol::{self, Event, Failure, Op, Request};

/// How long an armed monitor waits without any client.
const ARMED_FOR: Duration = Duration::from_secs(10);
/// How long the last words may take to be read.
const LAST_WORDS: Duration = Duration::from_secs(10);
/// Without events for so long, the memory that only busy times need is given back.
const REST_AFTER: Duration = Duration::from_millis(300);
/// Less than the time after which a quiet monitor rests, so that the last number is told, too.
const TELL_DROPPED_EVERY: Duration = Duration::from_millis(250);
/// Clients at a time.
const MAX_SESSIONS: usize = 256;
/// Packets of one session in a row, so that others get their turn.
const PACKETS_IN_A_ROW: usize = 16;

impl Monitor {
    /// Serves until the container has ended for good and everybody knows.
    pub(super) fn run(&mut self) -> Result<()> {
        while !self.leaving {
            self.arm();
            let rest = self.rest_at.take_if(|at| *at <= Instant::now()).is_some();
            let timeout = self.next_deadline().map(|at| at.saturating_duration_since(Instant::now()));
            let events = self.poller.wait(timeout, rest)?;
            self.rest_at = if events.is_empty() { self.rest_at } else { Some(Instant::now() + REST_AFTER) };
            for (token, flags) in events {
                self.handle(token, flags);
            }
            self.check_deadlines();
            self.settle_sessions();
            self.regulate_output()?;
            self.publish_dropped();
        }
        self.say_last_words()?;
        self.clean_up();
        Ok(())
    }

    fn handle(&mut self, token: Token, flags: EventFlags) {
        match token {
            Token::Listener => self.accept(),
            Token::Signals => self.reap(),
            Token::Stdout => self.pump(Stream::Stdout),
            Token::Stderr => self.pump(Stream::Stderr),
            Token::Stdin => self.input.flush(&self.poller),
            Token::Adopted => self.adopted_ended(),
            Token::Dynamic(id) if self.creators.iter().any(|creator| creator.id == id) => {
                self.hear_creator(id)
            }
            Token::Dynamic(id) => {
                if flags.contains(EventFlags::OUT)
                    && let Some(session) = self.session(id)
                {
                    session.flush();
                }
                if flags.intersects(EventFlags::IN | EventFlags::HUP | EventFlags::ERR) {
                    self.serve(id, flags);
                }
            }
        }
    }

    fn accept(&mut self) {
        let Some(listener) = &self.listener else {
            return;
        };
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        // Errors other than EAGAIN are those of one client that has given up.
        if let Ok(socket) = rustix::net::accept_with(listener, flags)
            && self.sessions.len() < MAX_SESSIONS
        {
            self.add_session(SeqSocket::from(socket));
        }
    }

    /// Handles what a client sent.
    fn serve(&mut self, id: SessionId, flags: EventFlags) {
        for _ in 0..PACKETS_IN_A_ROW {
            let mut scratch = std::mem::take(&mut self.scratch);
            let received = match self.session(id) {
                // Held back, and yet it was reported: the peer is gone.
                Some(session) if session.held_back => {
                    session.closed = flags.intersects(EventFlags::HUP | EventFlags::ERR);
                    None
                }
                Some(session) if !session.closed => session.receive(&mut scratch),
                _ => None,
            };
            if let Some((len, fds)) = received {
                self.packet(id, &scratch[..len], fds);
                self.scratch = scratch;
            } else {
                self.scratch = scratch;
                break;
            }
        }
    }

    fn packet(&mut self, id: SessionId, packet: &[u8], fds: Vec<OwnedFd>) {
        match packet.split_first() {
            Some((&protocol::INPUT, bytes)) => self.take_input(id, bytes),
            Some((&protocol::JSON, text)) => match serde_json::from_slice::<Request>(text) {
                Ok(request) => self.request(id, request, fds),
                Err(error) => {
                    let failure = Failure::new(fault::Kind::Invalid, format!("not a request: {error}"));
                    self.fail(id, Op::Unknown, failure);
                }
            },
            _ => {
                if let Some(session) = self.session(id) {
                    session.closed = true;
                }
            }
        }
    }

    /// Without a client an armed monitor does not stay.
    fn arm(&mut self) {
        let alone = self.phase == Phase::Armed && self.sessions.is_empty();
        match (alone, self.armed_until) {
            (true, None) => self.armed_until = Some(Instant::now() + ARMED_FOR),
            (false, Some(_)) => self.armed_until = None,
            _ => {}
        }
    }

    /// Tells `inspect` how much of the output is lost on a full disk, not more often than a person would look.
    fn publish_dropped(&mut self) {
        let dropped = self.log_dropped();
        if dropped != self.published_dropped.0 && self.published_dropped.1.elapsed() >= TELL_DROPPED_EVERY {
            self.published_dropped = (dropped, Instant::now());
            self.publish();
        }
    }

    fn next_deadline(&self) -> Option<Instant> {
        let kill_at = self.stopping.as_ref().and_then(|stopping| stopping.kill_at);
        [self.armed_until, self.restart_at, kill_at, self.rest_at].into_iter().flatten().min()
    }

    fn check_deadlines(&mut self) {
        let now = Instant::now();
        if self.armed_until.is_some_and(|at| at <= now) {
            self.disarm();
        }
        if self.restart_at.is_some_and(|at| at <= now) {
            self.restart_at = None;
            self.start(None, false);
        }
        if self.stopping.as_ref().and_then(|stopping| stopping.kill_at).is_some_and(|at| at <= now) {
            if let Some(stopping) = &mut self.stopping {
                stopping.kill_at = None;
            }
            self.kill_now();
        }
    }

    /// Forgets closed sessions, holds back those that send more than the container reads.
    pub(super) fn settle_sessions(&mut self) {
        let full = self.input.is_full();
        let mut input_ends = false;
        for session in &mut self.sessions {
            session.held_back = full && session.attached.stdin;
            session.update_interest(&self.poller);
            if session.closed {
                session.unregister(&self.poller);
                input_ends |= session.attached.stdin;
            }
        }
        self.sessions.retain(|session| !session.closed);
        if input_ends {
            self.input_ended();
        }
    }

    /// Sends what waits for the clients, as long as they read it.
    fn say_last_words(&mut self) -> Result<()> {
        let deadline = Instant::now() + LAST_WORDS;
        loop {
            self.settle_sessions();
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || !self.sessions.iter().any(|session| session.is_pending()) {
                return Ok(());
            }
            for (token, flags) in self.poller.wait(Some(left), false)? {
                if let Token::Dynamic(id) = token
                    && let Some(session) = self.session(id)
                {
                    session.flush();
                    // Their requests come too late.
                    if flags.contains(EventFlags::IN) {
                        session.held_back = true;
                    }
                    session.closed |= flags.intersects(EventFlags::HUP | EventFlags::ERR);
                }
            }
        }
    }

    /// Tells everybody `wanted` by the predicate.
    pub(super) fn tell_all(&mut self, event: &Event, wanted: impl Fn(&super::session::Session) -> bool) {
        self.sessions.iter_mut().filter(|session| wanted(session)).for_each(|session| session.event(event));
    }
}
