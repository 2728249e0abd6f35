use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use linux::tree;
use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use crate::{Digest, Error, Hasher, Result};

/// The content store of one data root; cheap to open, and safe beside other processes that have it open.
#[derive(Debug)]
pub struct Store {
    pub(crate) root: OwnedFd,
    pub(crate) blobs: OwnedFd,
    pub(crate) refs: OwnedFd,
    pub(crate) images: OwnedFd,
    pub(crate) manifests: OwnedFd,
}

/// The store's lock, held until dropped. While a shared one is held nothing is swept.
#[derive(Debug)]
pub struct Guard(#[expect(dead_code, reason = "held for its flock")] OwnedFd);

impl Store {
    /// Opens the store at `path`, a path of ours, making what is missing (directories 0700).
    pub fn open(path: &Path) -> Result<Self> {
        let failed = |source| Error::Open { path: path.display().to_string(), source };
        match rustix::fs::mkdir(path, Mode::from(0o700)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(e) => return Err(failed(linux::Error::new("mkdir", e))),
        }
        let root = linux::RootDir::open(path).map_err(failed)?.into_fd();
        let blobs = tree::ensure_dir(tree::ensure_dir(&root, "blobs")?, "sha256")?;
        let (refs, images) = (tree::ensure_dir(&root, "refs")?, tree::ensure_dir(&root, "images")?);
        let manifests = tree::ensure_dir(&root, "manifests")?;
        Ok(Self { root, blobs, refs, images, manifests })
    }

    /// Takes the shared lock: what is published while it is held cannot be swept before it is dropped.
    pub fn share(&self) -> Result<Guard> {
        self.lock(FlockOperation::LockShared)
    }

    /// Takes the exclusive lock, waiting for all publishers: what removing and sweeping need.
    pub fn exclude(&self) -> Result<Guard> {
        self.lock(FlockOperation::LockExclusive)
    }

    fn lock(&self, operation: FlockOperation) -> Result<Guard> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let fd = rustix::fs::openat(&self.root, "lock", flags, Mode::from(0o600))
            .map_err(|e| linux::Error::on("openat", "lock", e))?;
        loop {
            match rustix::fs::flock(&fd, operation) {
                Err(Errno::INTR) => {}
                other => {
                    other.map_err(|e| linux::Error::on("flock", "lock", e))?;
                    return Ok(Guard(fd));
                }
            }
        }
    }

    /// The directory of image records, which the `image` crate writes.
    pub fn images_dir(&self) -> BorrowedFd<'_> {
        self.images.as_fd()
    }

    /// A directory of the store for records that another crate keeps beside its blobs (caches).
    pub fn extension(&self, name: &str) -> Result<OwnedFd> {
        Ok(tree::ensure_dir(&self.root, name)?)
    }

    /// Whether the blob is here.
    pub fn has(&self, digest: Digest) -> bool {
        rustix::fs::statat(&self.blobs, digest.hex(), AtFlags::SYMLINK_NOFOLLOW).is_ok()
    }

    /// Reads a document (config, manifest) of at most `limit` bytes and checks it against its digest.
    pub fn read(&self, digest: Digest, limit: usize) -> Result<Vec<u8>> {
        let bytes = tree::read_small(&self.blobs, digest.hex(), limit).map_err(|e| match e.errno {
            Errno::NOENT => Error::NoBlob(digest),
            _ => Error::Kernel(e),
        })?;
        let found = Digest::of(&bytes);
        if found != digest {
            return Err(Error::Damaged { name: digest, found });
        }
        Ok(bytes)
    }

    /// Opens a blob for reading, and its size in bytes. The reader must verify what it reads.
    pub fn open_blob(&self, digest: Digest) -> Result<(OwnedFd, u64)> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd =
            rustix::fs::openat(&self.blobs, digest.hex(), flags, Mode::empty()).map_err(|e| match e {
                Errno::NOENT => Error::NoBlob(digest),
                _ => Error::Kernel(linux::Error::on("openat", digest.to_string(), e)),
            })?;
        let size = linux::root_dir::stat_fd(&fd)?.st_size;
        Ok((fd, u64::try_from(size).unwrap_or(0)))
    }

    /// Stores a small document durably and gives its digest. The caller holds [`Store::share`].
    pub fn put(&self, bytes: &[u8]) -> Result<Digest> {
        let digest = Digest::of(bytes);
        if self.has(digest) {
            // A sweep goes by age: what is used again must look new.
            self.touch(digest)?;
            return Ok(digest);
        }
        let mut ingest = self.ingest()?;
        ingest.write(bytes)?;
        ingest.commit(Some(digest))
    }

    /// Begins to store a blob of any size. The caller holds [`Store::share`].
    pub fn ingest(&self) -> Result<Ingest<'_>> {
        let dir = tree::ensure_dir(&self.root, "ingest")?;
        let name = tree::temporary_name();
        let fd = linux::root_dir::create_file_at(&dir, &name, Mode::from(0o600))?;
        Ok(Ingest { store: self, dir, name, fd, hasher: Hasher::default(), size: 0, done: false })
    }

    fn touch(&self, digest: Digest) -> Result<()> {
        let now = rustix::fs::Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_NOW };
        let times = rustix::fs::Timestamps { last_access: now, last_modification: now };
        rustix::fs::utimensat(&self.blobs, digest.hex(), &times, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|e| linux::Error::on("utimensat", digest.to_string(), e).into())
    }

    /// Makes a lease: the blobs added to it are roots until [`Lease::release`].
    pub fn lease(&self) -> Result<Lease> {
        let leases = tree::ensure_dir(&self.root, "leases")?;
        let name = tree::temporary_name();
        let dir = tree::ensure_dir(&leases, &name)?;
        Ok(Lease { leases, dir, name })
    }
}

