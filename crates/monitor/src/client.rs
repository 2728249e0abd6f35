//! The caller's side: starts monitors, finds running ones, talks to them.

use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use linux::SeqSocket;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use crate::protocol::{self, Event, MAX_DATA, MAX_INLINE, MAX_PACKET, Request};
use crate::{Error, Result, files};

/// How long a request may wait for room in the socket before the monitor counts as stuck.
const SEND_PATIENCE: Duration = Duration::from_secs(10);

/// A monitor to start.
#[derive(Clone, Copy, Debug)]
pub struct Spawn<'a> {
    /// The `sampan-runtime` program.
    pub program: &'a Path,
    /// The container's directory under the data root, which holds `task.json` and `config.json`.
    pub data: &'a Path,
    /// The container's directory under the run root; the monitor makes it.
    pub run: &'a Path,
    /// Take over a container whose monitor is dead, instead of waiting for `start`.
    pub adopt: bool,
    /// Look at the container only when the first request comes, and end if none does: the container may be made
    /// meanwhile.
    pub early: bool,
    /// Make a network namespace for it meanwhile.
    pub network: bool,
}

/// Starts a monitor with a session of its own, without waiting for it: requests may be sent at once. When another
/// monitor holds the container's lock, the session's first event is an error of the kind `conflict`, and it closes.
///
/// The child is the caller's to reap; a caller that ends soon can forget it.
///
/// # Errors
/// [`Error::Spawn`], [`Error::Kernel`].
pub fn spawn(spawn: Spawn<'_>) -> Result<(Session, Child)> {
    let (ours, theirs) = SeqSocket::pair()?;
    let mut command = Command::new(spawn.program);
    // Standard input carries the socket: std then needs no code between fork and exec, and uses posix_spawn.
    command
        .arg("monitor")
        .arg("--data")
        .arg(spawn.data)
        .arg("--run")
        .arg(spawn.run)
        .args(["--session-fd", "0"]);
    if spawn.adopt {
        command.arg("--adopt");
    }
    if spawn.early {
        command.arg("--early");
    }
    if spawn.network {
        command.arg("--network");
    }
    command.env_clear().stdin(Stdio::from(OwnedFd::from(theirs))).stdout(Stdio::null()).stderr(Stdio::null());
    let child =
        command.spawn().map_err(|source| Error::Spawn { program: spawn.program.to_path_buf(), source })?;
    Ok((Session::from_socket(ours)?, child))
}

/// Connects to the monitor of the container whose run directory is `run`; `None` when there is none.
///
/// # Errors
/// [`Error::Kernel`] for anything but an absent or dead socket.
pub fn connect(run: &Path) -> Result<Option<Session>> {
    // Through a descriptor of the directory: a socket's path has room for 108 bytes only.
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let dir = match rustix::fs::open(run, flags, Mode::empty()) {
        Ok(dir) => dir,
        Err(Errno::NOENT) => return Ok(None),
        Err(errno) => return Err(linux::Error::on("open", run.display().to_string(), errno).into()),
    };
    let socket =
        rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
            .map_err(|errno| linux::Error::new("socket", errno))?;
    let address = SocketAddrUnix::new(files::in_dir(&dir, files::SOCKET))
        .map_err(|errno| linux::Error::new("sockaddr_un", errno))?;
    match rustix::net::connect(&socket, &address) {
        Ok(()) => Session::from_socket(SeqSocket::from(socket)).map(Some),
        Err(Errno::NOENT | Errno::CONNREFUSED) => Ok(None),
        Err(errno) => Err(linux::Error::on("connect", run.display().to_string(), errno).into()),
    }
}

/// Whether a monitor lives, told by the lock it holds in the run directory `run`.
///
/// # Errors
/// [`Error::File`] when the lock cannot be looked at.
pub fn is_monitored(run: &Path) -> Result<bool> {
    files::is_locked(run)
}

/// Whether the container whose run directory is `run` is being made now, by a creator that may have outlived its
/// monitor. Ask while holding the container's lock: then none begins.
///
/// # Errors
/// [`Error::File`] when that cannot be looked at.
pub fn is_being_made(run: &Path) -> Result<bool> {
    files::is_being_made(run)
}

