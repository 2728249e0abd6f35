//! A session in the foreground: its streams, its terminal, its keys and signals.

use std::io::Read;
use std::os::fd::OwnedFd;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::OpenptFlags;

use crate::bench::{Bench, IMAGE, Look, Row, Want, shown};

pub(crate) const ROWS: &[Row] = &[
    Row {
        flag: "interactive",
        words: &["-i"],
        look: Look::Act(input),
        without: Want::Is("saw:"),
        with: Want::Is("saw: typed"),
    },
    Row {
        flag: "tty",
        words: &["-t"],
        look: Look::Inside("tty; echo $TERM"),
        without: Want::Is("not a tty"),
        with: Want::Is("/dev/pts/0\r\nxterm"),
    },
    Row {
        flag: "tty",
        words: &["-it"],
        look: Look::Act(size_of_the_terminal),
        without: Want::Is("no terminal"),
        with: Want::Is("33 111, then 44 122"),
    },
    Row {
        flag: "tty",
        words: &["-t"],
        look: Look::Inspect("/Config/Tty"),
        without: Want::Is("false"),
        with: Want::Is("true"),
    },
    Row {
        flag: "attach",
        words: &["-a", "stdout"],
        look: Look::Act(streams),
        without: Want::Is("out|err"),
        with: Want::Is("out|"),
    },
    Row {
        flag: "attach",
        words: &["-a", "STDERR"],
        look: Look::Act(streams),
        without: Want::Is("out|err"),
        with: Want::Is("|err"),
    },
    Row {
        flag: "attach",
        words: &["-i", "-a", "stdin", "-a", "stdout"],
        look: Look::Act(input),
        without: Want::Is("saw:"),
        with: Want::Is("saw: typed"),
    },
    Row {
        flag: "detach-keys",
        words: &["--detach-keys", "ctrl-x,x"],
        look: Look::Act(detached_by_keys),
        without: Want::Is("attached: the keys went in"),
        with: Want::Is("detached: the container runs"),
    },
    Row {
        flag: "sig-proxy",
        words: &["--sig-proxy=false"],
        look: Look::Act(signalled),
        without: Want::Is("5, exited"),
        with: Want::Is("143, running"),
    },
    Row {
        flag: "explain",
        words: &["--explain"],
        look: Look::Act(told),
        without: Want::Is("nothing"),
        with: Want::Is("steps of the engine, the creator and init"),
    },
];

/// A command on a pseudo-terminal of the test's.
struct Terminal {
    master: OwnedFd,
    child: Child,
    seen: String,
}

impl Terminal {
    fn run(bench: &Bench, args: &[&str]) -> Terminal {
        let open = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let master = rustix::pty::openpt(open).unwrap();
        rustix::pty::unlockpt(&master).unwrap();
        let peer = rustix::pty::ioctl_tiocgptpeer(&master, open).unwrap();
        let stream = || Stdio::from(peer.try_clone().unwrap());
        let terminal_size = rustix::termios::Winsize { ws_row: 33, ws_col: 111, ws_xpixel: 0, ws_ypixel: 0 };
        rustix::termios::tcsetwinsize(&master, terminal_size).unwrap();
        let child =
            bench.host.command(args).stdin(stream()).stdout(stream()).stderr(stream()).spawn().unwrap();
        rustix::fs::fcntl_setfl(&master, rustix::fs::OFlags::NONBLOCK).unwrap();
        Terminal { master, child, seen: String::new() }
    }

    fn write(&self, keys: &[u8]) {
        rustix::io::write(&self.master, keys).unwrap();
    }

    fn read(&mut self) {
        let mut bytes = [0; 4096];
        // The end of the other side is an error here.
        while let Ok(n @ 1..) = rustix::io::read(&self.master, &mut bytes) {
            self.seen.push_str(&String::from_utf8_lossy(&bytes[..n]));
        }
    }

    /// Waits until `word` is shown.
    fn shows(&mut self, word: &str) -> bool {
        testkit::eventually(Duration::from_secs(5), || {
            self.read();
            self.seen.contains(word)
        })
    }

