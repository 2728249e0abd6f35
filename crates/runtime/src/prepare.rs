//! What the creator opens and makes with the host's view and credentials, for init to use by descriptor.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use cgroup::Controllers;
use linux::mount::clone_path;
use linux::{MountAttr, MountFd, Namespaces, Propagation};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::filter::Filter;
use crate::hooks;
use crate::idmap::{self, UserNamespaces};
use crate::init::{Join, Nodes, Prepared, open_host};
use crate::launch::{Launch, Root, Start, Stdio};
use crate::plan::{IdMaps, Mount, MountKind, Plan};
use crate::step::{Cause, Reporter, Step, failure};
use crate::{Error, Result};

/// Opens and makes what needs the host's view.
pub(crate) fn prepare(
    request: &mut Launch<'_>,
    plan: &Plan,
    of_cgroup: bool,
    report: &mut Reporter<'_>,
) -> Result<Prepared> {
    let filter = Filter::of(&request.spec, request.default_filter)
        .map(|filter| {
            report.timed(Step::CompileSeccomp, || crate::filter::prepare(&filter, request.seccomp_cache))
        })
        .transpose()?;
    let mut spaces = UserNamespaces::new(&plan.namespaces)
        .map_err(|cause| Error::from(failure(Step::IdMaps(&plan.namespaces.maps), cause)))?;
    let joins = open_joins(plan, report)?;
    let (root, attach_at) = open_root(request, &mut spaces, report)?;
    let mut binds = Vec::with_capacity(plan.mounts.len());
    for mount in &plan.mounts {
        let sysfs = matches!(&mount.kind, MountKind::Filesystem { fs_type, .. } if fs_type == "sysfs");
        binds.push(if sysfs && foreign_network(plan, &joins)? {
            let path = Path::new("/sys");
            Some(report.step(Step::BindSource(path), || clone_path(path, true))?)
        } else {
            open_source(request.bundle, mount, &mut spaces, report)?
        });
    }
    let (nodes, host_null) = device_nodes(plan, spaces.maps(), report)?;
    let stdio = match std::mem::take(&mut request.stdio) {
        Stdio::Fds { stdin, stdout, stderr } => Some([stdin, stdout, stderr]),
        Stdio::Inherit | Stdio::Terminal => None,
    };
    if let (Some(streams), Some(root)) = (&stdio, spaces.maps().and_then(IdMaps::root)) {
        report.step(Step::PipeOwner(root.0), || idmap::give_pipes(streams, root))?;
    }
    let start = match &request.start {
        Start::Now => None,
        Start::Fifo(dir) => Some(report.step(Step::WaitForStart, || {
            let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            rustix::fs::openat(dir, "exec.fifo", flags, Mode::empty())
                .map_err(|errno| linux::Error::on("openat", "exec.fifo", errno))
        })?),
    };
    Ok(Prepared {
        root,
        attach_at,
        binds,
        nodes,
        host_null,
        joins,
        // One that is to belong to a user namespace is made with it.
        network: request
            .network
            .take()
            .filter(|_| plan.namespaces.new.contains(Namespaces::NET) && !plan.namespaces.user()),
        in_cgroup: false,
        controllers: if of_cgroup { request.controllers.clone() } else { Controllers::All },
        wait_for_go: of_cgroup || plan.namespaces.user(),
        filter,
        stdio,
        start,
        user: request.user.take(),
        create_cwd: request.create_cwd,
        reaper: request.reaper,
        keep_fds: request.keep_fds,
        no_pivot: request.no_pivot,
        no_new_keyring: request.no_new_keyring,
        terminal: plan.process.terminal,
        hook_state: hooks::State {
            id: request.id.to_owned(),
            bundle: request.bundle.to_string_lossy().into_owned(),
            pid: 0,
            oci_version: request.spec.version().clone(),
            annotations: request.spec.annotations().clone().unwrap_or_default(),
        },
        explain: report.explains(),
    })
}

fn open_root(
    request: &Launch<'_>,
    spaces: &mut UserNamespaces,
    report: &mut Reporter<'_>,
) -> Result<(MountFd, PathBuf)> {
    match &request.root {
        Root::Overlay(overlay) => {
            // Where ids are the same on both sides there is nothing to map, and a runtime that is in a user namespace
            // itself could not.
            let mount = if spaces.maps().is_none_or(IdMaps::is_identity) {
                report.step(Step::Overlay(overlay), || overlay.mount())?
            } else {
                report.step(Step::MappedOverlay(overlay), || match spaces.own()? {
                    Some(space) => overlay.mount_idmapped(space),
                    None => Ok(overlay.mount()?),
                })?
            };
            Ok((mount, overlay.mount_at.clone()))
        }
        Root::Bundle => {
            let root = request.spec.root().as_ref().ok_or_else(|| Error::spec("root", "is missing"))?;
            let path = request.bundle.join(root.path());
            let path = std::fs::canonicalize(&path).map_err(|source| Error::File { path, source })?;
            let mount = report.step(Step::BindSource(&path), || {
                let mount = clone_path(&path, true)?;
                let private = MountAttr { propagation: Some(Propagation::Private), ..Default::default() };
                mount.set_attr(&private, true)?;
                Ok::<_, linux::Error>(mount)
            })?;
            Ok((mount, path))
        }
    }
}

