//! The verbs, one file each.

mod completion;
mod from_host;
mod images;
mod import;
mod inspect;
mod rmi;
mod rootfs;
mod tag;

use std::path::Path;

use clap::Subcommand;
use image::Images;

use crate::Outcome;

/// The verbs of `sampan`.
#[derive(Subcommand)]
pub(crate) enum Verb {
    /// List images
    Images(images::Args),
    /// Remove images
    Rmi(rmi::Args),
    /// Give an image another name
    Tag(tag::Args),
    /// Show everything about images, as JSON
    Inspect(inspect::Args),
    /// Write a root file system of the host's own programs into a directory
    Rootfs(rootfs::Args),
    /// Manage images
    #[command(subcommand)]
    Image(ImageVerb),
    /// Print a completion script for a shell
    Completion(completion::Args),
    /// Write manual pages into a directory
    #[command(hide = true)]
    Man(completion::ManArgs),
}

/// The verbs of `sampan image`.
#[derive(Subcommand)]
pub(crate) enum ImageVerb {
    /// List images
    #[command(visible_alias = "list")]
    Ls(images::Args),
    /// Remove images
    Rm(rmi::Args),
    /// Give an image another name
    Tag(tag::Args),
    /// Show everything about images, as JSON
    Inspect(inspect::Args),
    /// Make an image of the host's own programs and the libraries they load
    FromHost(from_host::Args),
    /// Make an image of a root file system's tarball
    Import(import::Args),
}

impl Verb {
    /// Carries the verb out on the images of a data root.
    pub(crate) fn run(self, data: &Path) -> Outcome {
        match self {
            Verb::Images(args) | Verb::Image(ImageVerb::Ls(args)) => args.run(&open(data)?),
            Verb::Rmi(args) | Verb::Image(ImageVerb::Rm(args)) => args.run(&open(data)?),
            Verb::Tag(args) | Verb::Image(ImageVerb::Tag(args)) => args.run(&open(data)?),
            Verb::Inspect(args) | Verb::Image(ImageVerb::Inspect(args)) => args.run(&open(data)?),
            Verb::Image(ImageVerb::FromHost(args)) => args.run(&open(data)?),
            Verb::Image(ImageVerb::Import(args)) => args.run(&open(data)?),
            Verb::Rootfs(args) => args.run(&open(data)?),
            Verb::Completion(args) => args.run(),
            Verb::Man(args) => args.run(),
        }
    }
}

fn open(data: &Path) -> Result<Images, Box<dyn fault::Fault>> {
    Images::open(data).map_err(boxed)
}

/// An error as the command line's edge takes it.
pub(crate) fn boxed(error: impl fault::Fault) -> Box<dyn fault::Fault> {
    Box::new(error)
}
