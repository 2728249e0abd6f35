//! One thing measured, and the measuring of it.

use std::time::Duration;

use super::room::{Place, Rooms};
use crate::Outcome;

/// Commands, each a list of words, that are run one after the other.
type Steps = Vec<Vec<String>>;

/// Commands run one after the other, timed together.
pub(super) struct Contender {
    pub(super) name: String,
    place: Place,
    /// Run before the first round, untimed.
    before: Steps,
    /// What is timed.
    steps: Steps,
    /// Run after the last round, untimed, and when it fails.
    after: Steps,
    samples: Vec<f64>,
    peak_kib: u64,
}

impl Contender {
    pub(super) fn new(name: &str, steps: &[&[&str]]) -> Contender {
        Contender {
            name: name.into(),
            place: Place::Host,
            before: Vec::new(),
            steps: owned(steps),
            after: Vec::new(),
            samples: Vec::new(),
            peak_kib: 0,
        }
    }

    /// The same in another room.
    pub(super) fn at(mut self, place: Place) -> Contender {
        self.place = place;
        self
    }

    /// The same with something that it needs, and its removal.
    pub(super) fn between(mut self, before: &[&[&str]], after: &[&[&str]]) -> Contender {
        (self.before, self.after) = (owned(before), owned(after));
        self
    }

    /// Runs the steps twice and keeps the second time. The first run meets what the contender before has left: caches that
    /// hold its things, and namespaces and cgroups that the kernel still takes down behind it.
    pub(super) fn round(&mut self, rooms: &mut Rooms) -> Outcome {
        let room = rooms.get(self.place);
        for step in &self.steps {
            room.run(step)?;
        }
        let mut took = Duration::ZERO;
        for step in &self.steps {
            took += room.run(step)?;
        }
        self.samples.push(took.as_secs_f64() * 1e3);
        Ok(())
    }

    /// Prepares, and runs the steps twice without keeping their time: once to warm caches, once to measure memory.
    pub(super) fn warm_up(&mut self, rooms: &mut Rooms) -> Outcome {
        let room = rooms.get(self.place);
        for step in &self.before {
            room.run(step)?;
        }
        for step in &self.steps {
            room.run(step)?;
        }
        for step in &self.steps {
            self.peak_kib = self.peak_kib.max(room.peak_kib(step)?.unwrap_or(0));
        }
        Ok(())
    }

    /// Removes what it needed. What it left behind after a failure may make this fail too: that is said, no more.
    pub(super) fn clean_up(&mut self, rooms: &mut Rooms) {
        for step in &self.after {
            if let Err(error) = rooms.get(self.place).run(step) {
                eprintln!("{}: {error}", self.name);
            }
        }
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

fn owned(steps: &[&[&str]]) -> Steps {
    steps.iter().map(|step| step.iter().map(|word| word.to_string()).collect()).collect()
}
