//! Images from archives: OCI image layouts, and docker's with `manifest.json`.

use std::fs::File;
use std::io::Read;

use content::{Digest, Hasher, Reference};
use serde::{Deserialize, Serialize};
use snapshot::{ChainId, Layer};

use crate::archive::{Archive, bad};
use crate::config::{ConfigFile, or_default};
use crate::manifest::{Descriptor, Index, MAX_IMAGES, Manifest, OCI_INDEX, OCI_LAYER, choose, encode};
use crate::strict::{self, MAX_DOCUMENT};
use crate::{Error, Image, Images, Platform, Result};

/// containerd's annotation with the whole name.
pub(crate) const NAME: &str = "io.containerd.image.name";
/// OCI's annotation: by the specification a tag, by custom often the whole name.
pub(crate) const REF_NAME: &str = "org.opencontainers.image.ref.name";
pub(crate) const LAYOUT: &str = "oci-layout";
pub(crate) const INDEX: &str = "index.json";
pub(crate) const DOCKER: &str = "manifest.json";

/// An image that came out of an archive.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The image.
    pub image: Image,
    /// The names that it got.
    pub names: Vec<Reference>,
}

/// An element of docker's `manifest.json`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct DockerImage {
    pub(crate) config: String,
    #[serde(default)]
    pub(crate) repo_tags: Option<Vec<String>>,
    #[serde(deserialize_with = "or_default")]
    pub(crate) layers: Vec<String>,
}

/// The content of `oci-layout`.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Layout {
    #[serde(rename = "imageLayoutVersion")]
    pub(crate) version: String,
}

impl Images {
    /// Makes the images of a tarball (plain, gzip or zstd): an OCI image layout, or an archive of `docker save`. Of an
    /// index the image for the host is taken. A tarball that is no plain file is copied below the store meanwhile.
    ///
    /// # Errors
    /// [`Error::Archive`] for what is no such archive, and all that a hostile or damaged one is refused with. Images that
    /// were made before stay.
    pub fn load_archive(&self, from: File) -> Result<Vec<Loaded>> {
        self.load_from(&Archive::open(self, from)?)
    }

    /// As [`Images::load_archive`] from what can be read only once.
    ///
    /// # Errors
    /// As [`Images::load_archive`].
    pub fn load_stream(&self, from: impl Read) -> Result<Vec<Loaded>> {
        self.load_from(&Archive::spool(self, from)?)
    }

    fn load_from(&self, archive: &Archive) -> Result<Vec<Loaded>> {
        let loaded = match () {
            // Archives of docker since 25 are both; the layout keeps the manifests.
            () if archive.has(LAYOUT) => self.load_layout(archive)?,
            () if archive.has(DOCKER) => self.load_docker(archive)?,
            () => return Err(bad(format!("it has neither {LAYOUT} nor {DOCKER}"))),
        };
        if loaded.is_empty() { Err(bad("there is no image in it".into())) } else { Ok(loaded) }
    }

    fn load_layout(&self, archive: &Archive) -> Result<Vec<Loaded>> {
        let layout: Layout = strict::parse(LAYOUT, &archive.document(LAYOUT)?)?;
        if layout.version != "1.0.0" {
            return Err(bad(format!("the version of its layout is {:?}, not \"1.0.0\"", layout.version)));
        }
        let platform = Platform::default();
        let index = Index::parse(&archive.document(INDEX)?, OCI_INDEX)?;
        let here = |entry: &&Descriptor| entry.platform.as_ref().is_none_or(|p| platform.fit(p).is_some());
        let mut loaded: Vec<Loaded> = Vec::new();
        for entry in index.manifests.iter().filter(here) {
            let names: Vec<_> = name_of(entry)?.into_iter().collect();
            let chosen = match entry.is_index() {
                true => choose(&blob(archive, entry)?, &entry.media_type, &platform)?,
                false => entry.clone(),
            };
            if let Some(earlier) = loaded.iter_mut().find(|earlier| earlier.image.manifest == chosen.digest) {
                let _shared = self.store.share()?;
                names.iter().try_for_each(|name| self.store.set_target(name, chosen.digest))?;
                earlier.names.extend(names);
                continue;
            }
            let image = self.load_manifest(archive, &chosen, &names)?;
            loaded.push(Loaded { image, names });
        }
        if loaded.is_empty() && !index.manifests.is_empty() {
            return Err(index.without(&platform));
        }
        Ok(loaded)
    }

