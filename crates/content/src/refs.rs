//! References: symlinks from names to manifests' digests, and from manifests to images.

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use linux::tree;
use rustix::fs::{AtFlags, FileType};
use rustix::io::Errno;

use crate::{Digest, Reference, Result, Store};

const TAGS: &str = "_tags";
const DIGESTS: &str = "_digests";
/// Repository components below a registry that a listing follows; a name has at most 255 characters.
const MAX_DEPTH: usize = 128;

impl Store {
    /// The manifest that a reference names: by its digest where it has one (and that digest is known in the
    /// repository), else by its tag. One readlink.
    pub fn target(&self, reference: &Reference) -> Result<Option<Digest>> {
        let base = format!("{}/{}", reference.registry(), reference.repository());
        let path = match (reference.digest(), reference.tag()) {
            (Some(digest), _) => format!("{base}/{DIGESTS}/{}", digest.hex()),
            (None, tag) => format!("{base}/{TAGS}/{}", tag.unwrap_or("latest")),
        };
        read_digest(&self.refs, &path)
    }

    /// Points a reference at a manifest, durably: its tag, where it has one, and its repository's digest.
    /// The caller holds [`Store::share`].
    pub fn set_target(&self, reference: &Reference, manifest: Digest) -> Result<()> {
        let dir = self.repository(reference)?;
        let text = manifest.to_string();
        if reference.digest().is_some() {
            tree::symlink_atomic(tree::ensure_dir(&dir, DIGESTS)?, manifest.hex(), &text, true)?;
        }
        if let Some(tag) = reference.tag() {
            tree::symlink_atomic(tree::ensure_dir(&dir, TAGS)?, tag, &text, true)?;
        }
        Ok(())
    }

    fn repository(&self, reference: &Reference) -> Result<OwnedFd> {
        let mut dir = tree::ensure_dir(&self.refs, reference.registry())?;
        for component in reference.repository().split('/') {
            dir = tree::ensure_dir(&dir, component)?;
        }
        Ok(dir)
    }

    /// Removes a reference; false where it was not there. Directories left empty go too.
    /// The caller holds [`Store::exclude`].
    pub fn remove_target(&self, reference: &Reference) -> Result<bool> {
        let base = format!("{}/{}", reference.registry(), reference.repository());
        let path = match (reference.tag(), reference.digest()) {
            (_, Some(digest)) => format!("{base}/{DIGESTS}/{}", digest.hex()),
            (tag, None) => format!("{base}/{TAGS}/{}", tag.unwrap_or("latest")),
        };
        match rustix::fs::unlinkat(&self.refs, &path, AtFlags::empty()) {
            Ok(()) => {}
            Err(Errno::NOENT | Errno::NOTDIR) => return Ok(false),
            Err(e) => return Err(linux::Error::on("unlinkat", path, e).into()),
        }
        let mut empty = &path[..];
        while let Some((parent, _)) = empty.rsplit_once('/') {
            if rustix::fs::unlinkat(&self.refs, parent, AtFlags::REMOVEDIR).is_err() {
                break;
            }
            empty = parent;
        }
        Ok(true)
    }

    /// All references and the manifests they point at, sorted.
    pub fn references(&self) -> Result<Vec<(Reference, Digest)>> {
        let mut found = Vec::new();
        for (registry, _) in tree::entries(&self.refs)? {
            let Ok(dir) = tree::open_dir(&self.refs, &registry) else { continue };
            walk(&dir, &registry.to_string_lossy(), 0, &mut found)?;
        }
        found.sort();
        Ok(found)
    }

    /// The image (its config's digest) that a manifest makes on this platform. One readlink.
    pub fn image_of(&self, manifest: Digest) -> Result<Option<Digest>> {
        read_digest(&self.manifests, &manifest.hex())
    }

    /// Records which image a manifest makes. The caller holds [`Store::share`].
    pub fn set_image_of(&self, manifest: Digest, config: Digest) -> Result<()> {
        Ok(tree::symlink_atomic(&self.manifests, manifest.hex(), &config.to_string(), true)?)
    }

    /// All manifests that make an image, and which.
    pub fn manifests(&self) -> Result<Vec<(Digest, Digest)>> {
        let mut found = Vec::new();
        for manifest in digests_in(&self.manifests)? {
            found.extend(self.image_of(manifest)?.map(|image| (manifest, image)));
        }
        Ok(found)
    }

    /// Forgets a manifest. The caller holds [`Store::exclude`].
    pub fn remove_image_of(&self, manifest: Digest) -> Result<()> {
        Ok(tree::remove_tree(&self.manifests, manifest.hex())?)
    }
}

fn walk(dir: &OwnedFd, name: &str, depth: usize, found: &mut Vec<(Reference, Digest)>) -> Result<()> {
    if depth > MAX_DEPTH {
        return Ok(());
    }
    for (entry, kind) in tree::entries(dir)? {
        let entry = entry.to_string_lossy();
        if kind == FileType::Symlink || !matches!(kind, FileType::Directory | FileType::Unknown) {
            continue;
        }
        // A concurrent removal may take an emptied directory away between the two calls.
        let Ok(inner) = tree::open_dir(dir, &*entry) else { continue };
        let separator = match &*entry {
            TAGS => ":",
            DIGESTS => "@sha256:",
            _ => {
                walk(&inner, &format!("{name}/{entry}"), depth + 1, found)?;
                continue;
            }
        };
        for (leaf, _) in tree::entries(&inner)? {
            let leaf = leaf.to_string_lossy();
            let reference = format!("{name}{separator}{leaf}").parse::<Reference>();
            if let (Ok(reference), Some(digest)) = (reference, read_digest(&inner, &leaf)?) {
                found.push((reference, digest));
            }
        }
    }
    Ok(())
}

/// The digest that the symlink `path` holds; none where it is missing or is not one.
fn read_digest(dir: impl AsFd, path: &str) -> Result<Option<Digest>> {
    match rustix::fs::readlinkat(dir, path, Vec::with_capacity(80)) {
        Ok(text) => Ok(std::str::from_utf8(text.as_bytes()).ok().and_then(|t| t.parse().ok())),
        Err(Errno::NOENT | Errno::NOTDIR | Errno::INVAL) => Ok(None),
        Err(e) => Err(linux::Error::on("readlinkat", path, e).into()),
    }
}

/// Names that are hexadecimal digests in a directory of ours.
pub(crate) fn digests_in(dir: impl AsFd) -> Result<Vec<Digest>> {
    let names = tree::entries(dir)?;
    let digest = |name: &[u8]| {
        let text = std::str::from_utf8(name).ok()?;
        Digest::from_hex(text).or_else(|_| text.parse()).ok()
    };
    Ok(names.iter().filter_map(|(name, _)| digest(name.as_bytes())).collect())
}
