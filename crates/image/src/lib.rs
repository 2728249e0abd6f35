//! Images from names to ready layers: from the host's programs, from tarballs, listed, inspected, removed.
//!
//! On disk, in the content store: the config and the manifest are blobs; `images/<config hex>/record.json` holds what a
//! start needs (the layers' chain ids in order), so that resolving a name reads two links and two small files.
#![forbid(unsafe_code)]

mod change;
mod config;
mod error;
mod host;
mod images;
mod import;
mod list;
mod remove;
mod strict;
mod unpack;

pub use change::Change;
pub use config::{Config, ConfigFile, Healthcheck, History};
pub use error::Error;
pub use host::HostImage;
pub use images::{Image, Images};
pub use import::Import;
pub use list::{Filter, Summary};
pub use remove::{Removed, Usage};

/// Result of an operation on images.
pub type Result<T, E = Error> = std::result::Result<T, E>;
