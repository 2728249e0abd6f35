use std::fs::File;
use std::io::{self, BufWriter, IsTerminal};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use image::Images;

use super::import::Unreadable;
use crate::Outcome;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Images, by name or id; a name without a tag stands for all of its tags
    #[arg(required = true)]
    images: Vec<String>,
    /// Write to this file instead of standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

impl Args {
    pub(crate) fn run(self, images: &Images) -> Outcome {
        let Some(path) = &self.output else {
            let stdout = io::stdout();
            if stdout.is_terminal() {
                return Err(Terminal.into());
            }
            images.save(&self.images, BufWriter::with_capacity(128 << 10, stdout.lock()))?;
            return Ok(0);
        };
        // As docker: a name that is not there, or a save that fails, leaves an earlier archive as it was.
        let failed = |source| Unreadable { path: path.clone(), source };
        let mut partial = path.clone().into_os_string();
        partial.push(format!(".{}.partial", std::process::id()));
        let partial = PathBuf::from(partial);
        let is_special = path.metadata().is_ok_and(|m| !m.is_file());
        let target = if is_special { path } else { &partial };
        let file = if is_special {
            File::options().write(true).open(path)
        } else {
            File::options().write(true).create_new(true).mode(0o600).open(&partial)
        };
        let file = file.map_err(|source| Unreadable { path: target.clone(), source })?;
        let saved = images.save(&self.images, BufWriter::with_capacity(128 << 10, file));
        if is_special {
            saved?;
            return Ok(0);
        }
        if saved.is_err() {
            // Best effort: the error that matters is the other one.
            let _ = std::fs::remove_file(&partial);
        }
        saved?;
        std::fs::rename(&partial, path).map_err(failed)?;
        Ok(0)
    }
}

/// docker's words.
#[derive(Debug, thiserror::Error)]
#[error("cowardly refusing to save to a terminal. Use the -o flag or redirect")]
struct Terminal;

impl fault::Fault for Terminal {
    fn kind(&self) -> fault::Kind {
        fault::Kind::Invalid
    }
}
