//! A guest with Debian's cloud kernel (pure cgroup v2, AppArmor, the modules that this host may lack) under QEMU.
//!
//! The kernel comes from Debian's `linux-image-cloud-amd64`, unpacked under `target/vm` and never installed. The guest's
//! root is an ext4 image made by `mke2fs -d` from programs of this host and the workspace's (static) binaries; the last
//! serial line tells how the command ended.

mod kernel;
mod stage;

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::{Outcome, workspace};
use stage::Stage;

/// The guest says with this how its command ended.
const EXIT_MARK: &str = "sampan-guest-exit:";
/// Under TCG a guest is some twenty times slower than the host; nothing of ours takes longer than this there.
const LIMIT: Duration = Duration::from_secs(1500);
/// Crates whose tests touch the kernel, and so may see another one there.
const KERNEL_CRATES: &[&str] =
    &["linux", "cgroup", "seccomp", "snapshot", "logs", "runtime", "monitor", "sampan-runtime", "sampan"];
/// Test programs that have no place in a guest: they measure, take an hour there, or need a registry.
const NOT_THERE: &[&str] = &["size-", "crash-", "faults-", "registry-"];

/// Runs one command in the guest; its output goes to the terminal and its exit code decides.
pub(crate) fn run(command: &[&str]) -> Outcome {
    boot(Stage::with_host_programs()?, &command.join(" "))
}

/// Builds the tests of the crates `words` (all with kernel tests when there are none) and runs them in the guest; words
/// behind `--` choose tests by name.
pub(crate) fn test(words: &[&str]) -> Outcome {
    let end = words.iter().position(|word| *word == "--").unwrap_or(words.len());
    let (crates, chosen) = (&words[..end], words.get(end + 1..).unwrap_or_default().join(" "));
    let crates = if crates.is_empty() { KERNEL_CRATES } else { crates };
    let stage = Stage::with_host_programs()?;
    let mut script = String::new();
    let tests = test_binaries(crates)?;
    if let Some(test) = tests.first() {
        stage::OWN_PROGRAMS.iter().try_for_each(|program| stage.add_own(test, *program))?;
    }
    for test in tests {
        let name = stage.add_test(&test)?;
        if NOT_THERE.iter().any(|prefix| name.starts_with(prefix)) {
            continue;
        }
        script.push_str(&format!(
            "echo '== {name}'; /tests/{name} --test-threads=2 {chosen} || failed=\"$failed {name}\"\n"
        ));
    }
    script.push_str("[ -z \"$failed\" ] || { echo \"failed in the guest:$failed\"; exit 1; }\n");
    boot(stage, &script)
}

/// Compiles the tests, and the programs that they start, and returns the tests' paths, as cargo reports them.
fn test_binaries(crates: &[&str]) -> Result<Vec<PathBuf>, Box<dyn std::error::Error>> {
    let programs = ["build", "-p", "sampan", "-p", "sampan-runtime", "-p", "monitor", "--bins", "--examples"];
    tool(Command::new(env!("CARGO")).args(programs).current_dir(workspace()))?;
    let mut command = Command::new(env!("CARGO"));
    command.args(["test", "--no-run", "--message-format=json"]).current_dir(workspace());
    for name in crates {
        command.args(["-p", name]);
    }
    let output = command.stderr(Stdio::inherit()).output()?;
    if !output.status.success() {
        return Err("the tests do not build".into());
    }
    let messages = output.stdout.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let messages = messages.filter_map(|line| serde_json::from_slice::<serde_json::Value>(line).ok());
    let tests = messages.filter(|message| message["profile"]["test"] == true);
    Ok(tests.filter_map(|message| message["executable"].as_str().map(PathBuf::from)).collect())
}

/// Boots the guest on `stage`, runs `script` with a shell, and waits for its end.
fn boot(stage: Stage, script: &str) -> Outcome {
    let kernel = kernel::Kernel::obtain(&workspace().join("target/vm"))?;
    stage.write_script(script)?;
    let disk = stage.into_image()?;
    let initramfs = kernel.initramfs(disk.directory())?;
    let mut guest = Command::new("qemu-system-x86_64")
        .args([
            "-accel",
            "tcg",
            "-cpu",
            "max",
            "-smp",
            "2",
            "-m",
            "2048",
            "-nographic",
            "-no-reboot",
            "-nodefaults",
        ])
        .args([
            "-serial",
            "stdio",
            "-append",
            "console=ttyS0 quiet panic=-1 random.trust_cpu=on cgroup_no_v1=all",
        ])
        .arg("-kernel")
        .arg(kernel.image())
        .arg("-initrd")
        .arg(initramfs)
        .arg("-drive")
        .arg(format!("file={},format=raw,if=virtio,cache=unsafe", disk.image().display()))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| format!("qemu-system-x86_64 (Debian: qemu-system-x86) does not start: {error}"))?;
    let console = guest.stdout.take().ok_or("no serial console")?;
    let started = Instant::now();
    let mut code = None;
    for line in BufReader::new(console).split(b'\n') {
        let line = String::from_utf8_lossy(&line?).trim_end().to_owned();
        match line.trim().strip_prefix(EXIT_MARK) {
            Some(text) => code = text.trim().parse::<i32>().ok(),
            None => println!("{line}"),
        }
        if started.elapsed() > LIMIT {
            guest.kill()?;
        }
    }
    guest.wait()?;
    match code {
        Some(0) => Ok(()),
        Some(code) => Err(format!("the command ended with {code} in the guest").into()),
        None => Err("the guest ended without saying how its command did".into()),
    }
}

/// Runs a tool and fails with its own words.
fn tool(command: &mut Command) -> Outcome {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.output().map_err(|error| format!("{name} does not start: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{name} failed: {}", String::from_utf8_lossy(&output.stderr).trim()).into())
}

/// Writes an executable file.
fn write_executable(path: &Path, text: &str) -> Outcome {
    use std::os::unix::fs::PermissionsExt;
    std::fs::write(path, text)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755))?;
    Ok(())
}