    /// Its exit code, if it ends within the time.
    fn ends(&mut self, limit: Duration) -> Option<i32> {
        let end = Instant::now() + limit;
        while Instant::now() < end {
            self.read();
            if let Some(status) = self.child.try_wait().unwrap() {
                self.read();
                return status.code();
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        None
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // Gone already, as a rule.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn input(bench: &Bench, words: &[String]) -> String {
    let mut args = vec!["run", "--rm"];
    args.extend(words.iter().map(String::as_str));
    args.extend([IMAGE, "sh", "-c", "echo saw: $(cat)"]);
    let run = bench.host.sampan_with_input(args, b"typed\n");
    if run.code == 0 { run.line().to_owned() } else { shown(&run) }
}

fn size_of_the_terminal(bench: &Bench, words: &[String]) -> String {
    let mut args = vec!["run", "--rm"];
    args.extend(words.iter().map(String::as_str));
    let script = "trap 'stty size; exit' WINCH; stty size || { echo no terminal; exit; }; echo ready; \
                  while :; do sleep 0.05; done";
    args.extend([IMAGE, "sh", "-c", script]);
    let mut terminal = Terminal::run(bench, &args);
    if !words.is_empty() {
        assert!(terminal.shows("ready"), "{}", terminal.seen);
        let size = rustix::termios::Winsize { ws_row: 44, ws_col: 122, ws_xpixel: 0, ws_ypixel: 0 };
        rustix::termios::tcsetwinsize(&terminal.master, size).unwrap();
        // The kernel tells the foreground group of a controlling terminal, which this one is nobody's.
        kill_process(Pid::from_child(&terminal.child), Signal::WINCH).unwrap();
    }
    assert!(terminal.ends(Duration::from_secs(5)).is_some(), "{}", terminal.seen);
    let seen = terminal.seen.replace('\r', "").replace("ready\n", "");
    if seen.contains("no terminal") { "no terminal".into() } else { seen.trim().replace('\n', ", then ") }
}

fn streams(bench: &Bench, words: &[String]) -> String {
    let run = bench.run(words, &["sh", "-c", "echo out; echo err >&2"]).expect_code(0);
    format!("{}|{}", run.stdout.trim(), run.stderr.trim())
}

fn detached_by_keys(bench: &Bench, words: &[String]) -> String {
    let mut args = vec!["run", "-it", "--name", "typed-at"];
    args.extend(words.iter().map(String::as_str));
    args.extend([IMAGE, "sh", "-c", "stty raw -echo; echo ready; head -c 2 | od -An -c; sleep 60"]);
    let mut terminal = Terminal::run(bench, &args);
    assert!(terminal.shows("ready"), "{}", terminal.seen);
    terminal.write(b"\x18x");
    let answer = match terminal.ends(Duration::from_secs(if words.is_empty() { 1 } else { 5 })) {
        Some(0) if bench.inspect("typed-at", "/State/Running") == "true" => {
            "detached: the container runs".into()
        }
        None if terminal.seen.contains("030   x") => "attached: the keys went in".into(),
        other => format!("{other:?}: {}", terminal.seen),
    };
    bench.host.sampan(["rm", "-f", "typed-at"]).expect_code(0);
    answer
}

fn signalled(bench: &Bench, words: &[String]) -> String {
    let mut args = vec!["run", "--name", "signalled"];
    args.extend(words.iter().map(String::as_str));
    args.extend([IMAGE, "sh", "-c", "trap 'exit 5' TERM; echo ready; while :; do sleep 0.05; done"]);
    let mut child = bench.host.command(args).stdout(Stdio::piped()).spawn().unwrap();
    let mut ready = [0; 6];
    child.stdout.as_mut().unwrap().read_exact(&mut ready).unwrap();
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    let status = child.wait().unwrap();
    let code = status
        .code()
        .unwrap_or_else(|| 128 + std::os::unix::process::ExitStatusExt::signal(&status).unwrap());
    let state = bench.inspect("signalled", "/State/Status");
    bench.host.sampan(["rm", "-f", "signalled"]).expect_code(0);
    format!("{code}, {state}")
}

fn told(bench: &Bench, words: &[String]) -> String {
    let run = bench.run(words, &["true"]).expect_code(0);
    let by = |who: &str| run.stderr.lines().any(|line| line.starts_with(who) && line.contains(" us "));
    match ["engine", "creator", "init"].map(by) {
        [true, true, true] => "steps of the engine, the creator and init".into(),
        [false, false, false] if run.stderr.is_empty() => "nothing".into(),
        _ => run.stderr,
    }
}

#[test]
fn a_session_is_as_asked_for() {
    let mut bench = Bench::new();
    bench.rows(ROWS);
    bench.finish();
}

#[test]
fn a_terminal_needs_one() {
    let bench = Bench::new();
    let run = bench.run(&["-it".to_owned()], &["true"]).expect_code(1);
    assert!(run.stderr.contains("the input device is not a TTY"), "{}", run.stderr);
    let run = bench.run(&["--detach-keys".to_owned(), "ctrl-".to_owned()], &["true"]).expect_code(125);
    assert!(run.stderr.contains("detach-keys"), "{}", run.stderr);
    bench.finish();
}
