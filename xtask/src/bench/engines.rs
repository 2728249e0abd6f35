//! The engines: one throw-away container of an image that each of them has, in the simplest networks.

use std::path::Path;
use std::process::Command;

use super::contender::Contender;
use super::disk::Disk;
use super::groups::{Group, Made, installed, release, text};
use super::room::{Place, once};

/// The image's name in every engine.
const IMAGE: &str = "sampan-bench:latest";

/// podman raises limits unless it is told which, and that needs CAP_SYS_RESOURCE; its crun refuses a hybrid host.
const PODMAN: (&[&str], Place) =
    (&["--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024"], Place::WithoutCgroup2);
/// Any other engine.
const NO_FLAGS: (&[&str], Place) = (&[], Place::Host);

/// The engines that are here, and what is to be undone at the end.
pub(super) struct Engines {
    pub(super) groups: Vec<Group>,
    images_in: Vec<Vec<String>>,
}

impl Engines {
    /// Makes a tarball of busybox and gives it to ours and podman, on a disk made for them, and to a running docker.
    pub(super) fn prepare(scratch: &Path, disk: &Disk) -> Made<Engines> {
        let tarball = text(&scratch.join("image.tar"))?;
        let rootfs = text(&scratch.join("bundle/rootfs"))?;
        once(&["tar", "-C", &rootfs, "-cf", &tarball, "."])?;
        let mut callers = Vec::new();
        let mut images_in = Vec::new();
        match ours(scratch, disk, &tarball) {
            Ok(words) => callers.push(("sampan", words)),
            Err(error) => eprintln!("sampan does not run here: {error}"),
        }
        for name in ["podman", "docker"].into_iter().filter(|name| answers(name)) {
            let words = if name == "podman" { podman(disk)? } else { vec![name.to_owned()] };
            let import = words.iter().map(String::as_str).chain(["import", &tarball, IMAGE]);
            match once(&import.collect::<Vec<_>>()) {
                Ok(()) => {
                    images_in.push(words.clone());
                    callers.push((name, words));
                }
                Err(error) => eprintln!("{name} does not run here: {error}"),
            }
        }
        let mut groups = Vec::new();
        for (name, network) in
            [("engine run --rm, no network", "none"), ("engine run --rm, host's network", "host")]
        {
            let contenders = callers.iter().map(|(name, words)| {
                let (flags, place) = if *name == "podman" { PODMAN } else { NO_FLAGS };
                let words = words.iter().map(String::as_str).chain(["run", "--rm", "--network", network]);
                let words: Vec<&str> =
                    words.chain(flags.iter().copied()).chain([IMAGE, "/bin/true"]).collect();
                Contender::new(name, &[&words]).at(place)
            });
            let contenders: Vec<Contender> = contenders.collect();
            groups.push(Group { name, base: "sampan".into(), contenders });
        }
        Ok(Engines { groups, images_in })
    }

    /// Takes the image away again from engines that keep it, and the cgroup that ours made for its containers'.
    pub(super) fn clean_up(&self, scratch: &Path) {
        testkit::invariants::remove_cgroup_root(scratch);
        for words in &self.images_in {
            let remove = words.iter().map(String::as_str).chain(["rmi", "--force", IMAGE]);
            if let Err(error) = once(&remove.collect::<Vec<_>>()) {
                eprintln!("{error}");
            }
        }
    }
}

/// podman with its directories on that disk.
fn podman(disk: &Disk) -> Made<Vec<String>> {
    let (root, run) = (text(&disk.data.join("podman"))?, text(&disk.run.join("podman"))?);
    Ok(["podman", "--root", &root, "--runroot", &run].map(str::to_owned).to_vec())
}

/// Our command line with its directories on that disk, and the image in them. The two binaries are built into one
/// directory, where the one finds the other.
fn ours(scratch: &Path, disk: &Disk, tarball: &str) -> Made<Vec<String>> {
    release("sampan-runtime")?;
    let program = text(&release("sampan")?)?;
    let (data, run) = (text(&disk.data.join("sampan"))?, text(&disk.run.join("sampan"))?);
    let cgroup = testkit::invariants::cgroup_root(scratch);
    let words = [&program, "--data-root", &data, "--run-root", &run, "--cgroup-root", &cgroup];
    let words = words.map(str::to_owned).to_vec();
    let import: Vec<&str> =
        words.iter().map(String::as_str).chain(["image", "import", tarball, IMAGE]).collect();
    once(&import)?;
    Ok(words)
}

/// Whether an engine is installed and, for docker, its daemon is up.
fn answers(name: &str) -> bool {
    installed(name) && Command::new(name).arg("info").output().is_ok_and(|output| output.status.success())
}
