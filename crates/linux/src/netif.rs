//! Network interfaces, as far as no netlink is needed.

use std::os::fd::AsRawFd;

use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};

use crate::syscall::check;
use crate::{Error, Result};

/// Sets the loopback interface of the caller's network namespace up; the kernel gives it its addresses.
///
/// # Errors
/// `EPERM` without `CAP_NET_ADMIN`.
pub fn loopback_up() -> Result<()> {
    let socket = socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)
        .map_err(|errno| Error::new("socket", errno))?;
    // SAFETY: ifreq is a plain struct for which all-zero is valid.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    request.ifr_name[0] = b'l' as libc::c_char;
    request.ifr_name[1] = b'o' as libc::c_char;
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    // SAFETY: SIOCSIFFLAGS reads one ifreq, which `request` is.
    check(unsafe {
        libc::syscall(libc::SYS_ioctl, socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request)
    })
    .map_err(|errno| Error::on("ioctl(SIOCSIFFLAGS)", "lo", errno))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_carries_traffic_in_a_new_namespace() {
        let pid = crate::fork(|| {
            crate::unshare(crate::Namespaces::NET).unwrap();
            assert!(
                std::net::TcpStream::connect_timeout(
                    &"127.0.0.1:1".parse().unwrap(),
                    std::time::Duration::from_secs(1)
                )
                .is_err_and(|e| e.raw_os_error() == Some(libc::ENETUNREACH))
            );
            loopback_up().unwrap();
            let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            0
        })
        .unwrap();
        let (_, status) =
            rustix::process::waitpid(Some(pid), rustix::process::WaitOptions::empty()).unwrap().unwrap();
        assert_eq!(status.exit_status(), Some(0));
    }
}
