use fault::{Fault, Kind};

/// What can go wrong in the content store.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A digest that is not one.
    #[error("invalid digest {text:?}: {why}")]
    Digest {
        /// The text, shortened.
        text: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// An image reference that is not one.
    #[error("invalid reference format: {text:?}: {why}")]
    Reference {
        /// The text, shortened.
        text: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A blob that the store does not have.
    #[error("the content store has no blob {0}")]
    NoBlob(crate::Digest),
    /// A blob whose bytes are not those of its name.
    #[error("blob {name} is damaged: its content is {found}")]
    Damaged {
        /// The digest it is stored under.
        name: crate::Digest,
        /// The digest of what was read.
        found: crate::Digest,
    },
    /// Bytes received that do not have the digest or size promised.
    #[error("content is {found} of {size} bytes, expected {expected}")]
    Mismatch {
        /// What was promised.
        expected: crate::Digest,
        /// What came.
        found: crate::Digest,
        /// Bytes that came.
        size: u64,
    },
    /// A reference that a name is in the way of, or whose directory is not one.
    #[error("the content store at {path} cannot be opened")]
    Open {
        /// The directory.
        path: String,
        /// The kernel's answer.
        source: linux::Error,
    },
    /// The kernel refused.
    #[error(transparent)]
    Kernel(#[from] linux::Error),
}

impl Fault for Error {
    fn kind(&self) -> Kind {
        match self {
            Self::Digest { .. } | Self::Reference { .. } => Kind::Invalid,
            Self::NoBlob(_) => Kind::NotFound,
            Self::Damaged { .. } | Self::Mismatch { .. } => Kind::Corrupt,
            Self::Open { source, .. } | Self::Kernel(source) => Kind::of_io(&source.errno.into()),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Damaged { .. } => Some("remove the image and make or pull it again".into()),
            Self::Open { .. } => Some("run as root, or choose another directory with --data-root".into()),
            _ => None,
        }
    }
}
