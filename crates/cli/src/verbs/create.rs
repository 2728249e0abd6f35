use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use engine::{ContainerId, Engine};
use fault::{Fault, Kind};

use crate::flags::ContainerFlags;
use crate::registries;
use crate::{Failed, Outcome};

/// docker's exit code when the container could not be made or started.
pub(super) const FAILED: u8 = 125;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    container: ContainerFlags,
}

impl Args {
    pub(crate) fn run(self, engine: &Engine) -> Outcome {
        let cidfile =
            CidFile::reserve(self.container.cidfile()).map_err(|failed| failed.with_code(FAILED))?;
        let pull = self.container.pull()?;
        let created = self
            .container
            .into_spec(&|name| std::env::var(name).ok())
            .map_err(Failed::from)
            .and_then(|spec| {
                registries::ensure(engine.images()?, &spec.image, pull)?;
                Ok(engine.create(spec, None)?)
            })
            .map_err(|failed| failed.with_code(1))?;
        cidfile.write(&created.id)?;
        println!("{}", created.id);
        Ok(0)
    }
}

/// The file of `--cidfile`: must not exist before, and is not left behind when nothing was created.
pub(super) struct CidFile(Option<(PathBuf, std::fs::File, bool)>);

impl CidFile {
    /// Makes the file, empty.
    pub(super) fn reserve(path: Option<&Path>) -> Result<Self, Failed> {
        let Some(path) = path else { return Ok(Self(None)) };
        let file = OpenOptions::new().write(true).create_new(true).mode(0o644).open(path);
        let file = file.map_err(|source| CidFileError { path: path.display().to_string(), source })?;
        Ok(Self(Some((path.to_owned(), file, false))))
    }

    /// Writes the id.
    pub(super) fn write(mut self, id: &ContainerId) -> Result<(), Failed> {
        if let Some((path, file, written)) = &mut self.0 {
            file.write_all(id.as_str().as_bytes())
                .map_err(|source| CidFileError { path: path.display().to_string(), source })?;
            *written = true;
        }
        Ok(())
    }
}

impl Drop for CidFile {
    fn drop(&mut self) {
        if let Some((path, _, false)) = &self.0 {
            // There is nothing to name in it.
            let _ = std::fs::remove_file(path);
        }
    }
}

#[derive(Debug, thiserror::Error)]
#[error("container ID file {path}, make sure the other container isn't running or delete it")]
struct CidFileError {
    path: String,
    source: std::io::Error,
}

impl Fault for CidFileError {
    fn kind(&self) -> Kind {
        Kind::of_io(&self.source)
    }
}
