//! A layer's blob, stored, hashed, unpacked and checked in one pass.

use std::fs::File;
use std::io::{self, Read};

use content::Ingest;
use snapshot::{Budget, ChainId, DiffId, Layer};

use crate::admit::PlannedLayer;
use crate::host::stream::TarStream;
use crate::manifest::{Descriptor, Manifest, OCI_LAYER};
use crate::{Error, Image, Images, Result};

/// Passes bytes on and keeps them in the content store.
struct Tee<'a, R> {
    inner: R,
    ingest: Ingest<'a>,
    size: u64,
    promised: Option<&'a Descriptor>,
    failed: Option<Error>,
    magic: Vec<u8>,
}

impl<R: Read> Read for Tee<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        let missing = 4usize.saturating_sub(self.magic.len()).min(n);
        self.magic.extend_from_slice(&buffer[..missing]);
        self.size += n as u64;
        let mut fail = |error: Error| {
            self.failed = Some(error);
            Err(io::ErrorKind::Other.into())
        };
        if let Some(Descriptor { digest, size: expected, .. }) = self.promised
            && self.size > *expected
        {
            return fail(Error::Size { digest: *digest, expected: *expected, longer: true });
        }
        match self.ingest.write(&buffer[..n]) {
            Ok(()) => Ok(n),
            Err(e) => fail(e.into()),
        }
    }
}

impl Image {
    /// The layers of its manifest, which is given.
    pub(crate) fn layers_of(&self, manifest: &Manifest) -> Vec<PlannedLayer> {
        let known = self.layers.iter().zip(&self.diff_ids);
        let layer = |(descriptor, (chain, diff)): (&Descriptor, (&ChainId, &DiffId))| PlannedLayer {
            descriptor: descriptor.clone(),
            diff: diff.clone(),
            chain: chain.clone(),
            here: true,
        };
        manifest.layers.iter().zip(known).map(layer).collect()
    }
}

impl Images {
    /// The bytes of a layer's blob: as they are stored, or of a layer of the host's files, whose tree gives its tar again.
    /// Who reads them verifies them.
    ///
    /// # Errors
    /// [`content::Error::NoBlob`]; [`Error::Io`] for a tree that no such tar makes.
    pub(crate) fn layer_bytes(&self, layer: &PlannedLayer) -> Result<Box<dyn Read>> {
        let digest = layer.descriptor.digest;
        match self.store.open_blob(digest) {
            Ok((fd, _)) => Ok(Box::new(File::from(fd))),
            Err(content::Error::NoBlob(_)) if layer.diff.hex() == digest.hex() => {
                let tree = TarStream::again(&self.layers.fs_path(&layer.chain));
                Ok(Box::new(tree.map_err(|source| Error::Io { what: "make a layer of", source })?))
            }
            Err(e) => Err(e.into()),
        }
    }

    /// Stores a layer's blob and applies it on top of `below`. The shared lock is held.
    ///
    /// With `diff` its content, with `promised` its size and digest are verified; what is not so is not stored.
    pub(crate) fn take_layer(
        &self,
        below: &[ChainId],
        from: impl Read,
        diff: Option<&DiffId>,
        promised: Option<&Descriptor>,
    ) -> Result<(Layer, Descriptor)> {
        let ingest = self.store.ingest()?;
        let mut tee = Tee { inner: from, ingest, size: 0, promised, failed: None, magic: Vec::new() };
        let applied = self.layers.apply(below, &mut tee, &Budget::default(), diff);
        if let Some(e) = tee.failed.take() {
            return Err(e);
        }
        let layer = applied?;
        // What follows the stream belongs to the blob too.
        let rest = io::copy(&mut tee, &mut io::sink());
        if let Some(e) = tee.failed.take() {
            return Err(e);
        }
        rest.map_err(snapshot::Error::Stream)?;
        let size = tee.size;
        if let Some(Descriptor { digest, size: expected, .. }) = promised
            && size < *expected
        {
            return Err(Error::Size { digest: *digest, expected: *expected, longer: false });
        }
        let kind = match &tee.magic[..] {
            [0x1f, 0x8b, ..] => "+gzip",
            [0x28, 0xb5, 0x2f, 0xfd] => "+zstd",
            _ => "",
        };
        let digest = tee.ingest.commit(promised.map(|descriptor| descriptor.digest))?;
        Ok((layer, Descriptor::new(&format!("{OCI_LAYER}{kind}"), digest, size)))
    }
}
