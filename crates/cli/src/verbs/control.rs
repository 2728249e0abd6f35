//! Verbs that ask containers for something and print their names when it is done.

use engine::{Engine, signal};
use fault::{Fault, Kind};

use super::each;
use crate::Outcome;

/// A signal that is none.
#[derive(Debug, thiserror::Error)]
#[error("Invalid signal: {0}")]
pub(crate) struct BadSignal(String);

impl Fault for BadSignal {
    fn kind(&self) -> Kind {
        Kind::Invalid
    }
}

fn signal_of(text: &str) -> Result<i32, BadSignal> {
    signal::parse(text).ok_or_else(|| BadSignal(text.to_owned()))
}

#[derive(Debug, clap::Args)]
pub(crate) struct Stop {
    /// Containers, by name or id
    #[arg(required = true)]
    containers: Vec<String>,
    /// The signal to send, instead of the container's
    #[arg(short, long)]
    signal: Option<String>,
    /// Seconds to wait before killing, instead of the container's; -1 waits for ever
    #[arg(short, long, visible_alias = "time", allow_negative_numbers = true)]
    timeout: Option<i64>,
}

impl Stop {
    pub(crate) fn run(self, engine: &Engine) -> Outcome {
        let signal = self.signal.as_deref().map(signal_of).transpose()?;
        each(&self.containers, |name| {
            engine.stop(&engine.resolve(name)?, signal, self.timeout)?;
            println!("{name}");
            Ok(())
        })
    }
}

#[derive(Debug, clap::Args)]
pub(crate) struct Restart {
    /// Containers, by name or id
    #[arg(required = true)]
    containers: Vec<String>,
    /// The signal to send, instead of the container's
    #[arg(short, long)]
    signal: Option<String>,
    /// Seconds to wait before killing, instead of the container's; -1 waits for ever
    #[arg(short, long, visible_alias = "time", allow_negative_numbers = true)]
    timeout: Option<i64>,
}

impl Restart {
    pub(crate) fn run(self, engine: &Engine) -> Outcome {
        let signal = self.signal.as_deref().map(signal_of).transpose()?;
        each(&self.containers, |name| {
            engine.restart(&engine.resolve(name)?, signal, self.timeout)?;
            println!("{name}");
            Ok(())
        })
    }
}

#[derive(Debug, clap::Args)]
pub(crate) struct Kill {
    /// Containers, by name or id
    #[arg(required = true)]
    containers: Vec<String>,
    /// The signal to send
    #[arg(short, long, default_value = "KILL")]
    signal: String,
}

impl Kill {
    pub(crate) fn run(self, engine: &Engine) -> Outcome {
        let signal = signal_of(&self.signal)?;
        each(&self.containers, |name| {
            engine.kill(&engine.resolve(name)?, signal)?;
            println!("{name}");
            Ok(())
        })
    }
}

#[derive(Debug, clap::Args)]
pub(crate) struct Pause {
    /// Containers, by name or id
    #[arg(required = true)]
    containers: Vec<String>,
}

impl Pause {
    pub(crate) fn run(self, engine: &Engine) -> Outcome {
        each(&self.containers, |name| {
            engine.pause(&engine.resolve(name)?)?;
            println!("{name}");
            Ok(())
        })
    }
}

#[derive(Debug, clap::Args)]
pub(crate) struct Unpause {
    /// Containers, by name or id
    #[arg(required = true)]
    containers: Vec<String>,
}

impl Unpause {
    pub(crate) fn run(self, engine: &Engine) -> Outcome {
        each(&self.containers, |name| {
            engine.unpause(&engine.resolve(name)?)?;
            println!("{name}");
            Ok(())
        })
    }
}
