use std::collections::HashSet;

use content::{Digest, Guard, Reference};
use linux::tree;
use snapshot::ChainId;

use crate::images::Record;
use crate::manifest::Manifest;
use crate::strict::MAX_DOCUMENT;
use crate::{Error, HostImage, Images, Result};

/// One line of `docker rmi`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Removed {
    /// A name that went.
    Untagged(String),
    /// An image or a layer that went.
    Deleted(String),
}

/// A container that uses an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Usage {
    /// The container's short id, for the message.
    pub container: String,
    /// Whether it runs: then not even `force` removes its image.
    pub running: bool,
}

/// What [`Images::prune`] removed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Names, images and layers.
    pub removed: Vec<Removed>,
    /// Bytes that layers' files and blobs had.
    pub bytes: u64,
}

impl Images {
    /// Removes a name and, with the last one, the image and the layers that no other image has; as `docker rmi`.
    ///
    /// `used_by` tells which container uses an image; it is asked while the store is locked exclusively.
    pub fn remove(
        &self,
        name: &str,
        force: bool,
        used_by: impl Fn(Digest) -> Option<Usage>,
    ) -> Result<Vec<Removed>> {
        let exclusive = self.store.exclude()?;
        let named = match HostImage::parse(name) {
            Some(host) => Some(host.reference()?),
            None => name.parse::<Reference>().ok(),
        };
        let named = match named {
            Some(reference) => self.store.target(&reference)?.is_some().then_some(reference),
            None => None,
        };
        let id = match &named {
            Some(reference) => self.id_of(&reference.to_string())?,
            None => self.id_of(name)?,
        };
        let record = self.record(id)?.ok_or_else(|| Error::NotFound(name.to_owned()))?;
        let mut names = Vec::new();
        for (reference, manifest) in self.store.references()? {
            if self.store.image_of(manifest)? == Some(id) {
                names.push(reference);
            }
        }
        let mut removed = Vec::new();
        if let Some(reference) = &named {
            // As docker: the digests under which a repository's only tag came are no names of their own.
            let same = |other: &Reference| other.familiar_name() == reference.familiar_name();
            let is_other = |other: &&Reference| {
                *other != reference
                    && (reference.digest().is_some() || other.digest().is_none() || !same(other))
            };
            if names.iter().any(|other| is_other(&other)) {
                self.untag(reference, &mut removed)?;
                return Ok(removed);
            }
        }
        let conflict = |forceable, why| Error::InUse { name: name.to_owned(), forceable, why };
        let usage = used_by(id);
        match &usage {
            Some(Usage { container, running: true }) => {
                return Err(conflict(false, format!("container {container} is running on it")));
            }
            Some(Usage { container, .. }) if !force => {
                return Err(conflict(
                    true,
                    format!("container {container} is using its referenced image {}", id.short()),
                ));
            }
            _ => {}
        }
        let repositories: HashSet<_> = names.iter().map(Reference::familiar_name).collect();
        if named.is_none() && repositories.len() > 1 && !force {
            return Err(conflict(true, "image is referenced in multiple repositories".into()));
        }
        for reference in &names {
            self.untag(reference, &mut removed)?;
        }
        // A stopped container keeps its layers; its image stays without a name until the container is gone.
        if usage.is_none() {
            let mut pruned = Pruned { removed, bytes: 0 };
            self.delete(&exclusive, id, record, &mut pruned)?;
            removed = pruned.removed;
        }
        Ok(removed)
    }

