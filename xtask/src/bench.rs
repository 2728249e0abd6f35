//! `cargo xtask bench run`: our commands beside the peers that are installed, interleaved in one run.
//!
//! Each round runs every contender once unmeasured and once measured, so that a noisy minute hits all of them. The table shows medians, the 10th and
//! 90th percentile, the ratio to ours, and the peak resident memory of the commands.

mod contender;
mod disk;
mod engines;
mod floor;
mod groups;
mod room;

use std::fs;

use serde_json::{Value, json};

use crate::Outcome;
use disk::Disk;
use engines::Engines;
use groups::Group;
use room::Rooms;

/// Runs rounds (first argument, default 30; further ones are paths of more low-level runtimes), prints the table and
/// writes `target/bench/run.json`.
pub(crate) fn run(args: &[&str]) -> Outcome {
    let (rounds, more) = match args {
        [] => (30, args),
        [rounds, more @ ..] => (rounds.parse()?, more),
    };
    let scratch = tempfile::Builder::new().prefix("sampan-bench-").tempdir()?;
    // Before the rooms, which see the mounts of their beginning.
    let disk = Disk::mount(scratch.path())?;
    let mut rooms = Rooms::open(scratch.path())?;
    let mut groups = groups::runtimes(scratch.path(), more)?;
    let mut engines = Engines::prepare(scratch.path(), &disk)?;
    groups.append(&mut engines.groups);
    let outcome = groups.iter_mut().try_for_each(|group| measure(group, rounds, &mut rooms));
    engines.clean_up(scratch.path());
    outcome?;
    print(&groups);
    let dir = crate::workspace().join("target/bench");
    fs::create_dir_all(&dir)?;
    fs::write(dir.join("run.json"), serde_json::to_vec_pretty(&to_json(&groups, rounds))?)?;
    Ok(())
}

/// Measures a group, and removes what its contenders needed whatever happens.
fn measure(group: &mut Group, rounds: usize, rooms: &mut Rooms) -> Outcome {
    group.contenders.retain_mut(|contender| match contender.warm_up(rooms) {
        Ok(()) => true,
        Err(error) => {
            eprintln!("{} / {} does not run here: {error}", group.name, contender.name);
            contender.clean_up(rooms);
            false
        }
    });
    let mut outcome = Ok(());
    for _ in 0..rounds {
        for contender in &mut group.contenders {
            if outcome.is_ok() {
                outcome = contender.round(rooms);
            }
        }
    }
    group.contenders.iter_mut().for_each(|contender| contender.clean_up(rooms));
    outcome.map_err(|error| format!("{}: {error}", group.name).into())
}

fn print(groups: &[Group]) {
    for group in groups.iter().filter(|group| !group.contenders.is_empty()) {
        println!("{}", group.name);
        println!(
            "  {:<34} {:>9} {:>9} {:>9} {:>7} {:>9}",
            "", "median ms", "p10", "p90", "ratio", "peak MiB"
        );
        for contender in &group.contenders {
            let [low, median, high] = [0.1, 0.5, 0.9].map(|p| contender.quantile(p));
            let peak = contender.peak_kib() as f64 / 1024.0;
            let ratio = group.ratio(contender).map_or_else(|| "-".into(), |ratio| format!("{ratio:.2}"));
            println!("  {:<34} {median:>9.2} {low:>9.2} {high:>9.2} {ratio:>7} {peak:>9.1}", contender.name);
        }
    }
}

fn to_json(groups: &[Group], rounds: usize) -> Value {
    let rows = groups.iter().flat_map(|group| {
        group.contenders.iter().map(move |contender| {
            json!({
                "group": group.name, "contender": contender.name, "rounds": rounds,
                "median_ms": contender.quantile(0.5), "p10_ms": contender.quantile(0.1),
                "p90_ms": contender.quantile(0.9), "ratio": group.ratio(contender), "peak_kib": contender.peak_kib(),
            })
        })
    });
    Value::Array(rows.collect())
}
