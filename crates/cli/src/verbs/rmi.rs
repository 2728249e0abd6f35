use content::Digest;
use engine::Engine;
use image::{Removed, Usage};

use super::each;
use crate::Outcome;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Images, by name or id
    #[arg(required = true)]
    images: Vec<String>,
    /// Also with several names, or used by containers that do not run
    #[arg(short, long)]
    force: bool,
}

impl Args {
    pub(crate) fn run(self, engine: &Engine) -> Outcome {
        each(&self.images, |name| {
            let images = engine.images()?;
            images.remove(name, self.force, |id| user_of(engine, id))?.into_iter().for_each(print);
            Ok(())
        })
    }
}

/// The container that uses an image. An image whose use cannot be found out is one that is used.
pub(crate) fn user_of(engine: &Engine, id: Digest) -> Option<Usage> {
    engine
        .user_of(id)
        .unwrap_or_else(|error| Some(Usage { container: format!("(unknown: {error})"), running: true }))
}

fn print(removed: Removed) {
    match removed {
        Removed::Untagged(name) => println!("Untagged: {name}"),
        Removed::Deleted(id) => println!("Deleted: {id}"),
    }
}
