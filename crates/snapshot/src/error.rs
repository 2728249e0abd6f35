use fault::{Fault, Kind};

/// What can go wrong with layers.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A chain or diff id that is not one.
    #[error("invalid layer id {0:?}: it must be sha256:<64 lowercase hexadecimal digits>")]
    Id(String),
    /// A tar stream that breaks the format, contradicts itself or has more than one meaning.
    #[error("invalid layer: entry {entry} ({path:?}): {why}")]
    Tar {
        /// Counted from 1.
        entry: u64,
        /// The entry's name, shortened.
        path: String,
        /// What is wrong.
        why: &'static str,
    },
    /// A limit was reached.
    #[error("the layer exceeds its budget of {limit} {what}")]
    Budget {
        /// What is limited.
        what: &'static str,
        /// How much.
        limit: u64,
    },
    /// The stream could not be read or decompressed.
    #[error("the layer's stream ends or breaks early")]
    Stream(#[source] std::io::Error),
    /// An entry could not be made.
    #[error("cannot make {path:?} of the layer")]
    Entry {
        /// The entry's path in the layer.
        path: String,
        /// The kernel's answer.
        source: linux::Error,
    },
    /// The stream's content is not what was promised.
    #[error("the layer's content is {found}, expected {expected}")]
    Mismatch {
        /// What was promised.
        expected: crate::DiffId,
        /// What came.
        found: crate::DiffId,
    },
    /// A layer that is not here.
    #[error("no such layer {0}")]
    NoLayer(crate::ChainId),
    /// A layer's record contradicts itself.
    #[error("layer {0} is damaged")]
    Damaged(crate::ChainId),
    /// The kernel refused.
    #[error(transparent)]
    Kernel(#[from] linux::Error),
}

impl Fault for Error {
    fn kind(&self) -> Kind {
        match self {
            Self::Id(_) | Self::Tar { .. } => Kind::Invalid,
            Self::Budget { .. } => Kind::Exhausted,
            Self::Stream(source) => Kind::of_io(source),
            Self::Mismatch { .. } | Self::Damaged(_) => Kind::Corrupt,
            Self::NoLayer(_) => Kind::NotFound,
            Self::Entry { source, .. } | Self::Kernel(source) => Kind::of_io(&source.errno.into()),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::NoLayer(_) | Self::Damaged(_) => Some("remove the image and make or pull it again".into()),
            _ => None,
        }
    }
}
