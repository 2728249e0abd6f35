//! From `start`, or the end of a restart's pause, to a running program.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Instant;

use linux::PidFd;
use logs::{LogWriter, Timestamp};
use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::process::Pid;

use super::creator::{Outcome, Purpose};
use super::jobs::{ContainerJob, container};
use super::session::SessionId;
use super::{Monitor, Running};
use crate::exit::{Exit, Phase};
use crate::protocol::{Event, Failure};
use crate::task::LogDriver;
use crate::{Error, Result, files};

/// Both ends of what a run without a terminal reads and writes.
struct Pipes {
    /// The container's ends.
    container: [OwnedFd; 3],
    stdin: Option<OwnedFd>,
    stdout: OwnedFd,
    stderr: OwnedFd,
}

impl Monitor {
    /// Starts the container; the outcome is told later, see [`Monitor::container_made`].
    pub(super) fn start(&mut self, session: Option<SessionId>, explain: bool) {
        self.stopped_by_user = false;
        self.enter_quietly(Phase::Starting);
        // The state of an earlier run would hide that this one is only half made, if this monitor were killed now.
        files::remove_all(&self.run, &[files::STATE]);
        if let Err(error) = self.try_start(session, explain) {
            self.start_failed(session, Failure::of(&error));
        }
    }

    /// Writes down the end that nobody would be left to write: the host's. The real one takes its place.
    fn expect_the_worst(&self, started: Timestamp) {
        self.record(&Exit {
            exit_code: 255,
            error: Some("the host went down while it was running".into()),
            started_at: started.to_string(),
            restart_count: self.restart_count,
            ..Exit::default()
        });
    }

