use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;
use rustix::process::Pid;

use crate::plan::{Version, Write, writes};
use crate::{CgroupPath, DeviceRule, Error, Hierarchy, Host, Layout, Limits, Result};

/// How long [`Cgroup::remove`] waits for processes that are on their way out.
const REMOVE_WITHIN: Duration = Duration::from_secs(2);

/// Which hierarchies a cgroup is made in. The v2 hierarchy always counts.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Controllers {
    /// Every v1 hierarchy, named ones too: what runc does.
    #[default]
    All,
    /// Only v1 hierarchies with one of these controllers: each one saved spares a start about 0.1 ms.
    Only(Vec<String>),
}

/// One cgroup in all hierarchies it needs, by descriptor.
#[derive(Debug)]
pub struct Cgroup {
    path: CgroupPath,
    dirs: Vec<Dir>,
}

/// The cgroup's directory in one hierarchy.
#[derive(Debug)]
pub(crate) struct Dir {
    pub(crate) hierarchy: Hierarchy,
    pub(crate) fd: OwnedFd,
}

impl Cgroup {
    /// Makes the cgroup, and its parents where they are missing; one that exists is taken as it is.
    ///
    /// On v2 the controllers that the host has are passed on by every parent. On a hybrid host the v2 cgroup has no
    /// controllers, and is there for killing, freezing and `CLONE_INTO_CGROUP`.
    ///
    /// # Errors
    /// [`Error::System`] with the directory; what was made by then is left for [`Cgroup::remove`].
    pub fn create(host: &Host, path: &CgroupPath, controllers: &Controllers) -> Result<Cgroup> {
        let mut cgroup = Cgroup::create_unified(host, path)?;
        cgroup.add_legacy(host, controllers)?;
        Ok(cgroup)
    }

    /// As [`Cgroup::create`] in the v2 hierarchy only, if there is one: what a process can be cloned into.
    ///
    /// # Errors
    /// As [`Cgroup::create`].
    pub fn create_unified(host: &Host, path: &CgroupPath) -> Result<Cgroup> {
        let delegate = host.layout() == Layout::V2;
        let unified = host.hierarchies().iter().filter(|hierarchy| hierarchy.unified);
        let dirs = unified.map(|hierarchy| Dir::create(hierarchy, path, delegate)).collect::<Result<_>>()?;
        Ok(Cgroup { path: path.clone(), dirs })
    }

    /// Makes the rest of [`Cgroup::create`]: the cgroup in the v1 hierarchies.
    ///
    /// # Errors
    /// As [`Cgroup::create`]; what was made by then belongs to this cgroup.
    pub fn add_legacy(&mut self, host: &Host, controllers: &Controllers) -> Result<()> {
        let legacy = host.hierarchies().iter().filter(|hierarchy| !hierarchy.unified);
        for hierarchy in legacy.filter(|hierarchy| controllers.want(&hierarchy.controllers)) {
            self.dirs.push(Dir::create(hierarchy, &self.path, false)?);
        }
        Ok(())
    }

    /// Opens the cgroup in every hierarchy where it exists; none may be left.
    ///
    /// # Errors
    /// [`Error::System`] for anything but a missing directory.
    pub fn open(host: &Host, path: &CgroupPath) -> Result<Cgroup> {
        let mut dirs = Vec::new();
        for hierarchy in host.hierarchies() {
            let root = hierarchy.open()?;
            match open_dir(&root, path.relative()) {
                Ok(fd) => dirs.push(Dir { hierarchy: hierarchy.clone(), fd }),
                Err(Errno::NOENT) => {}
                Err(errno) => return Err(Error::system("open", at(hierarchy, path), errno)),
            }
        }
        Ok(Cgroup { path: path.clone(), dirs })
    }

