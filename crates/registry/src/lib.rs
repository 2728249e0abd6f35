//! The distribution protocol: credentials, mirrors, manifests, blobs, uploads.
//!
//! A [`Registry`] is one repository at one registry. All its calls block, take `&self` and may run in parallel, so that
//! the layers of an image are fetched at once.
//!
//! What a registry answers is outside text. Every read has a budget and a timeout; redirects are followed by this crate
//! alone, and neither they nor a `Location` carry credentials to another host. Digests are checked for their grammar here;
//! that a blob has the digest it was asked by is for whoever stores it.
#![forbid(unsafe_code)]

mod answer;
mod auth;
mod call;
mod challenge;
mod client;
mod credentials;
mod docker_config;
mod endpoint;
mod error;
mod fetch;
mod hosts;
mod names;
mod push;
mod retry;
mod send;
mod url;

pub use client::{Access, Options, Registry};
pub use credentials::{Anonymous, Credential, Credentials, Fixed, Secret};
pub use docker_config::DockerConfig;
pub use error::{Error, Refusal};
pub use fetch::{Blob, MANIFEST_TYPES, Manifest, ManifestHead};
pub use retry::Cancel;

/// Result of a registry call.
pub type Result<T, E = Error> = std::result::Result<T, E>;
