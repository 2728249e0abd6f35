//! The life of one OCI container on this kernel: plan, init, exec, kill, delete.
#![forbid(unsafe_code)]

mod error;
mod exec;
mod filter;
mod hooks;
mod idmap;
mod init;
mod launch;
mod overlay;
pub mod plan;
mod prepare;
pub mod process;
pub mod state;
pub mod step;
pub mod user;
pub mod verbs;

pub use error::{Error, Result};
pub use exec::{ExecRequest, exec};
pub use filter::Filter;
pub use launch::{Launch, Launched, Parent, Root, Start, Stdio, launch};
pub use overlay::Overlay;
pub use plan::Plan;
pub use state::{State, StateDir, Status};
pub use step::StepReport;