    /// Removes the cgroup from every hierarchy if nothing is in it, neither processes nor other cgroups, without opening
    /// it; says whether it is gone. One that does not exist is.
    ///
    /// # Errors
    /// [`Error::System`].
    pub fn remove_if_empty(host: &Host, path: &CgroupPath) -> Result<bool> {
        let mut gone = true;
        for hierarchy in host.hierarchies() {
            match rustix::fs::unlinkat(hierarchy.open()?, path.relative(), AtFlags::REMOVEDIR) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(Errno::BUSY) => gone = false,
                Err(errno) => return Err(Error::system("remove", at(hierarchy, path), errno)),
            }
        }
        Ok(gone)
    }

    /// Whether the cgroup exists somewhere and has processes, in the sense of [`Cgroup::pids`].
    ///
    /// # Errors
    /// [`Error::System`].
    pub fn is_inhabited(host: &Host, path: &CgroupPath) -> Result<bool> {
        // Looked for by name first: nearly always there is no such cgroup, and ten misses are all it takes.
        let missing = |hierarchy| {
            rustix::fs::access(at(hierarchy, path), rustix::fs::Access::EXISTS) == Err(Errno::NOENT)
        };
        if host.hierarchies().iter().all(missing) {
            return Ok(false);
        }
        Ok(!Cgroup::open(host, path)?.pids()?.is_empty())
    }

    /// Where it is, below the root of every hierarchy.
    pub fn path(&self) -> &CgroupPath {
        &self.path
    }

    /// Whether it exists in no hierarchy.
    pub fn is_gone(&self) -> bool {
        self.dirs.is_empty()
    }

    /// The v2 directory, for `CLONE_INTO_CGROUP`.
    pub fn v2_dir(&self) -> Option<BorrowedFd<'_>> {
        self.v2().map(|dir| dir.fd.as_fd())
    }

    /// The absolute directory in the hierarchy of `controller`, or in the v2 hierarchy for `None`.
    pub fn directory(&self, controller: Option<&str>) -> Option<PathBuf> {
        let dir = match controller {
            Some(controller) => self.v1(controller),
            None => self.v2(),
        };
        dir.map(|dir| at(&dir.hierarchy, &self.path))
    }

    /// Moves a process into the cgroup in every hierarchy.
    ///
    /// # Errors
    /// [`Error::System`]: `ESRCH` when it has ended, `EPERM`, `EBUSY` on v2 for a cgroup with controllers for children.
    pub fn join(&self, pid: Pid) -> Result<()> {
        self.dirs.iter().try_for_each(|dir| dir.write(&self.path, "cgroup.procs", &pid.to_string()))
    }

    /// Opens what a process needs to move itself into the v1 hierarchies by [`enter`], with the rights of the caller. For
    /// v2 there is nothing in it: a process is cloned into that.
    ///
    /// # Errors
    /// [`Error::System`].
    pub fn entrance(&self) -> Result<Vec<OwnedFd>> {
        let legacy = self.dirs.iter().filter(|dir| !dir.hierarchy.unified);
        let open = |dir: &Dir| {
            open_to_write(&dir.fd, "tasks")
                .map_err(|errno| Error::system("open", at(&dir.hierarchy, &self.path).join("tasks"), errno))
        };
        legacy.map(open).collect()
    }

    /// Writes the limits that are set, devices included.
    ///
    /// # Errors
    /// [`Error::NoController`] for a limit that this host cannot hold, [`Error::Value`] and [`Error::NoSuchLimit`] for
    /// one that makes no sense here, [`Error::System`] with the file when the kernel refuses. Limits before the failed
    /// one are in force then.
    pub fn set(&self, limits: &Limits) -> Result<()> {
        let version = if self.pure_v2() { Version::V2 } else { Version::V1 };
        if limits.memory.check_before_update == Some(true)
            && let Some(limit) = limits.memory.limit.and_then(|limit| u64::try_from(limit).ok())
            && self.memory_usage()? > limit
        {
            let (limit_name, value) = ("memory.limit", limit.to_string());
            return Err(Error::Value { limit: limit_name, value, reason: "more than that is in use" });
        }
        for write in writes(limits, version)? {
            self.apply(&write, limits)?;
        }
        self.set_devices(&limits.devices)
    }

    /// [`Cgroup::set`] as commands of a shell, one for each file.
    ///
    /// # Errors
    /// Those of limits that the version does not have.
    pub fn by_hand(&self, limits: &Limits) -> Result<Vec<String>> {
        let version = if self.pure_v2() { Version::V2 } else { Version::V1 };
        let file = |controller: Option<&str>, file: &str| {
            Some(self.directory(controller.filter(|_| !self.pure_v2()))?.join(file).display().to_string())
        };
        let mut commands = Vec::new();
        for write in writes(limits, version)? {
            if let Some(path) = file(write.controller, &write.file) {
                commands.push(format!("echo {} > {path}", write.value));
            }
        }
        if self.v1("devices").is_some() {
            for (name, line) in crate::devices::v1_lines(&limits.devices)? {
                if let Some(path) = file(Some("devices"), name) {
                    commands.push(format!("echo {line} > {path}"));
                }
            }
        }
        Ok(commands)
    }

    fn apply(&self, write: &Write, limits: &Limits) -> Result<()> {
        let dir = match write.controller {
            Some(controller) if !self.pure_v2() => self.v1(controller).ok_or(controller),
            Some(controller) => self.v2().ok_or(controller),
            None => self.v2().ok_or("unified"),
        };
        let missing = |controller| Error::NoController { controller, file: write.file.clone() };
        let dir = dir.map_err(missing)?;
        match (dir.write(&self.path, &write.file, &write.value), write.controller) {
            // On v2 a controller that is not enabled shows by its missing files.
            (Err(Error::System { errno: Errno::NOENT, .. }), Some(controller)) => Err(missing(controller)),
            // v1 refuses a limit above the one of memory and swap together: raise that one first.
            (Err(Error::System { errno: Errno::INVAL, .. }), _) if write.file == "memory.limit_in_bytes" => {
                let swap = limits.memory.swap.unwrap_or(-1);
                dir.write(&self.path, "memory.memsw.limit_in_bytes", &swap.to_string())?;
                dir.write(&self.path, &write.file, &write.value)
            }
            (result, _) => result,
        }
    }

    /// Puts the device filter in force: by the v1 controller where there is one, else by an eBPF program on v2.
    fn set_devices(&self, rules: &[DeviceRule]) -> Result<()> {
        if rules.is_empty() {
            return Ok(());
        }
        if let Some(dir) = self.v1("devices") {
            return self.set_v1_devices(dir, rules);
        }
        let missing = Error::NoController { controller: "devices", file: "devices.allow".into() };
        let dir = self.v2().ok_or(missing)?;
        linux::bpf::replace_device_filter(&dir.fd, &crate::devices::program(rules))?;
        Ok(())
    }

    /// Two files take some twenty lines: each is opened once.
    fn set_v1_devices(&self, dir: &Dir, rules: &[DeviceRule]) -> Result<()> {
        let lines = crate::devices::v1_lines(rules)?;
        for lines in lines.chunk_by(|(one, _), (two, _)| one == two) {
            let name = lines[0].0;
            let fail =
                |what: String, errno| Error::system(what, at(&dir.hierarchy, &self.path).join(name), errno);
            let file = open_to_write(&dir.fd, name).map_err(|errno| fail("open".into(), errno))?;
            for (_, line) in lines {
                write_value(&file, line).map_err(|errno| fail(format!("write {line:?} to"), errno))?;
            }
        }
        Ok(())
    }

    /// The processes of this cgroup itself, in the caller's pid namespace.
    ///
    /// # Errors
    /// [`Error::System`].
    pub fn pids(&self) -> Result<Vec<Pid>> {
        let Some(dir) = self.v2().filter(|_| self.pure_v2()).or(self.dirs.first()) else {
            return Ok(Vec::new());
        };
        let text = dir.read(&self.path, "cgroup.procs")?;
        Ok(text.lines().filter_map(|line| line.parse().ok().and_then(Pid::from_raw)).collect())
    }

    /// Removes the cgroup and cgroups below it from every hierarchy; one that is gone is no error. Waits up to two
    /// seconds for processes that are ending.
    ///
    /// # Errors
    /// [`Error::System`] with `EBUSY` when processes stay.
    pub fn remove(self) -> Result<()> {
        let deadline = Instant::now() + REMOVE_WITHIN;
        for dir in &self.dirs {
            let root = dir.hierarchy.open()?;
            let path = at(&dir.hierarchy, &self.path);
            remove_tree(&root, self.path.relative(), deadline)
                .map_err(|errno| Error::system("remove", path, errno))?;
        }
        Ok(())
    }

    /// Whether the limits are files of v2.
    pub(crate) fn pure_v2(&self) -> bool {
        self.dirs.iter().all(|dir| dir.hierarchy.unified)
    }

    pub(crate) fn v2(&self) -> Option<&Dir> {
        self.dirs.iter().find(|dir| dir.hierarchy.unified)
    }

    pub(crate) fn v1(&self, controller: &str) -> Option<&Dir> {
        self.dirs.iter().find(|dir| dir.hierarchy.controllers.iter().any(|name| name == controller))
    }
}

