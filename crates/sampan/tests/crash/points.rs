//! A slice of the sweep that `cargo xtask kill run` and `cargo xtask kill rm` do in full.

use testkit::points::Sweep;

fn slice(sweep: Sweep, first: usize, step: usize) {
    let swept = sweep.run(first, step, |_, _| {});
    assert!(swept.failures.is_empty(), "{}", swept.failures.join("\n"));
    assert!(swept.passed as usize >= swept.points / step, "{swept:?}");
}

#[test]
fn a_run_may_be_killed_at_any_system_call() {
    slice(Sweep::Run, 18, 37);
}

#[test]
fn a_removal_may_be_killed_at_any_system_call() {
    slice(Sweep::Remove, 8, 17);
}
