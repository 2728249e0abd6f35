use std::fs::File;
use std::path::PathBuf;

use content::Reference;
use image::{Change, Images, Import};

use crate::Outcome;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The tarball, plain, gzip or zstd; - for standard input
    file: PathBuf,
    /// The image's name
    name: Option<Reference>,
    /// A Dockerfile instruction to apply, such as CMD or ENV
    #[arg(short, long, value_name = "INSTRUCTION")]
    change: Vec<Change>,
    /// What the image's history says
    #[arg(short, long)]
    message: Option<String>,
}

impl Args {
    pub(crate) fn run(self, images: &Images) -> Outcome {
        let import = Import { name: self.name, changes: self.change, message: self.message };
        let image = if self.file.as_os_str() == "-" {
            images.import(std::io::stdin().lock(), &import)
        } else {
            let file =
                File::open(&self.file).map_err(|source| Unreadable { path: self.file.clone(), source })?;
            images.import(file, &import)
        };
        println!("{}", image?.id);
        Ok(0)
    }
}

/// A file that cannot be opened.
#[derive(Debug, thiserror::Error)]
#[error("cannot open {}", .path.display())]
pub(crate) struct Unreadable {
    pub(crate) path: PathBuf,
    pub(crate) source: std::io::Error,
}

impl fault::Fault for Unreadable {
    fn kind(&self) -> fault::Kind {
        fault::Kind::of_io(&self.source)
    }
}
