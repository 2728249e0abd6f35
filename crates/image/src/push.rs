//! An image to a registry: blobs that it has not, then the config, then the manifest, which makes them an image.

use std::io::Read;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use content::{Digest, Reference};
use registry::{Access, Options, Registry};

use crate::admit::PlannedLayer;
use crate::manifest::{Descriptor, Manifest};
use crate::pull::{Progress, Step};
use crate::strict::MAX_DOCUMENT;
use crate::{Images, Result};

/// Blobs sent at a time.
const PARALLEL: usize = 3;

/// What a push is asked to do.
pub struct Push<'a> {
    /// The name here, and there.
    pub reference: &'a Reference,
    /// How registries are reached.
    pub options: &'a Options,
    /// Told what happens, from several threads.
    pub progress: &'a dyn Progress,
}

/// What a registry has now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pushed {
    /// The manifest's digest.
    pub digest: Digest,
    /// Its bytes.
    pub size: u64,
}

impl Images {
    /// Pushes an image under its own name. An index is pushed as the manifest of the platform that is here.
    ///
    /// # Errors
    /// [`Error::NotFound`] without such a name; [`Error::Registry`].
    pub fn push(&self, push: &Push<'_>) -> Result<Pushed> {
        let reference = push.reference;
        // From here on nobody removes what is sent.
        let _shared = self.hold()?;
        let image = self.resolve_known(&reference.to_string())?;
        let bytes = self.store.read(image.manifest, MAX_DOCUMENT)?;
        let manifest = Manifest::stored(&bytes)?;
        let registry =
            Registry::open(reference.registry(), reference.repository(), Access::Push, push.options)?;
        self.send_all(&registry, &image.layers_of(&manifest), push)?;
        let config = manifest.config.digest.to_string();
        if !registry.has_blob(&config)? {
            let bytes = self.store.read(manifest.config.digest, MAX_DOCUMENT)?;
            registry.upload(&config, bytes.len() as u64, &mut &bytes[..])?;
        }
        let name = reference.tag().map_or_else(|| image.manifest.to_string(), str::to_owned);
        registry.put_manifest(&name, manifest.media_type(), &bytes)?;
        let pushed = reference.with_digest(image.manifest);
        self.store.set_target(&pushed, image.manifest)?;
        Ok(Pushed { digest: image.manifest, size: bytes.len() as u64 })
    }

    fn send_all(&self, registry: &Registry, layers: &[PlannedLayer], push: &Push<'_>) -> Result<()> {
        layers.iter().for_each(|layer| push.progress.blob(&layer.descriptor, Step::Waiting));
        let (next, failed) = (AtomicUsize::new(0), AtomicBool::new(false));
        let first = Mutex::new(None);
        let work = || {
            while !failed.load(Ordering::Relaxed) {
                let Some(layer) = layers.get(next.fetch_add(1, Ordering::Relaxed)) else { return };
                if let Err(error) = self.send(registry, layer, push) {
                    failed.store(true, Ordering::Relaxed);
                    if let Ok(mut first) = first.lock() {
                        first.get_or_insert(error);
                    }
                }
            }
        };
        std::thread::scope(|scope| {
            for _ in 0..PARALLEL.min(layers.len()) {
                scope.spawn(work);
            }
        });
        first.into_inner().unwrap_or_default().map_or(Ok(()), Err)
    }

    fn send(&self, registry: &Registry, layer: &PlannedLayer, push: &Push<'_>) -> Result<()> {
        let blob = &layer.descriptor;
        let name = blob.digest.to_string();
        if registry.has_blob(&name)? {
            push.progress.blob(blob, Step::Exists);
            return Ok(());
        }
        for from in self.repositories_of(push.reference, blob.digest)? {
            if registry.mount(&name, &from)? {
                push.progress.blob(blob, Step::Mounted);
                return Ok(());
            }
        }
        let mut shown = Shown { inner: self.layer_bytes(layer)?, sent: 0, blob, progress: push.progress };
        registry.upload(&name, blob.size, &mut shown)?;
        push.progress.blob(blob, Step::Complete);
        Ok(())
    }

    /// Other repositories of the same registry from which an image with this blob came, or where one went: at most two,
    /// since asking costs a round trip.
    fn repositories_of(&self, reference: &Reference, blob: Digest) -> Result<Vec<String>> {
        let mut found = Vec::new();
        for (other, manifest) in self.store.references()? {
            let same =
                other.registry() == reference.registry() && other.repository() != reference.repository();
            if !same
                || other.digest().is_none()
                || found.len() == 2
                || found.contains(&other.repository().to_owned())
            {
                continue;
            }
            let known = self.store.read(manifest, MAX_DOCUMENT).ok();
            if known.and_then(|bytes| Manifest::stored(&bytes).ok()).is_some_and(|known| known.names(blob)) {
                found.push(other.repository().to_owned());
            }
        }
        Ok(found)
    }
}

/// A blob whose reading is shown.
struct Shown<'a> {
    inner: Box<dyn Read>,
    sent: u64,
    blob: &'a Descriptor,
    progress: &'a dyn Progress,
}

impl Read for Shown<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let n = self.inner.read(buffer)?;
        self.sent += n as u64;
        self.progress.blob(self.blob, Step::Moved(self.sent));
        Ok(n)
    }
}
