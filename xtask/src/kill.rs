//! `cargo xtask kill`: every system call of a command once as its last.

use testkit::points::Sweep;

use crate::Outcome;

/// Sweeps the command named `sweep`; `rest` is the step between two calls, 1 without it.
pub(crate) fn run(sweep: &str, rest: &[&str]) -> Outcome {
    let sweep = match sweep {
        "run" => Sweep::Run,
        "rm" => Sweep::Remove,
        other => return Err(format!("nothing to kill by the name {other}: run, rm").into()),
    };
    let step = rest.first().map_or(Ok(1), |text| text.parse())?;
    let swept = sweep.run(0, step, |point, outcome| match outcome {
        Ok(()) => println!("{point}: as it must be"),
        Err(failure) => println!("{point}: FAILED: {failure}"),
    });
    println!("{} points, {} cases passed, {} failed", swept.points, swept.passed, swept.failures.len());
    if swept.failures.is_empty() { Ok(()) } else { Err(swept.failures.join("\n").into()) }
}
