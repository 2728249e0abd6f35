//! Every flag of `run` and its effect, seen from inside the container or from the kernel: an accepted flag without
//! effect is a failure.
//!
//! A [`bench::Row`] is a flag, the words that use it, where its effect is looked for, and what is seen there without the
//! words and with them. `cargo test -p sampan --test flags -- --nocapture` prints the table.
#![allow(clippy::unwrap_used, reason = "a test's helper fails the test")]

mod bench;
mod identity;
mod interactive;
mod life;
mod limits;
mod mounts;
mod namespaces;
mod posture;
mod security;
mod users;

use std::collections::BTreeSet;

use testkit::Host;

/// The flags that say where an engine keeps its things; every test of this project uses them.
const GLOBAL: [&str; 4] = ["help", "data-root", "run-root", "cgroup-root"];
#[test]
fn every_flag_has_a_row() {
    let host = Host::new();
    let help = host.sampan(["run", "--help"]).expect_code(0).stdout;
    let listed: BTreeSet<&str> = help
        .lines()
        .map(str::trim_start)
        .filter(|line| line.starts_with('-'))
        .filter_map(|line| line.split([' ', ',', '[', '=']).find_map(|word| word.strip_prefix("--")))
        .filter(|flag| !GLOBAL.contains(flag))
        .collect();
    assert!(listed.len() > 50, "{help}");
    let tables = [
        identity::ROWS,
        interactive::ROWS,
        life::ROWS,
        limits::ROWS,
        mounts::ROWS,
        namespaces::ROWS,
        security::ROWS,
        users::ROWS,
    ];
    let rows: BTreeSet<&str> = tables.into_iter().flatten().map(|row| row.flag).collect();
    let unseen: Vec<_> = listed.difference(&rows).collect();
    assert!(unseen.is_empty(), "flags without a row, so nobody knows whether they do something: {unseen:?}");
    let gone: Vec<_> = rows.difference(&listed).collect();
    assert!(gone.is_empty(), "rows of flags that there are not: {gone:?}");
}
