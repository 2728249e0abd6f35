//! Safe, typed kernel calls that std and rustix lack, and the only home of `unsafe` code.
//!
//! One file per kernel subject. A call that rustix already has safely is used from rustix, not wrapped again.

pub mod bpf;
pub mod caps;
mod clone;
pub mod copy;
pub mod creds;
pub mod descriptor;
#[cfg(all(target_arch = "x86_64", target_pointer_width = "64"))]
mod entry;
mod error;
pub mod exe;
mod exec;
pub mod keyring;
pub mod memory;
pub mod mount;
mod namespace;
pub mod netif;
mod pidfd;
pub mod root_dir;
pub mod sched;
pub mod seccomp;
pub mod signals;
mod socket;
mod syscall;
pub mod tree;

pub use caps::CapSet;
pub use clone::{Clone3, exit_now, fork};
pub use error::{Error, Result};
pub use exec::{CStrings, execve, execve_fd};
pub use mount::{FsContext, MountAttr, MountFd, Propagation};
pub use namespace::{Namespaces, kind_of, make_empty, owner_of, setns, unshare};
pub use pidfd::{PidFd, PidInfo, WaitStatusCode};
pub use root_dir::RootDir;
pub use socket::{MAX_FDS, Received, SeqSocket};
