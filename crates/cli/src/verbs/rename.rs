use engine::{Engine, Name};

use crate::Outcome;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The container, by name or id
    container: String,
    /// Its new name
    name: String,
}

impl Args {
    pub(crate) fn run(self, engine: &Engine) -> Outcome {
        engine.rename(&engine.resolve(&self.container)?, &self.name.parse::<Name>()?)?;
        Ok(0)
    }
}
