use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use linux::{RootDir, tree};
use rustix::fs::{AtFlags, Mode};
use rustix::io::Errno;

use crate::apply::Apply;
use crate::stream::Stream;
use crate::tar_reader::TarReader;
use crate::{Budget, ChainId, DiffId, Error, Result};

/// The committed layers of one data root.
#[derive(Debug)]
pub struct Layers {
    root: OwnedFd,
    path: PathBuf,
}

/// A committed layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layer {
    /// Its name.
    pub chain: ChainId,
    /// The sha256 of its uncompressed tar.
    pub diff: DiffId,
    /// Bytes of file content in it.
    pub size: u64,
}

impl Layers {
    /// Opens the layers' directory at `path`, a path of ours, made (0700) where it is missing.
    pub fn open(path: &Path) -> Result<Self> {
        match rustix::fs::mkdir(path, Mode::from(0o700)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(e) => return Err(linux::Error::on("mkdir", path.to_string_lossy(), e).into()),
        }
        Ok(Self { root: RootDir::open(path)?.into_fd(), path: path.to_owned() })
    }

    /// Applies a tar stream (plain, gzip or zstd) on top of `below` (bottom first), in one pass, and commits it.
    ///
    /// With `expected` the content is verified before anything is published. A layer that is already there is kept.
    /// The caller holds the content store's shared lock.
    pub fn apply(
        &self,
        below: &[ChainId],
        tar: impl Read,
        budget: &Budget,
        expected: Option<&DiffId>,
    ) -> Result<Layer> {
        let lowers = below
            .iter()
            .rev()
            .map(|chain| Ok(RootDir::from_fd(tree::open_dir(self.dir(chain)?, "fs")?)))
            .collect::<Result<Vec<_>>>()?;
        let staging = tree::temporary_name();
        let result = self.stage(&staging, &lowers, below.last(), tar, budget, expected);
        let result = result.and_then(|layer| self.publish(&staging, layer));
        if result.is_err() {
            // Best effort: what stays is removed by the next sweep.
            let _ = tree::remove_tree(&self.root, &staging);
        }
        result
    }

    fn stage(
        &self,
        staging: &std::ffi::OsStr,
        lowers: &[RootDir],
        parent: Option<&ChainId>,
        tar: impl Read,
        budget: &Budget,
        expected: Option<&DiffId>,
    ) -> Result<Layer> {
        let dir = tree::ensure_dir(&self.root, staging)?;
        let fs = tree::ensure_dir(&dir, "fs")?;
        linux::root_dir::chmod_fd(&fs, Mode::from(0o755))?;
        let mut reader = TarReader::new(Stream::new(tar, budget)?, budget);
        let size = Apply::new(RootDir::from_fd(fs), lowers, budget).run(&mut reader)?;
        let diff = reader.into_stream().finish()?;
        if let Some(expected) = expected.filter(|&e| *e != diff) {
            return Err(Error::Mismatch { expected: expected.clone(), found: diff });
        }
        let chain = ChainId::new(parent, &diff);
        let parent = parent.map(ChainId::to_string).unwrap_or_default();
        tree::write_atomic(&dir, "parent", parent.as_bytes(), false)?;
        tree::write_atomic(&dir, "diff-id", diff.to_string().as_bytes(), false)?;
        tree::write_atomic(&dir, "size", size.to_string().as_bytes(), false)?;
        Ok(Layer { chain, diff, size })
    }

    fn publish(&self, staging: &std::ffi::OsStr, layer: Layer) -> Result<Layer> {
        if self.get(&layer.chain)?.is_none() {
            rustix::fs::syncfs(&self.root).map_err(|e| linux::Error::new("syncfs", e))?;
            match rustix::fs::renameat(&self.root, staging, &self.root, layer.chain.hex()) {
                Ok(()) => {
                    tree::fsync(&self.root)?;
                    return Ok(layer);
                }
                // Another caller committed the same layer meanwhile.
                Err(Errno::NOTEMPTY | Errno::EXIST) => {}
                Err(e) => return Err(linux::Error::on("renameat", layer.chain.hex(), e).into()),
            }
        }
        tree::remove_tree(&self.root, staging)?;
        Ok(layer)
    }

    pub(crate) fn root(&self) -> &OwnedFd {
        &self.root
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn layer_path(&self, chain: &ChainId) -> PathBuf {
        self.path.join(chain.hex())
    }

    pub(crate) fn dir(&self, chain: &ChainId) -> Result<OwnedFd> {
        tree::open_dir(&self.root, chain.hex()).map_err(|e| match e.errno {
            Errno::NOENT => Error::NoLayer(chain.clone()),
            _ => Error::Kernel(e),
        })
    }

    /// A committed layer; none where it is not here.
    pub fn get(&self, chain: &ChainId) -> Result<Option<Layer>> {
        let dir = match self.dir(chain) {
            Err(Error::NoLayer(_)) => return Ok(None),
            other => other?,
        };
        let text =
            |name| Ok::<_, Error>(String::from_utf8_lossy(&tree::read_small(&dir, name, 256)?).into_owned());
        let diff = text("diff-id")?.parse().map_err(|_| Error::Damaged(chain.clone()))?;
        let size = text("size")?.parse().map_err(|_| Error::Damaged(chain.clone()))?;
        Ok(Some(Layer { chain: chain.clone(), diff, size }))
    }

    /// Whether the layer is here. One system call.
    pub fn has(&self, chain: &ChainId) -> bool {
        rustix::fs::statat(&self.root, chain.hex(), AtFlags::SYMLINK_NOFOLLOW).is_ok()
    }

    /// The path of a layer's files, for an overlay's `lowerdir`.
    pub fn fs_path(&self, chain: &ChainId) -> PathBuf {
        self.layer_path(chain).join("fs")
    }

    /// All committed layers' names.
    pub fn list(&self) -> Result<Vec<ChainId>> {
        let names = tree::entries(&self.root)?;
        Ok(names.iter().filter_map(|(name, _)| ChainId::from_name(name.to_str()?)).collect())
    }

    /// Removes a layer: first its name goes, then its files, so that a crash leaves it whole or gone.
    /// The caller holds the content store's exclusive lock and knows that nothing uses it.
    pub fn remove(&self, chain: &ChainId) -> Result<()> {
        let trash = tree::temporary_name();
        match rustix::fs::renameat(&self.root, chain.hex(), &self.root, &trash) {
            Ok(()) => Ok(tree::remove_tree(&self.root, trash)?),
            Err(Errno::NOENT) => Ok(()),
            Err(e) => Err(linux::Error::on("renameat", chain.hex(), e).into()),
        }
    }

    /// Removes what killed callers left behind. The caller holds the content store's exclusive lock.
    pub fn sweep(&self) -> Result<()> {
        for (name, _) in tree::entries(&self.root)? {
            if name.as_bytes().starts_with(b".tmp-") {
                tree::remove_tree(&self.root, name)?;
            }
        }
        Ok(())
    }
}