/// The mount behind a bind's source. A caller may name a descriptor of a detached mount, which is the only way to one of
/// another mount namespace: the kernel refuses to copy that, and it is used itself.
fn copy_or_take(path: &Path, recursive: bool) -> linux::Result<MountFd> {
    let own = Path::new("/proc/self/fd");
    match clone_path(path, recursive) {
        Err(error) if error.errno == Errno::INVAL && path.parent() == Some(own) => {
            let fd = rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
                .map_err(|errno| linux::Error::on("open", path.display().to_string(), errno))?;
            Ok(fd.into())
        }
        other => other,
    }
}

/// The source of a bind mount, with its mapping; none for other mounts.
fn open_source(
    bundle: &Path,
    mount: &Mount,
    spaces: &mut UserNamespaces,
    report: &mut Reporter<'_>,
) -> Result<Option<MountFd>> {
    let MountKind::Bind { source, recursive } = &mount.kind else { return Ok(None) };
    // A relative source is under the bundle (runtime-spec config.md, "Mounts"); joining an absolute one replaces it.
    let path = bundle.join(source);
    let fd = report.step(Step::BindSource(&path), || copy_or_take(&path, *recursive))?;
    if let Some(wanted) = &mount.idmap {
        report.step(Step::MapOwners(&path), || {
            let space = if wanted.maps.is_empty() { spaces.own()? } else { Some(spaces.of(&wanted.maps)?) };
            let space = space.ok_or_else(|| Cause::Reason("there is no user namespace".into()))?;
            space.map(&fd, wanted.recursive)
        })?;
    }
    Ok(Some(fd))
}

/// A sysfs shows a network namespace and is mounted with its owner's rights (`sysfs_init_fs_context`), so that a user
/// namespace can mount one only for a network namespace of its own. For others the host's is shown, whose files are not the
/// container's to write.
fn foreign_network(plan: &Plan, joins: &[Join]) -> Result<bool> {
    if !plan.namespaces.user() || plan.namespaces.new.contains(Namespaces::NET) {
        return Ok(false);
    }
    let of = |wanted| joins.iter().find(|(kind, ..)| *kind == wanted).map(|(.., fd)| fd);
    let (Some(user), Some(net)) = (of(Namespaces::USER), of(Namespaces::NET)) else { return Ok(true) };
    let same = |fd: &OwnedFd| {
        rustix::fs::fstat(fd).map(|s| (s.st_dev, s.st_ino)).map_err(|errno| linux::Error::new("fstat", errno))
    };
    Ok(same(user)? != same(&linux::owner_of(net)?)?)
}

fn open_joins(plan: &Plan, report: &mut Reporter<'_>) -> Result<Vec<(Namespaces, PathBuf, OwnedFd)>> {
    let mut joins = Vec::new();
    for (kind, path) in &plan.namespaces.join {
        let fd = report.step(Step::JoinNamespace(*kind, path), || {
            let fd = open_host(path)?;
            if linux::kind_of(&fd)? != *kind {
                return Err(Cause::Reason("it is a namespace of another type".into()));
            }
            Ok(fd)
        })?;
        joins.push((*kind, path.clone(), fd));
    }
    Ok(joins)
}

/// In a user namespace mknod(2) is not permitted. The creator makes the nodes where it may, with owner and mode as asked;
/// else the host's own are bound, and `/dev/null` always, for masks.
fn device_nodes(
    plan: &Plan,
    maps: Option<&IdMaps>,
    report: &mut Reporter<'_>,
) -> Result<(Nodes, Option<MountFd>)> {
    let Some(maps) = maps else { return Ok((Nodes::Make, None)) };
    let null = report.step(Step::BindSource(Path::new("/dev/null")), || clone_path(c"/dev/null", false))?;
    if !plan.setup_dev {
        return Ok((Nodes::Make, Some(null)));
    }
    if idmap::may_make_nodes()? {
        let made = report.step(Step::DeviceNodes, || idmap::make_nodes(&plan.devices, maps))?;
        return Ok((Nodes::Made(made), Some(null)));
    }
    let mut nodes = Vec::with_capacity(plan.devices.len());
    for device in &plan.devices {
        nodes.push(report.step(Step::BindSource(&device.path), || idmap::host_node(device))?);
    }
    Ok((Nodes::Host(nodes), Some(null)))
}
