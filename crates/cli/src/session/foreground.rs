//! `run`, `start --attach` and `attach`: a container's main program.

use std::collections::VecDeque;
use std::os::fd::BorrowedFd;

use monitor::{Error, Event, Exit, Incoming, Op, Request, Result, Session};
use rustix::process::Signal;

use super::streams::{Input, Output};
use super::{End, Ended, Signals, Slot, Waiting};
use crate::terminal::{self, DetachKeys, Raw};

/// What a session in the foreground works with.
#[derive(Debug)]
pub(crate) struct Foreground<'a> {
    /// Sent first, in this order: `attach`, `start`.
    pub(crate) requests: &'a [Request],
    /// The container has a terminal: ours is made raw, its size is passed on, and the detach keys count.
    pub(crate) tty: bool,
    /// Our standard input, when it is the container's.
    pub(crate) stdin: Option<BorrowedFd<'a>>,
    /// Our standard output.
    pub(crate) stdout: BorrowedFd<'a>,
    /// Our standard error.
    pub(crate) stderr: BorrowedFd<'a>,
    /// The keys that detach.
    pub(crate) detach_keys: DetachKeys,
    /// Without a terminal: signals are the container's.
    pub(crate) sig_proxy: bool,
    /// Have the program draw its screen anew, by a change of the size: it runs already, and we have seen none of it.
    pub(crate) redraw: bool,
}

/// Opens another session to the same monitor; none while it does not listen.
pub(crate) type Connect<'a> = &'a mut dyn FnMut() -> Result<Option<Session>>;

/// Stays with a container until it ends, is detached from, or the monitor is gone. Every frame before the end has been
/// written by then.
///
/// `connect` is called when the first signal or change of size has to be sent: input that the container does not read
/// would hold it back in `session`. `tell` gets the events that mean nothing here: `started`, `step`, `status`, `ok`.
///
/// # Errors
/// [`Error::Kernel`], [`Error::Protocol`]; never that the monitor has ended.
pub(crate) fn foreground(
    session: &mut Session,
    with: Foreground<'_>,
    connect: Connect<'_>,
    tell: &mut dyn FnMut(Event),
) -> Result<Ended<Exit>> {
    let sig_proxy = with.sig_proxy && !with.tty;
    let signals = Signals::take(with.tty, sig_proxy)?;
    let mut this = Loop {
        control: Control { connect, session: None, unanswered: VecDeque::new(), refused: Vec::new() },
        input: Input::new(with.stdin, with.tty.then(|| with.detach_keys.clone())),
        out: Output::new(with.stdout),
        err: Output::new(with.stderr),
        raw: None,
        end: None,
        sig_proxy,
        with,
    };
    match this.begin(session).and_then(|()| this.run(session, &signals, tell)) {
        Err(Error::Gone) => this.end = Some(End::Gone),
        other => other?,
    }
    let write_error = this.out.error().or(this.err.error());
    Ok(Ended { end: this.end.unwrap_or(End::Gone), write_error })
}

struct Loop<'a> {
    with: Foreground<'a>,
    control: Control<'a>,
    input: Input<'a>,
    out: Output<'a>,
    err: Output<'a>,
    raw: Option<Raw<'a>>,
    end: Option<End<Exit>>,
    sig_proxy: bool,
}

impl<'a> Loop<'a> {
    /// Sends the terminal's size, before anything could be in front of it, and then what was asked for.
    fn begin(&mut self, session: &Session) -> Result<()> {
        if let Some((rows, cols)) = self.size() {
            if self.with.redraw {
                session.send(&Request::Resize { rows: rows.saturating_add(1), cols }, &[])?;
            }
            session.send(&Request::Resize { rows, cols }, &[])?;
        }
        for request in self.with.requests {
            session.send(request, &[])?;
        }
        Ok(())
    }

    fn run(&mut self, session: &mut Session, signals: &Signals, tell: &mut dyn FnMut(Event)) -> Result<()> {
        loop {
            let (idle, going) = (self.out.is_idle() && self.err.is_idle(), self.end.is_none());
            if idle && !going {
                return Ok(());
            }
            let mut waiting = Waiting::default();
            waiting.on(Slot::Signals, signals, true, false);
            waiting.on(Slot::Session, session, going && idle, going && self.input.is_pending());
            if let Some(control) = self.control.session.as_ref() {
                waiting.on(Slot::Control, control, going, false);
            }
            if let Some(stdin) = self.input.wanted() {
                waiting.on(Slot::Stdin, stdin, going, false);
            }
            waiting.on(Slot::Stdout, &self.out, false, !self.out.is_idle());
            waiting.on(Slot::Stderr, &self.err, false, !self.err.is_idle());
            let ready = waiting.wait()?;

            if ready.readable(Slot::Signals) && self.take_signals(signals)? {
                return Ok(());
            }
            if ready.writable(Slot::Stdout) {
                self.out.flush();
            }
            if ready.writable(Slot::Stderr) {
                self.err.flush();
            }
            if ready.readable(Slot::Control) {
                self.control.listen();
            }
            if ready.readable(Slot::Stdin) {
                self.take_input(session);
            } else if going && ready.writable(Slot::Session) {
                self.send_input(session);
            }
            if going && ready.readable(Slot::Session) {
                self.receive(session, tell)?;
            }
        }
    }

