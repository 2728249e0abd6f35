//! Message sockets that keep record boundaries and carry descriptors.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
};

use crate::{Error, Result};

/// The most descriptors that travel with one message here: more than cgroup v1 has hierarchies.
pub const MAX_FDS: usize = 32;

/// A connected `SOCK_SEQPACKET` Unix socket: one `send` is one `recv`, with descriptors (`SCM_RIGHTS`).
#[derive(Debug)]
pub struct SeqSocket(OwnedFd);

/// One received message.
#[derive(Debug)]
pub struct Received {
    /// How many bytes of the buffer it filled.
    pub len: usize,
    /// The descriptors that came with it, close-on-exec.
    pub fds: Vec<OwnedFd>,
}

impl SeqSocket {
    /// A connected pair, close-on-exec, blocking.
    ///
    /// # Errors
    /// `EMFILE` and the like.
    pub fn pair() -> Result<(Self, Self)> {
        rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
            .map(|(a, b)| (Self(a), Self(b)))
            .map_err(|errno| Error::new("socketpair", errno))
    }

    /// Sends one message with descriptors. `EINTR` is retried; a peer that is gone raises no `SIGPIPE`.
    ///
    /// # Errors
    /// `EPIPE` when the peer is gone, `EMSGSIZE` when it is larger than the socket's buffer, `EAGAIN` on a full
    /// non-blocking socket, `E2BIG` for more than [`MAX_FDS`] descriptors.
    pub fn send(&self, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> Result<()> {
        self.send_parts(&[IoSlice::new(bytes)], fds)
    }

    /// As [`SeqSocket::send`], gathering the message from parts.
    ///
    /// # Errors
    /// As [`SeqSocket::send`].
    pub fn send_parts(&self, parts: &[IoSlice<'_>], fds: &[BorrowedFd<'_>]) -> Result<()> {
        if fds.len() > MAX_FDS {
            return Err(Error::new("sendmsg", Errno::TOOBIG));
        }
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
        loop {
            let mut control = SendAncillaryBuffer::new(&mut space);
            if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
                return Err(Error::new("sendmsg", Errno::TOOBIG));
            }
            match rustix::net::sendmsg(&self.0, parts, &mut control, SendFlags::NOSIGNAL) {
                Ok(_) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(Error::new("sendmsg", errno)),
            }
        }
    }

    /// Receives one message; `None` when the peer has closed.
    ///
    /// # Errors
    /// `EMSGSIZE` when the message was larger than `buffer` or brought more than [`MAX_FDS`] descriptors (it is lost
    /// then), `EAGAIN` when there is none on a non-blocking socket. A peer that closed with something unread counts as
    /// one that has simply closed: what it had sent before still arrives.
    pub fn recv(&self, buffer: &mut [u8]) -> Result<Option<Received>> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut was_reset = false;
        let message = loop {
            let mut parts = [IoSliceMut::new(buffer)];
            match rustix::net::recvmsg(&self.0, &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC) {
                Ok(message) => break message,
                Err(Errno::INTR) => {}
                // The kernel reports it once, before what is in the queue (`sock_error` in `__skb_try_recv_datagram`).
                Err(Errno::CONNRESET) if !was_reset => was_reset = true,
                Err(Errno::CONNRESET) => return Ok(None),
                Err(errno) => return Err(Error::new("recvmsg", errno)),
            }
        };
        let mut fds = Vec::new();
        for part in control.drain() {
            if let RecvAncillaryMessage::ScmRights(received) = part {
                fds.extend(received);
            }
        }
        if message.flags.intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC) {
            return Err(Error::new("recvmsg", Errno::MSGSIZE));
        }
        if message.bytes == 0 && fds.is_empty() {
            return Ok(None);
        }
        Ok(Some(Received { len: message.bytes, fds }))
    }

    /// Waits until a message or the peer's end is there.
    ///
    /// Returns whether it is; `false` after the timeout.
    ///
    /// # Errors
    /// The errno of `poll`.
    pub fn wait(&self, timeout: Option<std::time::Duration>) -> Result<bool> {
        let mut fds = [rustix::event::PollFd::new(&self.0, rustix::event::PollFlags::IN)];
        let timeout = timeout.map(|t| rustix::event::Timespec {
            tv_sec: i64::try_from(t.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: t.subsec_nanos().into(),
        });
        loop {
            match rustix::event::poll(&mut fds, timeout.as_ref()) {
                Ok(n) => return Ok(n > 0),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(Error::new("poll", errno)),
            }
        }
    }

    /// Switches between blocking and non-blocking.
    ///
    /// # Errors
    /// The errno of `ioctl(FIONBIO)`.
    pub fn set_nonblocking(&self, on: bool) -> Result<()> {
        rustix::io::ioctl_fionbio(&self.0, on).map_err(|errno| Error::new("ioctl(FIONBIO)", errno))
    }
}

