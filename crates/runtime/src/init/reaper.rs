//! `--init`: pid 1 stays the runtime's, starts the user's program as its child, forwards signals and reaps orphans.

use linux::SeqSocket;
use linux::signals::{SignalFd, SignalSet, reset_all, set_mask};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitOptions};

use crate::process::Confined;
use crate::step::{Cause, Failure, Frame, Step, failure, send};

/// Starts the program, stays until it ends and ends with its exit status, 128 + n for a signal. Returns only failures.
pub(super) fn run(confined: Confined<'_, '_, '_>, socket: &SeqSocket) -> Failure {
    match supervise_program(confined, socket) {
        // Descriptors that values here still own are closed by number, so no destructor may run any more.
        Ok(code) => linux::exit_now(code),
        Err(failure) => failure,
    }
}

fn supervise_program(confined: Confined<'_, '_, '_>, socket: &SeqSocket) -> Result<i32, Failure> {
    let failed = |error: linux::Error| failure(Step::Exec("the program under a reaper"), Cause::from(error));
    set_mask(SignalSet::FULL).map_err(failed)?;
    let signals = SignalFd::new(SignalSet::FULL).map_err(failed)?;
    let child = linux::fork(|| {
        // Its own process group, and the terminal's foreground one where there is a terminal.
        let own = rustix::process::setpgid(None, None);
        if own.is_ok() {
            let _ = rustix::termios::tcsetpgrp(std::io::stdin(), rustix::process::getpid());
        }
        let failure = match reset_all() {
            Ok(()) => confined.exec(),
            Err(error) => failed(error),
        };
        let _ = send(socket, &Frame::Failed(failure), &[]);
        127
    })
    .map_err(failed)?;
    // The creator sees the end of the socket when the program has been executed; nothing else of it is needed here.
    let keep = std::os::fd::AsRawFd::as_raw_fd(&std::os::fd::AsFd::as_fd(&signals));
    linux::descriptor::close_all_but(&mut [0, 1, 2, keep]).map_err(failed)?;
    Ok(supervise(child, &signals))
}

fn supervise(child: Pid, signals: &SignalFd) -> i32 {
    loop {
        let mut fds = [rustix::event::PollFd::new(signals, rustix::event::PollFlags::IN)];
        match rustix::event::poll(&mut fds, None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(_) => return 255,
        }
        while let Ok(Some(number)) = signals.next() {
            if number == Signal::CHILD.as_raw() {
                if let Some(code) = reap(child) {
                    return code;
                }
            } else if let Ok(pidfd) = linux::PidFd::open(child) {
                let _ = pidfd.signal(number);
            }
        }
    }
}

/// Reaps everything that has ended; the value is the program's status when it was among them.
fn reap(child: Pid) -> Option<i32> {
    while let Ok(Some((pid, status))) = rustix::process::wait(WaitOptions::NOHANG) {
        if pid == child {
            return Some(match (status.exit_status(), status.terminating_signal()) {
                (Some(code), _) => code,
                (None, Some(signal)) => 128 + signal,
                (None, None) => 255,
            });
        }
    }
    None
}
