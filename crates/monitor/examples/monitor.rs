//! `monitor monitor --data DIR --run DIR ...`: the monitor alone, as `sampan-runtime` runs it. For this crate's tests.

fn main() -> std::process::ExitCode {
    monitor::server::main(std::env::args_os().skip(2))
}
