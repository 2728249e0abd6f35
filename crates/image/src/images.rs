use std::borrow::Borrow;
use std::path::Path;

use content::{Digest, Guard, Reference, Store};
use linux::tree;
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use snapshot::{ChainId, Layer, Layers};

use crate::config::{Config, ConfigFile, History};
use crate::manifest::{self, Descriptor, Manifest};
use crate::strict::{self, MAX_DOCUMENT};
use crate::{Error, HostImage, Result};

const RECORD: &str = "record.json";
const VERSION: u32 = 1;

/// The images of one data root.
#[derive(Debug)]
pub struct Images {
    pub(crate) store: Store,
    pub(crate) layers: Layers,
}

/// An image, ready to run.
#[derive(Clone, Debug)]
pub struct Image {
    /// The config's digest.
    pub id: Digest,
    /// The manifest's digest.
    pub manifest: Digest,
    /// What to run.
    pub config: Config,
    /// The layers, bottom first.
    pub layers: Vec<ChainId>,
    /// The layers' diff ids, bottom first.
    pub diff_ids: Vec<snapshot::DiffId>,
    /// RFC 3339; empty where the image does not say.
    pub created: String,
    /// Who made it; empty where the image does not say.
    pub author: String,
    /// Go's name of the architecture.
    pub architecture: String,
    /// `linux`.
    pub os: String,
    /// Bytes of all layers' files.
    pub size: u64,
    /// How it was made, oldest first.
    pub history: Vec<History>,
}

/// `images/<config hex>/record.json`: what a start needs beside the config.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Record {
    version: u32,
    pub(crate) manifest: Digest,
    pub(crate) layers: Vec<ChainId>,
    size: u64,
}

impl Images {
    /// Opens the images under `data`, the data root, making directories (0700) that are missing.
    pub fn open(data: &Path) -> Result<Self> {
        match rustix::fs::mkdir(data, rustix::fs::Mode::from(0o700)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(e) => return Err(linux::Error::on("mkdir", data.to_string_lossy(), e).into()),
        }
        Ok(Self { store: Store::open(&data.join("content"))?, layers: Layers::open(&data.join("layers"))? })
    }

    /// The content store.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// The layers: `images.layers().prepare(dir, &image.layers, volatile)` makes a container's root filesystem.
    pub fn layers(&self) -> &Layers {
        &self.layers
    }

    /// Keeps images and layers from being removed while it is held: from `resolve` until the container that uses them
    /// can be seen by whoever asks for removal.
    pub fn hold(&self) -> Result<Guard> {
        Ok(self.store.share()?)
    }

    /// Finds an image as docker does: `host:PROGRAM[,PROGRAM...]` (made where needed), a whole id, a reference, or
    /// the first digits of an id.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Ambiguous`], or what makes a damaged image unusable.
    pub fn resolve(&self, name: &str) -> Result<Image> {
        if let Some(host) = HostImage::parse(name) {
            return self.from_host(&host);
        }
        self.load(self.id_of(name)?)
    }

