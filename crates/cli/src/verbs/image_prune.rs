use std::io::{self, BufRead, Write};

use engine::Engine;
use image::Removed;

use super::rmi::user_of;
use crate::{Outcome, human};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// All images that no container uses, not only those without a name
    #[arg(short, long)]
    all: bool,
    /// Do not ask
    #[arg(short, long)]
    force: bool,
}

impl Args {
    pub(crate) fn run(self, engine: &Engine) -> Outcome {
        if !self.force && !self.confirmed() {
            return Err(Cancelled.into());
        }
        let pruned = engine.images()?.prune(self.all, |id| user_of(engine, id))?;
        if !pruned.removed.is_empty() {
            println!("Deleted Images:");
            for removed in &pruned.removed {
                match removed {
                    Removed::Untagged(name) => println!("untagged: {name}"),
                    Removed::Deleted(id) => println!("deleted: {id}"),
                }
            }
            println!();
        }
        println!("Total reclaimed space: {}", human::size(pruned.bytes));
        Ok(0)
    }

    fn confirmed(&self) -> bool {
        let what = match self.all {
            true => "all images without at least one container associated to them",
            false => "all dangling images",
        };
        print!("WARNING! This will remove {what}.\nAre you sure you want to continue? [y/N] ");
        // An answer that cannot be asked for, or read, is a no.
        let mut answer = String::new();
        io::stdout().flush().is_ok()
            && io::stdin().lock().read_line(&mut answer).is_ok()
            && answer.trim().eq_ignore_ascii_case("y")
    }
}

/// docker's words.
#[derive(Debug, thiserror::Error)]
#[error("image prune has been cancelled")]
struct Cancelled;

impl fault::Fault for Cancelled {
    fn kind(&self) -> fault::Kind {
        fault::Kind::Cancelled
    }
}
