//! How the command line reaches registries: mirrors, plain http, who asks.

use std::path::PathBuf;
use std::sync::Arc;

use content::Reference;
use fault::{Fault, Kind};
use image::{HostImage, Images, Pull};
use registry::{DockerConfig, Options};

use crate::Failed;
use crate::flags::PullPolicy;
use crate::transfer::{Direction, Transfer};

/// Where mirrors are described, one directory per registry (containerd's `hosts.toml`), in this order.
const HOSTS_DIRS: [&str; 2] = ["/etc/sampan/certs.d", "/etc/containerd/certs.d"];

/// Pulls the image of a container that is about to be made, where the policy says so. Everything that is said goes to
/// standard error: the output is the container's.
pub(crate) fn ensure(images: &Images, name: &str, (policy, quiet): (PullPolicy, bool)) -> Result<(), Failed> {
    let here = match images.id_of(name) {
        Ok(_) => true,
        Err(error) if error.kind() == Kind::NotFound => false,
        Err(_) => return Ok(()),
    };
    let wanted = match policy {
        PullPolicy::Always => true,
        PullPolicy::Missing => !here,
        PullPolicy::Never => false,
    };
    // What is no reference is an id, or is refused when it is looked for.
    let Ok(reference) = name.parse::<Reference>() else { return Ok(()) };
    if !wanted || HostImage::parse(name).is_some() {
        return Ok(());
    }
    if !here {
        eprintln!("Unable to find image '{}' locally", reference.familiar());
    }
    let options =
        Flags { hosts_dir: std::env::var_os("SAMPAN_HOSTS_DIR").map(PathBuf::from), plain_http: false };
    let options = options.options()?;
    let progress = Transfer::to_stderr(Direction::Pull, quiet);
    let pull = Pull { reference: &reference, platform: None, options: &options, progress: &progress };
    let pulled = images.pull(&pull)?;
    drop(progress);
    if !quiet {
        eprintln!("Digest: {}", pulled.digest);
        eprintln!("Status: {}", pulled.status(&reference));
    }
    Ok(())
}

/// The flags of every verb that speaks to a registry.
#[derive(Debug, clap::Args)]
pub(crate) struct Flags {
    /// Where mirrors are described, as containerd's certs.d
    #[arg(long, value_name = "DIR", env = "SAMPAN_HOSTS_DIR")]
    hosts_dir: Option<PathBuf>,
    /// Speak http without TLS; loopback registries need no leave for it
    #[arg(long)]
    plain_http: bool,
}

impl Flags {
    /// What the registry's client is given.
    pub(crate) fn options(&self) -> Result<Options, Failed> {
        let dirs = self.hosts_dir.clone().map(|dir| vec![dir]);
        Ok(Options {
            hosts_dirs: dirs.unwrap_or_else(|| HOSTS_DIRS.map(PathBuf::from).to_vec()),
            plain_http: self.plain_http,
            credentials: Arc::new(DockerConfig::of_user()?),
            ..Options::default()
        })
    }
}