/// A container's lock, held by somebody who is not its monitor, so that none can begin meanwhile. Dropped, the run
/// directory goes with it.
#[derive(Debug)]
pub struct Hold {
    run: PathBuf,
    #[expect(dead_code, reason = "held for its flock")]
    lock: File,
}

impl Hold {
    /// Takes the lock of the container whose run directory is `run`.
    ///
    /// # Errors
    /// [`Error::Locked`] while a monitor lives; [`Error::File`].
    pub fn take(run: &Path) -> Result<Self> {
        let id = run.file_name().unwrap_or_default().to_string_lossy();
        let lock = files::lock(run, &id)?;
        Ok(Self { run: run.to_owned(), lock })
    }

    /// Gives the lock back and leaves the run directory as it is.
    pub fn release(mut self) {
        self.run = PathBuf::new();
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        if !self.run.as_os_str().is_empty() {
            files::clear(&self.run);
        }
    }
}

/// Something a monitor sent.
#[derive(Debug)]
pub enum Incoming<'a> {
    /// An event, with the descriptors that came along.
    Event(Event, Vec<OwnedFd>),
    /// The container's standard output.
    Stdout(&'a [u8]),
    /// The container's standard error.
    Stderr(&'a [u8]),
    /// The monitor has ended or closed the session; nothing follows.
    Closed,
}

/// A conversation with one monitor. Poll [`Session::as_fd`] for reading, then call [`Session::try_next`] until it has
/// nothing more.
///
/// Packets are handled in order: while the container does not read its input, requests sent after input wait behind it.
/// A client that sends input opens a second session for signals.
#[derive(Debug)]
pub struct Session {
    socket: SeqSocket,
    buffer: Vec<u8>,
}

impl Session {
    /// A conversation over a socket that is connected already: the other end is a monitor, or plays one in a test.
    ///
    /// # Errors
    /// [`Error::Kernel`] when the socket cannot be made non-blocking.
    pub fn from_socket(socket: SeqSocket) -> Result<Self> {
        socket.set_nonblocking(true)?;
        Ok(Self { socket, buffer: Vec::new() })
    }

    /// Sends a request; the descriptors are duplicated into the monitor. An exec's large process document is moved into
    /// a memfd here.
    ///
    /// # Errors
    /// [`Error::Gone`], [`Error::Timeout`] when the monitor takes nothing for 10 seconds.
    pub fn send(&self, request: &Request, fds: &[BorrowedFd<'_>]) -> Result<()> {
        if let Request::Exec { process: Some(document), user, tty, rows, cols } = request
            && document.len() > MAX_INLINE
        {
            let memfd = memfd_of(document.as_bytes())?;
            let small =
                Request::Exec { process: None, user: user.clone(), tty: *tty, rows: *rows, cols: *cols };
            let mut fds = fds.to_vec();
            fds.push(memfd.as_fd());
            return self.send_json(&small, &fds);
        }
        self.send_json(request, fds)
    }

    fn send_json(&self, request: &Request, fds: &[BorrowedFd<'_>]) -> Result<()> {
        let mut packet = vec![protocol::JSON];
        serde_json::to_writer(&mut packet, request).map_err(|error| Error::Protocol(error.to_string()))?;
        let deadline = Instant::now() + SEND_PATIENCE;
        loop {
            match self.socket.send(&packet, fds) {
                Ok(()) => return Ok(()),
                Err(error) if error.errno == Errno::AGAIN => {
                    if !self
                        .wait_for(PollFlags::OUT, Some(deadline.saturating_duration_since(Instant::now())))?
                    {
                        return Err(Error::Timeout);
                    }
                }
                Err(error) => return Err(gone_or(error)),
            }
        }
    }

    /// Sends input to the container, as much as fits now, and returns how many bytes went; 0 means that the socket is
    /// full: poll it for writing. An empty slice is sent as the end of the input and returns 0.
    ///
    /// # Errors
    /// [`Error::Gone`].
    pub fn send_stdin(&self, input: &[u8]) -> Result<usize> {
        let part = &input[..input.len().min(MAX_DATA)];
        let pieces = [std::io::IoSlice::new(&[protocol::INPUT]), std::io::IoSlice::new(part)];
        match self.socket.send_parts(&pieces, &[]) {
            Ok(()) => Ok(part.len()),
            Err(error) if error.errno == Errno::AGAIN && !part.is_empty() => Ok(0),
            Err(error) if error.errno == Errno::AGAIN => {
                self.wait_for(PollFlags::OUT, Some(SEND_PATIENCE))?;
                self.socket.send_parts(&pieces, &[]).map(|()| 0).map_err(gone_or)
            }
            Err(error) => Err(gone_or(error)),
        }
    }

    /// The next thing the monitor sent, if it is there already.
    ///
    /// # Errors
    /// [`Error::Kernel`], [`Error::Protocol`].
    pub fn try_next(&mut self) -> Result<Option<Incoming<'_>>> {
        self.buffer.resize(MAX_PACKET, 0);
        let received = match self.socket.recv(&mut self.buffer) {
            Ok(Some(received)) => received,
            Ok(None) => return Ok(Some(Incoming::Closed)),
            Err(error) if error.errno == Errno::AGAIN => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let Some((kind, rest)) = self.buffer[..received.len].split_first() else {
            return Err(Error::Protocol("an empty packet".into()));
        };
        Ok(Some(match *kind {
            protocol::OUTPUT => Incoming::Stdout(rest),
            protocol::ERRPUT => Incoming::Stderr(rest),
            protocol::JSON => Incoming::Event(
                serde_json::from_slice(rest).map_err(|error| Error::Protocol(error.to_string()))?,
                received.fds,
            ),
            other => return Err(Error::Protocol(format!("a packet of the kind {other:#04x}"))),
        }))
    }

    /// The next thing the monitor sends, waiting for it; without a timeout for ever.
    ///
    /// # Errors
    /// [`Error::Timeout`], and as [`Session::try_next`].
    pub fn next(&mut self, timeout: Option<Duration>) -> Result<Incoming<'_>> {
        if !self.wait_for(PollFlags::IN, timeout)? {
            return Err(Error::Timeout);
        }
        // A readable socket has a packet or its end, and nobody else reads it.
        self.try_next()?.ok_or(Error::Timeout)
    }

    /// The next event; output in between is dropped, the end of the session is [`Error::Gone`].
    ///
    /// # Errors
    /// As [`Session::next`].
    pub fn next_event(&mut self, timeout: Option<Duration>) -> Result<(Event, Vec<OwnedFd>)> {
        let deadline = timeout.map(|timeout| Instant::now() + timeout);
        loop {
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            match self.next(left)? {
                Incoming::Event(event, fds) => return Ok((event, fds)),
                Incoming::Closed => return Err(Error::Gone),
                Incoming::Stdout(_) | Incoming::Stderr(_) => {}
            }
        }
    }

    fn wait_for(&self, events: PollFlags, timeout: Option<Duration>) -> Result<bool> {
        let mut fds = [PollFd::new(&self.socket, events)];
        let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
        loop {
            match poll(&mut fds, timeout.as_ref()) {
                Ok(ready) => return Ok(ready > 0),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(linux::Error::new("poll", errno).into()),
            }
        }
    }
}

impl AsFd for Session {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn gone_or(error: linux::Error) -> Error {
    match error.errno {
        Errno::PIPE | Errno::CONNRESET | Errno::NOTCONN => Error::Gone,
        _ => error.into(),
    }
}

fn memfd_of(bytes: &[u8]) -> Result<OwnedFd> {
    use std::io::Write;
    let memfd = rustix::fs::memfd_create("process", rustix::fs::MemfdFlags::CLOEXEC)
        .map_err(|errno| linux::Error::new("memfd_create", errno))?;
    let mut file = std::fs::File::from(memfd);
    file.write_all(bytes).map_err(Error::file("write", OsStr::new("memfd:process")))?;
    Ok(file.into())
}
