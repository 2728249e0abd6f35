//! OCI seccomp profiles compiled to BPF, cached by content, and loaded.
//!
//! The path of a profile: JSON or `oci-spec` value -> [`Profile`] (typed and validated) -> [`compile`] -> [`Program`] ->
//! [`Program::load`]. [`Cache`] keeps the compiled form beside the containers, so that a start costs one hash and one
//! read. [`DockerProfile`] is what `--security-opt seccomp=FILE` takes; [`default_profile`] is what a container gets
//! when nobody says anything.
//!
//! The meaning of a profile is libseccomp's as runc uses it, checked against the C library in `tests/libseccomp.rs`.
#![forbid(unsafe_code)]

mod arch;
mod cache;
mod compile;
mod default;
mod docker;
mod emit;
mod error;
mod kernel;
mod oci;
mod profile;
mod program;
mod raw;

pub use arch::Arch;
pub use cache::{Cache, Cached};
pub use compile::{COMPILER_VERSION, compile};
pub use default::{ProfileSet, default_profile};
pub use docker::{DockerProfile, KernelVersion};
pub use error::Error;
pub use kernel::KernelSupport;
pub use linux::seccomp::Insn;
pub use profile::{Action, Condition, Flags, Op, Profile, Rule};
pub use program::Program;
