//! An overlay root, made detached in the creator.

use std::cell::Cell;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use linux::creds::with_fs_ids;
use linux::mount::clone_path;
use linux::{Clone3, FsContext, MountFd, Namespaces, Propagation, SeqSocket};
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use rustix::mount::MountAttrFlags;
use serde::{Deserialize, Serialize};

use crate::idmap::{UserNamespace, kernel};
use crate::step::{Cause, Failure, Frame, MAX_FRAME, Step, failure, send};

/// Image layers under a layer of the container's own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Overlay {
    /// The layers, uppermost first, as overlayfs lists them.
    pub lowers: Vec<PathBuf>,
    /// The container's own layer.
    pub upper: PathBuf,
    /// Overlayfs' work directory, on the same filesystem.
    pub work: PathBuf,
    /// Never sync the upper layer: for containers that are removed when they end.
    pub volatile: bool,
    /// Without an upper layer.
    pub read_only: bool,
    /// An empty directory of the host where the root is attached in the container's mount namespace.
    pub mount_at: PathBuf,
}

/// Overlayfs takes idmapped layers from this version on.
const IDMAPPED_LAYERS: (u32, u32) = (5, 19);
/// `lowerdir+`: one layer per call, of any length, without escapes.
const LOWERDIR_PLUS: (u32, u32) = (6, 5);
/// Overlayfs takes layers by descriptor from 6.13 on, but those that are mounted nowhere (`clone_private_mount`) only from
/// this version on.
const DETACHED_LAYERS: (u32, u32) = (6, 15);

impl Overlay {
    /// Makes the mount, detached.
    ///
    /// # Errors
    /// The filesystem's own words.
    pub fn mount(&self) -> linux::Result<MountFd> {
        let context = FsContext::open("overlay")?;
        context.set("source", "overlay")?;
        set_lowers(&context, &self.lowers, kernel().0)?;
        if !self.read_only {
            context.set("upperdir", self.upper.as_path())?;
            context.set("workdir", self.work.as_path())?;
            self.set_volatile(&context)?;
        }
        context.mount(MountAttrFlags::empty())
    }

    /// Makes the mount, detached, of layers whose owners are mapped by `space`: what belongs to user 0 on the disk belongs
    /// to the container's root, and what that makes belongs to user 0 on the disk.
    ///
    /// # Errors
    /// The filesystem's own words; a sentence on a kernel or a filesystem that cannot do it.
    pub(crate) fn mount_idmapped(&self, space: &UserNamespace) -> Result<MountFd, Cause> {
        let (version, release) = kernel();
        if version < IDMAPPED_LAYERS {
            return Err(Cause::Reason(format!(
                "image layers in a user namespace of their own need Linux 5.19; this is {release}"
            )));
        }
        // Overlayfs acts with the credentials of who mounts it. Files that it makes in the upper layer on its own account
        // (work/, copies) need an owner that the layer's mapping knows, or they fail with EOVERFLOW.
        let (uid, gid) = space.root()?;
        let layers = Layers::new(self, space)?;
        if version >= DETACHED_LAYERS {
            return with_fs_ids(uid, gid, || self.stack_detached(&layers));
        }
        in_private_mount_namespace(|| with_fs_ids(uid, gid, || self.stack_attached(&layers, version)))
    }

    /// By descriptor: nothing is mounted anywhere.
    fn stack_detached(&self, layers: &Layers) -> Result<MountFd, Cause> {
        let context = FsContext::open("overlay")?;
        context.set("source", "overlay")?;
        for lower in &layers.lowers {
            context.set_fd("lowerdir+", lower)?;
        }
        if let Some(own) = &layers.own {
            context.set_fd("upperdir", own.open(&own.upper)?)?;
            context.set_fd("workdir", own.open(&own.work)?)?;
            self.set_volatile(&context)?;
        }
        Ok(context.mount(MountAttrFlags::empty())?)
    }

    /// By path, with the layers mounted below a tmpfs at `mount_at`: for a mount namespace that nobody else sees. The names
    /// are short and relative, so that any number of layers fits and nothing needs an escape.
    fn stack_attached(&self, layers: &Layers, version: (u32, u32)) -> Result<MountFd, Cause> {
        let tmpfs = FsContext::open("tmpfs")?;
        tmpfs.set("mode", "700")?;
        let tmpfs = tmpfs.mount(MountAttrFlags::empty())?;
        let open = |dir: &dyn AsFd, name: &Path| {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            rustix::fs::openat(dir.as_fd(), name, flags, Mode::empty())
                .map_err(|errno| linux::Error::on("openat", name.to_string_lossy(), errno))
        };
        tmpfs.attach(open(&CWD, &self.mount_at)?)?;
        rustix::process::fchdir(&tmpfs).map_err(|errno| linux::Error::new("fchdir", errno))?;
        let put = |name: &Path, mount: &MountFd| {
            rustix::fs::mkdirat(&tmpfs, name, Mode::from_raw_mode(0o700))
                .map_err(|errno| linux::Error::on("mkdirat", name.to_string_lossy(), errno))?;
            mount.attach(open(&tmpfs, name)?)
        };
        let names: Vec<PathBuf> = (0..layers.lowers.len()).map(|i| i.to_string().into()).collect();
        for (name, lower) in names.iter().zip(&layers.lowers) {
            put(name, lower)?;
        }
        let context = FsContext::open("overlay")?;
        context.set("source", "overlay")?;
        set_lowers(&context, &names, version)?;
        if let Some(own) = &layers.own {
            let name = Path::new("own");
            put(name, &own.mount)?;
            context.set("upperdir", name.join(&own.upper))?;
            context.set("workdir", name.join(&own.work))?;
            self.set_volatile(&context)?;
        }
        Ok(context.mount(MountAttrFlags::empty())?)
    }

