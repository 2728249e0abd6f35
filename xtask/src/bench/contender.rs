//! One thing measured, and the measuring of it.

use std::process::{Command, Stdio};
use std::time::Instant;

use crate::Outcome;

/// Commands run one after the other, timed together.
pub(super) struct Contender {
    pub(super) name: String,
    /// What is timed.
    steps: Vec<Vec<String>>,
    /// Leading words that put a command where the contender can run (not part of its work, but of its time).
    within: Vec<String>,
    samples: Vec<f64>,
    peak_kib: u64,
}

impl Contender {
    pub(super) fn new(name: &str, steps: &[&[&str]]) -> Contender {
        let steps = steps.iter().map(|step| step.iter().map(|word| word.to_string()).collect()).collect();
        Contender { name: name.into(), steps, within: Vec::new(), samples: Vec::new(), peak_kib: 0 }
    }

    /// The same, with every command run behind these words.
    pub(super) fn within(mut self, words: &[&str]) -> Contender {
        self.within = words.iter().map(|word| word.to_string()).collect();
        self
    }

    /// Runs the steps once and keeps their time.
    pub(super) fn round(&mut self) -> Outcome {
        let commands = self.commands();
        let started = Instant::now();
        for command in &commands {
            execute(command)?;
        }
        self.samples.push(started.elapsed().as_secs_f64() * 1e3);
        Ok(())
    }

    /// Runs the steps once without keeping their time, and measures their memory instead.
    pub(super) fn warm_up(&mut self) -> Outcome {
        self.round()?;
        self.samples.clear();
        self.peak_kib = self.commands().iter().map(|command| peak_of(command)).max().unwrap_or(0);
        Ok(())
    }

    fn commands(&self) -> Vec<Vec<&str>> {
        self.steps.iter().map(|step| self.within.iter().chain(step).map(String::as_str).collect()).collect()
    }

    /// The `p`-th quantile (0 to 1) of the samples, in milliseconds; NaN without samples.
    pub(super) fn quantile(&self, p: f64) -> f64 {
        let mut sorted = self.samples.clone();
        sorted.sort_by(f64::total_cmp);
        let last = sorted.len().saturating_sub(1);
        sorted.get((last as f64 * p).round() as usize).copied().unwrap_or(f64::NAN)
    }

    /// The largest resident set that one of the commands or its waited-for children reached, in KiB.
    pub(super) fn peak_kib(&self) -> u64 {
        self.peak_kib
    }
}

/// Runs one command to its end.
fn execute(words: &[&str]) -> Outcome {
    let (program, args) = words.split_first().ok_or("an empty command")?;
    let mut command = Command::new(program);
    command.args(args).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let output = command.spawn()?.wait_with_output()?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{}: {}", words.join(" "), String::from_utf8_lossy(&output.stderr).trim()).into())
}

/// The peak resident memory of one command and its waited-for children in KiB, as GNU time reports it; 0 without it.
fn peak_of(words: &[&str]) -> u64 {
    let output =
        Command::new("/usr/bin/time").args(["-q", "-f", "%M"]).args(words).stdin(Stdio::null()).output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stderr).into_owned()).unwrap_or_default();
    text.lines().last().and_then(|line| line.trim().parse().ok()).unwrap_or(0)
}