/// A blob being written.
#[derive(Debug)]
pub struct Ingest<'a> {
    store: &'a Store,
    dir: OwnedFd,
    name: std::ffi::OsString,
    fd: OwnedFd,
    hasher: Hasher,
    size: u64,
    done: bool,
}

impl Ingest<'_> {
    /// Appends `bytes`.
    pub fn write(&mut self, bytes: &[u8]) -> Result<()> {
        tree::write_all(&self.fd, bytes)?;
        self.hasher.update(bytes);
        self.size += bytes.len() as u64;
        Ok(())
    }

    /// Publishes the blob: fsync, rename to its digest, fsync of the directory. Until then it is not there.
    pub fn commit(mut self, expected: Option<Digest>) -> Result<Digest> {
        let found = std::mem::take(&mut self.hasher).finish();
        if let Some(expected) = expected.filter(|&e| e != found) {
            return Err(Error::Mismatch { expected, found, size: self.size });
        }
        tree::fsync(&self.fd)?;
        let name = found.hex();
        rustix::fs::renameat(&self.dir, &self.name, &self.store.blobs, &name)
            .map_err(|e| linux::Error::on("renameat", &name, e))?;
        self.done = true;
        tree::fsync(&self.store.blobs)?;
        Ok(found)
    }
}

impl Drop for Ingest<'_> {
    fn drop(&mut self) {
        if !self.done {
            let _ = rustix::fs::unlinkat(&self.dir, &self.name, AtFlags::empty());
        }
    }
}

/// Keeps blobs from being swept while something is being made of them.
#[derive(Debug)]
pub struct Lease {
    leases: OwnedFd,
    dir: OwnedFd,
    name: std::ffi::OsString,
}

impl Lease {
    /// Adds a blob.
    pub fn add(&self, digest: Digest) -> Result<()> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::CLOEXEC;
        rustix::fs::openat(&self.dir, digest.to_string(), flags, Mode::from(0o600))
            .map(drop)
            .map_err(|e| linux::Error::on("openat", digest.to_string(), e).into())
    }

    /// Ends the lease.
    pub fn release(self) -> Result<()> {
        Ok(tree::remove_tree(&self.leases, &self.name)?)
    }
}
