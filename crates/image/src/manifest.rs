//! Manifests and indexes: one strict reading of both families (OCI image-spec, manifest.md and image-index.md; docker's
//! schema 2), so that the same bytes mean the same everywhere.

use std::collections::BTreeMap;

use content::Digest;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::config::or_default;
use crate::platform::Platform;
use crate::{Error, Result, strict};

pub(crate) const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(crate) const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub(crate) const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
pub(crate) const OCI_LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
const DOCKER_LAYER: &str = "application/vnd.docker.image.rootfs.diff.tar";

/// Layers of one image; overlay takes no more than 500 anyway.
const MAX_LAYERS: usize = 512;
/// Images in one index.
pub(crate) const MAX_IMAGES: usize = 1024;

/// What one document refers to another, or a layer, by.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// What it is.
    pub media_type: String,
    /// Its digest.
    pub digest: Digest,
    /// Its bytes.
    pub size: u64,
    /// Where it says so, what it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
    /// Free text for tools.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "or_default")]
    pub annotations: BTreeMap<String, String>,
}

impl Descriptor {
    /// A descriptor without a platform and annotations.
    pub fn new(media_type: &str, digest: Digest, size: u64) -> Self {
        let media_type = media_type.to_owned();
        Self { media_type, digest, size, platform: None, annotations: BTreeMap::new() }
    }

    /// Whether it leads to an index and not to one image's manifest.
    pub fn is_index(&self) -> bool {
        matches!(&*self.media_type, OCI_INDEX | DOCKER_LIST)
    }

    /// Whether it leads to one image's manifest.
    pub fn is_manifest(&self) -> bool {
        matches!(&*self.media_type, OCI_MANIFEST | DOCKER_MANIFEST)
    }

    /// Checks that `bytes` are what is promised.
    pub(crate) fn verify(&self, bytes: &[u8]) -> Result<()> {
        let size = bytes.len() as u64;
        if size != self.size {
            let longer = size > self.size;
            return Err(Error::Size { digest: self.digest, expected: self.size, longer });
        }
        let found = Digest::of(bytes);
        if found != self.digest {
            return Err(content::Error::Mismatch { expected: self.digest, found, size }.into());
        }
        Ok(())
    }
}

/// An image's manifest: its config and layers, bottom first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    schema_version: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    media_type: Option<String>,
    /// The config.
    pub config: Descriptor,
    /// The layers, bottom first.
    #[serde(deserialize_with = "or_default")]
    pub layers: Vec<Descriptor>,
}

impl Manifest {
    /// Reads a manifest that came with the media type `media_type` (of its descriptor, or the registry's Content-Type).
    ///
    /// # Errors
    /// [`Error::Document`], [`Error::MediaType`]: for what is no manifest, has two meanings (keys twice, `manifests`
    /// beside `layers`, another type inside than outside), or has a config or layers that are none of an image.
    pub fn parse(bytes: &[u8], media_type: &str) -> Result<Self> {
        const WHAT: &str = "manifest";
        let document = shape(WHAT, bytes, media_type, [OCI_MANIFEST, DOCKER_MANIFEST], ["config", "layers"])?;
        let count = document.get("layers").and_then(Value::as_array).map_or(0, Vec::len);
        if count > MAX_LAYERS {
            return Err(bad(WHAT, format!("it has more than {MAX_LAYERS} layers")));
        }
        let manifest: Self = serde_json::from_value(document).map_err(|e| bad(WHAT, e.to_string()))?;
        let config = &*manifest.config.media_type;
        if !matches!(config, OCI_CONFIG | DOCKER_CONFIG) {
            return Err(wrong_type("config", config));
        }
        if let Some(layer) = manifest.layers.iter().find(|layer| !is_layer(&layer.media_type)) {
            return Err(wrong_type("layer", &layer.media_type));
        }
        Ok(manifest)
    }

    /// Reads a manifest that was checked before it was stored.
    pub(crate) fn stored(bytes: &[u8]) -> Result<Self> {
        crate::strict::parse_stored("manifest", bytes)
    }

