//! Images as one archive that is an OCI image layout and docker's archive at once, the same bytes for the same images.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read, Write};

use content::{Digest, Hasher, Reference};
use tar::{Builder, EntryType, Header};

use crate::admit::PlannedLayer;
use crate::exact::Exact;
use crate::load::{DOCKER, DockerImage, INDEX, LAYOUT, Layout, NAME, REF_NAME, blob_name};
use crate::manifest::{Descriptor, Index, Manifest, encode};
use crate::strict::{self, MAX_DOCUMENT};
use crate::{Error, HostImage, Images, Result};

/// An image that will be in the archive.
struct Saved {
    bytes: Vec<u8>,
    manifest: Manifest,
    /// Names, in order; none for one asked for by its id.
    names: BTreeSet<Reference>,
}

/// Where a blob's bytes come from.
enum Source {
    Document(Vec<u8>),
    Layer(PlannedLayer),
}

impl Images {
    /// Writes images, by name or id, as one tarball. A name without a tag stands for all tags of its repository.
    ///
    /// # Errors
    /// [`Error::NotFound`] before anything is written; [`Error::Io`]; [`content::Error::Damaged`] for a blob that is not
    /// what it was.
    pub fn save(&self, names: &[String], to: impl Write) -> Result<()> {
        let _shared = self.store.share()?;
        let mut saved: Vec<(Digest, Saved)> = Vec::new();
        let mut blobs: BTreeMap<Digest, Source> = BTreeMap::new();
        for name in names {
            for (manifest, reference) in self.wanted(name)? {
                let at = match saved.iter().position(|(digest, _)| *digest == manifest) {
                    Some(at) => at,
                    None => {
                        saved.push((manifest, self.collect(manifest, &mut blobs)?));
                        saved.len() - 1
                    }
                };
                saved[at].1.names.extend(reference);
            }
        }
        let documents = [
            (INDEX, encode(INDEX, &index(&saved))?),
            (DOCKER, encode(DOCKER, &docker_images(&saved))?),
            (LAYOUT, encode(LAYOUT, &Layout { version: "1.0.0".into() })?),
        ];
        self.write(&blobs, &documents, to)
    }

    /// The manifests that a name stands for, and the references under which they are saved.
    fn wanted(&self, name: &str) -> Result<Vec<(Digest, Option<Reference>)>> {
        let host = HostImage::parse(name);
        let tagged = name.contains('@') || name.rsplit('/').next().unwrap_or_default().contains(':');
        let is_bare = host.is_none() && !tagged;
        let reference = match host {
            Some(host) => Some(host.reference()?),
            None => name.parse::<Reference>().ok(),
        };
        if let Some(reference) = reference {
            let mut found = Vec::new();
            for (other, manifest) in self.store.references()? {
                let same =
                    other.registry() == reference.registry() && other.repository() == reference.repository();
                if other == reference || (is_bare && same && other.digest().is_none()) {
                    let tagged = other.digest().is_none();
                    found.push((manifest, tagged.then_some(other)));
                }
            }
            if !found.is_empty() {
                return Ok(found);
            }
        }
        Ok(vec![(self.resolve_known(name)?.manifest, None)])
    }

    /// Reads an image's documents and notes where all its blobs come from.
    fn collect(&self, digest: Digest, blobs: &mut BTreeMap<Digest, Source>) -> Result<Saved> {
        let id = self.store.image_of(digest)?.ok_or_else(|| Error::NotFound(digest.to_string()))?;
        let image = self.load(id)?;
        // The name may be an index's.
        let bytes = self.store.read(image.manifest, MAX_DOCUMENT)?;
        let manifest: Manifest = strict::parse_stored("manifest", &bytes)?;
        let config = self.store.read(manifest.config.digest, MAX_DOCUMENT)?;
        for layer in image.layers_of(&manifest) {
            self.layer_bytes(&layer)?;
            blobs.insert(layer.descriptor.digest, Source::Layer(layer));
        }
        blobs.insert(manifest.config.digest, Source::Document(config));
        blobs.insert(image.manifest, Source::Document(bytes.clone()));
        Ok(Saved { bytes, manifest, names: BTreeSet::new() })
    }

    fn write(
        &self,
        blobs: &BTreeMap<Digest, Source>,
        documents: &[(&str, Vec<u8>)],
        to: impl Write,
    ) -> Result<()> {
        let mut tar = Builder::new(to);
        for name in ["blobs/", "blobs/sha256/"] {
            tar.append(&header(name, 0)?, io::empty()).map_err(write_error)?;
        }
        for (digest, source) in blobs {
            let mut opened = self.open_source(source)?;
            let header = header(&blob_name(*digest), opened.inner.left())?;
            tar.append(&header, &mut opened).map_err(write_error)?;
            let found = opened.hasher.finish();
            if found != *digest {
                return Err(content::Error::Damaged { name: *digest, found }.into());
            }
        }
        for (name, bytes) in documents {
            tar.append(&header(name, bytes.len() as u64)?, &bytes[..]).map_err(write_error)?;
        }
        tar.into_inner().and_then(|mut to| to.flush()).map_err(write_error)
    }

    fn open_source<'a>(&self, source: &'a Source) -> Result<Blob<'a>> {
        let (inner, left): (Box<dyn Read + 'a>, u64) = match source {
            Source::Document(bytes) => (Box::new(&bytes[..]), bytes.len() as u64),
            Source::Layer(layer) => (self.layer_bytes(layer)?, layer.descriptor.size),
        };
        Ok(Blob { inner: Exact::new(inner, left), hasher: Hasher::default() })
    }
}

/// A blob of which exactly so many bytes were promised, hashed as it passes.
struct Blob<'a> {
    inner: Exact<Box<dyn Read + 'a>>,
    hasher: Hasher,
}

impl Read for Blob<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        self.hasher.update(&buffer[..n]);
        Ok(n)
    }
}

/// `index.json`: one entry per name, as docker has it.
fn index(saved: &[(Digest, Saved)]) -> Index {
    let mut manifests = Vec::new();
    for (digest, image) in saved {
        let plain = Descriptor::new(image.manifest.media_type(), *digest, image.bytes.len() as u64);
        if image.names.is_empty() {
            manifests.push(plain.clone());
        }
        for name in &image.names {
            let mut entry = plain.clone();
            entry.annotations.insert(NAME.into(), name.to_string());
            entry.annotations.insert(REF_NAME.into(), name.tag().unwrap_or("latest").into());
            manifests.push(entry);
        }
    }
    Index::of(manifests)
}

fn docker_images(saved: &[(Digest, Saved)]) -> Vec<DockerImage> {
    let tags = |image: &Saved| image.names.iter().map(Reference::familiar).collect::<Vec<_>>();
    let image = |(_, image): &(Digest, Saved)| DockerImage {
        config: blob_name(image.manifest.config.digest),
        repo_tags: Some(tags(image)).filter(|tags| !tags.is_empty()),
        layers: image.manifest.layers.iter().map(|layer| blob_name(layer.digest)).collect(),
    };
    saved.iter().map(image).collect()
}

/// A header that says nothing of when and by whom. A name that ends in `/` is a directory's.
fn header(name: &str, size: u64) -> Result<Header> {
    let mut header = Header::new_ustar();
    let is_dir = name.ends_with('/');
    header.set_path(name).map_err(write_error)?;
    header.set_entry_type(if is_dir { EntryType::Directory } else { EntryType::Regular });
    header.set_mode(if is_dir { 0o755 } else { 0o644 });
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(size);
    header.set_cksum();
    Ok(header)
}

fn write_error(source: io::Error) -> Error {
    Error::Io { what: "write", source }
}
