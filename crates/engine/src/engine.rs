use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use image::Images;

use crate::{ContainerId, Error, Result};

/// Version of what is under the data root (ARCHITECTURE.md, 'On disk').
const FORMAT: &str = "1";

/// Where an engine keeps its things.
#[derive(Clone, Debug)]
pub struct Options {
    /// Images, containers and volumes: `/var/lib/sampan`.
    pub data: PathBuf,
    /// What is gone after a boot: `/run/sampan`.
    pub run: PathBuf,
    /// The cgroup below which containers get theirs: `/sampan`.
    pub cgroup_parent: String,
    /// The `sampan-runtime` program; beside this one without it.
    pub runtime: Option<PathBuf>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            data: "/var/lib/sampan".into(),
            run: "/run/sampan".into(),
            cgroup_parent: "/sampan".into(),
            runtime: None,
        }
    }
}

/// The containers, images and volumes of one data root. It holds no truth: that is in the files, which any number of
/// engines in any number of processes use at once.
#[derive(Debug)]
pub struct Engine {
    pub(crate) options: Options,
    images: OnceLock<Images>,
}

impl Engine {
    /// Opens a data root, making what is missing (directories 0700).
    ///
    /// # Errors
    /// [`Error::File`]; [`Error::Unsupported`] for a data root of a newer version.
    pub fn open(mut options: Options) -> Result<Engine> {
        for root in [&mut options.data, &mut options.run] {
            // A monitor has another working directory.
            *root = std::path::absolute(&root).map_err(Error::file("find", &*root))?;
        }
        let engine = Engine { options, images: OnceLock::new() };
        engine.check_format()?;
        Ok(engine)
    }

    fn check_format(&self) -> Result<()> {
        let path = self.options.data.join("format");
        match std::fs::read_to_string(&path) {
            Ok(text) if text.trim_end() == FORMAT => return Ok(()),
            Ok(text) => {
                return Err(Error::Unsupported {
                    what: format!("the data root {}", self.options.data.display()),
                    why: format!("it has format {:?}, this version knows {FORMAT}", text.trim_end()),
                });
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(Error::file("read", path)(error)),
        }
        make_dir(&self.options.data)?;
        for dir in ["containers", "names", "volumes"] {
            make_dir(&self.options.data.join(dir))?;
        }
        std::fs::write(&path, format!("{FORMAT}\n")).map_err(Error::file("write", path))
    }

    /// The images.
    ///
    /// # Errors
    /// [`Error::Image`] when the store cannot be opened.
    pub fn images(&self) -> Result<&Images> {
        if let Some(images) = self.images.get() {
            return Ok(images);
        }
        let images = Images::open(&self.options.data)?;
        Ok(self.images.get_or_init(|| images))
    }

    /// Where it keeps its things.
    pub fn options(&self) -> &Options {
        &self.options
    }

    pub(crate) fn containers(&self) -> PathBuf {
        self.options.data.join("containers")
    }

    pub(crate) fn data_of(&self, id: &ContainerId) -> PathBuf {
        self.containers().join(id.as_str())
    }

    pub(crate) fn run_of(&self, id: &ContainerId) -> PathBuf {
        self.options.run.join("containers").join(id.as_str())
    }

    /// The directory of the container's log.
    pub fn log_of(&self, id: &ContainerId) -> PathBuf {
        self.data_of(id).join("log")
    }

    pub(crate) fn runtime(&self) -> Result<PathBuf> {
        if let Some(path) = &self.options.runtime {
            return Ok(path.clone());
        }
        let own = std::env::current_exe().map_err(Error::file("find", "/proc/self/exe"))?;
        Ok(own.with_file_name("sampan-runtime"))
    }
}

/// A private directory, with its parents.
pub(crate) fn make_dir(path: &Path) -> Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(Error::file("make", path))
}
