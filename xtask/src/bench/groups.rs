//! Who is compared with whom.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::contender::Contender;
use super::floor;

/// Contenders that do the same work; the first is the base of the ratios.
pub(super) struct Group {
    pub(super) name: &'static str,
    pub(super) contenders: Vec<Contender>,
}

/// The low-level runtimes: run, create + start + delete, on one bundle, beside the floor.
pub(super) fn runtime(scratch: &Path) -> Result<Vec<Group>, Box<dyn std::error::Error>> {
    let bundle = bundle(scratch)?;
    let bundle = bundle.to_str().ok_or("the temporary directory's name is not UTF-8")?;
    let ours = release("sampan-runtime")?;
    let ours = ours.to_str().ok_or("the workspace's name is not UTF-8")?;
    let root = scratch.join("state");
    let root = root.to_str().ok_or("the temporary directory's name is not UTF-8")?;
    let runtimes: Vec<&str> = [ours]
        .into_iter()
        .chain(["runc", "crun", "youki"].into_iter().filter(|name| installed(name)))
        .collect();
    let mut run = Group { name: "run", contenders: floor::contenders() };
    let mut cycle = Group { name: "create + start + delete", contenders: Vec::new() };
    for runtime in runtimes {
        let name = Path::new(runtime)
            .file_name()
            .map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        let id = format!("sampan-bench-{name}");
        let within: &[&str] = if name == "crun" { floor::HIDE_UNIFIED } else { &[] };
        let one = Contender::new(&name, &[&[runtime, "--root", root, "run", "-b", bundle, &id]]);
        run.contenders.push(one.within(within));
        let three = Contender::new(
            &name,
            &[
                &[runtime, "--root", root, "create", "-b", bundle, &id],
                &[runtime, "--root", root, "start", &id],
                &[runtime, "--root", root, "delete", "-f", &id],
            ],
        );
        cycle.contenders.push(three.within(within));
    }
    Ok(vec![run, cycle])
}

fn installed(name: &str) -> bool {
    Command::new("sh")
        .args(["-c", "command -v \"$0\" >/dev/null", name])
        .status()
        .is_ok_and(|status| status.success())
}

/// One of our release binaries, built now.
fn release(name: &str) -> Result<PathBuf, Box<dyn std::error::Error>> {
    let mut build = Command::new(env!("CARGO"));
    build
        .args(["build", "--release", "--bin", name, "--message-format=json"])
        .current_dir(crate::workspace());
    let output = build.stderr(std::process::Stdio::inherit()).output()?;
    let messages = output.stdout.split(|byte| *byte == b'\n');
    let messages = messages.filter_map(|line| serde_json::from_slice::<serde_json::Value>(line).ok());
    let mut found = messages
        .filter(|message| message["target"]["name"] == name)
        .filter_map(|message| message["executable"].as_str().map(PathBuf::from));
    found.next_back().ok_or_else(|| format!("{name} does not build").into())
}

/// A bundle whose program is busybox's `true`, with what `runc spec` sets and no terminal.
fn bundle(scratch: &Path) -> Result<PathBuf, Box<dyn std::error::Error>> {
    let bundle = testkit::Bundle::new(&["/bin/true"]);
    let dir = scratch.join("bundle");
    let copied = Command::new("cp").arg("-a").arg(bundle.path()).arg(&dir).status()?;
    if !copied.success() {
        return Err("cp -a of the bundle failed".into());
    }
    fs::create_dir_all(scratch.join("state"))?;
    Ok(dir)
}