    fn set_volatile(&self, context: &FsContext) -> linux::Result<()> {
        if self.volatile {
            forget_incompatible(&self.work)?;
            context.set_flag("volatile")?;
        }
        Ok(())
    }
}

fn set_lowers(context: &FsContext, lowers: &[PathBuf], version: (u32, u32)) -> linux::Result<()> {
    if version < LOWERDIR_PLUS {
        return context.set("lowerdir", joined(lowers).as_slice());
    }
    lowers.iter().try_for_each(|lower| context.set("lowerdir+", lower.as_path()))
}

/// The layers as idmapped mounts, which are attached nowhere.
struct Layers {
    lowers: Vec<MountFd>,
    own: Option<OwnLayer>,
}

/// The container's own layer. Overlayfs wants the upper and the work directory under one mount, so this is a mount of what
/// holds both.
struct OwnLayer {
    mount: MountFd,
    upper: PathBuf,
    work: PathBuf,
}

impl Layers {
    fn new(overlay: &Overlay, space: &UserNamespace) -> Result<Self, Cause> {
        let idmapped = |path: &Path| -> Result<MountFd, Cause> {
            let mount = clone_path(path, false)?;
            space.map(&mount, false).map_err(|cause| match cause {
                Cause::Reason(text) => Cause::Reason(format!("{}: {text}", path.display())),
                kernel => kernel,
            })?;
            Ok(mount)
        };
        let lowers = overlay.lowers.iter().map(|lower| idmapped(lower)).collect::<Result<_, _>>()?;
        if overlay.read_only {
            return Ok(Self { lowers, own: None });
        }
        let real = |path: &Path| {
            std::fs::canonicalize(path).map_err(|e| Cause::Reason(format!("{}: {e}", path.display())))
        };
        let (upper, work) = (real(&overlay.upper)?, real(&overlay.work)?);
        let both = upper.components().zip(work.components()).take_while(|(a, b)| a == b);
        let holder: PathBuf = both.map(|(part, _)| part).collect();
        let below = |path: &Path| path.strip_prefix(&holder).map(Path::to_owned).unwrap_or_default();
        let own = OwnLayer { mount: idmapped(&holder)?, upper: below(&upper), work: below(&work) };
        own.check(&own.upper, &upper)?;
        own.check(&own.work, &work)?;
        Ok(Self { lowers, own: Some(own) })
    }
}

impl OwnLayer {
    fn open(&self, name: &Path) -> linux::Result<OwnedFd> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        let name = if name.as_os_str().is_empty() { Path::new(".") } else { name };
        rustix::fs::openat2(&self.mount, name, flags, Mode::empty(), resolve)
            .map_err(|errno| linux::Error::on("openat2", name.to_string_lossy(), errno))
    }

    /// The mount has nothing that is mounted below the directory: then this is another directory than the one meant.
    fn check(&self, name: &Path, meant: &Path) -> Result<(), Cause> {
        let on = |call| move |errno| linux::Error::on(call, meant.to_string_lossy(), errno);
        let found = rustix::fs::fstat(self.open(name)?).map_err(on("fstat"))?;
        let meant_stat = rustix::fs::stat(meant).map_err(on("stat"))?;
        if (found.st_dev, found.st_ino) != (meant_stat.st_dev, meant_stat.st_ino) {
            let reason =
                format!("{} and the other directory of the layer are on two mounts", meant.display());
            return Err(Cause::Reason(reason));
        }
        Ok(())
    }
}

