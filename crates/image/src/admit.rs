//! Images of documents and blobs that come from elsewhere: a registry, an archive.
//!
//! The order is: [`Manifest::parse`] tells which config to get, [`Images::plan`] which layers, [`Images::apply_layer`]
//! takes each, [`Images::admit`] makes the image. Nothing is an image before the last step, and nothing of the first three
//! survives a garbage collection without it.

use std::io::Read;

use content::{Digest, Reference};
use snapshot::{ChainId, DiffId, Layer};

use crate::config::ConfigFile;
use crate::manifest::{Descriptor, Manifest};
use crate::{Error, Image, Images, Platform, Result, strict};

/// A manifest and its config, checked against each other: what remains to be done for an image. It keeps
/// nothing from being removed: who applies layers one by one holds [`Images::hold`], and a pull stages them.
#[derive(Debug)]
pub struct LayerPlan {
    manifest: Vec<u8>,
    config: Vec<u8>,
    layers: Vec<PlannedLayer>,
}

/// A layer of a [`LayerPlan`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedLayer {
    /// Its blob.
    pub descriptor: Descriptor,
    /// Its content.
    pub diff: DiffId,
    /// It and all below it.
    pub chain: ChainId,
    /// Whether it is here, unpacked and as this blob, and need not be fetched.
    pub here: bool,
}

impl LayerPlan {
    /// The layers, bottom first.
    pub fn layers(&self) -> &[PlannedLayer] {
        &self.layers
    }

    /// The image's id, which is its config's digest.
    pub fn id(&self) -> Digest {
        Digest::of(&self.config)
    }

    /// What the image runs on, as its config says.
    ///
    /// # Errors
    /// [`Error::Document`].
    pub fn platform(&self) -> Result<Platform> {
        let file = strict::parse_stored::<ConfigFile>("config", &self.config)?;
        Ok(Platform { os: file.os, architecture: file.architecture, variant: None })
    }

    /// The manifest's digest.
    pub fn manifest(&self) -> Digest {
        Digest::of(&self.manifest)
    }
}

impl Images {
    /// Checks a manifest, which came with the media type `media_type`, and the config that it names.
    ///
    /// # Errors
    /// As [`Manifest::parse`]; [`Error::Document`] for a config that is none or has other layers, [`Error::Size`] or
    /// [`content::Error::Mismatch`] for one that the manifest does not name.
    pub fn plan(&self, manifest: &[u8], media_type: &str, config: &[u8]) -> Result<LayerPlan> {
        let parsed = Manifest::parse(manifest, media_type)?;
        parsed.config.verify(config)?;
        let file = strict::parse::<ConfigFile>("config", config)?.validated()?;
        let (layers, diffs) = (parsed.layers.len(), file.rootfs.diff_ids.len());
        if layers != diffs {
            let why = format!("it has {layers} layers, its config {diffs}");
            return Err(Error::Document { what: "manifest", why });
        }
        let mut below: Option<ChainId> = None;
        let mut plan = Vec::new();
        for (descriptor, diff) in parsed.layers.into_iter().zip(file.rootfs.diff_ids) {
            let chain = ChainId::new(below.as_ref(), &diff);
            below = Some(chain.clone());
            let here = self.layers.has(&chain) && self.store.has(descriptor.digest);
            plan.push(PlannedLayer { descriptor, diff, chain, here });
        }
        Ok(LayerPlan { manifest: manifest.to_vec(), config: config.to_vec(), layers: plan })
    }

    /// Stores and unpacks the layer number `index` (0 is the bottom) of the plan in one pass over its blob. The shared lock
    /// is held.
    ///
    /// Those below it must be here already: directories that a layer does not mention look as they do there. So blobs may
    /// be fetched in parallel, but are applied in order.
    ///
    /// # Errors
    /// [`Error::Size`], [`content::Error::Mismatch`] and [`snapshot::Error::Mismatch`] for a blob or content that is not
    /// what was promised; nothing of it is kept as a blob then. [`snapshot::Error`] for a layer that breaks its format,
    /// and where one below is missing.
    pub fn apply_layer(&self, plan: &LayerPlan, index: usize, blob: impl Read) -> Result<Layer> {
        let missing = || Error::Document { what: "manifest", why: format!("it has no layer {index}") };
        let layer = plan.layers.get(index).ok_or_else(missing)?;
        let below: Vec<_> = plan.layers[..index].iter().map(|layer| layer.chain.clone()).collect();
        Ok(self.take_layer(&below, blob, Some(&layer.diff), Some(&layer.descriptor))?.0)
    }

    /// Makes the image of a plan whose layers are all here, with the manifest and config byte for byte, and names it. The
    /// shared lock is held.
    ///
    /// # Errors
    /// [`snapshot::Error::NoLayer`] or [`content::Error::NoBlob`] for a layer that is not here.
    pub fn admit(&self, plan: LayerPlan, names: &[Reference]) -> Result<Image> {
        let mut layers = Vec::new();
        for layer in &plan.layers {
            if !self.store.has(layer.descriptor.digest) {
                return Err(content::Error::NoBlob(layer.descriptor.digest).into());
            }
            let found = self.layers.get(&layer.chain)?;
            layers.push(found.ok_or_else(|| snapshot::Error::NoLayer(layer.chain.clone()))?);
        }
        self.publish_documents(&plan.config, &plan.manifest, &layers, names)
    }
}