    /// Removes the images without a name (`all`: those that no container uses, too), and what crashes left behind.
    pub fn prune(&self, all: bool, used_by: impl Fn(Digest) -> Option<Usage>) -> Result<Pruned> {
        let exclusive = self.store.exclude()?;
        let mut pruned = Pruned::default();
        for id in self.ids()? {
            let (tags, digests) = self.names_of(id)?;
            let Some(record) = self.record(id)? else { continue };
            if used_by(id).is_some() || !(all || tags.is_empty() && digests.is_empty()) {
                continue;
            }
            for (reference, manifest) in self.store.references()? {
                if self.store.image_of(manifest)? == Some(id) {
                    self.untag(&reference, &mut pruned.removed)?;
                }
            }
            self.delete(&exclusive, id, record, &mut pruned)?;
        }
        let (blobs, layers) = self.live()?;
        for chain in self.layers.list()?.into_iter().filter(|chain| !layers.contains(chain)) {
            self.delete_layer(&chain, &mut pruned)?;
        }
        self.layers.sweep()?;
        pruned.bytes += self.store.sweep(&exclusive, &blobs, std::time::Duration::from_secs(3600))?.bytes;
        Ok(pruned)
    }

    fn delete_layer(&self, chain: &ChainId, pruned: &mut Pruned) -> Result<()> {
        // A damaged layer goes as well.
        pruned.bytes += self.layers.get(chain).ok().flatten().map_or(0, |layer| layer.size);
        self.layers.remove(chain)?;
        pruned.removed.push(Removed::Deleted(chain.to_string()));
        Ok(())
    }

    fn untag(&self, reference: &Reference, removed: &mut Vec<Removed>) -> Result<()> {
        if self.store.remove_target(reference)? {
            removed.push(Removed::Untagged(reference.familiar()));
        }
        Ok(())
    }

    /// The record goes first: without it there is no image, and what a crash leaves of the rest is garbage that
    /// [`Images::prune`] finds.
    fn delete(&self, exclusive: &Guard, id: Digest, record: Record, pruned: &mut Pruned) -> Result<()> {
        // One config may have come with several manifests.
        let mut manifests = self.store.manifests()?;
        manifests.retain(|(_, image)| *image == id);
        let mut blobs = self.blobs_of(record.manifest)?;
        for (manifest, _) in &manifests {
            blobs.extend(self.blobs_of(*manifest)?);
        }
        blobs.insert(id);
        tree::remove_tree(self.store.images_dir(), id.hex())?;
        pruned.removed.push(Removed::Deleted(id.to_string()));
        for (manifest, _) in &manifests {
            self.store.remove_image_of(*manifest)?;
        }
        let (live_blobs, live_layers) = self.live()?;
        for chain in record.layers.iter().rev().filter(|chain| !live_layers.contains(chain)) {
            self.delete_layer(chain, pruned)?;
        }
        for blob in blobs.difference(&live_blobs) {
            pruned.bytes += self.store.open_blob(*blob).map_or(0, |(_, size)| size);
            self.store.remove(exclusive, *blob)?;
        }
        Ok(())
    }

    /// All that the images refer to, by each of their manifests.
    fn live(&self) -> Result<(HashSet<Digest>, HashSet<ChainId>)> {
        let (mut blobs, mut layers) = (HashSet::new(), HashSet::new());
        for id in self.ids()? {
            if let Some(record) = self.record(id)? {
                blobs.insert(id);
                blobs.extend(self.blobs_of(record.manifest)?);
                layers.extend(record.layers);
            }
        }
        for (manifest, image) in self.store.manifests()? {
            if blobs.contains(&image) {
                blobs.extend(self.blobs_of(manifest)?);
            }
        }
        Ok((blobs, layers))
    }

    fn blobs_of(&self, manifest: Digest) -> Result<HashSet<Digest>> {
        let mut blobs = HashSet::from([manifest]);
        match self.store.read(manifest, MAX_DOCUMENT) {
            Ok(bytes) => {
                // An index has no blobs of its own: the manifest that was chosen from it is known, too.
                if let Ok(manifest) = Manifest::stored(&bytes) {
                    blobs.extend(manifest.layers.iter().map(|layer| layer.digest));
                    blobs.insert(manifest.config.digest);
                }
            }
            // A manifest that is gone or damaged must not keep its image from being removed.
            Err(content::Error::NoBlob(_) | content::Error::Damaged { .. }) => {}
            Err(e) => return Err(e.into()),
        }
        Ok(blobs)
    }
}
