//! From a request to a container on disk.
//!
//! It is made whole in `.new-<id>/`, whose lock its maker holds; then its name is claimed, and then it is renamed to its
//! id. A crash before the rename leaves a directory without a holder of its lock, which [`Engine::sweep`] removes.

use std::os::fd::OwnedFd;
use std::path::Path;

use image::Image;
use linux::CapSet;
use logs::Timestamp;
use monitor::{Join, Overlay, Session, Task};
use runtime::StepReport;

use crate::container::{Summary, UsedVolume};
use crate::engine::make_dir;
use crate::explain::Explain;
use crate::oci::{self, Facts, Merged, ReadyMount, ReadySource};
use crate::spec::{ContainerSpec, MountSource, MountSpec, NamespaceMode, NetworkMode};
use crate::{ContainerId, Engine, Error, Name, Result, devices, files, limits, network_files, volumes};

/// Prefix of a container being made.
pub(crate) const NEW: &str = ".new-";
/// Directories that every container mounts upon.
const MOUNT_DIRECTORIES: [&str; 3] = ["/proc", "/sys", "/dev"];
/// Files that every container mounts upon.
const MOUNT_FILES: [&str; 3] = ["/etc/hosts", "/etc/resolv.conf", "/etc/hostname"];
/// Most mounts of one container; the kernel's limit per mount namespace is far above.
const MAX_MOUNTS: usize = 1000;

/// A created container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Created {
    /// Its id.
    pub id: ContainerId,
    /// Its name.
    pub name: Name,
}

/// A container while it is being made.
struct Making<'a> {
    engine: &'a Engine,
    id: ContainerId,
    /// `.new-<id>`, until it is published.
    dir: std::path::PathBuf,
    /// Holds the directory's lock.
    fd: OwnedFd,
    name: Option<Name>,
    published: bool,
}

