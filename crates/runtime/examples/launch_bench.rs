//! Times `launch` and the wait for the program's end, N times: `launch_bench BUNDLE [N] [cgroup|overlay]`.
//!
//! With `overlay` the root is one of the bundle's `rootfs` and its `upper`, `work` and `at`, which must exist. The bundle's configuration is taken as it is; standard streams are the caller's.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "it is a measuring program")]

use std::path::Path;
use std::time::Instant;

use runtime::{Launch, Overlay, Parent, Root, Start, Stdio, launch};

fn overlay(bundle: &Path) -> Root {
    let bundle = std::fs::canonicalize(bundle).expect("the bundle is there");
    Root::Overlay(Overlay {
        lowers: vec![bundle.join("rootfs")],
        upper: bundle.join("upper"),
        work: bundle.join("work"),
        volatile: false,
        read_only: false,
        mount_at: bundle.join("at"),
    })
}

fn main() {
    let mut args = std::env::args().skip(1);
    let bundle = args.next().unwrap_or_else(|| ".".into());
    let count: usize = args.next().and_then(|n| n.parse().ok()).unwrap_or(200);
    let more = args.next().unwrap_or_default();
    let own_cgroup = more == "cgroup";
    let explain = count == 1;
    let bundle = Path::new(&bundle);
    let cache = std::env::temp_dir();
    let (mut launched_in, mut ended_in) = (Vec::new(), Vec::new());
    for _ in 0..count {
        let started = Instant::now();
        let text = std::fs::read(bundle.join("config.json")).expect("config.json is readable");
        let spec: oci_spec::runtime::Spec =
            serde_json::from_slice(&text).expect("config.json is a configuration");
        let cgroup_default = own_cgroup.then(|| format!("/sampan-bench-{}", std::process::id()));
        let mut print = |report: runtime::StepReport| {
            eprintln!("{:7} {:5} µs  {}  [{}]", report.by, report.micros, report.step, report.call);
        };
        let request = Launch {
            id: "bench",
            spec,
            bundle,
            root: if more == "overlay" { overlay(bundle) } else { Root::Bundle },
            user: None,
            create_cwd: false,
            reaper: false,
            stdio: Stdio::Inherit,
            start: Start::Now,
            parent: Parent::Caller,
            cgroup_default,
            host: None,
            network: None,
            controllers: cgroup::Controllers::All,
            default_filter: None,
            seccomp_cache: Some(&cache),
            keep_fds: 0,
            no_pivot: false,
            no_new_keyring: false,
            explain: if explain { Some(&mut print) } else { None },
        };
        let launched = launch(request).expect("the container starts");
        launched_in.push(started.elapsed());
        launched.pidfd.wait().expect("it is our child");
        if let Some(path) = launched.cgroup {
            let host = cgroup::Host::probe().expect("cgroups are mounted");
            cgroup::Cgroup::open(&host, &path)
                .and_then(cgroup::Cgroup::remove)
                .expect("the cgroup is removed");
        }
        ended_in.push(started.elapsed());
    }
    for (name, mut times) in [("launched", launched_in), ("ended", ended_in)] {
        times.sort();
        let at = |part: usize| times[(times.len() - 1) * part / 100].as_micros();
        println!("{name}: median {} µs, p10 {} µs, p90 {} µs", at(50), at(10), at(90));
    }
}
