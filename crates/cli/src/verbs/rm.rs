use super::each;
use crate::Outcome;
use engine::Engine;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Containers, by name or id
    #[arg(required = true)]
    containers: Vec<String>,
    /// Kill those that run; those that do not exist are no failure
    #[arg(short, long)]
    force: bool,
    /// Remove their anonymous volumes too
    #[arg(short, long)]
    volumes: bool,
}

impl Args {
    pub(crate) fn run(self, engine: &Engine) -> Outcome {
        each(&self.containers, |name| {
            let removed = engine.resolve(name).and_then(|id| engine.remove(&id, self.force, self.volumes));
            match removed {
                Ok(()) => println!("{name}"),
                Err(error @ engine::Error::NotFound(_)) if self.force => crate::tell(&error),
                Err(error) => return Err(error.into()),
            }
            Ok(())
        })
    }
}
