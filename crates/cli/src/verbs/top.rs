use engine::Engine;

use crate::{Outcome, table};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The container, by name or id
    container: String,
    /// Options of ps(1); its output must have the pids
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "PS OPTIONS")]
    options: Vec<String>,
}

impl Args {
    pub(crate) fn run(self, engine: &Engine) -> Outcome {
        let top = engine.top(&engine.resolve(&self.container)?, &self.options)?;
        let titles: Vec<&str> = top.titles.iter().map(String::as_str).collect();
        print!("{}", table::render(&titles, &top.processes));
        Ok(0)
    }
}