    fn try_start(&mut self, session: Option<SessionId>, explain: bool) -> Result<()> {
        if let Some(overlay) = &self.task.overlay {
            match std::fs::create_dir(&overlay.mount_at) {
                Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
                    return Err(Error::file("make", &overlay.mount_at)(error));
                }
                _ => {}
            }
        }
        if self.output.log.is_none() && self.task.log.driver == LogDriver::JsonFile {
            let (size, files) = (self.task.log.max_size, self.task.log.max_file);
            self.output.log = Some(LogWriter::open(&self.log_dir(), size, files)?);
        }
        let size = self.size;
        let purpose = Purpose::Container(session);
        // The creator's from the fork on, and init's until it is the user's program.
        let making = files::mark_making(&self.run)?;
        let network = self.network.take();
        let copy = |fd: &OwnedFd| fd.try_clone().map_err(|error| Failure::of(&error));
        if self.task.tty {
            let keep: Vec<_> = network.iter().chain([&making]).collect();
            return self.create(purpose, &keep, |monitor, socket| {
                let network = network.as_ref().map(copy).transpose()?;
                let stdio = runtime::Stdio::Terminal;
                container(monitor, socket, ContainerJob { stdio, explain, size, network })
            });
        }
        let Pipes { container: ends, stdin, stdout, stderr } = self.make_pipes()?;
        let [input, output, errput] = ends;
        let keep: Vec<_> = network.iter().chain([&input, &output, &errput, &making]).collect();
        self.create(purpose, &keep, |monitor, socket| {
            let network = network.as_ref().map(copy).transpose()?;
            let stdio =
                runtime::Stdio::Fds { stdin: copy(&input)?, stdout: copy(&output)?, stderr: copy(&errput)? };
            container(monitor, socket, ContainerJob { stdio, explain, size, network })
        })?;
        // Our copies of the container's ends close here, so that its end is seen.
        drop((input, output, errput));
        if let Some(stdin) = stdin {
            self.input.begin(stdin, &self.poller);
        }
        self.output.prepare(stdout, Some(stderr));
        Ok(())
    }

    /// Makes the three pipes anew. The container holds its outputs for reading and writing, so that it never meets a
    /// pipe without a reader, and its input for reading only, so that it sees the end.
    fn make_pipes(&self) -> Result<Pipes> {
        files::remove_all(&self.run, &files::PIPES);
        let [stdin, stdout, stderr] = files::PIPES.map(|name| self.run.join(name));
        for path in [&stdout, &stderr] {
            make_pipe(path)?;
        }
        // The writing ends first: without them the reading ends would see an end at once.
        let output = open(&stdout, OFlags::RDWR)?;
        let errput = open(&stderr, OFlags::RDWR)?;
        let (input, to_input) = if self.task.open_stdin {
            make_pipe(&stdin)?;
            // Opening for reading would wait for a writer, and for writing fail without a reader.
            let reading = open(&stdin, OFlags::RDONLY | OFlags::NONBLOCK)?;
            let writing = open(&stdin, OFlags::WRONLY | OFlags::NONBLOCK)?;
            rustix::fs::fcntl_setfl(&reading, OFlags::empty()).map_err(on("fcntl", &stdin))?;
            (reading, Some(writing))
        } else {
            (open(Path::new("/dev/null"), OFlags::RDONLY)?, None)
        };
        Ok(Pipes {
            container: [input, output, errput],
            stdin: to_input,
            stdout: open(&stdout, OFlags::RDONLY | OFlags::NONBLOCK)?,
            stderr: open(&stderr, OFlags::RDONLY | OFlags::NONBLOCK)?,
        })
    }

    /// The creator has reported.
    pub(super) fn container_made(&mut self, session: Option<SessionId>, outcome: Outcome) {
        let (made, terminal) = match outcome {
            Outcome::Made(made, terminal) => (made, terminal),
            Outcome::Failed(failure) => return self.start_failed(session, failure),
        };
        let opened = Pid::from_raw(made.pid)
            .ok_or_else(|| linux::Error::new("pidfd_open", Errno::SRCH))
            .and_then(|pid| PidFd::open(pid).map(|pidfd| (pid, pidfd)));
        let (pid, pidfd) = match opened {
            Ok(opened) => opened,
            Err(error) => return self.start_failed(session, Failure::of(&Error::from(error))),
        };
        if let Some(terminal) = &terminal
            && let Err(error) = self.begin_terminal(terminal)
        {
            let _ = pidfd.kill();
            return self.start_failed(session, Failure::of(&error));
        }
        let started = Timestamp::now();
        self.running = Some(Running { pid, pidfd, started, since: Instant::now(), terminal, adopted: false });
        self.enter(Phase::Running);
        let event =
            Event::Started { pid: made.pid, started_at: started.to_string(), warnings: made.warnings };
        for session in session.into_iter().chain(std::mem::take(&mut self.also_starting)) {
            self.tell(session, &event);
        }
        self.expect_the_worst(started);
        self.resume_stop();
    }

    fn begin_terminal(&mut self, terminal: &OwnedFd) -> Result<()> {
        let copy = || terminal.try_clone().map_err(Error::file("dup", "terminal"));
        rustix::io::ioctl_fionbio(terminal, true).map_err(|errno| linux::Error::new("FIONBIO", errno))?;
        if self.task.open_stdin {
            self.input.begin(copy()?, &self.poller);
        }
        self.output.prepare(copy()?, None);
        Ok(())
    }

    /// The program never ran.
    fn start_failed(&mut self, session: Option<SessionId>, failure: Failure) {
        let exit = self.failed_exit(&failure, session.is_some());
        self.also_starting.extend(session);
        self.failed_start = Some(failure);
        self.ended(exit);
    }

    /// Changes the phase without telling `ps`: the next phase follows within milliseconds.
    pub(super) fn enter_quietly(&mut self, phase: Phase) {
        self.phase = phase;
    }
}

fn on(call: &'static str, path: &Path) -> impl FnOnce(Errno) -> Error {
    let path = path.display().to_string();
    move |errno| linux::Error::on(call, path, errno).into()
}

fn make_pipe(path: &Path) -> Result<()> {
    rustix::fs::mkfifoat(CWD, path, Mode::RUSR | Mode::WUSR).map_err(on("mkfifoat", path))
}

pub(super) fn open(path: &Path, flags: OFlags) -> Result<OwnedFd> {
    rustix::fs::open(path, flags | OFlags::CLOEXEC, Mode::empty()).map_err(on("open", path))
}
