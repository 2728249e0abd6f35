//! How the monitor settles in: away from its caller's session, cgroup and memory pressure.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use linux::descriptor::{StdStream, redirect};
use linux::signals::{SignalFd, SignalSet, set_mask};
use linux::{Namespaces, SeqSocket};
use rustix::fs::{Mode, OFlags};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use crate::{Error, Result, files};

/// `SIGCHLD`; the number is the same on every architecture we serve.
const SIGCHLD: i32 = 17;
/// As low as a monitor's score is set; the container gets the old value back.
const OOM_SCORE: i32 = -999;
/// Connections that may wait.
const BACKLOG: i32 = 64;

/// Takes the session that came as standard input, and puts the (null) standard output in its place.
pub(super) fn take_session() -> Result<SeqSocket> {
    let session = std::io::stdin().as_fd().try_clone_to_owned().map_err(Error::file("dup", "stdin"))?;
    redirect(std::io::stdout().as_fd(), StdStream::Stdin)?;
    Ok(SeqSocket::from(session))
}

/// Waits for the first request, and leaves it there; false when the session ends without one.
pub(super) fn is_spoken_to(session: &SeqSocket) -> bool {
    let mut byte = [0u8; 1];
    let peek = || rustix::net::recv(session.as_fd(), &mut byte, rustix::net::RecvFlags::PEEK);
    rustix::io::retry_on_intr(peek).is_ok_and(|(_, length)| length > 0)
}

/// What a monitor has before it looks at its container.
pub(super) struct Settled {
    /// The old `oom_score_adj` if it was changed.
    pub(super) oom_score: Option<i32>,
    /// Ended children.
    pub(super) signals: SignalFd,
    pub(super) host: Option<cgroup::Host>,
    pub(super) network: Option<OwnedFd>,
}

/// Leaves the caller's session, directory and, where it would be killed with it, cgroup; adopts orphans; makes a network
/// namespace if one is wanted. Only the signals are needed for the container to work, so only they can fail.
pub(super) fn settle(network: bool) -> Result<Settled> {
    // EPERM: it leads a session already.
    let _ = rustix::process::setsid();
    let _ = std::env::set_current_dir("/");
    let _ = rustix::process::set_child_subreaper(Some(rustix::process::getpid()));
    let host = cgroup::Host::probe().ok();
    leave_cgroup(host.as_ref());
    let oom_score = lower_oom_score();
    let signals = child_signals()?;
    let network = network.then(|| linux::make_empty(Namespaces::NET).ok()).flatten();
    Ok(Settled { oom_score, signals, host, network })
}

fn lower_oom_score() -> Option<i32> {
    let path = "/proc/self/oom_score_adj";
    let old = std::fs::read_to_string(path).ok()?.trim().parse().ok()?;
    // Without CAP_SYS_RESOURCE the kernel refuses.
    std::fs::write(path, OOM_SCORE.to_string()).ok()?;
    Some(old)
}

/// Gives a forked child the score that the monitor itself began with.
pub(super) fn restore_oom_score(old: Option<i32>) {
    if let Some(old) = old {
        let _ = std::fs::write("/proc/self/oom_score_adj", old.to_string());
    }
}

/// systemd kills what is left in a unit's or a login session's cgroup; so the monitor moves to one of its own, in the
/// hierarchy that systemd manages. In a root cgroup nobody does that.
fn leave_cgroup(host: Option<&cgroup::Host>) {
    let Ok(text) = std::fs::read_to_string("/proc/self/cgroup") else {
        return;
    };
    let managed = text.lines().filter_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        let (name, path) = (parts.next()?, parts.next()?);
        (path != "/" && (name.is_empty() || name == "name=systemd")).then_some(name)
    });
    for name in managed {
        let Some(host) = host else {
            return;
        };
        let hierarchy = host.hierarchies().iter().find(|hierarchy| {
            if name.is_empty() { hierarchy.unified } else { hierarchy.controllers.iter().any(|c| c == name) }
        });
        if let Some(hierarchy) = hierarchy {
            let dir = hierarchy.mount.join("sampan-monitors");
            let _ = std::fs::create_dir(&dir);
            let _ = std::fs::write(dir.join("cgroup.procs"), "0");
        }
    }
}

/// Ended children arrive by descriptor.
fn child_signals() -> Result<SignalFd> {
    let set = SignalSet::EMPTY.with(SIGCHLD);
    set_mask(set)?;
    Ok(SignalFd::new(set)?)
}

/// Binds `ctl.sock`, through a descriptor of its directory: a socket's path has room for 108 bytes only.
pub(super) fn listen(run: &Path) -> Result<OwnedFd> {
    let on = |call| move |errno| Error::from(linux::Error::on(call, run.display().to_string(), errno));
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let dir = rustix::fs::open(run, flags, Mode::empty()).map_err(on("open"))?;
    // A dead monitor's; we hold the lock.
    let _ = rustix::fs::unlinkat(&dir, files::SOCKET, rustix::fs::AtFlags::empty());
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)
        .map_err(on("socket"))?;
    // The name gets the socket's own mode.
    rustix::fs::fchmod(&socket, Mode::RUSR | Mode::WUSR).map_err(on("fchmod"))?;
    let address = SocketAddrUnix::new(files::in_dir(&dir, files::SOCKET)).map_err(on("sockaddr_un"))?;
    rustix::net::bind(&socket, &address).map_err(on("bind"))?;
    rustix::net::listen(&socket, BACKLOG).map_err(on("listen"))?;
    Ok(socket)
}
