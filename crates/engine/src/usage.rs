//! Which containers use an image, for who removes images.

use content::Digest;
use image::Usage;

use crate::{Engine, Result};

impl Engine {
    /// A container that uses an image, a running one first. The caller holds the images' exclusive lock, so no container
    /// is being made of it meanwhile.
    ///
    /// # Errors
    /// [`crate::Error::File`] when the containers cannot be read.
    pub fn user_of(&self, image: Digest) -> Result<Option<Usage>> {
        let image = image.to_string();
        let mut found = None;
        for container in self.list()?.0.into_iter().filter(|container| container.summary.image_id == image) {
            let usage = Usage {
                container: container.summary.id.short().to_owned(),
                running: container.state.status.is_live(),
            };
            if usage.running {
                return Ok(Some(usage));
            }
            found.get_or_insert(usage);
        }
        Ok(found)
    }
}
