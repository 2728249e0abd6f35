//! Runs rows: each once without its words and once with them.

use std::collections::HashMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};

use serde_json::Value;
use testkit::{Host, Run};

/// The image of every row: busybox, whose entrypoint takes the applet's name.
pub(crate) const IMAGE: &str = "host:busybox";

/// One flag and its effect.
pub(crate) struct Row {
    /// The flag's long name.
    pub flag: &'static str,
    /// The words that use it; `{name}` stands for one of the bench's words.
    pub words: &'static [&'static str],
    /// Where the effect shows.
    pub look: Look,
    /// What is seen there without the words.
    pub without: Want,
    /// What is seen with them.
    pub with: Want,
}

/// Where an effect shows.
pub(crate) enum Look {
    /// In what a shell script prints inside the container.
    Inside(&'static str),
    /// In a file of its cgroup, read on the host while it runs: v1's controller and file, and v2's file.
    Cgroup(&'static str, &'static str, &'static str),
    /// In what `inspect` says, at a JSON pointer.
    Inspect(&'static str),
    /// In what this does and reports with the words.
    Act(fn(&Bench, &[String]) -> String),
}

/// What is to be seen.
pub(crate) enum Want {
    /// Exactly this.
    Is(&'static str),
    /// This among other text.
    Has(&'static str),
    /// Anything without this in it.
    Lacks(&'static str),
    /// One of v1 and v2, which count in different units.
    Cgroup(&'static str, &'static str),
    /// Anything, as long as it is not what the other run showed.
    Other,
}

/// A host with what rows speak of.
pub(crate) struct Bench {
    pub host: Host,
    words: HashMap<&'static str, String>,
    failures: Vec<String>,
    table: String,
    /// What was seen without any words, by script or pointer.
    seen: HashMap<&'static str, String>,
}

impl Bench {
    /// A host with a directory of fixtures, `{dir}`.
    pub(crate) fn new() -> Bench {
        let host = Host::new();
        let dir = host.root().join("fixtures");
        std::fs::create_dir(&dir).unwrap();
        let mut words = HashMap::new();
        words.insert("dir", dir.to_str().unwrap().to_owned());
        words.insert("cgroup", host.cgroup_root());
        Bench { host, words, failures: Vec::new(), table: String::new(), seen: HashMap::new() }
    }

    /// The directory of fixtures.
    pub(crate) fn dir(&self) -> PathBuf {
        self.words["dir"].clone().into()
    }

    /// Gives `{name}` a meaning.
    pub(crate) fn set(&mut self, name: &'static str, value: impl Into<String>) {
        self.words.insert(name, value.into());
    }

    /// Puts the bench's words into a text.
    pub(crate) fn expand(&self, text: &str) -> String {
        self.words
            .iter()
            .fold(text.to_owned(), |text, (name, value)| text.replace(&format!("{{{name}}}"), value))
    }

    /// Runs `run WORDS IMAGE COMMAND`; `--rm` is always among the words.
    pub(crate) fn run(&self, words: &[String], command: &[&str]) -> Run {
        let mut args = vec!["run", "--rm"];
        args.extend(words.iter().map(String::as_str));
        args.push(IMAGE);
        args.extend(command);
        let mut run = self.host.command(args);
        run.env("SAMPAN_TEST_FROM_CALLER", "from the caller").env_remove("SAMPAN_TEST_UNSET");
        Run::of(run.output().unwrap())
    }

    /// `create`s or `run -d`s a container that sleeps, does something with it, and removes it.
    pub(crate) fn with_container<T>(
        &self,
        words: &[String],
        script: &str,
        act: impl FnOnce(&Bench, &str) -> T,
    ) -> Result<T, String> {
        let mut args = vec!["run", "-d"];
        args.extend(words.iter().map(String::as_str));
        args.extend([IMAGE, "sh", "-c", script]);
        let run = self.host.sampan(args);
        if run.code != 0 {
            // What could not be started is still there to be looked at, as in docker.
            for id in self.host.sampan(["ps", "-aq", "--filter", "status=created"]).stdout.lines() {
                self.host.sampan(["rm", "-f", "-v", id]).expect_code(0);
            }
            return Err(shown(&run));
        }
        let id = run.line().to_owned();
        let answer = act(self, &id);
        self.host.sampan(["rm", "-f", "-v", &id]).expect_code(0);
        Ok(answer)
    }

    /// The container's document, at a pointer.
    pub(crate) fn inspect(&self, id: &str, pointer: &str) -> String {
        let text = self.host.sampan(["inspect", id]).expect_code(0).stdout;
        let document: Value = serde_json::from_str(&text).unwrap();
        match document[0].pointer(pointer) {
            Some(Value::String(text)) => text.clone(),
            Some(other) => other.to_string(),
            None => "nothing".into(),
        }
    }

    fn look(&self, look: &Look, words: &[String]) -> String {
        match look {
            Look::Inside(script) => shown(&self.run(words, &["sh", "-c", &self.expand(script)])),
            Look::Inspect(pointer) => {
                // Looking does not need a start.
                let mut args = vec!["create"];
                args.extend(words.iter().map(String::as_str));
                args.extend([IMAGE, "true"]);
                let made = self.host.sampan(args);
                if made.code != 0 {
                    return shown(&made);
                }
                let seen = self.inspect(made.line(), pointer);
                self.host.sampan(["rm", "-v", made.line()]).expect_code(0);
                seen
            }
            Look::Cgroup(controller, v1, v2) => {
                let read = |bench: &Bench, id: &str| bench.cgroup_file(id, controller, v1, v2);
                self.with_container(words, "sleep 60", read).unwrap_or_else(|error| error)
            }
            Look::Act(act) => act(self, words),
        }
    }

    fn cgroup_file(&self, id: &str, controller: &str, v1: &str, v2: &str) -> String {
        let file = if is_v1(controller) {
            Path::new("/sys/fs/cgroup")
                .join(controller)
                .join(self.host.cgroup_root().trim_start_matches('/'))
                .join(id)
                .join(v1)
        } else {
            Path::new("/sys/fs/cgroup")
                .join(self.host.cgroup_root().trim_start_matches('/'))
                .join(id)
                .join(v2)
        };
        match std::fs::read_to_string(&file) {
            Ok(text) => text.trim().to_owned(),
            Err(error) => error.kind().to_string(),
        }
    }

    /// Runs rows. What fails is told by [`Bench::finish`].
    pub(crate) fn rows(&mut self, rows: &[Row]) {
        for row in rows {
            let words: Vec<String> = row.words.iter().map(|word| self.expand(word)).collect();
            let key = match row.look {
                Look::Inside(key) | Look::Inspect(key) => Some(key),
                _ => None,
            };
            let without = match key.and_then(|key| self.seen.get(key)) {
                Some(seen) => seen.clone(),
                None => self.look(&row.look, &[]),
            };
            if let Some(key) = key {
                self.seen.insert(key, without.clone());
            }
            let with = self.look(&row.look, &words);
            self.check(row, &words, &without, &with);
        }
    }

    fn check(&mut self, row: &Row, words: &[String], without: &str, with: &str) {
        let words = words.join(" ");
        let line = |text: &str| text.replace('\n', "; ");
        let _ = writeln!(self.table, "{:<20} {words:<44} {:<40} {}", row.flag, line(without), line(with));
        let mut fail = |what: &str, seen: &str, want: String| {
            self.failures.push(format!("{}: `{words}`: {what} is {seen:?}, wanted {want}", row.flag));
        };
        if without == with {
            fail("the effect without the flag and with it", with, "a difference".into());
        }
        for (what, seen, want) in [("without", without, &row.without), ("with", with, &row.with)] {
            let expand = |text: &str| {
                self.words
                    .iter()
                    .fold(text.to_owned(), |text, (name, value)| text.replace(&format!("{{{name}}}"), value))
            };
            let (fine, wanted) = match want {
                Want::Is(text) => (seen == expand(text), format!("{:?}", expand(text))),
                Want::Has(text) => (seen.contains(&expand(text)), format!("{:?} in it", expand(text))),
                Want::Lacks(text) => (!seen.contains(&expand(text)), format!("no {:?} in it", expand(text))),
                Want::Cgroup(v1, v2) => {
                    let v1_here = matches!(row.look, Look::Cgroup(controller, ..) if is_v1(controller));
                    let text = if v1_here { v1 } else { v2 };
                    (seen == *text, format!("{text:?}"))
                }
                Want::Other => (true, String::new()),
            };
            if !fine {
                fail(what, seen, wanted);
            }
        }
    }

    /// Prints the table, and fails with every row that was not as wanted.
    pub(crate) fn finish(self) {
        println!("{:<20} {:<44} {:<40} with it\n{}", "flag", "words", "without it", self.table);
        let Bench { host, failures, .. } = self;
        // Its own checks come first: what a row left behind would hide behind the row's failure.
        let volumes = host.data().join("volumes");
        let _ = std::fs::remove_dir_all(volumes);
        drop(host);
        assert!(failures.is_empty(), "{} rows fail:\n  {}", failures.len(), failures.join("\n  "));
    }
}

/// What a command showed: its output, or how it failed.
pub(crate) fn shown(run: &Run) -> String {
    match run.code {
        0 => run.stdout.trim().to_owned(),
        code => format!("exit {code}: {}{}", run.stdout.trim(), run.stderr.trim()),
    }
}

/// Whether a controller is on a v1 hierarchy here.
fn is_v1(controller: &str) -> bool {
    let dir = Path::new("/sys/fs/cgroup").join(controller);
    dir.join("cgroup.procs").exists() && !dir.join("cgroup.controllers").exists()
}
