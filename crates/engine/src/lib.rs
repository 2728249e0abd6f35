//! Containers, execs and volumes as users know them.
//!
//! An [`Engine`] is a view of two directories; every call reads what is there and returns in bounded time. What waits
//! (a foreground container, an exec, the end of something) is a [`monitor::Session`], which can be polled.
#![forbid(unsafe_code)]

mod container;
mod control;
mod create;
mod devices;
mod engine;
mod error;
mod exec;
mod explain;
mod files;
mod ids;
mod limits;
mod list;
mod monitors;
mod names;
mod network_files;
mod oci;
mod remove;
pub mod signal;
pub mod spec;
mod top;
mod usage;
mod volumes;

pub use container::{Container, State, Status, Summary, UsedVolume};
pub use create::Created;
pub use engine::{Engine, Options};
pub use error::{Error, Result};
pub use exec::ExecSpec;
pub use ids::{ContainerId, Name};
pub use list::Listed;
pub use spec::ContainerSpec;
pub use top::Top;
