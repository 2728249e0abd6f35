//! Layers on their way: their files are made side by side in any order, and they get their places one on another.

use std::ffi::{OsStr, OsString};
use std::io::Read;
use std::os::fd::OwnedFd;

use linux::{RootDir, tree};
use rustix::fs::{AtFlags, FlockOperation, Mode};
use rustix::io::Errno;

use crate::apply::{Applied, Apply};
use crate::stream::Stream;
use crate::tar_reader::TarReader;
use crate::{Budget, ChainId, DiffId, Error, Layer, Layers, Result};

/// A layer whose files are made and whose content is known, but which has no place yet: its name depends on the layers
/// below. Dropped, it is removed; while it lives, [`Layers::sweep`] leaves it alone.
#[derive(Debug)]
pub struct Staged<'a> {
    layers: &'a Layers,
    name: OsString,
    /// Holds the directory's lock.
    dir: OwnedFd,
    diff: DiffId,
    applied: Applied,
}

impl Staged<'_> {
    /// The sha256 of its uncompressed tar.
    pub fn diff(&self) -> &DiffId {
        &self.diff
    }

    fn fs(&self) -> Result<RootDir> {
        Ok(RootDir::from_fd(tree::open_dir(&self.dir, "fs")?))
    }
}

impl Drop for Staged<'_> {
    fn drop(&mut self) {
        // Published ones are no longer there; what stays otherwise is removed by the next sweep.
        let _ = tree::remove_tree(&self.layers.root, &self.name);
    }
}

impl Layers {
    /// Makes the files of a layer from its tar stream, in one pass. Any number of layers can be staged at a time, from any
    /// number of threads, and no lock of the content store is needed.
    ///
    /// # Errors
    /// [`Error::Mismatch`] when the content is not `expected`; what the stream breaks: nothing is left then.
    pub fn stage(&self, tar: impl Read, budget: &Budget, expected: Option<&DiffId>) -> Result<Staged<'_>> {
        let (name, dir) = self.staging()?;
        let made = fill(&dir, tar, budget).and_then(|(diff, applied)| match expected {
            Some(expected) if *expected != diff => {
                Err(Error::Mismatch { expected: expected.clone(), found: diff })
            }
            _ => Ok((diff, applied)),
        });
        match made {
            Ok((diff, applied)) => Ok(Staged { layers: self, name, dir, diff, applied }),
            Err(error) => {
                // As in the drop of a staged one.
                let _ = tree::remove_tree(&self.root, &name);
                Err(error)
            }
        }
    }

    /// Gives staged layers their places: each above those that it names (bottom first), which are here or come before it
    /// in the list. One sync for all of them, before the first is seen. Those that are here already are kept.
    ///
    /// The caller holds the content store's shared lock.
    ///
    /// # Errors
    /// [`Error::NoLayer`] for one below that is missing; [`Error::Kernel`]. What was committed by then stays.
    pub fn commit(&self, layers: Vec<(Vec<ChainId>, Staged<'_>)>) -> Result<Vec<Layer>> {
        let mut placed: Vec<(Layer, Option<Staged<'_>>)> = Vec::with_capacity(layers.len());
        for (below, staged) in layers {
            let here = self.get(&ChainId::new(below.last(), &staged.diff))?;
            placed.push(match here {
                Some(layer) => (layer, None),
                None => (self.place(&below, &staged, &placed)?, Some(staged)),
            });
        }
        if placed.iter().all(|(_, staged)| staged.is_none()) {
            return Ok(placed.into_iter().map(|(layer, _)| layer).collect());
        }
        rustix::fs::syncfs(&self.root).map_err(|e| linux::Error::new("syncfs", e))?;
        for (layer, staged) in &placed {
            let Some(staged) = staged else { continue };
            match rustix::fs::renameat(&self.root, &staged.name, &self.root, layer.chain.hex()) {
                // Another caller may have committed the same layer meanwhile.
                Ok(()) | Err(Errno::NOTEMPTY | Errno::EXIST) => {}
                Err(e) => return Err(linux::Error::on("renameat", layer.chain.hex(), e).into()),
            }
        }
        tree::fsync(&self.root)?;
        Ok(placed.into_iter().map(|(layer, _)| layer).collect())
    }

    /// Everything about a layer that depends on those below.
    fn place(
        &self,
        below: &[ChainId],
        staged: &Staged<'_>,
        placed: &[(Layer, Option<Staged<'_>>)],
    ) -> Result<Layer> {
        let fs = |chain: &ChainId| match placed.iter().find(|(layer, _)| layer.chain == *chain) {
            Some((_, Some(staged))) => staged.fs(),
            _ => Ok(RootDir::from_fd(tree::open_dir(self.dir(chain)?, "fs")?)),
        };
        let lowers = below.iter().rev().map(fs).collect::<Result<Vec<_>>>()?;
        staged.applied.as_below(&staged.fs()?, &lowers)?;
        let chain = ChainId::new(below.last(), &staged.diff);
        let parent = below.last().map(ChainId::to_string).unwrap_or_default();
        let size = staged.applied.size;
        for (name, text) in
            [("parent", parent), ("diff-id", staged.diff.to_string()), ("size", size.to_string())]
        {
            tree::write_atomic(&staged.dir, name, text.as_bytes(), false)?;
        }
        Ok(Layer { chain, diff: staged.diff.clone(), size })
    }

    /// A directory to stage in, and its lock.
    fn staging(&self) -> Result<(OsString, OwnedFd)> {
        loop {
            let name = tree::temporary_name();
            let dir = tree::ensure_dir(&self.root, &name)?;
            // A sweep may come between the two.
            let locked = rustix::fs::flock(&dir, FlockOperation::NonBlockingLockExclusive).is_ok();
            if locked && self.leads_to(&name, &dir)? {
                return Ok((name, dir));
            }
        }
    }

    fn leads_to(&self, name: &OsStr, dir: &OwnedFd) -> Result<bool> {
        let held = linux::root_dir::stat_fd(dir)?;
        match rustix::fs::statat(&self.root, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(named) => Ok((named.st_dev, named.st_ino) == (held.st_dev, held.st_ino)),
            Err(Errno::NOENT) => Ok(false),
            Err(e) => Err(linux::Error::on("statat", name.to_string_lossy(), e).into()),
        }
    }
}

fn fill(dir: &OwnedFd, tar: impl Read, budget: &Budget) -> Result<(DiffId, Applied)> {
    let fs = tree::ensure_dir(dir, "fs")?;
    linux::root_dir::chmod_fd(&fs, Mode::from(0o755))?;
    let mut reader = TarReader::new(Stream::new(tar, budget)?, budget);
    let applied = Apply::new(RootDir::from_fd(fs), budget).run(&mut reader)?;
    Ok((reader.into_stream().finish()?, applied))
}
