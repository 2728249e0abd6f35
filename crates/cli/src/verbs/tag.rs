use content::Reference;
use image::Images;

use crate::Outcome;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The image, by name or id
    image: String,
    /// Its new name
    name: Reference,
}

impl Args {
    pub(crate) fn run(self, images: &Images) -> Outcome {
        images.tag(&self.image, &self.name)?;
        Ok(0)
    }
}
