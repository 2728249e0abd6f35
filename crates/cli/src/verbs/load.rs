use std::fs::File;
use std::io::{self, IsTerminal};
use std::os::fd::AsFd;
use std::path::PathBuf;

use image::Images;

use super::import::Unreadable;
use crate::Outcome;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Read this file instead of standard input: an archive, plain, gzip or zstd
    #[arg(short, long, value_name = "FILE")]
    input: Option<PathBuf>,
    /// Accepted as docker has it; no progress is shown
    #[arg(short, long)]
    quiet: bool,
}

impl Args {
    pub(crate) fn run(self, images: &Images) -> Outcome {
        let stdin = io::stdin();
        let file = match &self.input {
            Some(path) => File::open(path),
            None if stdin.is_terminal() => return Err(Terminal.into()),
            None => stdin.as_fd().try_clone_to_owned().map(File::from),
        };
        let shown = || self.input.clone().unwrap_or_else(|| "standard input".into());
        let file = file.map_err(|source| Unreadable { path: shown(), source })?;
        for loaded in images.load_archive(file)? {
            for name in &loaded.names {
                println!("Loaded image: {}", name.familiar());
            }
            if loaded.names.is_empty() {
                println!("Loaded image ID: {}", loaded.image.id);
            }
        }
        Ok(0)
    }
}

/// docker's words.
#[derive(Debug, thiserror::Error)]
#[error("requested load from stdin, but stdin is empty")]
struct Terminal;

impl fault::Fault for Terminal {
    fn kind(&self) -> fault::Kind {
        fault::Kind::Invalid
    }
}
