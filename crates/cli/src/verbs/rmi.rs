use engine::Engine;
use image::Removed;

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
            let used_by = |id| {
                // An image whose use cannot be found out is one that is used.
                engine.user_of(id).unwrap_or_else(|error| {
                    Some(image::Usage { container: format!("(unknown: {error})"), running: true })
                })
            };
            images.remove(name, self.force, used_by)?.into_iter().for_each(print);
            Ok(())
        })
    }
}

fn print(removed: Removed) {
    match removed {
        Removed::Untagged(name) => println!("Untagged: {name}"),
        Removed::Deleted(id) => println!("Deleted: {id}"),
    }
}