impl Drop for Making<'_> {
    fn drop(&mut self) {
        if self.published {
            return;
        }
        // What stays is found by the next sweep, and a name without a container is free.
        if let Some(name) = &self.name {
            let _ = self.engine.release_name(name, &self.id);
        }
        let _ =
            self.engine.remove_announced(&self.dir).and_then(|()| self.engine.remove_anonymous(&self.dir));
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

impl Engine {
    /// Creates a container without starting it. `explain` is told the steps.
    ///
    /// # Errors
    /// [`Error::Request`], [`Error::Invalid`] for what makes no sense, [`Error::NameTaken`], [`Error::Image`].
    pub fn create(
        &self,
        spec: ContainerSpec,
        explain: Option<&mut dyn FnMut(StepReport)>,
    ) -> Result<Created> {
        self.make(spec, &mut Explain(explain), |_, _, _| Ok(())).map(|(created, ())| created)
    }

    /// [`Engine::create`], and a conversation with the container's monitor, which starts while the container is made and
    /// looks at it when the first request comes.
    ///
    /// # Errors
    /// As [`Engine::create`]; [`Error::Monitor`] when the monitor cannot be started.
    pub fn create_with_session(
        &self,
        spec: ContainerSpec,
        explain: Option<&mut dyn FnMut(StepReport)>,
    ) -> Result<(Created, Session)> {
        self.make(spec, &mut Explain(explain), |id, spec, explain| {
            let network = oci::own_network(spec) && !oci::own_users(spec);
            let words = || ("start the container's monitor".into(), "posix_spawn", String::new());
            explain.step(words, || self.launch_early_monitor(id, network))
        })
    }

    /// Makes a container. `begun` is called as soon as it has an id.
    fn make<T>(
        &self,
        mut spec: ContainerSpec,
        explain: &mut Explain<'_>,
        begun: impl FnOnce(&ContainerId, &ContainerSpec, &mut Explain<'_>) -> Result<T>,
    ) -> Result<(Created, T)> {
        oci::check(&spec)?;
        let images = self.images()?;
        // From here until the container is there, nobody removes the image.
        let _hold = images.hold()?;
        let image = explain.step(
            || (format!("find the image {}", spec.image), "readlinkat, openat", String::new()),
            || images.resolve(&spec.image),
        )?;
        self.name_others(&mut spec)?;
        let id = ContainerId::random()?;
        let begun = begun(&id, &spec, explain)?;
        let mut making = self.begin(&id)?;
        let overlay = explain.step(
            || {
                let shell = format!("mkdir -p {0}/upper {0}/work", self.data_of(&id).display());
                ("make the container's own layer".into(), "mkdirat", shell)
            },
            || self.overlay(&making, &spec, &image),
        )?;
        let hostname = network_files::hostname(self, &id, &spec)?;
        let merged = oci::merge(&id, &spec, &image.config, hostname.as_deref())?;
        let (mounts, used) = self.make_mounts(&making, &spec, &merged, &overlay)?;
        let facts = self.facts(&id, &making.dir, &spec, hostname, mounts)?;
        explain.step(
            || {
                (
                    "write its configuration".into(),
                    "openat, write",
                    format!("cat {}/config.json", self.data_of(&id).display()),
                )
            },
            || self.write_documents(&making, &spec, &merged, &facts, overlay),
        )?;
        let name = spec.name.clone().unwrap_or_else(|| Name::generated(&id));
        let summary = Summary {
            version: 1,
            id: id.clone(),
            name: name.clone(),
            image: spec.image.clone(),
            image_id: image.id.to_string(),
            args: merged.args().cloned().collect(),
            created: Timestamp::now().to_string(),
            labels: merged.labels,
            auto_remove: spec.auto_remove,
            volumes: used,
        };
        files::write_new(&making.dir, "summary.json", &summary)?;
        explain.step(
            || {
                (
                    format!("claim the name {name} and publish the container"),
                    "symlinkat, renameat",
                    String::new(),
                )
            },
            || making.publish(&name, !spec.auto_remove),
        )?;
        Ok((Created { id, name }, begun))
    }

    fn begin(&self, id: &ContainerId) -> Result<Making<'_>> {
        let dir = self.containers().join(format!("{NEW}{id}"));
        let fd = files::make_locked_dir(&dir)?;
        Ok(Making { engine: self, id: id.clone(), dir, fd, name: None, published: false })
    }

    /// Puts ids in the place of what the user called other containers, and refuses those that are not there.
    fn name_others(&self, spec: &mut ContainerSpec) -> Result<()> {
        if let NetworkMode::Container(other) = &mut spec.network {
            *other = self.resolve(other)?.to_string();
        }
        let modes = &mut spec.namespaces;
        for mode in [&mut modes.pid, &mut modes.ipc, &mut modes.uts] {
            if let NamespaceMode::Container(other) = mode {
                *other = self.resolve(other)?.to_string();
            }
        }
        if matches!(modes.cgroup, NamespaceMode::Container(_)) {
            return Err(Error::Request("a cgroup namespace cannot be shared with a container".into()));
        }
        Ok(())
    }

    fn overlay(&self, making: &Making<'_>, spec: &ContainerSpec, image: &Image) -> Result<Overlay> {
        let layers = self.images()?.layers();
        let rootfs = layers.prepare(&making.dir, &image.layers, spec.auto_remove)?;
        let mountpoints = layers.mountpoints(&image.layers, &MOUNT_DIRECTORIES, &MOUNT_FILES)?;
        let data = self.data_of(&making.id);
        Ok(Overlay {
            lowers: mountpoints.into_iter().chain(rootfs.lowers).collect(),
            upper: data.join("upper"),
            work: data.join("work"),
            // Nobody wants the data of a container that is removed at its end.
            volatile: spec.auto_remove,
            read_only: false,
            mount_at: self.mount_point()?,
        })
    }

    /// Where roots are attached, each in the mount namespace of its container: one directory serves them all.
    fn mount_point(&self) -> Result<std::path::PathBuf> {
        let dir = self.options.run.join("rootfs");
        if !dir.exists() {
            make_dir(&dir)?;
        }
        Ok(dir)
    }

    /// Makes the sources of all mounts: directories, volumes, and those that the image wants.
    fn make_mounts(
        &self,
        making: &Making<'_>,
        spec: &ContainerSpec,
        merged: &Merged,
        overlay: &Overlay,
    ) -> Result<(Vec<ReadyMount>, Vec<UsedVolume>)> {
        let mut all = spec.mounts.clone();
        for target in &merged.volumes {
            if !all.iter().any(|mount| same_path(&mount.target, target)) {
                let source = MountSource::Volume { name: None, no_copy: false };
                all.push(MountSpec { target: target.clone(), source, read_only: false });
            }
        }
        if all.len() > MAX_MOUNTS {
            return Err(Error::Request(format!("{} mounts; at most {MAX_MOUNTS} are taken", all.len())));
        }
        let (mut ready, mut used) = (Vec::new(), Vec::new());
        for mount in all {
            let target = clean_target(&mount.target)?;
            if ready.iter().any(|other: &ReadyMount| other.target == target) {
                return Err(Error::Request(format!("Duplicate mount point: {target}")));
            }
            let source = match mount.source {
                MountSource::Bind { source, create, non_recursive, propagation } => {
                    if create && !source.exists() {
                        std::fs::create_dir_all(&source).map_err(Error::file("make", &source))?;
                    }
                    if !source.exists() {
                        let text = source.display().to_string();
                        return Err(Error::invalid(
                            "mount config for type \"bind\"",
                            &text,
                            "bind source path does not exist",
                        ));
                    }
                    ReadySource::Bind { source, non_recursive, propagation, volume: false }
                }
                MountSource::Volume { name, no_copy } => {
                    let anonymous = name.is_none();
                    let name = name.map_or_else(|| Self::announce_volume(&making.dir), Ok)?;
                    let volume = self.ensure_volume(name, anonymous)?;
                    if volume.new && !no_copy {
                        volumes::fill(&volume, overlay, &making.dir, &target)?;
                    }
                    let source = ReadySource::Bind {
                        source: volume.data.clone(),
                        non_recursive: false,
                        propagation: None,
                        volume: true,
                    };
                    used.push(UsedVolume {
                        name: volume.name,
                        target: target.clone(),
                        anonymous,
                        read_only: mount.read_only,
                    });
                    source
                }
                MountSource::Tmpfs { size, mode, options } => ReadySource::Tmpfs { size, mode, options },
            };
            ready.push(ReadyMount { target, source, read_only: mount.read_only });
        }
        Ok((ready, used))
    }

    fn facts(
        &self,
        id: &ContainerId,
        dir: &Path,
        spec: &ContainerSpec,
        hostname: Option<String>,
        mounts: Vec<ReadyMount>,
    ) -> Result<Facts> {
        let files = match &spec.network {
            NetworkMode::Container(other) => self.data_of(&other.parse()?),
            _ => {
                network_files::write(dir, spec, hostname.as_deref())?;
                self.data_of(id)
            }
        };
        let has_hostname = spec.namespaces.uts == NamespaceMode::Private;
        let possible = possible()?;
        Ok(Facts {
            default_limits: limits::defaults(possible),
            mounts,
            hostname: hostname.filter(|_| has_hostname),
            devices: devices::find(spec)?,
            files: Some(files),
            possible,
        })
    }

    fn write_documents(
        &self,
        making: &Making<'_>,
        spec: &ContainerSpec,
        merged: &Merged,
        facts: &Facts,
        overlay: Overlay,
    ) -> Result<()> {
        let id = &making.id;
        let parent = spec.cgroup_parent.as_ref().unwrap_or(&self.options.cgroup_parent);
        let cgroup = format!("/{}/{id}", parent.trim_matches('/'));
        cgroup::CgroupPath::new(&cgroup)?;
        let config = oci::config(id, spec, merged, facts, &cgroup)?;
        let host = cgroup::Host::probe()?;
        let has_v2 = host.hierarchies().iter().any(|hierarchy| hierarchy.unified);
        let task = Task {
            version: 1,
            id: id.to_string(),
            name: spec.name.as_ref().map(Name::to_string).unwrap_or_default(),
            tty: spec.tty,
            open_stdin: spec.open_stdin,
            stdin_once: spec.stdin_once,
            log: spec.log.clone(),
            restart: spec.restart,
            stop_signal: merged.stop_signal,
            stop_timeout_s: spec.stop_timeout_s.unwrap_or(10),
            auto_remove: spec.auto_remove,
            overlay: Some(overlay),
            user: Some(merged.user.clone()),
            create_cwd: true,
            reaper: spec.init,
            cgroup,
            controllers: oci::controllers(spec, has_v2),
            join: joins(spec),
            default_filter: oci::default_filter(&spec.security)?,
            seccomp_cache: Some(self.seccomp_cache()?),
            cleanup: self.cleanup_command(id)?,
        };
        files::write_new(&making.dir, "config.json", &config)?;
        files::write_new(&making.dir, "task.json", &task)?;
        files::write_new(&making.dir, "spec.json", spec)
    }

    fn seccomp_cache(&self) -> Result<std::path::PathBuf> {
        let dir = self.options.run.join("seccomp");
        if !dir.exists() {
            make_dir(&dir)?;
        }
        Ok(dir)
    }

    /// What a monitor runs when nobody else has promised to remove the container.
    fn cleanup_command(&self, id: &ContainerId) -> Result<Vec<String>> {
        let own = std::env::current_exe().map_err(Error::file("find", "/proc/self/exe"))?;
        let text = |path: &Path| path.to_string_lossy().into_owned();
        let mut command = vec![text(&own), "--data-root".into(), text(&self.options.data)];
        command.extend(["--run-root".into(), text(&self.options.run), "cleanup".into(), id.to_string()]);
        Ok(command)
    }
}

impl Making<'_> {
    fn publish(&mut self, name: &Name, durable: bool) -> Result<()> {
        if durable {
            for file in ["config.json", "task.json", "spec.json", "summary.json"] {
                let path = self.dir.join(file);
                let file = std::fs::File::open(&path).map_err(Error::file("open", &path))?;
                file.sync_all().map_err(Error::file("sync", &path))?;
            }
            linux::tree::fsync(&self.fd)?;
        }
        Engine::forget_announced(&self.dir)?;
        self.engine.claim_name(name, &self.id)?;
        self.name = Some(name.clone());
        let target = self.engine.data_of(&self.id);
        std::fs::rename(&self.dir, &target).map_err(Error::file("rename to", &target))?;
        self.published = true;
        if durable {
            for dir in [self.engine.containers(), self.engine.options.data.join("names")] {
                linux::tree::fsync(files::open_dir(&dir)?)?;
            }
        }
        Ok(())
    }
}