    /// The id of the image that [`Images::resolve`] would find.
    pub fn id_of(&self, name: &str) -> Result<Digest> {
        let hex = name.strip_prefix("sha256:").unwrap_or(name);
        if let Ok(id) = Digest::from_hex(hex) {
            return match self.store.image_of(id)? {
                Some(image) => Ok(image),
                None => Ok(id),
            };
        }
        let reference = name.parse::<Reference>();
        if let Ok(reference) = &reference
            && let Some(manifest) = self.store.target(reference)?
            && let Some(id) = self.store.image_of(manifest)?
        {
            return Ok(id);
        }
        if hex.is_empty() || !hex.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(match reference {
                Err(e) if !name.contains("sha256:") => e.into(),
                _ => Error::NotFound(name.to_owned()),
            });
        }
        let mut found = self.ids()?.into_iter().filter(|id| id.hex().starts_with(hex));
        match (found.next(), found.next()) {
            (Some(id), None) => Ok(id),
            (Some(_), Some(_)) => Err(Error::Ambiguous(name.to_owned())),
            _ => Err(Error::NotFound(name.to_owned())),
        }
    }

    /// Loads the image `id`; its config is verified against it.
    pub(crate) fn load(&self, id: Digest) -> Result<Image> {
        let record = self.record(id)?.ok_or_else(|| Error::NotFound(id.to_string()))?;
        let file: ConfigFile = strict::parse_stored("config", &self.store.read(id, MAX_DOCUMENT)?)?;
        let file = file.validated()?;
        Ok(Image {
            id,
            manifest: record.manifest,
            config: file.config,
            layers: record.layers,
            diff_ids: file.rootfs.diff_ids,
            created: file.created.unwrap_or_default(),
            author: file.author.unwrap_or_default(),
            architecture: file.architecture,
            os: file.os,
            size: record.size,
            history: file.history,
        })
    }

    pub(crate) fn record(&self, id: Digest) -> Result<Option<Record>> {
        let path = format!("{}/{RECORD}", id.hex());
        match tree::read_small(self.store.images_dir(), &*path, MAX_DOCUMENT) {
            Ok(bytes) => strict::parse_stored("record", &bytes).map(Some),
            Err(e) if e.errno == Errno::NOENT => Ok(None),
            Err(e) => Err(e.into()),
        }
    }

    /// The ids of all whole images.
    pub(crate) fn ids(&self) -> Result<Vec<Digest>> {
        let names = tree::entries(self.store.images_dir())?;
        let mut ids = Vec::new();
        for id in names.iter().filter_map(|(name, _)| Digest::from_hex(name.to_str()?).ok()) {
            if self.record(id)?.is_some() {
                ids.push(id);
            }
        }
        Ok(ids)
    }

    /// Makes config and manifest for layers of which there is none yet, and the image. The shared lock is held.
    pub(crate) fn publish(
        &self,
        file: &ConfigFile,
        layers: &[(Layer, Descriptor)],
        name: Option<&Reference>,
    ) -> Result<Image> {
        let config = manifest::encode("config", file)?;
        strict::parse::<ConfigFile>("config", &config)?.validated()?;
        let made = Manifest::of(&config, layers.iter().map(|(_, descriptor)| descriptor.clone()).collect());
        let layers: Vec<_> = layers.iter().map(|(layer, _)| layer.clone()).collect();
        self.publish_documents(&config, &manifest::encode("manifest", &made)?, &layers, name.as_slice())
    }

    /// Stores config, manifest and record and names the image: whole before it is named. The documents have been
    /// checked, the layers are committed and the shared lock is held.
    pub(crate) fn publish_documents(
        &self,
        config: &[u8],
        manifest: &[u8],
        layers: &[Layer],
        names: &[impl Borrow<Reference>],
    ) -> Result<Image> {
        let (id, manifest) = (self.store.put(config)?, self.store.put(manifest)?);
        let record = Record {
            version: VERSION,
            manifest,
            layers: layers.iter().map(|layer| layer.chain.clone()).collect(),
            size: layers.iter().map(|layer| layer.size).sum(),
        };
        let dir = tree::ensure_dir(self.store.images_dir(), id.hex())?;
        tree::write_atomic(&dir, RECORD, &manifest::encode("record", &record)?, true)?;
        tree::fsync(self.store.images_dir())?;
        self.store.set_image_of(manifest, id)?;
        for name in names {
            self.store.set_target(name.borrow(), manifest)?;
        }
        self.load(id)
    }

    /// Gives the image `name` another name, as `docker tag`.
    pub fn tag(&self, name: &str, reference: &Reference) -> Result<()> {
        let _shared = self.store.share()?;
        let image = self.resolve_known(name)?;
        Ok(self
            .store
            .set_target(&reference.with_tag(reference.tag().unwrap_or("latest"))?, image.manifest)?)
    }

    /// As [`Images::resolve`], but makes nothing: safe while a lock is held.
    pub(crate) fn resolve_known(&self, name: &str) -> Result<Image> {
        match HostImage::parse(name) {
            Some(host) => self.load(self.id_of(&host.reference()?.to_string())?),
            None => self.load(self.id_of(name)?),
        }
    }

    /// The names of an image, as docker shows them: tags, and `repository@digest`s.
    pub fn names_of(&self, id: Digest) -> Result<(Vec<String>, Vec<String>)> {
        let (mut tags, mut digests) = (Vec::new(), Vec::new());
        for (reference, manifest) in self.store.references()? {
            if self.store.image_of(manifest)? == Some(id) {
                match reference.digest() {
                    Some(_) => digests.push(reference.familiar()),
                    None => tags.push(reference.familiar()),
                }
            }
        }
        Ok((tags, digests))
    }
}
