//! `exec`: another program in a running container.

use std::os::fd::{BorrowedFd, OwnedFd};

use monitor::{Error, Event, Incoming, Request, Result, Session};
use rustix::io::Errno;
use rustix::process::Signal;
use rustix::termios::Winsize;

use super::streams::{Input, Output};
use super::{End, Ended, Signals, Slot, Waiting};
use crate::terminal::{self, DetachKeys, Raw};

/// What an exec's session works with.
#[derive(Debug)]
pub(crate) struct ExecStreams<'a> {
    /// Its program has a terminal; without one it has our streams themselves, and nothing is copied.
    pub(crate) tty: bool,
    /// Our standard input, when it is the program's.
    pub(crate) stdin: Option<BorrowedFd<'a>>,
    /// Our standard output.
    pub(crate) stdout: BorrowedFd<'a>,
    /// The keys that detach.
    pub(crate) detach_keys: DetachKeys,
    /// Without a terminal: signals are the program's.
    pub(crate) sig_proxy: bool,
}

/// Stays with an exec whose request was sent in `session`, and returns its exit code. Everything it had written to its
/// terminal has been copied by then.
///
/// The terminal's master is ours alone: a program that is detached from meets the end of its terminal.
///
/// # Errors
/// [`Error::Kernel`], [`Error::Protocol`]; never that the monitor has ended.
pub(crate) fn exec_session(session: &mut Session, with: ExecStreams<'_>) -> Result<Ended<i32>> {
    let sig_proxy = with.sig_proxy && !with.tty;
    let signals = (with.tty || sig_proxy).then(|| Signals::take(with.tty, sig_proxy)).transpose()?;
    let mut this = Loop {
        input: Input::new(with.stdin.filter(|_| with.tty), Some(with.detach_keys.clone())),
        out: Output::new(with.stdout),
        master: None,
        drained: true,
        raw: None,
        early: Vec::new(),
        started: false,
        end: None,
        with,
    };
    match this.run(session, signals.as_ref()) {
        Err(Error::Gone) => this.end = Some(End::Gone),
        other => other?,
    }
    Ok(Ended { end: this.end.unwrap_or(End::Gone), write_error: this.out.error() })
}

struct Loop<'a> {
    with: ExecStreams<'a>,
    input: Input<'a>,
    out: Output<'a>,
    /// The terminal's master, from the start on.
    master: Option<OwnedFd>,
    /// Nothing more will come from it.
    drained: bool,
    raw: Option<Raw<'a>>,
    /// Signals that came before there was a program.
    early: Vec<i32>,
    started: bool,
    end: Option<End<i32>>,
}

