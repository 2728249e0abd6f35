//! The members of a tar archive that is not a layer: where each file's bytes are, by the same strict reading.

use std::io::{self, Read};
use std::path::PathBuf;

use tar::EntryType;

use crate::stream::Stream;
use crate::tar_reader::TarReader;
use crate::{Budget, Result};

/// What a member is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MemberKind {
    /// A file, whose bytes can be read until the next member is asked for.
    File,
    /// A directory.
    Directory,
    /// A symbolic link and its text.
    Symlink(PathBuf),
    /// A hard link and the member it is to.
    Hardlink(PathBuf),
    /// A device, a FIFO, a sparse file.
    Other,
}

/// One member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its name as the archive has it: not checked, not cleaned.
    pub path: PathBuf,
    /// What it is.
    pub kind: MemberKind,
    /// Bytes of a file.
    pub size: u64,
    /// Where they begin in the uncompressed archive.
    pub offset: u64,
}

/// Reads an archive (plain, gzip or zstd) member after member, within a budget.
pub struct Members<R: Read>(TarReader<R>);

impl<R: Read> Members<R> {
    /// Looks at the first bytes to see the compression.
    ///
    /// # Errors
    /// [`Error::Stream`](crate::Error::Stream) where they cannot be read, [`Error::Tar`](crate::Error::Tar) for
    /// another compression.
    pub fn new(archive: R, budget: &Budget) -> Result<Self> {
        Ok(Self(TarReader::new(Stream::unhashed(archive, budget)?, budget)))
    }

    /// Whether the archive is compressed: then [`Member::offset`] leads nowhere in it.
    pub fn is_compressed(&self) -> bool {
        self.0.stream().is_compressed()
    }

    /// The next member; none at the end. What is left of the last one is passed over.
    ///
    /// # Errors
    /// [`Error::Tar`](crate::Error::Tar), [`Error::Budget`](crate::Error::Budget) or
    /// [`Error::Stream`](crate::Error::Stream).
    #[expect(
        clippy::should_implement_trait,
        reason = "the members' bytes are read in between, and it can fail"
    )]
    pub fn next(&mut self) -> Result<Option<Member>> {
        let Some(entry) = self.0.next()? else { return Ok(None) };
        let kind = match entry.kind {
            EntryType::Regular | EntryType::Continuous => MemberKind::File,
            EntryType::Directory => MemberKind::Directory,
            EntryType::Symlink => MemberKind::Symlink(entry.link.into()),
            EntryType::Link => MemberKind::Hardlink(entry.link.into()),
            _ => MemberKind::Other,
        };
        let offset = self.0.stream().position();
        Ok(Some(Member { path: entry.path.into(), kind, size: entry.size, offset }))
    }

    /// Reads what follows the last member, so that whoever writes the stream is not cut off, and a compressed stream's
    /// end is checked.
    ///
    /// # Errors
    /// As [`Members::next`].
    pub fn finish(self) -> Result<()> {
        self.0.into_stream().drain()
    }
}

impl<R: Read> std::fmt::Debug for Members<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Members").field("position", &self.0.stream().position()).finish_non_exhaustive()
    }
}

/// The current member's bytes.
impl<R: Read> Read for Members<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer).map_err(io::Error::other)
    }
}