fn joins(spec: &ContainerSpec) -> Vec<Join> {
    let modes = &spec.namespaces;
    let mut others = Vec::new();
    if let NetworkMode::Container(other) = &spec.network {
        others.push(("network", other));
    }
    for (kind, mode) in [("pid", &modes.pid), ("ipc", &modes.ipc), ("uts", &modes.uts)] {
        if let NamespaceMode::Container(other) = mode {
            others.push((kind, other));
        }
    }
    let join = |(kind, other): (&str, &String)| Join { kind: kind.into(), container_id: other.clone() };
    others.into_iter().map(join).collect()
}

/// The capabilities that a child of this process can be given.
pub(crate) fn possible() -> Result<CapSet> {
    let (_, permitted, _) = linux::caps::current()?;
    Ok(permitted)
}

fn same_path(a: &str, b: &str) -> bool {
    a.trim_end_matches('/') == b.trim_end_matches('/')
}

/// An absolute path inside the container, without `.` and `..`.
fn clean_target(target: &str) -> Result<String> {
    let refuse = |why| Err(Error::invalid("mount target", target, why));
    if !target.starts_with('/') {
        return refuse("it must be an absolute path");
    }
    if target.contains('\0') {
        return refuse("it contains NUL");
    }
    let mut parts: Vec<&str> = Vec::new();
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            _ => parts.push(part),
        }
    }
    if parts.is_empty() {
        return refuse("destination can't be '/'");
    }
    Ok(format!("/{}", parts.join("/")))
}