impl Loop<'_> {
    fn run(&mut self, session: &mut Session, signals: Option<&Signals>) -> Result<()> {
        loop {
            let (idle, going) = (self.out.is_idle(), self.end.is_none());
            if !going && idle {
                self.read_master();
            }
            let idle = self.out.is_idle();
            if !going && idle && (self.drained || !matches!(self.end, Some(End::Exited(_)))) {
                return Ok(());
            }
            let mut waiting = Waiting::default();
            if let Some(signals) = signals {
                waiting.on(Slot::Signals, signals, true, false);
            }
            waiting.on(Slot::Session, session, going, false);
            if let Some(master) = &self.master {
                let write = going && self.input.is_pending();
                waiting.on(Slot::Master, master, idle && !self.drained, write);
                if let Some(stdin) = self.input.wanted() {
                    waiting.on(Slot::Stdin, stdin, going, false);
                }
            }
            waiting.on(Slot::Stdout, &self.out, false, !idle);
            let ready = waiting.wait()?;

            if ready.readable(Slot::Signals) && self.take_signals(session, signals)? {
                return Ok(());
            }
            if ready.writable(Slot::Stdout) {
                self.out.flush();
            }
            if ready.readable(Slot::Stdin) {
                let detach = self.input.read();
                self.send_input();
                if detach {
                    self.end = Some(End::Detached);
                }
            } else if ready.writable(Slot::Master) {
                self.send_input();
            }
            if ready.readable(Slot::Master) {
                self.read_master();
            }
            if going && ready.readable(Slot::Session) {
                self.receive(session)?;
            }
        }
    }

    /// Handles what signals there are; `true` when the session ends here and now.
    fn take_signals(&mut self, session: &Session, signals: Option<&Signals>) -> Result<bool> {
        while let Some(signal) = signals.map_or(Ok(None), Signals::next)? {
            if self.end.is_some() {
                return Ok(true);
            }
            if self.with.tty && signal == Signal::WINCH.as_raw() {
                self.resize();
            } else if self.with.tty {
                self.end = Some(End::Signalled(signal));
                return Ok(true);
            } else if self.started {
                session.send(&Request::ExecSignal { signal }, &[])?;
            } else {
                self.early.push(signal);
            }
        }
        Ok(false)
    }

    fn resize(&self) {
        let size = terminal::size(self.with.stdout).or_else(|| terminal::size(self.with.stdin?));
        if let (Some(master), Some((ws_row, ws_col))) = (&self.master, size) {
            // A terminal whose program has just ended has no size to set.
            let size = Winsize { ws_row, ws_col, ws_xpixel: 0, ws_ypixel: 0 };
            let _ = rustix::termios::tcsetwinsize(master, size);
        }
    }

    fn receive(&mut self, session: &mut Session) -> Result<()> {
        while self.end.is_none() {
            match session.try_next()? {
                None => break,
                Some(Incoming::Closed) => self.end = Some(End::Gone),
                Some(Incoming::Event(Event::ExecStarted { .. }, fds)) => self.start(session, fds)?,
                Some(Incoming::Event(Event::ExecExited { exit_code }, _)) => {
                    self.end = Some(End::Exited(exit_code));
                }
                Some(Incoming::Event(Event::Error { op: monitor::Op::ExecSignal, .. }, _)) => {}
                Some(Incoming::Event(Event::Error { op, failure }, _)) => {
                    self.end = Some(End::Failed(op, failure));
                }
                // Answers, and output that was not asked for.
                Some(_) => {}
            }
        }
        Ok(())
    }

    fn start(&mut self, session: &Session, fds: Vec<OwnedFd>) -> Result<()> {
        self.started = true;
        for signal in std::mem::take(&mut self.early) {
            session.send(&Request::ExecSignal { signal }, &[])?;
        }
        let Some(master) = fds.into_iter().next().filter(|_| self.with.tty) else {
            return Ok(());
        };
        rustix::io::ioctl_fionbio(&master, true)
            .map_err(|errno| linux::Error::new("ioctl(FIONBIO)", errno))?;
        self.master = Some(master);
        self.drained = false;
        // It may have changed since the request was made.
        self.resize();
        if let Some(stdin) = self.with.stdin {
            self.raw = Raw::enter(stdin)?;
        }
        Ok(())
    }

    fn send_input(&mut self) {
        let Some(master) = &self.master else { return };
        if self.input.must_end() {
            // A terminal has no end of input; who wants to tell one types ctrl-d.
            return self.input.close();
        }
        if !self.input.is_pending() {
            return;
        }
        match rustix::io::write(master, self.input.unsent()) {
            Ok(count) => self.input.consume(count),
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(_) => self.input.close(),
        }
    }

    /// Copies what the terminal has, as long as our own output keeps up. The program's end comes after its last output
    /// is in the terminal, so then an empty terminal stays empty, whoever else still has it open.
    fn read_master(&mut self) {
        let Some(master) = self.master.as_ref().filter(|_| !self.drained) else { return };
        let mut buffer = [0; 16 * 1024];
        while self.out.is_idle() {
            match rustix::io::read(master, &mut buffer) {
                Ok(count @ 1..) => self.out.take(&buffer[..count]),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) if self.end.is_none() => return,
                // Nobody has the terminal open any more (EIO), or the program has ended.
                Ok(_) | Err(_) => {
                    self.drained = true;
                    return;
                }
            }
        }
    }
}
