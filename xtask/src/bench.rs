//! `cargo xtask bench run`: our commands beside the peers that are installed, interleaved in one run.
//!
//! Each round runs every contender once, so that a noisy minute hits all of them. The table shows medians, the 10th and
//! 90th percentile, the ratio to the group's first contender, and the peak resident memory of the commands.

mod contender;
mod floor;
mod groups;

use std::fs;

use serde_json::{Value, json};

use crate::Outcome;
use groups::Group;

/// Runs `rounds` rounds (first argument, default 30), prints the table and writes `target/bench/run.json`.
pub(crate) fn run(args: &[&str]) -> Outcome {
    let rounds: usize = args.first().map_or(Ok(30), |text| text.parse())?;
    let scratch = tempfile::Builder::new().prefix("sampan-bench-").tempdir()?;
    let mut groups = groups::runtime(scratch.path())?;
    for group in &mut groups {
        // One round to warm caches and to drop whoever cannot run here.
        group.contenders.retain_mut(|contender| match contender.warm_up() {
            Ok(()) => true,
            Err(error) => {
                eprintln!("{} / {} does not run here: {error}", group.name, contender.name);
                false
            }
        });
        for _ in 0..rounds {
            for contender in &mut group.contenders {
                contender.round().map_err(|error| format!("{} / {}: {error}", group.name, contender.name))?;
            }
        }
    }
    print(&groups);
    let dir = crate::workspace().join("target/bench");
    fs::create_dir_all(&dir)?;
    fs::write(dir.join("run.json"), serde_json::to_vec_pretty(&to_json(&groups, rounds))?)?;
    Ok(())
}

fn print(groups: &[Group]) {
    for group in groups {
        println!("{}", group.name);
        println!(
            "  {:<28} {:>9} {:>9} {:>9} {:>7} {:>9}",
            "", "median ms", "p10", "p90", "ratio", "peak MiB"
        );
        let base = group.contenders.first().map_or(f64::NAN, |first| first.quantile(0.5));
        for contender in &group.contenders {
            let [low, median, high] = [0.1, 0.5, 0.9].map(|p| contender.quantile(p));
            let peak = contender.peak_kib() as f64 / 1024.0;
            println!(
                "  {:<28} {median:>9.2} {low:>9.2} {high:>9.2} {:>7.2} {peak:>9.1}",
                contender.name,
                median / base
            );
        }
    }
}

fn to_json(groups: &[Group], rounds: usize) -> Value {
    let rows = groups.iter().flat_map(|group| {
        group.contenders.iter().map(move |contender| {
            json!({
                "group": group.name, "contender": contender.name, "rounds": rounds,
                "median_ms": contender.quantile(0.5), "p10_ms": contender.quantile(0.1),
                "p90_ms": contender.quantile(0.9), "peak_kib": contender.peak_kib(),
            })
        })
    });
    Value::Array(rows.collect())
}
