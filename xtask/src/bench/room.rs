//! Where commands are run: a shell that lives as long as the bench, so that no contender pays for its surroundings.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use crate::Outcome;

/// A shell in a mount namespace of its own without the cgroup2 mount of a hybrid host: crun refuses such a host.
const WITHOUT_CGROUP2: &[&str] = &["unshare", "--mount", "sh", "-c"];
/// Its preparation.
const UNMOUNT_CGROUP2: &str = "[ ! -d /sys/fs/cgroup/unified ] || umount /sys/fs/cgroup/unified || exit 1";
/// Reads one command a line and answers with its exit status. The standard error of what a command leaves running must
/// not be a pipe of ours, which would have no end until that has ended: it goes to a file.
const SERVE: &str = r#"while read -r line; do eval "$line" </dev/null >/dev/null 2>"$0"; echo $?; done"#;

/// Debian's package `time`.
const GNU_TIME: &str = "/usr/bin/time";

/// Which room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// The host as it is.
    Host,
    /// The host without its cgroup2 mount.
    WithoutCgroup2,
}

/// All rooms.
pub(super) struct Rooms {
    host: Room,
    without_cgroup2: Room,
}

impl Rooms {
    pub(super) fn open(scratch: &Path) -> Result<Rooms, Box<dyn std::error::Error>> {
        let script = format!("{UNMOUNT_CGROUP2}; {SERVE}");
        let words: Vec<&str> = WITHOUT_CGROUP2.iter().copied().chain([script.as_str()]).collect();
        Ok(Rooms {
            host: Room::open(&["sh", "-c", SERVE], scratch.join("stderr"))?,
            without_cgroup2: Room::open(&words, scratch.join("stderr-without-cgroup2"))?,
        })
    }

    pub(super) fn get(&mut self, place: Place) -> &mut Room {
        match place {
            Place::Host => &mut self.host,
            Place::WithoutCgroup2 => &mut self.without_cgroup2,
        }
    }
}

/// One room.
pub(super) struct Room {
    shell: Child,
    commands: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
    stderr: PathBuf,
}

impl Room {
    fn open(words: &[&str], stderr: PathBuf) -> std::io::Result<Room> {
        let [program, args @ ..] = words else { return Err(std::io::ErrorKind::InvalidInput.into()) };
        let mut shell = Command::new(program);
        shell.args(args).arg(&stderr).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut shell = shell.spawn()?;
        let commands = shell.stdin.take();
        let answers = shell.stdout.take().ok_or(std::io::ErrorKind::BrokenPipe)?;
        Ok(Room { shell, commands, answers: BufReader::new(answers), stderr })
    }

    /// Runs one command to its end; returns the time from the request to the answer.
    pub(super) fn run(&mut self, words: &[impl AsRef<str>]) -> Result<Duration, Box<dyn std::error::Error>> {
        let line: Vec<String> = words.iter().map(|word| quoted(word.as_ref())).collect();
        let line = format!("{}\n", line.join(" "));
        let started = Instant::now();
        self.commands.as_mut().ok_or("the room is closed")?.write_all(line.as_bytes())?;
        let mut answer = String::new();
        self.answers.read_line(&mut answer)?;
        let took = started.elapsed();
        match answer.trim() {
            "0" => Ok(took),
            _ => Err(format!("{}: {}", line.trim(), self.last_words()).into()),
        }
    }

    /// Runs one command; returns its peak resident memory with its waited-for children's in KiB, where there is GNU time
    /// to report it.
    pub(super) fn peak_kib(
        &mut self,
        words: &[impl AsRef<str>],
    ) -> Result<Option<u64>, Box<dyn std::error::Error>> {
        if !Path::new(GNU_TIME).exists() {
            return self.run(words).map(|_| None);
        }
        let file = self.stderr.with_extension("peak");
        let to = file.to_str().ok_or("the temporary directory's name is not UTF-8")?;
        let timed = [GNU_TIME, "-q", "-f", "%M", "-o", to];
        let words: Vec<&str> = timed.into_iter().chain(words.iter().map(AsRef::as_ref)).collect();
        self.run(&words)?;
        Ok(Some(fs::read_to_string(&file)?.trim().parse()?))
    }

    fn last_words(&self) -> String {
        fs::read_to_string(&self.stderr).unwrap_or_default().trim().to_owned()
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        // The end of its input is the shell's end.
        self.commands = None;
        let _ = self.shell.wait();
    }
}

/// A word as the shell takes it literally.
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// Runs a command outside of every measurement, on the host.
pub(super) fn once(words: &[&str]) -> Outcome {
    let (program, args) = words.split_first().ok_or("an empty command")?;
    let mut command = Command::new(program);
    let output = command.args(args).stdin(Stdio::null()).output()?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{}: {}", words.join(" "), String::from_utf8_lossy(&output.stderr).trim()).into())
}
