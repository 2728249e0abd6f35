//! Content-addressed blobs, references, leases and garbage collection.
//!
//! On disk, below the store's directory (all of it reached by descriptors, no path is built from outside text but
//! through [`Digest`] and [`Reference`], whose grammars exclude `/..`, NUL and leading `_`):
//! ```text
//! blobs/sha256/<hex>                          as in an OCI image layout
//! ingest/<id>                                 written, hashed and fsynced here, then renamed into blobs/
//! ingest/<hex>.part                           the same for a blob that comes from afar: kept, and gone on with
//! refs/<registry>/<repo...>/_tags/<tag>       symlink whose text is a manifest's digest; a root
//! refs/<registry>/<repo...>/_digests/<hex>    the same for `repo@sha256:...`
//! images/<config hex>/                        written by the `image` crate; a root
//! manifests/<manifest hex>                    symlink whose text is the config's digest: manifest -> image without parsing
//! leases/<id>/<digest>                        empty files; roots for as long as the lease's directory exists
//! lock                                        flock: shared to publish, exclusive to sweep
//! ```
#![forbid(unsafe_code)]

mod digest;
mod error;
mod gc;
mod partial;
mod reference;
mod refs;
mod store;

pub use digest::{Digest, Hasher};
pub use error::Error;
pub use gc::Swept;
pub use partial::{Claim, Partial};
pub use reference::Reference;
pub use store::{Guard, Ingest, Lease, Store};

/// Result of a store operation.
pub type Result<T, E = Error> = std::result::Result<T, E>;
