use std::path::PathBuf;

use content::Reference;
use image::{HostImage, Images};

use crate::Outcome;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Programs, by name in PATH or by absolute path; the first is the image's entrypoint
    #[arg(required = true)]
    programs: Vec<String>,
    /// The image's name
    #[arg(short, long, value_name = "NAME")]
    tag: Option<Reference>,
    /// Another file or directory of the host
    #[arg(long, value_name = "PATH")]
    file: Vec<PathBuf>,
    /// A user of the host that the image knows too
    #[arg(long, value_name = "NAME")]
    user: Vec<String>,
}

impl Args {
    pub(crate) fn run(self, images: &Images) -> Outcome {
        let host = HostImage { programs: self.programs, extra: self.file, users: self.user, name: self.tag };
        let image = images.from_host(&host)?;
        println!("{}", image.id);
        Ok(0)
    }
}
