use content::Reference;
use image::{Images, Platform, Pull};

use crate::Outcome;
use crate::registries;
use crate::transfer::{Direction, Transfer};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The image: NAME[:TAG|@DIGEST]
    name: Reference,
    /// Print only the image's name
    #[arg(short, long)]
    quiet: bool,
    /// For another machine: OS/ARCH[/VARIANT]
    #[arg(long)]
    platform: Option<Platform>,
    #[command(flatten)]
    registries: registries::Flags,
}

impl Args {
    pub(crate) fn run(self, images: &Images) -> Outcome {
        let options = self.registries.options()?;
        if !self.quiet {
            let which = self.name.digest().map(|digest| digest.to_string());
            let which = which.or(self.name.tag().map(str::to_owned)).unwrap_or_default();
            println!("{which}: Pulling from {}", self.name.repository());
        }
        let progress = Transfer::new(Direction::Pull, self.quiet);
        let pull = Pull {
            reference: &self.name,
            platform: self.platform.as_ref(),
            options: &options,
            progress: &progress,
        };
        let pulled = images.pull(&pull)?;
        drop(progress);
        if !self.quiet {
            println!("Digest: {}", pulled.digest);
            println!("Status: {}", pulled.status(&self.name));
        }
        println!("{}", self.name);
        Ok(0)
    }
}