/// Moves the calling thread, which must be the only one of its process, into the v1 hierarchies of [`Cgroup::entrance`].
///
/// Whoever moves another process, or one with all its threads, write-locks `cgroup_threadgroup_rwsem`, for which the
/// kernel waits for an RCU grace period: 10 ms and more when nobody did so just before, and steps of 32 ms under load. A
/// thread that moves itself by writing 0 to `tasks` needs no lock (`cgroup_procs_write_start` in `kernel/cgroup/cgroup.c`).
/// The right to do so is that of the file's opener (`__cgroup1_procs_write` asks `f_cred`), so it lasts in a user namespace.
///
/// # Errors
/// The errno of `write(2)`.
pub fn enter(entrance: &[OwnedFd]) -> Result<()> {
    let mut files = entrance.iter();
    files.try_for_each(|file| {
        write_value(file, "0").map_err(|errno| Error::system("write 0 to", "tasks", errno))
    })
}

impl Controllers {
    /// Whether the cgroup is made in the v1 hierarchy of these controllers.
    pub fn want<S: AsRef<str>>(&self, controllers: &[S]) -> bool {
        match self {
            Controllers::All => true,
            Controllers::Only(names) => {
                controllers.iter().any(|controller| names.iter().any(|name| name == controller.as_ref()))
            }
        }
    }
}

