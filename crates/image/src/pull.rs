//! An image from a registry: manifest, config, and its layers, each in one pass from the socket to its files, several at a
//! time.
//!
//! No lock is held while bytes come in: what is on its way has locks of its own, and what is whole is protected by its age
//! until the image is made. Whatever ends a pull, whole blobs and the beginnings of others stay, and the next one goes on
//! from there.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use content::{Claim, Digest, Reference};
use registry::{Access, Options, Registry};
use snapshot::{Budget, ChainId, Staged};

use crate::admit::{LayerPlan, PlannedLayer};
use crate::incoming::{Incoming, Stored};
use crate::manifest::{Descriptor, Manifest, choose, is_index};
use crate::strict::MAX_DOCUMENT;
use crate::{Error, Image, Images, Platform, Result};

/// Layers fetched and unpacked at a time.
const PARALLEL: usize = 3;
/// How often a pull begins again because of what others removed.
const REPLANNED: u32 = 5;
/// How often a blob that somebody else fetches is looked at.
const BUSY: Duration = Duration::from_millis(50);

/// What a pull is asked to do.
pub struct Pull<'a> {
    /// The image.
    pub reference: &'a Reference,
    /// For which machine: the host's without it, and an image that is for no other is taken then.
    pub platform: Option<&'a Platform>,
    /// How registries are reached.
    pub options: &'a Options,
    /// Told what happens, from several threads.
    pub progress: &'a dyn Progress,
}

/// Somebody who shows how far a transfer is.
pub trait Progress: Sync {
    /// Something has happened to a blob.
    fn blob(&self, blob: &Descriptor, step: Step);
}

/// What happens to a blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// It will be moved.
    Waiting,
    /// It is where it should be already.
    Exists,
    /// It was taken from another repository of the same registry.
    Mounted,
    /// So many of its bytes have been moved.
    Moved(u64),
    /// It is whole; a layer is unpacked, too.
    Complete,
}

/// A pulled image.
#[derive(Clone, Debug)]
pub struct Pulled {
    /// The image.
    pub image: Image,
    /// What the reference names: a manifest's or an index's digest.
    pub digest: Digest,
    /// The name led elsewhere, or nowhere, before.
    pub new: bool,
}

impl Pulled {
    /// docker's words for what has happened.
    pub fn status(&self, reference: &Reference) -> String {
        let state = if self.new { "Downloaded newer image for" } else { "Image is up to date for" };
        format!("{state} {}", reference.familiar())
    }
}

/// An image for one machine alone is refused where another one was asked for.
fn fits(plan: &LayerPlan, wanted: Option<&Platform>) -> Result<()> {
    let Some(wanted) = wanted else { return Ok(()) };
    let offered = plan.platform()?;
    match wanted.fit(&offered) {
        Some(_) => Ok(()),
        None => Err(Error::NoPlatform { wanted: wanted.to_string(), offered: offered.to_string() }),
    }
}

/// The documents of an image.
struct Documents {
    /// What the reference names.
    digest: Digest,
    /// The index, if it names one.
    index: Option<Vec<u8>>,
    manifest: Vec<u8>,
    media_type: String,
}

impl Images {
    /// Pulls an image: everything that is not here yet, verified before it is used, and last the name.
    ///
    /// # Errors
    /// [`Error::Registry`]; [`Error::Document`], [`Error::Size`], [`content::Error::Mismatch`] and
    /// [`snapshot::Error::Mismatch`] for what is not what was promised.
    pub fn pull(&self, pull: &Pull<'_>) -> Result<Pulled> {
        let reference = pull.reference;
        let registry =
            Registry::open(reference.registry(), reference.repository(), Access::Pull, pull.options)?;
        let documents = self.documents(&registry, pull)?;
        let parsed = Manifest::parse(&documents.manifest, &documents.media_type)?;
        let config = self.small(&registry, &parsed.config)?;
        let mut attempts = 0;
        let (image, before, _shared) = loop {
            let plan = self.plan(&documents.manifest, &documents.media_type, &config)?;
            fits(&plan, pull.platform)?;
            let staged = self.stage_layers(&registry, &plan, pull)?;
            let shared = self.store.share()?;
            let before = self.store.target(reference)?;
            match self.commit_layers(&plan, staged).and_then(|()| self.admit(plan, &[])) {
                Ok(image) => break (image, before, shared),
                // What was here when it was planned has been removed meanwhile.
                Err(
                    Error::Content(content::Error::NoBlob(_)) | Error::Snapshot(snapshot::Error::NoLayer(_)),
                ) if attempts < REPLANNED => attempts += 1,
                Err(error) => return Err(error),
            }
        };
        if let Some(index) = &documents.index {
            self.store.put(index)?;
            self.store.set_image_of(documents.digest, image.id)?;
        }
        self.store.set_target(reference, documents.digest)?;
        self.store.set_target(&reference.with_digest(documents.digest), documents.digest)?;
        Ok(Pulled { image, digest: documents.digest, new: before != Some(documents.digest) })
    }

