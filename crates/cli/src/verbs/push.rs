use content::Reference;
use image::{Images, Push};

use crate::Outcome;
use crate::registries;
use crate::transfer::{Direction, Transfer};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The image: NAME[:TAG]
    name: Reference,
    /// Print only the image's name
    #[arg(short, long)]
    quiet: bool,
    #[command(flatten)]
    registries: registries::Flags,
}

impl Args {
    pub(crate) fn run(self, images: &Images) -> Outcome {
        let options = self.registries.options()?;
        if !self.quiet {
            println!("The push refers to repository [{}/{}]", self.name.registry(), self.name.repository());
        }
        let progress = Transfer::new(Direction::Push, self.quiet);
        let pushed = images.push(&Push { reference: &self.name, options: &options, progress: &progress })?;
        drop(progress);
        match self.quiet {
            true => println!("{}", self.name),
            false => {
                let name = self.name.tag().unwrap_or("latest");
                println!("{name}: digest: {} size: {}", pushed.digest, pushed.size);
            }
        }
        Ok(0)
    }
}
