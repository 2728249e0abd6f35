//! Layer trees: apply a tar stream, prepare a root filesystem, emit mounts.
//!
//! On disk, below the layers' directory:
//! ```text
//! <chain id>/fs/        the layer's own files, committed and from then on read-only; overlay whiteouts inside
//! <chain id>/parent     the chain id below, or empty
//! <chain id>/diff-id    sha256:<hex> of the uncompressed tar
//! <chain id>/size       bytes of file content
//! <chain id>/mountpoints/  on top of this layer as an image: what containers mount upon and it lacks; made when needed
//! .tmp-.../             being applied (renamed to its chain id after one syncfs) or being deleted
//! ```
//! A chain id names a layer together with all below it (OCI image-spec, config.md, "Layer ChainID").
#![forbid(unsafe_code)]

mod apply;
mod error;
mod ids;
mod layers;
mod members;
mod rootfs;
mod staged;
mod stream;
mod tar_reader;

pub use error::Error;
pub use ids::{ChainId, DiffId};
pub use layers::{Layer, Layers};
pub use members::{Member, MemberKind, Members};
pub use rootfs::Rootfs;
pub use staged::Staged;
pub use stream::Budget;

/// Result of an operation on layers.
pub type Result<T, E = Error> = std::result::Result<T, E>;
