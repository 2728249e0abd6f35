//! `names/<name>`: symlinks whose text is a container's id. The link is the claim.
//!
//! A claim outlives the crash of who made it, so it counts only while its container does, or is being made. Claims and
//! their removal are made under a lock of the directory, so that of two who find a stale one only one takes it.

use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, FlockOperation};
use rustix::io::Errno;

use crate::{ContainerId, Engine, Error, Name, Result, container::Summary, files};

impl Engine {
    /// Claims a name for a container, which need not exist yet.
    ///
    /// # Errors
    /// [`Error::NameTaken`].
    pub(crate) fn claim_name(&self, name: &Name, id: &ContainerId) -> Result<()> {
        let dir = self.lock_names()?;
        loop {
            match rustix::fs::symlinkat(id.as_str(), &dir, name.as_str()) {
                Ok(()) => return Ok(()),
                Err(Errno::EXIST) => {}
                Err(errno) => {
                    let path = self.options.data.join("names").join(name.as_str());
                    return Err(Error::file("claim the name", path)(errno.into()));
                }
            }
            if let Some(owner) = read_link(&dir, name)?
                && self.owns(&owner, name)?
            {
                let taken = Error::NameTaken { name: name.to_string(), owner: owner.to_string() };
                return if owner == *id { Ok(()) } else { Err(taken) };
            }
            unlink(&dir, name)?;
        }
    }

    /// Gives a name up, if it is this container's.
    pub(crate) fn release_name(&self, name: &Name, id: &ContainerId) -> Result<()> {
        let dir = self.lock_names()?;
        if read_link(&dir, name)?.as_ref() == Some(id) {
            unlink(&dir, name)?;
        }
        Ok(())
    }

    /// Gives up whatever names lead to a container, of which nothing else may be known any more.
    pub(crate) fn release_names(&self, id: &ContainerId) -> Result<()> {
        let dir = self.lock_names()?;
        for (name, _) in linux::tree::entries(&dir)? {
            let Some(name) = name.to_str().and_then(|name| name.parse::<Name>().ok()) else { continue };
            if read_link(&dir, &name)?.as_ref() == Some(id) {
                unlink(&dir, &name)?;
            }
        }
        Ok(())
    }

    /// The container that has this name.
    pub(crate) fn owner_of(&self, name: &Name) -> Result<Option<ContainerId>> {
        let dir = files::open_dir(&self.options.data.join("names"))?;
        let owner = read_link(&dir, name)?;
        Ok(owner.filter(|owner| self.data_of(owner).exists()))
    }

    /// Whether a claim counts: its container is there under this name, or is being made.
    fn owns(&self, owner: &ContainerId, name: &Name) -> Result<bool> {
        match self.summary(owner) {
            Ok(Summary { name: own, .. }) => Ok(own == *name),
            Err(Error::NotFound(_)) => self.is_being_made(owner),
            // A damaged container keeps its name until it is removed.
            Err(_) => Ok(true),
        }
    }

    fn lock_names(&self) -> Result<OwnedFd> {
        let dir = files::open_dir(&self.options.data.join("names"))?;
        rustix::io::retry_on_intr(|| rustix::fs::flock(&dir, FlockOperation::LockExclusive))
            .map_err(|errno| linux::Error::on("flock", "names", errno))?;
        Ok(dir)
    }
}

fn unlink(dir: &OwnedFd, name: &Name) -> Result<()> {
    match rustix::fs::unlinkat(dir, name.as_str(), AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(errno) => Err(linux::Error::on("unlinkat", name.as_str(), errno).into()),
    }
}

fn read_link(dir: &OwnedFd, name: &Name) -> Result<Option<ContainerId>> {
    match rustix::fs::readlinkat(dir, name.as_str(), Vec::with_capacity(80)) {
        Ok(text) => Ok(std::str::from_utf8(text.as_bytes()).ok().and_then(|text| text.parse().ok())),
        Err(Errno::NOENT | Errno::INVAL) => Ok(None),
        Err(errno) => Err(linux::Error::on("readlinkat", name.as_str(), errno).into()),
    }
}
