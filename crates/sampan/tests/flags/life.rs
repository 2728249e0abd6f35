//! How it begins, ends and starts again, and where its output goes.

use std::time::{Duration, Instant};

use crate::bench::{Bench, IMAGE, Look, Row, Want, shown};

pub(crate) const ROWS: &[Row] = &[
    Row {
        flag: "detach",
        words: &["-d"],
        look: Look::Act(returns_at_once),
        without: Want::Is("the output"),
        with: Want::Is("the id, while it runs"),
    },
    Row {
        flag: "rm",
        words: &["--rm"],
        look: Look::Act(left_after_its_end),
        without: Want::Is("1 container, 1 volume"),
        with: Want::Is("0 containers, 0 volumes"),
    },
    Row {
        flag: "rm",
        words: &["--rm", "-d"],
        look: Look::Act(left_after_its_end),
        without: Want::Is("1 container, 1 volume"),
        with: Want::Is("0 containers, 0 volumes"),
    },
    Row {
        flag: "cidfile",
        words: &["--cidfile", "{dir}/cid"],
        look: Look::Act(cidfile),
        without: Want::Is("no file"),
        with: Want::Is("its id, and no second container"),
    },
    Row {
        flag: "init",
        words: &["--init"],
        look: Look::Inside("test $$ = 1 && echo first; (sleep 0.05 &); exec sleep 0.01"),
        without: Want::Is("first"),
        with: Want::Is(""),
    },
    Row {
        flag: "init",
        words: &["--init", "--stop-timeout", "1"],
        look: Look::Act(stopped_without_a_handler),
        without: Want::Is("137"),
        with: Want::Is("143"),
    },
    Row {
        flag: "init",
        words: &["--init"],
        look: Look::Act(zombies),
        without: Want::Is("1"),
        with: Want::Is("0"),
    },
    Row {
        flag: "restart",
        words: &["--restart", "on-failure:2"],
        look: Look::Act(restarts),
        without: Want::Is("0"),
        with: Want::Is("2"),
    },
    Row {
        flag: "restart",
        words: &["--restart", "always"],
        look: Look::Act(starts_again),
        without: Want::Is("exited"),
        with: Want::Is("again"),
    },
    Row {
        flag: "restart",
        words: &["--restart", "unless-stopped"],
        look: Look::Act(starts_again),
        without: Want::Is("exited"),
        with: Want::Is("again"),
    },
    Row {
        flag: "stop-signal",
        words: &["--stop-signal", "SIGUSR1"],
        look: Look::Act(stop_signal),
        without: Want::Is("TERM"),
        with: Want::Is("USR1"),
    },
    Row {
        flag: "stop-timeout",
        words: &["--stop-timeout", "1"],
        look: Look::Act(stop_timeout),
        without: Want::Is("waits longer"),
        with: Want::Is("killed after a second"),
    },
    Row {
        flag: "log-driver",
        words: &["--log-driver", "none"],
        look: Look::Act(logged),
        without: Want::Is("out\nerr"),
        with: Want::Has("does not support reading"),
    },
    Row {
        flag: "log-opt",
        words: &["--log-opt", "max-size=1k", "--log-opt", "max-file=2"],
        look: Look::Act(log_files),
        without: Want::Is("json.log"),
        with: Want::Is("json.log json.log.1"),
    },
];

fn returns_at_once(bench: &Bench, words: &[String]) -> String {
    let mut args = vec!["run", "--name", "job"];
    args.extend(words.iter().map(String::as_str));
    args.extend([IMAGE, "sh", "-c", "sleep 0.3; echo the output"]);
    let run = bench.host.sampan(args).expect_code(0);
    let (status, id) = (bench.inspect("job", "/State/Status"), bench.inspect("job", "/Id"));
    bench.host.sampan(["rm", "-f", "job"]).expect_code(0);
    match status.as_str() {
        "running" if run.line() == id => "the id, while it runs".into(),
        _ => run.line().to_owned(),
    }
}

fn left_after_its_end(bench: &Bench, words: &[String]) -> String {
    let mut args = vec!["run"];
    args.extend(words.iter().map(String::as_str));
    args.extend(["-v", "/anonymous", IMAGE, "true"]);
    bench.host.sampan(args).expect_code(0);
    let containers = || bench.host.sampan(["ps", "-aq"]).expect_code(0).stdout.lines().count();
    let volumes = || std::fs::read_dir(bench.host.data().join("volumes")).unwrap().count();
    let plural = |number: usize| if number == 1 { "" } else { "s" };
    let rm = words.iter().any(|word| word == "--rm");
    // A detached one removes itself a little later.
    testkit::eventually(Duration::from_secs(5), || !rm || (containers() == 0 && volumes() == 0));
    let (containers, volumes) = (containers(), volumes());
    if containers > 0 {
        let id = bench.host.sampan(["ps", "-aq"]).stdout;
        bench.host.sampan(["rm", "-v", id.trim()]).expect_code(0);
    }
    format!("{containers} container{}, {volumes} volume{}", plural(containers), plural(volumes))
}

fn cidfile(bench: &Bench, words: &[String]) -> String {
    let file = bench.dir().join("cid");
    let answer = bench.with_container(words, "sleep 60", |_, id| {
        let Ok(text) = std::fs::read_to_string(&file) else { return "no file".to_owned() };
        assert_eq!(text, id);
        match bench.run(words, &["true"]) {
            run if run.code == 125 && run.stderr.contains("container ID file") => {
                "its id, and no second container".into()
            }
            run => shown(&run),
        }
    });
    answer.unwrap_or_else(|error| error)
}

