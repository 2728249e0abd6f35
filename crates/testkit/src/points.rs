//! Killing commands at each of their system calls, and what must be true afterwards (SECURITY.md 0 and 4c, faults 1, 3).
//!
//! strace counts the calls of each name in each process, so a point is a name and a number: the process that gets so far
//! first is killed there, and any other that gets so far after it. Between them the points reach every call of the command
//! line, those that only the monitor, its creator or the container's init make, and what they make more of than the
//! others. Each case asserts that its fault has fired, because a wrong word in strace's options disables it silently.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::{Host, Run, binary, eventually, invariants};

/// How long a traced command may take, on a busy machine too.
const PATIENCE: Duration = Duration::from_secs(20);
/// The container's name in every case.
const NAME: &str = "victim";
/// Its image: one static program, so that a case is short.
const IMAGE: &str = "host:busybox";
/// Runs without faults, to see which calls every run makes: some depend on timing.
const DRY_RUNS: u32 = 3;

/// What went wrong in one case.
type Failure = String;

/// A command whose system calls are swept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sweep {
    /// `sampan run -d`.
    Run,
    /// `sampan rm -f` of a running container.
    Remove,
}

/// What a sweep did.
#[derive(Debug, Default)]
pub struct Swept {
    /// Points there are.
    pub points: usize,
    /// Cases in which a process was killed, and all was well afterwards.
    pub passed: u32,
    /// What went wrong, with the point.
    pub failures: Vec<String>,
}

/// Where a process is killed: at its `nth` call of this name.
#[derive(Clone, Debug)]
pub struct Point {
    call: String,
    nth: u32,
}

impl std::fmt::Display for Point {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.call, self.nth)
    }
}

impl Sweep {
    /// Takes the point number `first` and each `step`th after it. `told` is called after each case.
    pub fn run(self, first: usize, step: usize, mut told: impl FnMut(&Point, &Result<(), String>)) -> Swept {
        let host = Host::new();
        host.sampan(["run", "--rm", IMAGE, "true"]).expect_code(0);
        let points = self.points(&host);
        let mut swept = Swept { points: points.len(), ..Swept::default() };
        for point in points.iter().skip(first).step_by(step.max(1)) {
            let outcome = match self.case(&host, point) {
                // Once more, in case that it was a matter of timing.
                Ok(false) => self.case(&host, point),
                other => other,
            };
            let outcome = outcome.and_then(|fired| fired.then_some(()).ok_or("no process was killed".into()));
            told(point, &outcome);
            match outcome {
                Ok(()) => swept.passed += 1,
                Err(failure) => {
                    swept.failures.push(format!("{self:?} at {point}: {failure}"));
                    invariants::force_clean(host.root());
                    // So that the next case begins from nothing.
                    let _ = remove(&host);
                }
            }
        }
        swept
    }

    fn arguments(self) -> &'static [&'static str] {
        match self {
            Self::Run => &["run", "-d", "--name", NAME, "-v", "/anonymous", IMAGE, "sleep", "100"],
            Self::Remove => &["rm", "-f", "-v", NAME],
        }
    }

    /// The points that every run reaches.
    fn points(self, host: &Host) -> Vec<Point> {
        let mut common: Option<BTreeMap<String, u32>> = None;
        for _ in 0..DRY_RUNS {
            if self == Self::Remove {
                start(host).expect("a container to remove");
            }
            let (status, trace) = Traced::start(host, self.arguments(), None).wait();
            assert!(status.is_some_and(|status| status.success()), "not even without faults:\n{trace}");
            remove(host).expect("nothing was killed");
            let counts = calls(&trace);
            common = Some(match common {
                None => counts,
                Some(before) => {
                    let fewer = |(call, count): (String, u32)| {
                        Some((counts.get(&call)?.min(&count).to_owned(), call))
                    };
                    before.into_iter().filter_map(fewer).map(|(count, call)| (call, count)).collect()
                }
            });
        }
        let mut all = common.unwrap_or_default();
        // It makes the process into sampan, and strace does not count it.
        all.remove("execve");
        all.iter()
            .flat_map(|(call, count)| (1..=*count).map(|nth| Point { call: call.clone(), nth }))
            .collect()
    }

    /// Whether a process was killed; the error is what was not as it must be afterwards.
    fn case(self, host: &Host, point: &Point) -> Result<bool, Failure> {
        if self == Self::Remove {
            start(host)?;
        }
        let (status, trace) = Traced::start(host, self.arguments(), Some(point)).wait();
        let status = status.ok_or("the command hangs")?;
        let fired = trace.contains("+++ killed by SIGKILL +++");
        if status.success() && self == Self::Remove && listed(host)? {
            return Err("the removal succeeded, but the container is there".into());
        }
        if listed(host)? {
            // Whole, whatever it is doing.
            for verb in ["inspect", "logs"] {
                expect(host, &[verb, NAME])?;
            }
        }
        remove(host)?;
        // The name is free.
        start(host)?;
        remove(host)?;
        let mut left = invariants::leftovers_after_settling(host.root());
        let volumes = fs::read_dir(host.data().join("volumes")).expect("it is there").flatten();
        left.extend(volumes.map(|volume| format!("data/volumes/{}", volume.file_name().display())));
        if left.is_empty() { Ok(fired) } else { Err(format!("left behind:\n  {}", left.join("\n  "))) }
    }
}