/// Runs `make` in a process with a mount namespace of its own, from which nothing spreads, and takes over the detached
/// mount that it makes: on kernels before 6.15 a layer must be mounted where overlayfs' mounter sees it, and nobody else
/// should.
fn in_private_mount_namespace(make: impl FnOnce() -> Result<MountFd, Cause>) -> Result<MountFd, Cause> {
    let (ours, theirs) = SeqSocket::pair()?;
    let parts = Cell::new(Some((ours, theirs, make)));
    let clone = Clone3 { namespaces: Namespaces::MOUNT, ..Default::default() };
    let (_, pidfd) = clone.spawn(|| {
        let Some((ours, theirs, make)) = parts.take() else { return 1 };
        drop(ours);
        let made = linux::mount::set_root_propagation(Propagation::Private).map_err(Cause::from);
        let sent = match made.and_then(|()| make()) {
            Ok(mount) => theirs.send(b"\0", &[mount.as_fd()]),
            Err(cause) => {
                // The step is named by the creator.
                let failed = failure(Step::Propagation, cause);
                send(&theirs, &Frame::Failed(Failure { what: String::new(), ..failed }), &[])
            }
        };
        i32::from(sent.is_err())
    })?;
    let gone = || Cause::Reason("the process that mounts the layers was killed".into());
    let (ours, theirs, _) = parts.take().ok_or_else(gone)?;
    drop(theirs);
    let mut buffer = vec![0; MAX_FRAME];
    let received = ours.recv(&mut buffer);
    pidfd.wait()?;
    let mut received = received?.ok_or_else(gone)?;
    if let Some(mount) = received.fds.pop() {
        return Ok(MountFd::from(mount));
    }
    match serde_json::from_slice(&buffer[..received.len]) {
        Ok(Frame::Failed(said)) => Err(said.into()),
        _ => Err(gone()),
    }
}

/// The old form: a list in which colons and backslashes are escaped.
fn joined(lowers: &[PathBuf]) -> Vec<u8> {
    let mut text = Vec::new();
    for (i, lower) in lowers.iter().enumerate() {
        if i > 0 {
            text.push(b':');
        }
        for byte in lower.as_os_str().as_bytes() {
            if matches!(byte, b':' | b'\\' | b',') {
                text.push(b'\\');
            }
            text.push(*byte);
        }
    }
    text
}

/// A volatile overlay leaves a mark and refuses the next mount: after a crash its data may be torn. A container that
/// restarts has ended in order, or is one whose data nobody wants to keep.
fn forget_incompatible(work: &Path) -> linux::Result<()> {
    match linux::RootDir::open(&work.join("work")) {
        Ok(dir) => linux::tree::remove_tree(&dir, "incompat"),
        Err(error) if error.errno == Errno::NOENT => Ok(()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{IdMap, IdMaps};
    use std::os::unix::fs::MetadataExt;

    /// The ways of kernels before 6.15 and before 6.5, on this one.
    #[test]
    fn layers_by_path_in_a_private_mount_namespace() {
        for version in [(6, 14), (5, 19)].into_iter().filter(|version| *version <= kernel().0) {
            let dir = tempfile::tempdir().unwrap();
            let at = |name: &str| dir.path().join(name);
            for name in ["a", "b:c", "upper", "work", "at"] {
                std::fs::create_dir(at(name)).unwrap();
            }
            std::fs::write(at("b:c").join("lower"), "lower").unwrap();
            let overlay = Overlay {
                lowers: vec![at("a"), at("b:c")],
                upper: at("upper"),
                work: at("work"),
                volatile: true,
                read_only: false,
                mount_at: at("at"),
            };
            let pid = linux::fork(|| {
                let map = vec![IdMap { inside: 0, outside: 700_000, count: 10 }];
                let space = UserNamespace::new(&IdMaps { uid: map.clone(), gid: map }).unwrap();
                let layers = Layers::new(&overlay, &space).unwrap();
                let mount = in_private_mount_namespace(|| {
                    with_fs_ids(700_000, 700_000, || overlay.stack_attached(&layers, version))
                })
                .unwrap();
                let stat = rustix::fs::statat(&mount, "lower", rustix::fs::AtFlags::empty()).unwrap();
                assert_eq!(stat.st_uid, 700_000);
                with_fs_ids(700_003, 700_003, || {
                    rustix::fs::mkdirat(&mount, "made", Mode::from_raw_mode(0o755))
                        .map_err(|errno| linux::Error::new("mkdirat", errno))
                })
                .unwrap();
                // The host's root has no place in the layer: what is not mapped cannot be written.
                let made = rustix::fs::mkdirat(&mount, "no", Mode::from_raw_mode(0o755));
                assert_eq!(made, Err(Errno::OVERFLOW));
                let gone = in_private_mount_namespace(|| {
                    overlay.stack_attached(&Layers { lowers: Vec::new(), own: None }, version)
                });
                assert!(matches!(&gone, Err(Cause::Reason(text)) if text.contains("fsconfig")), "{gone:?}");
                0
            })
            .unwrap();
            let (_, status) =
                rustix::process::waitpid(Some(pid), rustix::process::WaitOptions::empty()).unwrap().unwrap();
            assert_eq!(status.exit_status(), Some(0), "{version:?}");
            assert_eq!(std::fs::metadata(at("upper/made")).unwrap().uid(), 3);
            let seen = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
            assert!(!seen.contains(&*dir.path().to_string_lossy()), "nothing is mounted for others");
        }
    }

    #[test]
    fn the_old_form_escapes() {
        assert_eq!(joined(&["/a:b".into(), "/c\\d".into()]), b"/a\\:b:/c\\\\d");
    }
}