    /// The manifest for the platform, through an index where there is one.
    fn documents(&self, registry: &Registry, pull: &Pull<'_>) -> Result<Documents> {
        let reference = pull.reference;
        let asked = reference.digest().map(|digest| digest.to_string());
        let name = asked.as_deref().or(reference.tag()).unwrap_or("latest");
        let found = registry.manifest(name)?;
        let digest = Digest::of(&found.bytes);
        let promised = found.digest.as_deref().map(str::parse::<Digest>).transpose()?;
        // What was asked for by digest is that, whatever the registry says; a tag's digest is the registry's to say.
        if let Some(expected) = reference.digest().or(promised).filter(|expected| *expected != digest) {
            let size = found.bytes.len() as u64;
            return Err(content::Error::Mismatch { expected, found: digest, size }.into());
        }
        if !is_index(&found.media_type) {
            return Ok(Documents {
                digest,
                index: None,
                manifest: found.bytes,
                media_type: found.media_type,
            });
        }
        let chosen = choose(&found.bytes, &found.media_type, pull.platform.unwrap_or(&Platform::default()))?;
        let inner = registry.manifest(&chosen.digest.to_string())?;
        chosen.verify(&inner.bytes)?;
        Ok(Documents {
            digest,
            index: Some(found.bytes),
            manifest: inner.bytes,
            media_type: inner.media_type,
        })
    }

    /// A small blob, from here or there.
    fn small(&self, registry: &Registry, descriptor: &Descriptor) -> Result<Vec<u8>> {
        use std::io::Read;
        if let Ok(bytes) = self.store.read(descriptor.digest, MAX_DOCUMENT) {
            return Ok(bytes);
        }
        let mut bytes = Vec::new();
        let blob = registry.blob(&descriptor.digest.to_string(), 0)?;
        blob.take(MAX_DOCUMENT as u64 + 1).read_to_end(&mut bytes).map_err(snapshot::Error::Stream)?;
        descriptor.verify(&bytes)?;
        Ok(bytes)
    }

    /// Fetches and unpacks the layers that are not here, side by side; in the order of the plan, none for those that are.
    fn stage_layers<'a>(
        &'a self,
        registry: &Registry,
        plan: &LayerPlan,
        pull: &Pull<'_>,
    ) -> Result<Vec<Option<Staged<'a>>>> {
        let layers = plan.layers();
        for layer in layers {
            pull.progress.blob(&layer.descriptor, if layer.here { Step::Exists } else { Step::Waiting });
        }
        let (next, failed) = (AtomicUsize::new(0), AtomicBool::new(false));
        let done = Mutex::new(Vec::new());
        let work = || {
            while !failed.load(Ordering::Acquire) {
                let at = next.fetch_add(1, Ordering::Relaxed);
                let Some(layer) = layers.get(at) else { return };
                if layer.here {
                    continue;
                }
                let staged = self.stage_layer(registry, layer, pull, &failed);
                let is_err = staged.is_err();
                // First the cause, so that it comes before what others give up for it.
                if let Ok(mut done) = done.lock() {
                    done.push((at, staged));
                }
                failed.fetch_or(is_err, Ordering::Release);
            }
        };
        std::thread::scope(|scope| {
            for _ in 0..PARALLEL.min(layers.len()) {
                scope.spawn(work);
            }
        });
        let mut staged: Vec<_> = layers.iter().map(|_| None).collect();
        for (at, result) in done.into_inner().unwrap_or_default() {
            staged[at] = Some(result?);
        }
        Ok(staged)
    }

    fn stage_layer<'a>(
        &'a self,
        registry: &Registry,
        layer: &PlannedLayer,
        pull: &Pull<'_>,
        given_up: &AtomicBool,
    ) -> Result<Staged<'a>> {
        let descriptor = &layer.descriptor;
        let budget = Budget::default();
        loop {
            match self.store.claim(descriptor.digest)? {
                Claim::Ours(partial) => {
                    let mut incoming = Incoming::new(registry, descriptor, partial, pull.progress);
                    let staged = self.layers.stage(&mut incoming, &budget, Some(&layer.diff));
                    // What went wrong with the bytes says more than what the unpacking made of it.
                    incoming.finish()?;
                    pull.progress.blob(descriptor, Step::Complete);
                    return Ok(staged?);
                }
                Claim::Here => {
                    let mut stored = Stored::open(&self.store, descriptor)?;
                    let staged = self.layers.stage(&mut stored, &budget, Some(&layer.diff));
                    stored.finish()?;
                    pull.progress.blob(descriptor, Step::Complete);
                    return Ok(staged?);
                }
                Claim::Busy if given_up.load(Ordering::Acquire) => return Err(Error::GivenUp),
                Claim::Busy => std::thread::sleep(BUSY),
            }
        }
    }

    /// Gives the staged layers their places. The shared lock is held.
    fn commit_layers(&self, plan: &LayerPlan, staged: Vec<Option<Staged<'_>>>) -> Result<()> {
        let chains: Vec<ChainId> = plan.layers().iter().map(|layer| layer.chain.clone()).collect();
        let placed = staged.into_iter().enumerate();
        let placed = placed.filter_map(|(at, staged)| Some((chains[..at].to_vec(), staged?)));
        self.layers.commit(placed.collect())?;
        Ok(())
    }
}
