use fault::{Fault, Kind};

/// What can go wrong with images.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Nothing has this name or id.
    #[error("No such image: {0}")]
    NotFound(String),
    /// More than one image's id begins so.
    #[error("image id {0:?} is ambiguous: several images begin with it")]
    Ambiguous(String),
    /// A config or manifest that breaks its format.
    #[error("invalid image {what}: {why}")]
    Document {
        /// Which document.
        what: &'static str,
        /// What is wrong.
        why: String,
    },
    /// A type of document or layer that no image has, or that the bytes contradict.
    #[error("invalid image {what}: its media type is {found:?}")]
    MediaType {
        /// Which document.
        what: &'static str,
        /// What is stated, shortened.
        found: String,
    },
    /// A blob that is longer or shorter than promised.
    #[error("blob {digest} has {} {expected} bytes that its descriptor states", if *.longer { "more than the" } else { "fewer than the" })]
    Size {
        /// The blob.
        digest: content::Digest,
        /// Bytes that were promised.
        expected: u64,
        /// Whether more came.
        longer: bool,
    },
    /// A registry, or what lies on the way there.
    #[error(transparent)]
    Registry(#[from] registry::Error),
    /// Another part of the same transfer has failed.
    #[error("it was given up")]
    GivenUp,
    /// An index without an image for a platform.
    #[error("no image for the platform {wanted}; there are images for {offered}")]
    NoPlatform {
        /// What was asked for.
        wanted: String,
        /// What there is.
        offered: String,
    },
    /// A text that names no platform.
    #[error("invalid platform {0:?}: it must be OS/ARCHITECTURE[/VARIANT], such as linux/arm64")]
    Platform(String),
    /// An archive of images that is none, or that contradicts itself.
    #[error("invalid archive: {0}")]
    Archive(String),
    /// An archive could not be read or written.
    #[error("cannot {what} the archive")]
    Io {
        /// `read` or `write`.
        what: &'static str,
        /// The system's answer.
        source: std::io::Error,
    },
    /// A `--change` that is not one.
    #[error("invalid change {text:?}: {why}")]
    Change {
        /// The instruction.
        text: String,
        /// What is wrong.
        why: &'static str,
    },
    /// A program that PATH does not lead to.
    #[error("the host has no program {0:?}")]
    NoProgram(String),
    /// A library that the dynamic linker would not find either.
    #[error("{needed:?}, which {by} loads, is not on the host")]
    NoLibrary {
        /// Its name.
        needed: String,
        /// Who needs it.
        by: String,
    },
    /// A host file that an image cannot be made of.
    #[error("cannot take {path} from the host: {why}")]
    HostFile {
        /// The file.
        path: String,
        /// What is wrong.
        why: String,
    },
    /// The image is used, or has other names.
    #[error("conflict: unable to remove {name} ({}): {why}", if *.forceable { "must be forced" } else { "cannot be forced" })]
    InUse {
        /// What was to be removed.
        name: String,
        /// Whether `force` would do it.
        forceable: bool,
        /// Who uses it.
        why: String,
    },
    /// A directory that was to take a root file system.
    #[error("{0} is not empty")]
    NotEmpty(String),
    /// From the content store.
    #[error(transparent)]
    Content(#[from] content::Error),
    /// From the layers.
    #[error(transparent)]
    Snapshot(#[from] snapshot::Error),
    /// The kernel refused.
    #[error(transparent)]
    Kernel(#[from] linux::Error),
}

impl Fault for Error {
    fn kind(&self) -> Kind {
        match self {
            Self::NotFound(_) | Self::NoProgram(_) | Self::NoLibrary { .. } => Kind::NotFound,
            Self::Ambiguous(_) | Self::Document { .. } | Self::Change { .. } | Self::HostFile { .. } => {
                Kind::Invalid
            }
            Self::MediaType { .. } | Self::Platform(_) | Self::Archive(_) => Kind::Invalid,
            Self::NoPlatform { .. } => Kind::NotFound,
            Self::Registry(e) => e.kind(),
            Self::GivenUp => Kind::Cancelled,
            Self::Size { .. } => Kind::Corrupt,
            Self::Io { source, .. } => Kind::of_io(source),
            Self::InUse { .. } | Self::NotEmpty(_) => Kind::Conflict,
            Self::Content(e) => e.kind(),
            Self::Snapshot(e) => e.kind(),
            Self::Kernel(e) => Kind::of_io(&e.errno.into()),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::NotFound(_) => {
                Some("pull it, make one of the host's programs (host:sh), or import a tarball".into())
            }
            Self::Ambiguous(_) => Some("give more digits of the id".into()),
            Self::NoProgram(_) => Some("give its absolute path, or install it".into()),
            Self::Registry(e) => e.hint(),
            Self::Content(e) => e.hint(),
            Self::Snapshot(e) => e.hint(),
            _ => None,
        }
    }
}