fn expect(host: &Host, args: &[&str]) -> Result<Run, Failure> {
    let run = host.sampan(args);
    if run.code == 0 {
        return Ok(run);
    }
    Err(format!("{args:?} ended with {}: {}{}", run.code, run.stdout, run.stderr))
}

fn start(host: &Host) -> Result<(), Failure> {
    expect(host, Sweep::Run.arguments()).map(drop)
}

fn remove(host: &Host) -> Result<(), Failure> {
    expect(host, Sweep::Remove.arguments()).map(drop)
}

/// Whether `ps -a` shows the container; it must show nothing else, and be able to tell its state.
fn listed(host: &Host) -> Result<bool, Failure> {
    let shown = expect(host, &["ps", "-a", "--format", "{{.Names}} {{.State}}"])?.stdout;
    match shown.trim().split_once(' ') {
        None if shown.trim().is_empty() => Ok(false),
        Some((NAME, "created" | "running" | "exited")) => Ok(true),
        _ => Err(format!("ps -a shows {shown:?}")),
    }
}

/// How often the process that does so most calls each system call.
fn calls(trace: &str) -> BTreeMap<String, u32> {
    let mut counts = BTreeMap::<(&str, &str), u32>::new();
    for line in trace.lines() {
        let Some((pid, rest)) = line.split_once(' ') else { continue };
        // Not the second half of an interrupted line, a signal or an end.
        let Some((call, _)) = rest.trim_start().split_once('(') else { continue };
        if call.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_') {
            *counts.entry((pid, call)).or_default() += 1;
        }
    }
    let mut most = BTreeMap::<String, u32>::new();
    for ((_, call), count) in counts {
        let entry = most.entry(call.to_owned()).or_default();
        *entry = count.max(*entry);
    }
    most
}

/// A command under strace.
struct Traced {
    child: Child,
    file: PathBuf,
}

impl Traced {
    /// Starts `sampan ARGS`; at `fatal` each of its processes is killed. strace runs behind it (`-D`), so the child
    /// is the command itself, and its end does not wait for the container.
    fn start(host: &Host, args: &[&str], fatal: Option<&Point>) -> Traced {
        assert!(Path::new("/usr/bin/strace").exists(), "install strace");
        let file = host.root().join("trace");
        let _ = fs::remove_file(&file);
        let plain = host.command(args);
        let mut command = Command::new("strace");
        command.args(["-D", "-f", "-s", "0", "-o"]).arg(&file).args(["-e", "trace=all"]);
        if let Some(Point { call, nth }) = fatal {
            command.args(["-e", &format!("inject={call}:signal=KILL:when={nth}")]);
        }
        command.arg(binary("sampan")).args(args);
        command.envs(plain.get_envs().filter_map(|(key, value)| Some((key, value?))));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Traced { child: command.spawn().expect("strace starts"), file }
    }

    /// The command's end, none when it had to be killed, and the trace so far.
    fn wait(mut self) -> (Option<ExitStatus>, String) {
        let deadline = Instant::now() + PATIENCE;
        let status = loop {
            match self.child.try_wait().expect("our child") {
                Some(status) => break Some(status),
                None if Instant::now() >= deadline => {
                    let _ = self.child.kill();
                    let _ = self.child.wait();
                    break None;
                }
                None => std::thread::sleep(Duration::from_millis(1)),
            }
        };
        // A killed monitor or creator may be waited for by nobody: give strace the moment to write it down.
        eventually(Duration::from_millis(50), || self.trace().contains("+++ killed by SIGKILL +++"));
        (status, self.trace())
    }

    fn trace(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.file).unwrap_or_default()).into_owned()
    }
}

impl Drop for Traced {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Kills a process by its number, as `kill -9` does.
pub fn kill_9(pid: i32) {
    if let Some(pid) = Pid::from_raw(pid) {
        // It may have ended by itself.
        let _ = kill_process(pid, Signal::KILL);
    }
}
