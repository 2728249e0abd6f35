//! Images made of the host's own programs and the libraries they load.

mod cache;
mod collect;
mod elf;
mod search;
pub(crate) mod stream;

use std::path::PathBuf;

use content::{Digest, Reference};
use rustix::fs::{FlockOperation, Mode, OFlags};
use snapshot::Budget;

use crate::config::{Config, ConfigFile, History, RootFs, architecture, timestamp};
use crate::manifest::{Descriptor, OCI_LAYER};
use crate::{Error, Image, Images, Result};

use cache::{Key, Known};
use collect::Collector;

/// The PATH that programs are looked up in, and that the image gets.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Which of the host's programs an image is made of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostImage {
    /// Names for PATH, or absolute paths. The first one is the entrypoint.
    pub programs: Vec<String>,
    /// More files and directories of the host, by absolute path.
    pub extra: Vec<PathBuf>,
    /// Users of the host that the image's passwd and group have beside root and nobody.
    pub users: Vec<String>,
    /// The image's name; without it, `host/` and the programs' names.
    pub name: Option<Reference>,
}

impl HostImage {
    /// Reads `host:PROGRAM[,PROGRAM...]`; none for any other name.
    pub fn parse(name: &str) -> Option<Self> {
        let programs: Vec<_> = name.strip_prefix("host:")?.split(',').map(str::to_owned).collect();
        programs.iter().all(|p| !p.is_empty()).then(|| Self { programs, ..Self::default() })
    }

    /// The image's name.
    pub fn reference(&self) -> Result<Reference> {
        if let Some(name) = &self.name {
            return Ok(name.clone());
        }
        let mut name = String::new();
        for program in &self.programs {
            let base = program.rsplit('/').next().unwrap_or_default();
            let words = base.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
            for word in words {
                if !name.is_empty() {
                    name.push('-');
                }
                name.push_str(&word.to_ascii_lowercase());
            }
        }
        name.truncate(128);
        Ok(format!("host/{}", name.trim_end_matches('-')).parse()?)
    }
}

impl Images {
    /// Makes, or finds made, the image of the host's programs. A program, library or setting that changed since makes
    /// a new one; the same content always makes the same image.
    pub fn from_host(&self, host: &HostImage) -> Result<Image> {
        let key = Key::of(host);
        if let Some(image) = self.cached(&key, host)? {
            return Ok(image);
        }
        let dir = self.store.extension("host")?;
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let lock = rustix::fs::openat(&dir, "lock", flags, Mode::from(0o600))
            .map_err(|e| linux::Error::on("openat", "host/lock", e))?;
        rustix::fs::flock(&lock, FlockOperation::LockExclusive)
            .map_err(|e| linux::Error::on("flock", "host/lock", e))?;
        // Another caller may have made it while this one waited.
        match self.cached(&key, host)? {
            Some(image) => Ok(image),
            None => self.make(&key, host),
        }
    }

    /// The image that the record says, where nothing that it was made of has changed, and named as asked.
    fn cached(&self, key: &Key, host: &HostImage) -> Result<Option<Image>> {
        let Some(id) = cache::find(&self.store.extension("host")?, key)? else { return Ok(None) };
        let image = match self.load(id) {
            Ok(image) if image.layers.iter().all(|chain| self.layers.has(chain)) => image,
            // Removed, or damaged: it is made anew.
            _ => return Ok(None),
        };
        let reference = host.reference()?;
        if self.store.target(&reference)? != Some(image.manifest) {
            let _shared = self.store.share()?;
            if self.record(id)?.is_none() {
                return Ok(None);
            }
            self.store.set_target(&reference, image.manifest)?;
        }
        Ok(Some(image))
    }

    fn make(&self, key: &Key, host: &HostImage) -> Result<Image> {
        let mut collector = Collector::new();
        let mut first = None;
        for program in &host.programs {
            let path = search::program(program).ok_or_else(|| Error::NoProgram(program.clone()))?;
            collector.program(&path, 0)?;
            first.get_or_insert(path);
        }
        let first = first.ok_or_else(|| Error::NoProgram(String::new()))?;
        host.extra.iter().try_for_each(|path| collector.extra(path))?;
        collector.surroundings(&host.users)?;
        let known: Vec<Known> = collector.known();
        let newest = collector.newest();
        let _shared = self.store.share()?;
        let mut tar = stream::TarStream::new(collector.into_nodes());
        let layer = self.layers.apply(&[], &mut tar, &Budget::default(), None)?;
        // The layer's blob is not kept: the tree gives the same tar again.
        let digest: Digest = layer.diff.to_string().parse()?;
        let descriptor = Descriptor::new(OCI_LAYER, digest, tar.size());
        let created = Some(timestamp(Some(newest)));
        let file = ConfigFile {
            created: created.clone(),
            author: None,
            architecture: architecture().into(),
            os: "linux".into(),
            config: Config {
                env: vec![format!("PATH={PATH}")],
                // `run host:sh -c ...`: what follows the image are arguments of its program.
                entrypoint: Some(vec![first.to_string_lossy().into_owned()]),
                ..Config::default()
            },
            rootfs: RootFs { r#type: "layers".into(), diff_ids: vec![layer.diff.clone()] },
            history: vec![History {
                created,
                created_by: Some(format!("from-host {}", host.programs.join(" "))),
                ..History::default()
            }],
        };
        let image = self.publish(&file, &[(layer, descriptor)], Some(&host.reference()?))?;
        cache::store(&self.store.extension("host")?, key, image.id, known)?;
        Ok(image)
    }
}