    /// Handles what signals there are; `true` when the session ends here and now.
    fn take_signals(&mut self, signals: &Signals) -> Result<bool> {
        while let Some(signal) = signals.next()? {
            if self.end.is_some() {
                // Nothing is left but output that nobody reads.
                return Ok(true);
            }
            if self.with.tty && signal == Signal::WINCH.as_raw() {
                if let Some((rows, cols)) = self.size() {
                    self.control.resize(rows, cols);
                }
            } else if self.sig_proxy {
                self.control.signal(signal);
            } else {
                self.end = Some(End::Signalled(signal));
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn take_input(&mut self, session: &Session) {
        let detach = self.input.read();
        // At once, if there is room; only the end waits until poll says so, since it has to go in one piece.
        if !self.input.must_end() {
            self.send_input(session);
        }
        if detach {
            self.end = Some(End::Detached);
        }
    }

    fn send_input(&mut self, session: &Session) {
        let sent = if self.input.must_end() {
            session.send_stdin(&[]).map(|_| self.input.close())
        } else if self.input.is_pending() {
            session.send_stdin(self.input.unsent()).map(|count| self.input.consume(count))
        } else {
            Ok(())
        };
        if sent.is_err() {
            // What the monitor still had to say is read nevertheless.
            self.input.close();
        }
    }

    /// Takes what the monitor sent, as long as our own output keeps up.
    fn receive(&mut self, session: &mut Session, tell: &mut dyn FnMut(Event)) -> Result<()> {
        while self.end.is_none() && self.out.is_idle() && self.err.is_idle() {
            match session.try_next()? {
                None => break,
                Some(Incoming::Stdout(bytes)) => self.out.take(bytes),
                Some(Incoming::Stderr(bytes)) => self.err.take(bytes),
                Some(Incoming::Closed) => self.end = Some(End::Gone),
                Some(Incoming::Event(event, _)) => self.event(event, tell)?,
            }
        }
        Ok(())
    }

    fn event(&mut self, event: Event, tell: &mut dyn FnMut(Event)) -> Result<()> {
        match event {
            Event::Exited { exit, .. } => self.end = Some(End::Exited(exit)),
            // A container without a terminal has no size.
            Event::Error { op: Op::Resize, .. } | Event::Ok { op: Op::Resize } => {}
            Event::Error { op, failure } => self.end = Some(End::Failed(op, failure)),
            other => {
                let started = matches!(other, Event::Started { .. });
                let attached = matches!(other, Event::Ok { op: Op::Attach });
                // Before the raw mode: `tell` may print lines.
                tell(other);
                let starts = self.with.requests.iter().any(|request| request.op() == Op::Start);
                if started || (attached && !starts) {
                    self.enter_raw()?;
                    self.control.started();
                }
            }
        }
        Ok(())
    }

    fn enter_raw(&mut self) -> Result<()> {
        if let Some(stdin) = self.with.stdin.filter(|_| self.with.tty && self.raw.is_none()) {
            self.raw = Raw::enter(stdin)?;
        }
        Ok(())
    }

    fn size(&self) -> Option<(u16, u16)> {
        let known = || terminal::size(self.with.stdout).or_else(|| terminal::size(self.with.stdin?));
        if self.with.tty { known() } else { None }
    }
}

/// The second session, which is not held back by input.
struct Control<'a> {
    connect: Connect<'a>,
    session: Option<Session>,
    /// Signals that the monitor has not answered, in order.
    unanswered: VecDeque<i32>,
    /// Signals that came before there was a program; it gets them when it has started.
    refused: Vec<i32>,
}

impl Control<'_> {
    fn signal(&mut self, signal: i32) {
        if self.send(&Request::Signal { signal }) {
            self.unanswered.push_back(signal);
        } else {
            self.refused.push(signal);
        }
    }

    fn resize(&mut self, rows: u16, cols: u16) {
        // One that is lost now is made up for by the next.
        self.send(&Request::Resize { rows, cols });
    }

    /// There is a program now. An answer to a signal that came too early was sent before the news of the start.
    fn started(&mut self) {
        self.listen();
        for signal in std::mem::take(&mut self.refused) {
            self.signal(signal);
        }
    }

    /// Whether it could be sent. A monitor that has ended is met in the main session.
    fn send(&mut self, request: &Request) -> bool {
        if self.session.is_none() {
            self.session = (self.connect)().ok().flatten();
        }
        self.session.as_ref().is_some_and(|session| session.send(request, &[]).is_ok())
    }

    /// Takes the answers.
    fn listen(&mut self) {
        while let Some(session) = &mut self.session {
            match session.try_next() {
                Ok(None) => return,
                Ok(Some(Incoming::Event(Event::Ok { op: Op::Signal }, _))) => {
                    self.unanswered.pop_front();
                }
                Ok(Some(Incoming::Event(Event::Error { op: Op::Signal, .. }, _))) => {
                    self.refused.extend(self.unanswered.pop_front());
                }
                Ok(Some(Incoming::Closed)) | Err(_) => self.session = None,
                Ok(Some(_)) => {}
            }
        }
    }
}
