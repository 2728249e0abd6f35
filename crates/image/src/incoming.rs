//! A layer's bytes on their way from a registry, or from the store, to their files: kept, counted, hashed and shown.

use std::io::{self, Read};
use std::time::Duration;

use content::Hasher;
use content::{Digest, Partial, Store};
use registry::Registry;

use crate::manifest::Descriptor;
use crate::pull::{Progress, Step};
use crate::{Error, Result};

/// How often a stream that breaks off is taken up again.
const ATTEMPTS: u32 = 5;
/// The pause before the first time; each further one is twice as long.
const PAUSE: Duration = Duration::from_millis(200);

/// A blob from a registry: first what is here of it, then the rest, which is kept.
pub(crate) struct Incoming<'a> {
    registry: &'a Registry,
    descriptor: &'a Descriptor,
    partial: Partial<'a>,
    progress: &'a dyn Progress,
    /// Bytes that were handed on.
    handed: u64,
    source: Option<registry::Blob>,
    attempts: u32,
    failed: Option<Error>,
}

impl<'a> Incoming<'a> {
    pub(crate) fn new(
        registry: &'a Registry,
        descriptor: &'a Descriptor,
        partial: Partial<'a>,
        progress: &'a dyn Progress,
    ) -> Self {
        Self { registry, descriptor, partial, progress, handed: 0, source: None, attempts: 0, failed: None }
    }

    /// Takes what the unpacking left, and publishes the blob.
    ///
    /// # Errors
    /// What went wrong on the way; [`Error::Size`] and [`content::Error::Mismatch`] for another blob than was promised.
    pub(crate) fn finish(mut self) -> Result<()> {
        let mut rest = vec![0; 64 << 10];
        while self.failed.is_none() && self.next(&mut rest)? > 0 {}
        if let Some(error) = self.failed {
            return Err(error);
        }
        let Descriptor { digest, size, .. } = *self.descriptor;
        if self.partial.size() < size {
            return Err(Error::Size { digest, expected: size, longer: false });
        }
        Ok(self.partial.commit()?)
    }

    fn next(&mut self, buffer: &mut [u8]) -> Result<usize> {
        if self.handed < self.partial.size() {
            let n = self.partial.read_at(buffer, self.handed)?;
            self.handed += n as u64;
            return Ok(n);
        }
        let Descriptor { digest, size, .. } = *self.descriptor;
        if self.partial.size() == size {
            return Ok(0);
        }
        if self.partial.size() > size {
            self.partial.restart()?;
            return Err(Error::Size { digest, expected: size, longer: true });
        }
        loop {
            match self.receive(buffer) {
                Ok(0) if self.partial.size() < size => {}
                Ok(n) => {
                    if let Err(error) = self.partial.write(&buffer[..n]) {
                        // A disk that is full is not kept full by what nobody can use.
                        self.partial.restart()?;
                        return Err(error.into());
                    }
                    self.handed += n as u64;
                    self.progress.blob(self.descriptor, Step::Moved(self.handed));
                    if self.partial.size() > size {
                        self.partial.restart()?;
                        return Err(Error::Size { digest, expected: size, longer: true });
                    }
                    return Ok(n);
                }
                Err(error) if self.attempts >= ATTEMPTS => return Err(error),
                Err(_) => {}
            }
            // It broke off: on from where it did.
            if self.attempts >= ATTEMPTS {
                return Err(Error::Size { digest, expected: size, longer: false });
            }
            self.source = None;
            std::thread::sleep(PAUSE * 2u32.pow(self.attempts));
            self.attempts += 1;
        }
    }

    fn receive(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let source = match &mut self.source {
            Some(source) => source,
            None => {
                let here = self.partial.size();
                let mut source = self.registry.blob(&self.descriptor.digest.to_string(), here)?;
                // A registry that knows no ranges sends what is here again.
                let again = here.saturating_sub(source.from());
                let skipped = io::copy(&mut (&mut source).take(again), &mut io::sink());
                if skipped.map_err(snapshot::Error::Stream)? < again {
                    return Ok(0);
                }
                self.source.insert(source)
            }
        };
        Ok(source.read(buffer).map_err(snapshot::Error::Stream)?)
    }
}

impl Read for Incoming<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.next(buffer).map_err(|error| {
            self.failed = Some(error);
            io::ErrorKind::Other.into()
        })
    }
}

/// A blob that is here already.
pub(crate) struct Stored<'a> {
    file: std::fs::File,
    hasher: Hasher,
    descriptor: &'a Descriptor,
    size: u64,
}

impl<'a> Stored<'a> {
    pub(crate) fn open(store: &Store, descriptor: &'a Descriptor) -> Result<Self> {
        let (fd, _) = store.open_blob(descriptor.digest)?;
        Ok(Self { file: fd.into(), hasher: Hasher::default(), descriptor, size: 0 })
    }

    /// Reads the rest and checks what was read.
    ///
    /// # Errors
    /// [`content::Error::Damaged`], [`Error::Size`].
    pub(crate) fn finish(mut self) -> Result<()> {
        io::copy(&mut self, &mut io::sink()).map_err(snapshot::Error::Stream)?;
        let Descriptor { digest: name, size: expected, .. } = *self.descriptor;
        let found: Digest = self.hasher.finish();
        if found != name {
            return Err(content::Error::Damaged { name, found }.into());
        }
        if self.size != expected {
            return Err(Error::Size { digest: name, expected, longer: self.size > expected });
        }
        Ok(())
    }
}

impl Read for Stored<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.file.read(buffer)?;
        self.hasher.update(&buffer[..n]);
        self.size += n as u64;
        Ok(n)
    }
}