impl Dir {
    fn create(hierarchy: &Hierarchy, path: &CgroupPath, delegate: bool) -> Result<Dir> {
        let mut fd = hierarchy.open()?;
        let mut below = hierarchy.mount.clone();
        for component in path.components() {
            if hierarchy.unified && delegate {
                pass_controllers_on(&fd, &below)?;
            }
            below.push(component);
            match rustix::fs::mkdirat(&fd, component, Mode::from_raw_mode(0o755)) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(errno) => return Err(Error::system("create", below, errno)),
            }
            let child =
                open_dir(&fd, Path::new(component)).map_err(|errno| Error::system("open", &below, errno))?;
            if hierarchy.controllers.iter().any(|controller| controller == "cpuset") {
                inherit_cpuset(&fd, &child, &below)?;
            }
            fd = child;
        }
        Ok(Dir { hierarchy: hierarchy.clone(), fd })
    }

    pub(crate) fn write(&self, path: &CgroupPath, file: &str, value: &str) -> Result<()> {
        write_at(&self.fd, file, value).map_err(|errno| {
            Error::system(format!("write {value:?} to"), at(&self.hierarchy, path).join(file), errno)
        })
    }

    pub(crate) fn read(&self, path: &CgroupPath, file: &str) -> Result<String> {
        read_at(&self.fd, file)
            .map_err(|errno| Error::system("read", at(&self.hierarchy, path).join(file), errno))
    }
}

fn at(hierarchy: &Hierarchy, path: &CgroupPath) -> PathBuf {
    hierarchy.mount.join(path.relative())
}

