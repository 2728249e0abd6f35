use std::path::PathBuf;

use clap_complete::Shell;

use crate::{Outcome, grammar};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Which shell
    shell: Shell,
}

impl Args {
    pub(crate) fn run(self) -> Outcome {
        clap_complete::generate(self.shell, &mut grammar(), "sampan", &mut std::io::stdout());
        Ok(0)
    }
}

#[derive(Debug, clap::Args)]
pub(crate) struct ManArgs {
    /// An existing directory
    directory: PathBuf,
}

impl ManArgs {
    pub(crate) fn run(self) -> Outcome {
        clap_mangen::generate_to(grammar(), self.directory)?;
        Ok(0)
    }
}
