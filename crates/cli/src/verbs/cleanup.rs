use engine::{ContainerId, Engine};

use crate::Outcome;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The container's whole id
    id: String,
}

impl Args {
    pub(crate) fn run(self, engine: &Engine) -> Outcome {
        engine.clean_up(&self.id.parse::<ContainerId>()?)?;
        Ok(0)
    }
}