    /// Whether a blob is a part of the image.
    pub(crate) fn names(&self, blob: Digest) -> bool {
        self.config.digest == blob || self.layers.iter().any(|layer| layer.digest == blob)
    }

    /// The manifest of a config and layers that had none.
    pub(crate) fn of(config: &[u8], layers: Vec<Descriptor>) -> Self {
        let config = Descriptor::new(OCI_CONFIG, Digest::of(config), config.len() as u64);
        Self { schema_version: 2, media_type: Some(OCI_MANIFEST.into()), config, layers }
    }

    /// The type under which others refer to it.
    pub(crate) fn media_type(&self) -> &str {
        self.media_type.as_deref().unwrap_or(OCI_MANIFEST)
    }
}

/// An index: images for several platforms, or an image layout's contents.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Index {
    schema_version: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    media_type: Option<String>,
    #[serde(deserialize_with = "or_default")]
    pub(crate) manifests: Vec<Descriptor>,
}

impl Index {
    /// Reads an index as [`Manifest::parse`] reads a manifest.
    pub(crate) fn parse(bytes: &[u8], media_type: &str) -> Result<Self> {
        const WHAT: &str = "index";
        let document = shape(WHAT, bytes, media_type, [OCI_INDEX, DOCKER_LIST], ["manifests", "manifests"])?;
        let count = document.get("manifests").and_then(Value::as_array).map_or(0, Vec::len);
        if count > MAX_IMAGES {
            return Err(bad(WHAT, format!("it has more than {MAX_IMAGES} images")));
        }
        serde_json::from_value(document).map_err(|e| bad(WHAT, e.to_string()))
    }

    /// The error for an index that has nothing for `platform`: it names what there is.
    pub(crate) fn without(&self, platform: &Platform) -> Error {
        let images = self.manifests.iter().filter(|entry| entry.is_manifest());
        let mut offered: Vec<_> =
            images.filter_map(|e| e.platform.as_ref().map(ToString::to_string)).collect();
        offered.truncate(20);
        let offered = if offered.is_empty() { "none".into() } else { offered.join(", ") };
        Error::NoPlatform { wanted: platform.to_string(), offered }
    }

    pub(crate) fn of(manifests: Vec<Descriptor>) -> Self {
        Self { schema_version: 2, media_type: Some(OCI_INDEX.into()), manifests }
    }
}

/// Whether a media type is an index's.
pub(crate) fn is_index(media_type: &str) -> bool {
    matches!(media_type, OCI_INDEX | DOCKER_LIST)
}

/// The manifest for `platform` in an index that came with the media type `media_type`: the best variant that runs there;
/// where the index says nothing of platforms, its only one.
///
/// # Errors
/// As [`Manifest::parse`], and [`Error::NoPlatform`].
pub fn choose(index: &[u8], media_type: &str, platform: &Platform) -> Result<Descriptor> {
    let index = Index::parse(index, media_type)?;
    let images = || index.manifests.iter().filter(|entry| entry.is_manifest());
    let fit = |entry: &&Descriptor| platform.fit(entry.platform.as_ref()?);
    let best = images().filter(|entry| fit(entry).is_some()).min_by_key(fit);
    let only = || match &index.manifests[..] {
        [only] if only.platform.is_none() && only.is_manifest() => Some(only),
        _ => None,
    };
    best.or_else(only).cloned().ok_or_else(|| index.without(platform))
}

/// Whether layers of this type can be applied. Compression is told by the bytes; the config's diff id proves the content.
fn is_layer(media_type: &str) -> bool {
    let suffix = |base| media_type.strip_prefix(base);
    match (suffix(OCI_LAYER), suffix(DOCKER_LAYER)) {
        (Some(suffix), _) => matches!(suffix, "" | "+gzip" | "+zstd"),
        (_, Some(suffix)) => matches!(suffix, "" | ".gzip" | ".zstd"),
        _ => false,
    }
}

