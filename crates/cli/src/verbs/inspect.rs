use image::{Image, Images};
use serde_json::{Value, json};

use super::boxed;
use crate::Outcome;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Images, by name or id
    #[arg(required = true)]
    images: Vec<String>,
}

impl Args {
    pub(crate) fn run(self, images: &Images) -> Outcome {
        let mut shown = Vec::new();
        for name in &self.images {
            let image = images.resolve(name).map_err(boxed)?;
            let (tags, digests) = images.names_of(image.id).map_err(boxed)?;
            shown.push(document(&image, tags, digests));
        }
        println!("{:#}", Value::Array(shown));
        Ok(())
    }
}

/// The shape of docker's `GET /images/{name}/json`.
fn document(image: &Image, tags: Vec<String>, digests: Vec<String>) -> Value {
    json!({
        "Id": image.id.to_string(),
        "RepoTags": tags,
        "RepoDigests": digests,
        "Created": image.created,
        "Author": image.author,
        "Architecture": image.architecture,
        "Os": image.os,
        "Size": image.size,
        "Config": image.config,
        "RootFS": { "Type": "layers", "Layers": image.diff_ids.iter().map(ToString::to_string).collect::<Vec<_>>() },
    })
}