    fn load_manifest(&self, archive: &Archive, manifest: &Descriptor, names: &[Reference]) -> Result<Image> {
        let bytes = blob(archive, manifest)?;
        let parsed = Manifest::parse(&bytes, &manifest.media_type)?;
        let plan = self.plan(&bytes, &manifest.media_type, &blob(archive, &parsed.config)?)?;
        for (index, layer) in plan.layers().iter().enumerate().filter(|(_, layer)| !layer.here) {
            self.apply_layer(&plan, index, archive.open_member(&blob_name(layer.descriptor.digest))?)?;
        }
        self.admit(plan, names)
    }

    fn load_docker(&self, archive: &Archive) -> Result<Vec<Loaded>> {
        let images: Vec<DockerImage> = strict::parse(DOCKER, &archive.document(DOCKER)?)?;
        if images.len() > MAX_IMAGES {
            return Err(bad(format!("it has more than {MAX_IMAGES} images")));
        }
        images.iter().map(|image| self.load_docker_image(archive, image)).collect()
    }

    /// An image without a manifest gets one of its config and layers: the same for the same archive.
    fn load_docker_image(&self, archive: &Archive, image: &DockerImage) -> Result<Loaded> {
        let mut names = Vec::new();
        for tag in image.repo_tags.iter().flatten() {
            let name: Reference = tag.parse()?;
            if name.digest().is_some() {
                return Err(bad(format!("the tag {:?} is a digest", name.familiar())));
            }
            names.push(name);
        }
        let config = archive.document(&image.config)?;
        // docker names a config by its digest; a name that says otherwise is not believed.
        let stem = image.config.rsplit('/').next().unwrap_or_default();
        if let Ok(expected) = Digest::from_hex(stem.strip_suffix(".json").unwrap_or(stem)) {
            Descriptor::new("", expected, config.len() as u64).verify(&config)?;
        }
        let file = strict::parse::<ConfigFile>("config", &config)?.validated()?;
        let (layers, diffs) = (image.layers.len(), file.rootfs.diff_ids.len());
        if layers != diffs {
            return Err(bad(format!("an image has {layers} layers, its config {diffs}")));
        }
        let _shared = self.store.share()?;
        let mut below: Vec<ChainId> = Vec::new();
        let mut made = Vec::new();
        for (name, diff) in image.layers.iter().zip(&file.rootfs.diff_ids) {
            let taken = match self.known_layer(archive, name, ChainId::new(below.last(), diff))? {
                Some(known) => known,
                None => self.take_layer(&below, archive.open_member(name)?, Some(diff), None)?,
            };
            below.push(taken.0.chain.clone());
            made.push(taken);
        }
        let (layers, descriptors): (Vec<_>, Vec<_>) = made.into_iter().unzip();
        let manifest = encode("manifest", &Manifest::of(&config, descriptors))?;
        let image = self.publish_documents(&config, &manifest, &layers, &names)?;
        Ok(Loaded { image, names })
    }

    /// A layer that is here as the archive has it, uncompressed: hashing is less than unpacking again. Of a compressed one
    /// the digest does not tell what is in it.
    fn known_layer(
        &self,
        archive: &Archive,
        name: &str,
        chain: ChainId,
    ) -> Result<Option<(Layer, Descriptor)>> {
        let Some(layer) = self.layers.get(&chain)? else { return Ok(None) };
        let promised: Digest = layer.diff.to_string().parse()?;
        if !self.store.has(promised) {
            return Ok(None);
        }
        let mut blob = archive.open_member(name)?;
        let (size, mut hasher) = (blob.left, Hasher::default());
        let mut buffer = vec![0; 128 << 10];
        loop {
            match blob.read(&mut buffer).map_err(|source| Error::Io { what: "read", source })? {
                0 => break,
                n => hasher.update(&buffer[..n]),
            }
        }
        let same = hasher.finish() == promised;
        Ok(same.then(|| (layer, Descriptor::new(OCI_LAYER, promised, size))))
    }
}

/// Where a layout keeps a blob.
pub(crate) fn blob_name(digest: Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

/// A document of the layout, checked against what refers to it.
fn blob(archive: &Archive, descriptor: &Descriptor) -> Result<Vec<u8>> {
    if descriptor.size > MAX_DOCUMENT as u64 {
        return Err(Error::Document {
            what: "descriptor",
            why: format!("a document of {} bytes, more than {MAX_DOCUMENT}", descriptor.size),
        });
    }
    let bytes = archive.document(&blob_name(descriptor.digest))?;
    descriptor.verify(&bytes)?;
    Ok(bytes)
}

/// The name that an index gives an image, where it gives a whole one.
fn name_of(entry: &Descriptor) -> Result<Option<Reference>> {
    let annotation = |key| entry.annotations.get(key).map(String::as_str);
    let whole = |name: &&str| name.contains(['/', ':']);
    let Some(name) = annotation(NAME).or(annotation(REF_NAME).filter(whole)) else { return Ok(None) };
    let name: Reference = name.parse()?;
    Ok(Some(name))
}
