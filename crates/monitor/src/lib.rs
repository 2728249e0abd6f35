//! Stays with one container (stdio, logs, restart, exit), and the client of its socket.
//!
//! [`client`] is what the engine uses; the server side is `sampan-runtime monitor`.
#![forbid(unsafe_code)]

pub mod client;
mod error;
mod exit;
mod failure;
mod files;
pub mod protocol;
pub mod server;
mod task;

pub use client::{Incoming, Session, Spawn};
pub use error::{Error, Result};
pub use exit::{Exit, Phase, Status};
pub use protocol::{Event, Failure, Op, Request, WaitFor};
pub use runtime::{Overlay, StepReport};
pub use task::{Join, LogConfig, LogDriver, RestartOn, RestartPolicy, Task};
