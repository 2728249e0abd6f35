use registry::DockerConfig;

use crate::Outcome;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The registry: HOST[:PORT]
    #[arg(default_value = "docker.io")]
    server: String,
}

impl Args {
    pub(crate) fn run(self) -> Outcome {
        let erased = DockerConfig::of_user()?.erase(&self.server)?;
        match erased {
            true => println!("Removing login credentials for {}", self.server),
            false => println!("Not logged in to {}", self.server),
        }
        Ok(0)
    }
}