/// Parses a document of either family whose keys are `own`, and sees that nothing about it is ambiguous.
fn shape(
    what: &'static str,
    bytes: &[u8],
    media_type: &str,
    [oci, docker]: [&str; 2],
    own: [&str; 2],
) -> Result<Value> {
    if media_type != oci && media_type != docker {
        return Err(wrong_type(what, media_type));
    }
    let document: Value = strict::parse(what, bytes)?;
    let Some(members) = document.as_object() else { return Err(bad(what, "it is no object".into())) };
    const KEYS: [&str; 7] =
        ["schemaVersion", "mediaType", "config", "layers", "manifests", "fsLayers", "signatures"];
    for key in members.keys() {
        // Go's parser takes any case: a key in another one would mean something there and nothing here.
        match KEYS.iter().find(|known| known.eq_ignore_ascii_case(key)) {
            Some(known) if *known != key => {
                return Err(bad(what, format!("the key {key:?} is no {known:?}")));
            }
            Some(known) if !["schemaVersion", "mediaType"].contains(known) && !own.contains(known) => {
                return Err(bad(what, format!("a document with {known:?} is another kind of document")));
            }
            _ => {}
        }
    }
    if members.get("schemaVersion").and_then(Value::as_u64) != Some(2) {
        return Err(bad(what, "its schemaVersion is not 2".into()));
    }
    match members.get("mediaType") {
        Some(Value::String(stated)) if stated == media_type => {}
        Some(Value::String(stated)) => return Err(wrong_type(what, stated)),
        // OCI allows it to be left out, docker does not.
        None if media_type == oci => {}
        _ => return Err(bad(what, "it does not state its mediaType".into())),
    }
    Ok(document)
}

pub(crate) fn encode(what: &'static str, document: &impl Serialize) -> Result<Vec<u8>> {
    serde_json::to_vec(document).map_err(|e| bad(what, e.to_string()))
}

fn bad(what: &'static str, why: String) -> Error {
    Error::Document { what, why }
}

fn wrong_type(what: &'static str, found: &str) -> Error {
    Error::MediaType { what, found: found.chars().take(120).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn types_of_layers() {
        for good in [OCI_LAYER, &format!("{OCI_LAYER}+gzip"), &format!("{OCI_LAYER}+zstd"), DOCKER_LAYER] {
            assert!(is_layer(good), "{good}");
        }
        assert!(is_layer(&format!("{DOCKER_LAYER}.gzip")));
        for bad in [
            "",
            "text/plain",
            &format!("{OCI_LAYER}+xz"),
            &format!("{OCI_LAYER}.gzip"),
            &format!("{DOCKER_LAYER}+gzip"),
        ] {
            assert!(!is_layer(bad), "{bad}");
        }
        assert!(!is_layer("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"));
    }

    const KEYS: &[&str] =
        &["schemaVersion", "mediaType", "config", "layers", "manifests", "digest", "size", "platform", "os"];

    /// Values that come near to manifests.
    fn document() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<i64>().prop_map(Value::from),
            Just(Value::from(OCI_MANIFEST)),
            Just(Value::from(OCI_INDEX)),
            Just(Value::from(OCI_LAYER)),
            Just(Value::from(2)),
            Just(Value::from(Digest::of(b"").to_string())),
            ".{0,8}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 64, 6, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                proptest::collection::btree_map(proptest::sample::select(KEYS), inner, 0..7)
                    .prop_map(|map| map.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()),
            ]
        })
    }

    proptest! {
        #[test]
        fn any_document_is_read_or_refused(document in document()) {
            let bytes = serde_json::to_vec(&document).unwrap();
            let manifest = Manifest::parse(&bytes, OCI_MANIFEST);
            let index = choose(&bytes, OCI_INDEX, &Platform::default());
            prop_assert!(manifest.is_err() || index.is_err(), "two meanings");
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Manifest::parse(&bytes, DOCKER_MANIFEST);
            let _ = choose(&bytes, DOCKER_LIST, &Platform::default());
        }
    }
}