fn open_dir(parent: impl AsFd, name: &Path) -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(parent, name, flags, Mode::empty())
}

fn open_to_write(dir: impl AsFd, file: &str) -> Result<OwnedFd, Errno> {
    let flags = OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(dir, file, flags, Mode::empty())
}

/// A file of cgroupfs takes one value by one write, or refuses it.
fn write_value(fd: impl AsFd, value: &str) -> Result<(), Errno> {
    rustix::io::retry_on_intr(|| rustix::io::write(&fd, value.as_bytes())).map(|_| ())
}

fn write_at(dir: impl AsFd, file: &str, value: &str) -> Result<(), Errno> {
    write_value(open_to_write(dir, file)?, value)
}

/// Files of cgroups are small but for `cgroup.procs`; 4 MiB hold half a million pids.
fn read_at(dir: impl AsFd, file: &str) -> Result<String, Errno> {
    const MAX: usize = 4 << 20;
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd = rustix::fs::openat(dir, file, flags, Mode::empty())?;
    let mut text = vec![0; 4096];
    let mut length = 0;
    loop {
        match rustix::io::retry_on_intr(|| rustix::io::read(&fd, &mut text[length..]))? {
            0 => break,
            count => length += count,
        }
        if length == text.len() {
            if length >= MAX {
                return Err(Errno::FBIG);
            }
            text.resize(length * 2, 0);
        }
    }
    text.truncate(length);
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// A v1 cpuset begins empty, and nothing can join an empty one.
fn inherit_cpuset(parent: impl AsFd, child: impl AsFd, path: &Path) -> Result<()> {
    for file in ["cpuset.cpus", "cpuset.mems"] {
        let fail = |errno| Error::system("initialise", path.join(file), errno);
        if read_at(&child, file).map_err(fail)?.trim().is_empty() {
            let list = read_at(&parent, file).map_err(fail)?;
            write_at(&child, file, list.trim()).map_err(fail)?;
        }
    }
    Ok(())
}

/// Enables the controllers of a v2 cgroup for its children.
fn pass_controllers_on(dir: impl AsFd, path: &Path) -> Result<()> {
    let fail = |errno| Error::system("enable controllers in", path.join("cgroup.subtree_control"), errno);
    let available = read_at(&dir, "cgroup.controllers").map_err(fail)?;
    let enabled = read_at(&dir, "cgroup.subtree_control").map_err(fail)?;
    for controller in available.split_whitespace() {
        if enabled.split_whitespace().any(|other| other == controller) {
            continue;
        }
        match write_at(&dir, "cgroup.subtree_control", &format!("+{controller}")) {
            // Not every controller can be had everywhere (threaded trees, real-time processes in the root with `cpu`):
            // a limit that needs it says so.
            Ok(()) | Err(Errno::NOENT | Errno::OPNOTSUPP | Errno::INVAL) => {}
            Err(errno) => return Err(fail(errno)),
        }
    }
    Ok(())
}

/// Removes `path` and cgroups below it, innermost first.
fn remove_tree(root: &OwnedFd, path: &Path, deadline: Instant) -> Result<(), Errno> {
    let mut pause = Duration::from_micros(200);
    loop {
        match rustix::fs::unlinkat(root, path, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => return Ok(()),
            // Busy with children or with processes; both are gone through until the deadline.
            Err(Errno::BUSY) if Instant::now() < deadline => {}
            Err(errno) => return Err(errno),
        }
        for child in children(root, path)? {
            remove_tree(root, &path.join(child), deadline)?;
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(20));
    }
}

fn children(root: &OwnedFd, path: &Path) -> Result<Vec<String>, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let dir = match rustix::fs::openat(root, path, flags, Mode::empty()) {
        Err(Errno::NOENT) => return Ok(Vec::new()),
        other => other?,
    };
    let mut names = Vec::new();
    for entry in rustix::fs::Dir::read_from(&dir)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if entry.file_type() == rustix::fs::FileType::Directory && name != "." && name != ".." {
            names.push(name);
        }
    }
    Ok(names)
}
