use image::{Images, Removed};

use super::boxed;
use crate::Outcome;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Images, by name or id
    #[arg(required = true)]
    images: Vec<String>,
    /// Also with several names
    #[arg(short, long)]
    force: bool,
}

impl Args {
    /// Removes what can be removed; the first error is told when the others are gone.
    pub(crate) fn run(self, images: &Images) -> Outcome {
        let mut failed = None;
        for name in &self.images {
            // No container of an engine uses an image yet: what a bundle has is a copy.
            match images.remove(name, self.force, |_| None) {
                Ok(removed) => removed.into_iter().for_each(print),
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        failed.map_or(Ok(()), |error| Err(boxed(error)))
    }
}

fn print(removed: Removed) {
    match removed {
        Removed::Untagged(name) => println!("Untagged: {name}"),
        Removed::Deleted(id) => println!("Deleted: {id}"),
    }
}
