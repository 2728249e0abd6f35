use std::ffi::OsStr;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use crate::invariants;

/// The path of one of the workspace's binaries, beside the running test (`target/<triple>/<profile>/NAME`).
///
/// Tests run against what `cargo build --bins` made; a missing binary is a failure that says so.
pub fn binary(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("a test knows its own path");
    let found = test.ancestors().map(|dir| dir.join(name)).find(|path| path.is_file());
    found.unwrap_or_else(|| panic!("{name} is not built: run `cargo build --bins` first"))
}

/// How one command ended.
#[derive(Debug)]
pub struct Run {
    /// Exit code; 128 + n when a signal ended it.
    pub code: i32,
    /// Standard output, lossily decoded.
    pub stdout: String,
    /// Standard error, lossily decoded.
    pub stderr: String,
}

impl Run {
    /// How a command that was run by hand ended.
    pub fn of(output: Output) -> Run {
        use std::os::unix::process::ExitStatusExt;
        let code = output.status.code().unwrap_or_else(|| 128 + output.status.signal().unwrap_or(0));
        Run {
            code,
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// This run, provided that it ended with `code`; the outputs are part of the failure otherwise.
    #[track_caller]
    pub fn expect_code(self, code: i32) -> Run {
        assert_eq!(self.code, code, "stdout: {}\nstderr: {}", self.stdout, self.stderr);
        self
    }

    /// Standard output without its last line end.
    pub fn line(&self) -> &str {
        self.stdout.trim_end_matches('\n')
    }
}

/// A private sampan host: data, run and cgroup roots of its own, checked for leftovers when dropped.
pub struct Host {
    root: tempfile::TempDir,
}

impl Default for Host {
    fn default() -> Self {
        Self::new()
    }
}

impl Host {
    /// A host whose roots are fresh directories under the temporary directory.
    pub fn new() -> Host {
        let root = tempfile::Builder::new().prefix("sampan-test-").tempdir().expect("a temporary directory");
        let host = Host { root };
        host.serve_docker_io("127.0.0.1:1");
        host
    }

    /// Has docker.io served by the registry at `address`. A fresh host's is served by nobody: no test leaves the machine.
    pub fn serve_docker_io(&self, address: &str) {
        let dir = self.hosts_dir().join("docker.io");
        std::fs::create_dir_all(&dir).expect("a directory");
        let text = format!("server = \"http://{address}\"\n");
        std::fs::write(dir.join("hosts.toml"), text).expect("a file");
    }

    /// Where its registries' mirrors are described.
    pub fn hosts_dir(&self) -> PathBuf {
        self.root.path().join("certs.d")
    }

    /// The directory that holds both roots.
    pub fn root(&self) -> &Path {
        self.root.path()
    }

    /// The data root (`/var/lib/sampan` of this host).
    pub fn data(&self) -> PathBuf {
        self.root.path().join("data")
    }

    /// The run root (`/run/sampan` of this host).
    pub fn run(&self) -> PathBuf {
        self.root.path().join("run")
    }

    /// The cgroup below which its containers get theirs, in every hierarchy: no other test's are there.
    pub fn cgroup_root(&self) -> String {
        invariants::cgroup_root(self.root.path())
    }

    /// A `sampan` command in this host, not yet started.
    pub fn command<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Command {
        let mut command = Command::new(binary("sampan"));
        command
            .args(args)
            .env("SAMPAN_DATA_ROOT", self.data())
            .env("SAMPAN_RUN_ROOT", self.run())
            .env("SAMPAN_CGROUP_ROOT", self.cgroup_root())
            .env("SAMPAN_HOSTS_DIR", self.hosts_dir())
            .env("DOCKER_CONFIG", self.root.path().join("docker"))
            .stdin(Stdio::null());
        command
    }

    /// Runs `sampan ARGS` to its end.
    pub fn sampan<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Run {
        Run::of(self.command(args).output().expect("sampan starts"))
    }

    /// Runs `sampan ARGS` with `input` on its standard input.
    pub fn sampan_with_input<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>, input: &[u8]) -> Run {
        let mut command = self.command(args);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("sampan starts");
        let mut stdin = child.stdin.take().expect("stdin is a pipe");
        std::thread::scope(|scope| {
            // The other end may leave early; what it read is what the test looks at.
            scope.spawn(move || drop(stdin.write_all(input)));
            Run::of(child.wait_with_output().expect("sampan ends"))
        })
    }

    /// Runs `sampan-runtime --root <this host> ARGS` to its end.
    pub fn runtime<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Run {
        let output = Command::new(binary("sampan-runtime"))
            .arg("--root")
            .arg(self.root.path().join("runtime"))
            .args(args)
            .stdin(Stdio::null())
            .output();
        Run::of(output.expect("sampan-runtime starts"))
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let left = invariants::leftovers_after_settling(self.root.path());
        invariants::force_clean(self.root.path());
        if !std::thread::panicking() {
            assert!(left.is_empty(), "left behind by this test:\n  {}", left.join("\n  "));
        }
    }
}
