//! Blobs that come from afar, in pieces: `ingest/<hex>.part`, under a flock of the file.

use std::os::fd::OwnedFd;

use linux::tree;
use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use crate::digest::Hasher;
use crate::{Digest, Error, Result, Store};

/// Bytes read at a time.
const CHUNK: usize = 256 << 10;

/// Who fetches a blob.
#[derive(Debug)]
pub enum Claim<'a> {
    /// Nobody needs to: it is here.
    Here,
    /// Somebody else does. Ask again later: it is here then, or can be gone on with.
    Busy,
    /// The caller.
    Ours(Partial<'a>),
}

/// A blob of which some bytes may be here. Dropped, those stay, and the next [`Store::claim`] goes on from there.
#[derive(Debug)]
pub struct Partial<'a> {
    store: &'a Store,
    dir: OwnedFd,
    name: String,
    fd: OwnedFd,
    digest: Digest,
    hasher: Hasher,
    size: u64,
}

impl Store {
    /// Claims the fetching of a blob. What came before is hashed again, since nobody vouches for it.
    ///
    /// # Errors
    /// [`Error::Kernel`].
    pub fn claim(&self, digest: Digest) -> Result<Claim<'_>> {
        let dir = tree::ensure_dir(&self.root, "ingest")?;
        let name = format!("{}.part", digest.hex());
        let on = |call| move |errno| linux::Error::on(call, digest.to_string(), errno);
        loop {
            if self.has(digest) {
                return Ok(Claim::Here);
            }
            let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
            let fd = rustix::fs::openat(&dir, &*name, flags, Mode::from(0o600)).map_err(on("openat"))?;
            match rustix::fs::flock(&fd, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {}
                Err(Errno::WOULDBLOCK) => return Ok(Claim::Busy),
                Err(Errno::INTR) => continue,
                Err(errno) => return Err(on("flock")(errno).into()),
            }
            // Its last holder may have published or removed it between the open and the lock.
            let held = linux::root_dir::stat_fd(&fd)?;
            match rustix::fs::statat(&dir, &*name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(named) if (named.st_dev, named.st_ino) == (held.st_dev, held.st_ino) => {}
                Ok(_) | Err(Errno::NOENT) => continue,
                Err(errno) => return Err(on("statat")(errno).into()),
            }
            let mut partial =
                Partial { store: self, dir, name, fd, digest, hasher: Hasher::default(), size: 0 };
            partial.hash_what_is_here()?;
            return Ok(Claim::Ours(partial));
        }
    }
}

impl Partial<'_> {
    fn hash_what_is_here(&mut self) -> Result<()> {
        let mut buffer = vec![0; CHUNK];
        loop {
            match self.read_at(&mut buffer, self.size)? {
                0 => return Ok(()),
                n => {
                    self.hasher.update(&buffer[..n]);
                    self.size += n as u64;
                }
            }
        }
    }

    /// Bytes that are here.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Reads some of what is here, from `offset` on; 0 at its end.
    ///
    /// # Errors
    /// [`Error::Kernel`].
    pub fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<usize> {
        rustix::io::retry_on_intr(|| rustix::io::pread(&self.fd, &mut *buffer, offset))
            .map_err(|errno| linux::Error::on("pread", &self.name, errno).into())
    }

    /// Appends `bytes`.
    ///
    /// # Errors
    /// [`Error::Kernel`]; what was written of them stays and counts.
    pub fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let mut rest = bytes;
        while !rest.is_empty() {
            let n = rustix::io::retry_on_intr(|| rustix::io::pwrite(&self.fd, rest, self.size))
                .map_err(|errno| linux::Error::on("pwrite", &self.name, errno))?;
            let (written, more) = rest.split_at(n);
            self.hasher.update(written);
            self.size += n as u64;
            rest = more;
        }
        Ok(())
    }

    /// Forgets what is here: it will come again from its beginning.
    ///
    /// # Errors
    /// [`Error::Kernel`].
    pub fn restart(&mut self) -> Result<()> {
        rustix::fs::ftruncate(&self.fd, 0)
            .map_err(|errno| linux::Error::on("ftruncate", &self.name, errno))?;
        self.hasher = Hasher::default();
        self.size = 0;
        Ok(())
    }

    /// Publishes the blob: fsync, rename to its digest, fsync of the directory.
    ///
    /// # Errors
    /// [`Error::Mismatch`] when it is another one: nothing of it is kept then. [`Error::Kernel`].
    pub fn commit(mut self) -> Result<()> {
        let found = std::mem::take(&mut self.hasher).finish();
        if found != self.digest {
            let _ = rustix::fs::unlinkat(&self.dir, &*self.name, AtFlags::empty());
            return Err(Error::Mismatch { expected: self.digest, found, size: self.size });
        }
        tree::fsync(&self.fd)?;
        rustix::fs::renameat(&self.dir, &*self.name, &self.store.blobs, self.digest.hex())
            .map_err(|e| linux::Error::on("renameat", &self.name, e))?;
        Ok(tree::fsync(&self.store.blobs)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ours(store: &Store, digest: Digest) -> Partial<'_> {
        match store.claim(digest).unwrap() {
            Claim::Ours(partial) => partial,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_blob_is_gone_on_with_where_the_last_one_stopped() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("content")).unwrap();
        let text = b"some text that comes in pieces";
        let digest = Digest::of(text);
        let mut first = ours(&store, digest);
        first.write(&text[..7]).unwrap();
        assert!(matches!(store.claim(digest).unwrap(), Claim::Busy), "one at a time");
        drop(first);
        assert!(!store.has(digest));
        let mut second = ours(&store, digest);
        assert_eq!(second.size(), 7);
        let mut buffer = [0; 20];
        assert_eq!(second.read_at(&mut buffer, 5).unwrap(), 2);
        assert_eq!(&buffer[..2], b"te");
        second.write(&text[7..]).unwrap();
        second.commit().unwrap();
        assert!(matches!(store.claim(digest).unwrap(), Claim::Here));
        assert_eq!(store.read(digest, 100).unwrap(), text);
        assert_eq!(std::fs::read_dir(dir.path().join("content/ingest")).unwrap().count(), 0);
    }

    #[test]
    fn what_is_not_the_blob_is_not_kept() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("content")).unwrap();
        let digest = Digest::of(b"right");
        let mut wrong = ours(&store, digest);
        wrong.write(b"wrong").unwrap();
        assert!(matches!(wrong.commit(), Err(Error::Mismatch { size: 5, .. })));
        assert!(!store.has(digest));
        let mut again = ours(&store, digest);
        assert_eq!(again.size(), 0);
        again.write(b"xx").unwrap();
        again.restart().unwrap();
        again.write(b"right").unwrap();
        again.commit().unwrap();
        assert!(store.has(digest));
    }
}
