use std::io::{self, Read};

use content::{Ingest, Reference};
use snapshot::Budget;

use crate::config::{Config, ConfigFile, History, RootFs, architecture, timestamp};
use crate::images::Descriptor;
use crate::{Change, Image, Images, Result};

/// How a tarball becomes an image.
#[derive(Clone, Debug, Default)]
pub struct Import {
    /// The image's name; without it the image is found by its id.
    pub name: Option<Reference>,
    /// `--change`, in order.
    pub changes: Vec<Change>,
    /// `--message`.
    pub message: Option<String>,
}

/// Passes bytes on and keeps them in the content store.
struct Tee<'a, R> {
    inner: R,
    ingest: Ingest<'a>,
    size: u64,
    failed: Option<content::Error>,
    magic: Vec<u8>,
}

impl<R: Read> Read for Tee<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        let missing = 2usize.saturating_sub(self.magic.len()).min(n);
        self.magic.extend_from_slice(&buffer[..missing]);
        self.size += n as u64;
        if let Err(e) = self.ingest.write(&buffer[..n]) {
            self.failed = Some(e);
            return Err(io::ErrorKind::Other.into());
        }
        Ok(n)
    }
}

impl Images {
    /// Makes an image of one layer from a root filesystem's tar (plain or gzip), as `docker import`.
    pub fn import(&self, tar: impl Read, import: &Import) -> Result<Image> {
        let _shared = self.store.share()?;
        let mut tee =
            Tee { inner: tar, ingest: self.store.ingest()?, size: 0, failed: None, magic: Vec::new() };
        let applied = self.layers.apply(&[], &mut tee, &Budget::default(), None);
        if let Some(e) = tee.failed.take() {
            return Err(e.into());
        }
        let layer = applied?;
        // What follows the compressed stream belongs to the blob too.
        io::copy(&mut tee, &mut io::sink()).map_err(snapshot::Error::Stream)?;
        let kind = if tee.magic == [0x1f, 0x8b] { "+gzip" } else { "" };
        let size = tee.size;
        let digest = tee.ingest.commit(None)?;
        let media_type = format!("application/vnd.oci.image.layer.v1.tar{kind}");
        let mut config = Config::default();
        import.changes.iter().for_each(|change| change.apply(&mut config));
        let created = Some(timestamp(None));
        let file = ConfigFile {
            created: created.clone(),
            author: None,
            architecture: architecture().into(),
            os: "linux".into(),
            config,
            rootfs: RootFs { r#type: "layers".into(), diff_ids: vec![layer.diff.clone()] },
            history: vec![History {
                created,
                comment: Some(import.message.clone().unwrap_or_else(|| "Imported from -".into())),
                ..History::default()
            }],
        };
        self.publish(&file, &[(layer, Descriptor { media_type, digest, size })], import.name.as_ref())
    }
}
