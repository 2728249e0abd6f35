//! The process that stays with one container: `sampan-runtime monitor`.
//!
//! One thread, one poll loop, no blocking call on a peer. Everything it must not lose is in files: the exit code in
//! `exit.json`, the output in the log; everything it holds is named (pipes, lock, cgroup), so that after its death
//! another monitor can go on with the container.

mod adopt;
mod creator;
mod end;
mod exits;
mod home;
mod input;
mod jobs;
mod ops;
mod output;
mod poller;
mod restart;
mod run;
mod session;
mod start;

use std::ffi::OsString;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use fault::Fault;
use linux::signals::SignalFd;
use linux::{PidFd, SeqSocket};
use logs::Timestamp;
use rustix::process::Pid;

use self::creator::Creator;
use self::poller::Poller;
use self::session::{Session, SessionId};
use crate::exit::{Exit, Phase, Status};
use crate::protocol::{Event, Failure, MAX_PACKET, Op};
use crate::task::Task;
use crate::{Error, Result, files};

/// What the command line of `monitor` says.
#[derive(Debug, Default)]
struct Options {
    data: PathBuf,
    run: PathBuf,
    session: bool,
    adopt: bool,
    early: bool,
    network: bool,
}

/// Runs a monitor to its end. `args` are those behind `monitor`:
/// `--data DIR --run DIR [--session-fd 0] [--adopt] [--early] [--network]`, the two directories being the container's own.
///
/// With `--session-fd 0` the standard input is the first session's socket, and errors are told there.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    // What the caller of our caller had open, a pipe that somebody reads to its end perhaps, is nothing to stay with.
    if let Err(error) = linux::descriptor::close_from(3) {
        return tell(None, &error.into());
    }
    let options = match parse(args) {
        Ok(options) => options,
        Err(error) => return tell(None, &error),
    };
    let session = match options.session.then(home::take_session).transpose() {
        Ok(session) => session,
        Err(error) => return tell(None, &error),
    };
    // All that needs no container comes before the wait for one.
    let settled = match home::settle(options.network) {
        Ok(settled) => settled,
        Err(error) => return tell(session, &error),
    };
    if options.early && !session.as_ref().is_some_and(home::is_spoken_to) {
        // Whoever was making the container has given it up.
        return ExitCode::SUCCESS;
    }
    match Monitor::new(&options, settled) {
        Ok(mut monitor) => {
            let ended = monitor.begin(session, options.adopt).and_then(|()| monitor.run());
            // The container lives on without us, and the next engine call adopts it.
            if ended.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => tell(session, &error),
    }
}

fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Options> {
    let mut options = Options::default();
    let mut args = args.into_iter();
    while let Some(arg) = args.next() {
        let mut value =
            || args.next().ok_or_else(|| Error::Usage(format!("{} needs a value", arg.display())));
        match arg.to_str() {
            Some("--data") => options.data = value()?.into(),
            Some("--run") => options.run = value()?.into(),
            Some("--session-fd") if value()? == "0" => options.session = true,
            Some("--session-fd") => return Err(Error::Usage("--session-fd can only be 0".into())),
            Some("--adopt") => options.adopt = true,
            Some("--early") => options.early = true,
            Some("--network") => options.network = true,
            _ => return Err(Error::Usage(format!("unknown argument {}", arg.display()))),
        }
    }
    if options.data.is_absolute() && options.run.is_absolute() {
        Ok(options)
    } else {
        Err(Error::Usage("--data and --run must be absolute directories".into()))
    }
}

/// Reports an error where somebody may see it, once: on the session, else on standard error.
fn tell(session: Option<SeqSocket>, error: &Error) -> ExitCode {
    match session {
        Some(session) => {
            let event = Event::Error { op: Op::Unknown, failure: Failure::of(error) };
            if let Ok(text) = serde_json::to_vec(&event) {
                // A client that is gone needs no answer.
                let _ = session.send(&[&[crate::protocol::JSON], &text[..]].concat(), &[]);
            }
        }
        None => {
            use std::io::Write;
            let _ = writeln!(std::io::stderr(), "sampan-runtime: {}", fault::Report(error as &dyn Fault));
        }
    }
    ExitCode::FAILURE
}

/// The container's program as long as it runs.
#[derive(Debug)]
struct Running {
    pid: Pid,
    pidfd: PidFd,
    started: Timestamp,
    since: Instant,
    /// The terminal's master.
    terminal: Option<OwnedFd>,
    /// Taken over from a dead monitor, so it is not our child.
    adopted: bool,
}

/// An exec's program as long as it runs.
#[derive(Debug)]
struct Exec {
    pid: Pid,
    pidfd: PidFd,
    session: SessionId,
}

/// Why a program is being stopped, and what then.
#[derive(Debug, Default)]
struct Stopping {
    /// Sessions that are told when it has ended.
    waiting: Vec<SessionId>,
    /// What it is asked with, if it was not asked yet because it was only being started.
    signal: Option<i32>,
    /// When `SIGKILL` follows.
    kill_at: Option<Instant>,
    /// Start again afterwards, for this session.
    restart: Option<SessionId>,
}

