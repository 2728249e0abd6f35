use engine::Engine;
use crate::Outcome;
#[derive(clap::Args)]
pub(crate) struct Args {
    containers: Vec<String>,
}
impl Args {
    pub(crate) fn run(self, engine: &Engine) -> Outcome {
        super::each(&self.containers, |name| { engine.start(&engine.resolve(name)?)?; println!("{name}"); Ok(()) })
    }
}