impl AsFd for SeqSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl From<OwnedFd> for SeqSocket {
    /// Takes over a connected `SOCK_SEQPACKET` socket, e.g. one that `accept` returned.
    fn from(fd: OwnedFd) -> Self {
        Self(fd)
    }
}

impl From<SeqSocket> for OwnedFd {
    fn from(socket: SeqSocket) -> Self {
        socket.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_and_descriptors_arrive_as_sent() {
        let (a, b) = SeqSocket::pair().unwrap();
        let file = std::fs::File::open("/etc/passwd").unwrap();
        a.send(b"one", &[file.as_fd(), file.as_fd()]).unwrap();
        a.send(b"second", &[]).unwrap();
        let mut buffer = [0; 16];
        let got = b.recv(&mut buffer).unwrap().unwrap();
        assert_eq!((&buffer[..got.len], got.fds.len()), (&b"one"[..], 2));
        assert_eq!(rustix::fs::fstat(&got.fds[0]).unwrap().st_ino, rustix::fs::fstat(&file).unwrap().st_ino);
        assert!(rustix::io::fcntl_getfd(&got.fds[0]).unwrap().contains(rustix::io::FdFlags::CLOEXEC));
        let got = b.recv(&mut buffer).unwrap().unwrap();
        assert_eq!(&buffer[..got.len], b"second");
        assert!(!b.wait(Some(std::time::Duration::ZERO)).unwrap());
        drop(a);
        assert!(b.wait(None).unwrap());
        assert!(b.recv(&mut buffer).unwrap().is_none());
        assert_eq!(b.send(b"x", &[]).unwrap_err().errno, Errno::PIPE);
    }

    #[test]
    fn what_a_peer_sent_arrives_although_it_left_something_unread() {
        let (a, b) = SeqSocket::pair().unwrap();
        a.send(b"never read", &[]).unwrap();
        b.send(b"last words", &[]).unwrap();
        drop(b);
        let mut buffer = [0; 16];
        let got = a.recv(&mut buffer).unwrap().unwrap();
        assert_eq!(&buffer[..got.len], b"last words");
        assert!(a.recv(&mut buffer).unwrap().is_none());
    }

    #[test]
    fn too_large_messages_are_errors_not_truncated() {
        let (a, b) = SeqSocket::pair().unwrap();
        a.send(&[7; 100], &[]).unwrap();
        assert_eq!(b.recv(&mut [0; 10]).unwrap_err().errno, Errno::MSGSIZE);
        b.set_nonblocking(true).unwrap();
        assert_eq!(b.recv(&mut [0; 10]).unwrap_err().errno, Errno::AGAIN);
        let file = std::fs::File::open("/").unwrap();
        let many = vec![file.as_fd(); MAX_FDS + 1];
        assert_eq!(a.send(b"x", &many).unwrap_err().errno, Errno::TOOBIG);
    }
}
