//! Volumes: directories of the engine that outlive containers.

use std::path::{Path, PathBuf};

use linux::RootDir;
use logs::Timestamp;
use monitor::Overlay;
use serde::{Deserialize, Serialize};

use crate::{ContainerId, Engine, Error, Name, Result, files};

/// A volume that a container is going to use.
#[derive(Debug)]
pub(crate) struct Volume {
    pub name: Name,
    /// Its content.
    pub data: PathBuf,
    /// It was made just now.
    pub new: bool,
}

/// In a container being made: the names of its new anonymous volumes, one a line.
const ANONYMOUS: &str = "anonymous-volumes";

/// `volume.json`.
#[derive(Debug, Serialize, Deserialize)]
struct Record {
    version: u32,
    name: Name,
    created: String,
    anonymous: bool,
}

impl Engine {
    /// Finds a volume, or makes it.
    pub(crate) fn ensure_volume(&self, name: Name, anonymous: bool) -> Result<Volume> {
        let root = self.options.data.join("volumes");
        let dir = root.join(name.as_str());
        let data = dir.join("_data");
        if dir.join("volume.json").exists() {
            return Ok(Volume { name, data, new: false });
        }
        // Whole before it has its name: of two makers one wins, and both use the winner's.
        let staging = root.join(linux::tree::temporary_name());
        let _making = files::make_locked_dir(&staging)?;
        let made = make(&staging, &name, anonymous).and_then(|()| match std::fs::rename(&staging, &dir) {
            Ok(()) => Ok(true),
            Err(_) if dir.join("volume.json").exists() => Ok(false),
            Err(error) => Err(Error::file("rename to", &dir)(error)),
        });
        if !matches!(made, Ok(true)) {
            let _ = std::fs::remove_dir_all(&staging);
        }
        let new = made?;
        linux::tree::fsync(files::open_dir(&root)?)?;
        Ok(Volume { name, data, new })
    }

    /// Notes in a container being made that it is going to have a new anonymous volume, of the name that is returned: who
    /// does not finish the container, or sweeps it, removes the volume.
    pub(crate) fn announce_volume(making: &Path) -> Result<Name> {
        use std::io::Write;
        // As long as an id, and as unlikely to be another's.
        let name: Name = ContainerId::random()?.to_string().parse()?;
        let path = making.join(ANONYMOUS);
        let file = std::fs::File::options().append(true).create(true).open(&path);
        file.and_then(|mut file| writeln!(file, "{name}")).map_err(Error::file("write", &path))?;
        Ok(name)
    }

    /// The container is whole: its summary knows its volumes.
    pub(crate) fn forget_announced(making: &Path) -> Result<()> {
        let path = making.join(ANONYMOUS);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(Error::file("remove", path)(error))
            }
            _ => Ok(()),
        }
    }

    /// Removes the volumes that were made for a container which never was.
    pub(crate) fn remove_announced(&self, making: &Path) -> Result<()> {
        let names = std::fs::read_to_string(making.join(ANONYMOUS)).unwrap_or_default();
        names.lines().filter_map(|name| name.parse().ok()).try_for_each(|name| self.remove_volume(&name))
    }

    /// Removes a volume; one that is gone is no error.
    pub(crate) fn remove_volume(&self, name: &Name) -> Result<()> {
        let root = files::open_dir(&self.options.data.join("volumes"))?;
        let trash = linux::tree::temporary_name();
        match rustix::fs::renameat(&root, name.as_str(), &root, &trash) {
            Ok(()) => Ok(linux::tree::remove_tree(&root, trash)?),
            Err(rustix::io::Errno::NOENT) => Ok(()),
            Err(errno) => Err(linux::Error::on("renameat", name.as_str(), errno).into()),
        }
    }
}

fn make(staging: &Path, name: &Name, anonymous: bool) -> Result<()> {
    let data = staging.join("_data");
    std::fs::create_dir(&data).map_err(Error::file("make", &data))?;
    linux::root_dir::chmod_fd(files::open_dir(&data)?, rustix::fs::Mode::from_raw_mode(0o755))?;
    let record = Record { version: 1, name: name.clone(), created: Timestamp::now().to_string(), anonymous };
    files::write_new(staging, "volume.json", &record)
}

/// Fills a new volume with what the image has at `target`, with owner and mode of the directory itself, as docker does.
/// Nothing happens where the image has no directory there.
pub(crate) fn fill(volume: &Volume, overlay: &Overlay, making: &Path, target: &str) -> Result<()> {
    let rootfs = snapshot::Rootfs {
        lowers: overlay.lowers.clone(),
        // The container is not at its final place yet.
        upper: making.join("upper"),
        work: making.join("work"),
        volatile: false,
    };
    let root: RootDir = rootfs.open_detached()?;
    let from = match root.open_dir(Path::new(target)) {
        Ok(from) => from,
        Err(error) if matches!(error.errno, rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR) => {
            return Ok(());
        }
        Err(error) => return Err(error.into()),
    };
    Ok(linux::copy::directory(&from, files::open_dir(&volume.data)?)?)
}