/// One container's monitor.
#[derive(Debug)]
struct Monitor {
    task: Task,
    data: PathBuf,
    run: PathBuf,
    /// Held as long as this monitor speaks for the container.
    lock: Option<File>,
    poller: Poller,
    listener: Option<OwnedFd>,
    signals: SignalFd,
    /// Our own `oom_score_adj` before it was lowered; what we start gets it back.
    oom_score: Option<i32>,
    /// The cgroup hierarchies as they were when this monitor began.
    host: Option<cgroup::Host>,
    /// A network namespace for the first start.
    network: Option<OwnedFd>,
    /// Room for one packet; nothing lives in it between two calls.
    scratch: Vec<u8>,
    next_id: u64,
    sessions: Vec<Session>,
    creators: Vec<Creator>,
    execs: Vec<Exec>,
    phase: Phase,
    running: Option<Running>,
    output: output::Output,
    input: input::Input,
    size: Option<(u16, u16)>,
    /// Sessions that asked for a start which was under way already: its outcome is theirs, too.
    also_starting: Vec<SessionId>,
    /// Why the start failed, until those sessions are told.
    failed_start: Option<Failure>,
    stopping: Option<Stopping>,
    stopped_by_user: bool,
    restart_count: u32,
    backoff: restart::Backoff,
    restart_at: Option<Instant>,
    armed_until: Option<Instant>,
    rest_at: Option<Instant>,
    last_exit: Option<Exit>,
    /// Lost log bytes as `status.json` last told them, and when.
    published_dropped: (u64, Instant),
    /// Nothing is left to do but to send what waits.
    leaving: bool,
}

impl Monitor {
    /// Becomes the container's monitor: reads the task and takes the lock.
    fn new(options: &Options, settled: home::Settled) -> Result<Self> {
        let id = options.run.file_name().unwrap_or_default().to_string_lossy();
        let lock = files::lock(&options.run, &id)?;
        // Only under the lock: who removes the container has it, too.
        let task: Task = match files::read_json(&options.data.join(files::TASK)) {
            Ok(task) => task,
            Err(error) => {
                if !options.data.exists() {
                    files::clear(&options.run);
                }
                return Err(error);
            }
        };
        let last_exit = files::read_json(&options.data.join(files::EXIT)).ok();
        Ok(Self {
            task,
            data: options.data.clone(),
            run: options.run.clone(),
            lock: Some(lock),
            poller: Poller::new()?,
            listener: None,
            signals: settled.signals,
            oom_score: settled.oom_score,
            host: settled.host,
            network: settled.network,
            scratch: vec![0; MAX_PACKET],
            next_id: 0,
            sessions: Vec::new(),
            creators: Vec::new(),
            execs: Vec::new(),
            phase: Phase::Armed,
            running: None,
            output: output::Output::default(),
            input: input::Input::default(),
            size: None,
            also_starting: Vec::new(),
            failed_start: None,
            stopping: None,
            stopped_by_user: false,
            restart_count: 0,
            backoff: restart::Backoff::default(),
            restart_at: None,
            armed_until: None,
            rest_at: None,
            last_exit,
            published_dropped: (0, Instant::now()),
            leaving: false,
        })
    }

    /// Opens for clients, and takes over a running container if that was asked for.
    fn begin(&mut self, session: Option<SeqSocket>, adopt: bool) -> Result<()> {
        use rustix::event::epoll::EventFlags;
        let listener = home::listen(&self.run)?;
        self.poller.add(&listener, poller::Token::Listener, EventFlags::IN)?;
        self.listener = Some(listener);
        self.poller.add(&self.signals, poller::Token::Signals, EventFlags::IN)?;
        if let Some(session) = session {
            self.add_session(session);
        }
        if adopt {
            self.adopt();
        }
        Ok(())
    }

    fn add_session(&mut self, socket: SeqSocket) -> Option<SessionId> {
        let id = self.new_id();
        let session = Session::new(id, socket, &self.poller).ok()?;
        self.sessions.push(session);
        Some(id)
    }

    fn new_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    fn session(&mut self, id: SessionId) -> Option<&mut Session> {
        self.sessions.iter_mut().find(|session| session.id == id)
    }

    /// Tells one session, if it is still there.
    fn tell(&mut self, id: SessionId, event: &Event) {
        if let Some(session) = self.session(id) {
            session.event(event);
        }
    }

    fn fail(&mut self, id: SessionId, op: Op, failure: Failure) {
        self.tell(id, &Event::Error { op, failure });
    }

    fn status(&self) -> Status {
        let running = self.running.as_ref();
        Status {
            phase: self.phase,
            pid: running.map_or(0, |running| running.pid.as_raw_nonzero().get()),
            started_at: match (running, &self.last_exit) {
                (Some(running), _) => running.started.to_string(),
                (None, Some(exit)) => exit.started_at.clone(),
                (None, None) => String::new(),
            },
            restart_count: self.restart_count,
            last_exit: self.last_exit.clone(),
            stopped_by_user: self.stopped_by_user,
            monitor: rustix::process::getpid().as_raw_nonzero().get(),
            log_dropped: self.log_dropped(),
        }
    }

    fn log_dropped(&self) -> u64 {
        self.output.log.as_ref().map_or(0, logs::LogWriter::dropped)
    }

    /// Puts the phase where `ps` sees it.
    fn enter(&mut self, phase: Phase) {
        self.phase = phase;
        self.publish();
    }

    /// Writes `status.json`, for `ps` and for the monitor that would have to take over. What cannot be written there can
    /// still be asked for.
    fn publish(&self) {
        if self.lock.is_some() {
            let _ = files::write_json(&self.run, files::STATUS, &self.status(), false);
        }
    }

    fn log_dir(&self) -> PathBuf {
        self.data.join("log")
    }
}
