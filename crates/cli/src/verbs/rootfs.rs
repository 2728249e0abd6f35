use std::path::PathBuf;

use image::{HostImage, Images};

use crate::Outcome;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Programs, by name in PATH or by absolute path
    #[arg(required = true, value_delimiter = ',')]
    programs: Vec<String>,
    /// The directory: made, or empty
    #[arg(last = false)]
    directory: PathBuf,
    /// Another file or directory of the host
    #[arg(long, value_name = "PATH")]
    file: Vec<PathBuf>,
}

impl Args {
    pub(crate) fn run(self, images: &Images) -> Outcome {
        let host = HostImage { programs: self.programs, extra: self.file, ..HostImage::default() };
        let image = images.from_host(&host)?;
        images.unpack(&image, &self.directory)?;
        Ok(0)
    }
}