/// The exit code of a program without a handler for SIGTERM, which process 1 of a namespace ignores then.
fn stopped_without_a_handler(bench: &Bench, words: &[String]) -> String {
    let both = ["--stop-timeout".to_owned(), "1".to_owned()];
    let words = if words.is_empty() { &both[..] } else { words };
    let stop = |bench: &Bench, id: &str| {
        bench.host.sampan(["stop", id]).expect_code(0);
        bench.inspect(id, "/State/ExitCode")
    };
    bench.with_container(words, "exec sleep 60", stop).unwrap_or_else(|error| error)
}

/// How many ended processes are still there because their parent, which adopted them, does not wait for them.
fn zombies(bench: &Bench, words: &[String]) -> String {
    let count = |bench: &Bench, id: &str| {
        std::thread::sleep(Duration::from_millis(200));
        let script = "grep -h '^State' /proc/[0-9]*/status | grep -c zombie";
        bench.host.sampan(["exec", id, "busybox", "sh", "-c", script]).line().to_owned()
    };
    let script = "(sh -c 'sleep 0.05 & exit') ; exec sleep 60";
    bench.with_container(words, script, count).unwrap_or_else(|error| error)
}

fn restarts(bench: &Bench, words: &[String]) -> String {
    let wait = |bench: &Bench, id: &str| {
        assert_eq!(bench.host.sampan(["wait", id]).expect_code(0).line(), "3");
        testkit::eventually(Duration::from_secs(10), || bench.inspect(id, "/State/Status") == "exited");
        bench.inspect(id, "/RestartCount")
    };
    bench.with_container(words, "exit 3", wait).unwrap_or_else(|error| error)
}

fn starts_again(bench: &Bench, words: &[String]) -> String {
    let wait = |bench: &Bench, id: &str| {
        let again = testkit::eventually(Duration::from_secs(2), || {
            bench.inspect(id, "/RestartCount").parse::<u32>().unwrap() >= 1
        });
        if again { "again".to_owned() } else { bench.inspect(id, "/State/Status") }
    };
    bench.with_container(words, "exit 0", wait).unwrap_or_else(|error| error)
}

fn stop_signal(bench: &Bench, words: &[String]) -> String {
    let stop = |bench: &Bench, id: &str| {
        wait_for_log(bench, id, "ready");
        bench.host.sampan(["stop", id]).expect_code(0);
        bench.host.sampan(["logs", id]).stdout.replace("ready\n", "").trim().to_owned()
    };
    let script = "trap 'echo TERM; exit' TERM; trap 'echo USR1; exit' USR1; echo ready; sleep 60 & wait";
    bench.with_container(words, script, stop).unwrap_or_else(|error| error)
}

fn stop_timeout(bench: &Bench, words: &[String]) -> String {
    let stop = |bench: &Bench, id: &str| {
        wait_for_log(bench, id, "ready");
        let start = Instant::now();
        let mut stop = bench.host.command(["stop", id]).stdout(std::process::Stdio::null()).spawn().unwrap();
        let ended = testkit::eventually(Duration::from_secs(4), || stop.try_wait().unwrap().is_some());
        if !ended {
            bench.host.sampan(["kill", id]).expect_code(0);
            stop.wait().unwrap();
            return "waits longer".into();
        }
        assert!(start.elapsed() >= Duration::from_millis(900), "{:?}", start.elapsed());
        "killed after a second".to_owned()
    };
    bench.with_container(words, "trap '' TERM; echo ready; sleep 60", stop).unwrap_or_else(|error| error)
}

fn wait_for_log(bench: &Bench, id: &str, word: &str) {
    let there = || bench.host.sampan(["logs", id]).stdout.contains(word);
    assert!(testkit::eventually(Duration::from_secs(10), there), "it never said {word}");
}

fn logged(bench: &Bench, words: &[String]) -> String {
    let logs = |bench: &Bench, id: &str| {
        bench.host.sampan(["wait", id]).expect_code(0);
        let run = bench.host.sampan(["logs", id]);
        format!("{}{}", run.stdout, run.stderr).trim().to_owned()
    };
    bench.with_container(words, "echo out; echo err >&2", logs).unwrap_or_else(|error| error)
}

fn log_files(bench: &Bench, words: &[String]) -> String {
    let files = |bench: &Bench, id: &str| {
        bench.host.sampan(["wait", id]).expect_code(0);
        let dir = bench.host.data().join("containers").join(id).join("log");
        let mut files: Vec<_> = std::fs::read_dir(dir)
            .unwrap()
            .flatten()
            .map(|entry| entry.file_name().into_string().unwrap())
            .filter(|name| name.starts_with("json.log"))
            .collect();
        files.sort();
        files.join(" ")
    };
    let script = "i=0; while [ $i -lt 100 ]; do echo a line of output; i=$((i+1)); done";
    bench.with_container(words, script, files).unwrap_or_else(|error| error)
}

#[test]
fn it_begins_ends_and_starts_again_as_asked() {
    let mut bench = Bench::new();
    bench.rows(ROWS);
    bench.finish();
}

#[test]
fn lives_that_contradict_themselves_are_refused() {
    let bench = Bench::new();
    for (words, why) in [
        (&["--restart", "always"][..], "--restart and --rm"),
        (&["--restart", "sometimes"], "sometimes"),
        (&["--stop-signal", "SIGNOPE"], "SIGNOPE"),
        (&["--log-driver", "syslog"], "json-file and none"),
        (&["--log-opt", "colour=red"], "colour"),
        (&["--log-driver", "none", "--log-opt", "max-size=1k"], "driver none"),
        (&["-d", "-a", "stdout"], "-a and -d"),
        (&["--cidfile", "/no/such/directory/cid"], "/no/such/directory/cid"),
    ] {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        let run = bench.run(&words, &["true"]);
        assert!(run.code != 0 && run.stderr.contains(why), "{words:?}: {run:?}");
    }
    bench.finish();
}
