//! Containers, execs and volumes as users know them.
#![forbid(unsafe_code)]

mod error;
mod ids;
pub mod spec;

pub use error::{Error, Result};
pub use ids::{ContainerId, Name};
pub use spec::ContainerSpec;
