//! Who is compared with whom among the low-level runtimes, and what they are given.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use seccomp::{Arch, ProfileSet, default_profile};
use serde_json::{Value, json};

use super::contender::Contender;
use super::floor;
use super::room::Place;

/// A result whose error is a message for people.
pub(super) type Made<T> = Result<T, Box<dyn std::error::Error>>;

/// Contenders that do the same work.
pub(super) struct Group {
    pub(super) name: &'static str,
    /// Whose median the ratios are to.
    pub(super) base: String,
    pub(super) contenders: Vec<Contender>,
}

impl Group {
    /// A contender's median beside ours; none where ours does not run.
    pub(super) fn ratio(&self, contender: &Contender) -> Option<f64> {
        let base = self.contenders.iter().find(|other| other.name == self.base)?;
        Some(contender.quantile(0.5) / base.quantile(0.5))
    }
}

/// One runtime, where it can run.
struct Runtime {
    name: String,
    program: String,
    place: Place,
}

/// The low-level runtimes on one bundle: ours, the peers in `PATH`, and `more` by path.
pub(super) fn runtimes(scratch: &Path, more: &[&str]) -> Made<Vec<Group>> {
    let ours = text(&release("sampan-runtime")?)?;
    let bundles = Bundles::make(scratch, &ours)?;
    let runtimes = found(&ours, more);
    let state = text(&scratch.join("state"))?;
    let base = "sampan-runtime".to_owned();
    let group = |name, contenders| Group { name, base: base.clone(), contenders };
    let each = |make: &dyn Fn(&Runtime, &str) -> Contender| -> Vec<Contender> {
        let numbered = runtimes.iter().enumerate();
        numbered.map(|(i, runtime)| make(runtime, &format!("sampan-bench-{i}")).at(runtime.place)).collect()
    };
    let run = |bundle: &str| {
        each(&|Runtime { name, program, .. }, id| {
            Contender::new(name, &[&[program, "--root", &state, "run", "-b", bundle, id]])
        })
    };
    let cycle = each(&|Runtime { name, program, .. }, id| {
        let create = [program, "--root", &state, "create", "-b", &bundles.plain, id];
        let start = [program, "--root", &state, "start", id];
        Contender::new(name, &[&create, &start, &[program, "--root", &state, "delete", "-f", id]])
    });
    let exec = each(&|Runtime { name, program, .. }, id| {
        let run = [program, "--root", &state, "run", "-d", "-b", &bundles.sleeping, id];
        let exec = [program, "--root", &state, "exec", id, "/bin/true"];
        Contender::new(name, &[&exec]).between(&[&run], &[&[program, "--root", &state, "delete", "-f", id]])
    });
    let mut plain = floor::contenders();
    plain.extend(run(&bundles.plain));
    Ok(vec![
        group("run", plain),
        group("run, docker's seccomp profile", run(&bundles.filtered)),
        group("create + start + delete", cycle),
        group("exec", exec),
    ])
}

fn found(ours: &str, more: &[&str]) -> Vec<Runtime> {
    let peers = ["runc", "crun", "youki"].into_iter().filter(|name| installed(name));
    let peers = peers.chain(more.iter().copied()).map(|program| {
        let is_crun = Path::new(program).file_name().is_some_and(|name| name == "crun");
        let (place, note) = if is_crun { (Place::WithoutCgroup2, ", no cgroup2") } else { (Place::Host, "") };
        Runtime { name: format!("{program}{note}"), program: program.to_owned(), place }
    });
    let own = |name: &str, place| Runtime { name: name.into(), program: ours.to_owned(), place };
    let own = [own("sampan-runtime", Place::Host), own("sampan-runtime, no cgroup2", Place::WithoutCgroup2)];
    own.into_iter().chain(peers).collect()
}

/// Whether a program is in `PATH`.
pub(super) fn installed(name: &str) -> bool {
    Command::new("sh")
        .args(["-c", "command -v \"$0\" >/dev/null", name])
        .status()
        .is_ok_and(|status| status.success())
}

/// One of our release binaries, built now.
pub(super) fn release(name: &str) -> Made<PathBuf> {
    let mut build = Command::new(env!("CARGO"));
    build
        .args(["build", "--release", "--bin", name, "--message-format=json"])
        .current_dir(crate::workspace());
    let output = build.stderr(Stdio::inherit()).output()?;
    let messages = output.stdout.split(|byte| *byte == b'\n');
    let messages = messages.filter_map(|line| serde_json::from_slice::<Value>(line).ok());
    let mut found = messages
        .filter(|message| message["target"]["name"] == name)
        .filter_map(|message| message["executable"].as_str().map(PathBuf::from));
    found.next_back().ok_or_else(|| format!("{name} does not build").into())
}

/// Bundles with what the verb `spec` sets, no terminal, and programs of busybox.
struct Bundles {
    plain: String,
    sleeping: String,
    filtered: String,
}

impl Bundles {
    fn make(scratch: &Path, ours: &str) -> Made<Bundles> {
        let busybox = testkit::Bundle::new(&["/bin/true"]);
        let dir = scratch.join("bundle");
        super::room::once(&["cp", "-a", &text(busybox.path())?, &text(&dir)?])?;
        fs::remove_file(dir.join("config.json"))?;
        super::room::once(&[ours, "spec", "-b", &text(&dir)?])?;
        let mut config: Value = serde_json::from_slice(&fs::read(dir.join("config.json"))?)?;
        // Peers of Debian's age refuse a later one.
        config["ociVersion"] = json!("1.0.2");
        config["process"]["terminal"] = json!(false);
        config["process"]["args"] = json!(["/bin/true"]);
        config["root"]["path"] = json!(dir.join("rootfs"));
        let write = |name: &str, config: &Value| -> Made<String> {
            let dir = scratch.join(name);
            fs::create_dir_all(&dir)?;
            fs::write(dir.join("config.json"), config.to_string())?;
            text(&dir)
        };
        let plain = write("plain", &config)?;
        let mut filtered = config.clone();
        filtered["linux"]["seccomp"] = docker_profile()?;
        let filtered = write("filtered", &filtered)?;
        config["process"]["args"] = json!(["/bin/sleep", "3600"]);
        Ok(Bundles { plain, filtered, sleeping: write("sleeping", &config)? })
    }
}

/// docker's default profile for a container without further capabilities, as an engine writes it into a configuration.
fn docker_profile() -> Made<Value> {
    let arch = Arch::NATIVE.ok_or("there is no profile for this processor")?;
    let profile = default_profile(&BTreeSet::new(), ProfileSet::Docker, arch);
    Ok(serde_json::to_value(oci_spec::runtime::LinuxSeccomp::try_from(&profile)?)?)
}

/// A path as an argument.
pub(super) fn text(path: &Path) -> Made<String> {
    path.to_str().map(str::to_owned).ok_or_else(|| format!("{} is not UTF-8", path.display()).into())
}
