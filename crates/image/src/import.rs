use std::io::Read;

use content::Reference;

use crate::config::{Config, ConfigFile, History, RootFs, architecture, timestamp};
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

impl Images {
    /// Makes an image of one layer from a root filesystem's tar (plain, gzip or zstd), as `docker import`.
    pub fn import(&self, tar: impl Read, import: &Import) -> Result<Image> {
        let _shared = self.store.share()?;
        let (layer, descriptor) = self.take_layer(&[], tar, None, None)?;
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
        self.publish(&file, &[(layer, descriptor)], import.name.as_ref())
    }
}
