//! Images from names to ready layers: from the host's programs, from tarballs, from archives and registries' documents,
//! listed, inspected, saved, removed.
//!
//! On disk, in the content store: the config and the manifest are blobs; `images/<config hex>/record.json` holds what a
//! start needs (the layers' chain ids in order), so that resolving a name reads two links and two small files.
//! `spool/` holds archives that came through a pipe, without a name, while they are read. A config may have come with
//! several manifests: the record names the last one, `manifests/` all; each keeps its blobs while the image is there.
#![forbid(unsafe_code)]

mod admit;
mod archive;
mod blob;
mod change;
mod config;
mod error;
mod exact;
mod history;
mod host;
mod images;
mod import;
mod incoming;
mod list;
mod load;
mod manifest;
mod platform;
mod pull;
mod push;
mod remove;
mod save;
mod strict;
mod unpack;

pub use admit::{LayerPlan, PlannedLayer};
pub use change::Change;
pub use config::{Config, ConfigFile, Healthcheck, History};
pub use error::Error;
pub use history::Step;
pub use host::HostImage;
pub use images::{Image, Images};
pub use import::Import;
pub use list::{Filter, Summary};
pub use load::Loaded;
pub use manifest::{Descriptor, Manifest, choose};
pub use platform::Platform;
pub use pull::{Progress, Pull, Pulled, Step as TransferStep};
pub use push::{Push, Pushed};
pub use remove::{Pruned, Removed, Usage};

/// Result of an operation on images.
pub type Result<T, E = Error> = std::result::Result<T, E>;
