//! Who and what the container is: names, environment, labels, user, program.

use crate::bench::{Bench, IMAGE, Look, Row, Want, shown};

pub(crate) const ROWS: &[Row] = &[
    Row {
        flag: "name",
        words: &["--name", "web-1"],
        look: Look::Inspect("/Name"),
        without: Want::Lacks("web-1"),
        with: Want::Is("/web-1"),
    },
    Row {
        flag: "hostname",
        words: &["--hostname", "box"],
        look: Look::Inside("hostname; cat /etc/hostname; echo $HOSTNAME; grep -c 'box$' /etc/hosts"),
        without: Want::Lacks("box"),
        with: Want::Is("box\nbox\nbox\n1"),
    },
    Row {
        flag: "hostname",
        words: &["-h", "box"],
        look: Look::Inside("hostname"),
        without: Want::Other,
        with: Want::Is("box"),
    },
    Row {
        flag: "domainname",
        words: &["--domainname", "example.org"],
        look: Look::Inside("cat /proc/sys/kernel/domainname"),
        without: Want::Is("(none)"),
        with: Want::Is("example.org"),
    },
    Row {
        flag: "env",
        words: &[
            "-e",
            "A=b c",
            "--env",
            "PATH=/x:/bin",
            "-e",
            "SAMPAN_TEST_FROM_CALLER",
            "-e",
            "SAMPAN_TEST_UNSET",
        ],
        look: Look::Inside(
            "echo $A; echo $PATH; echo $SAMPAN_TEST_FROM_CALLER; env | grep -c SAMPAN_TEST_UNSET || true",
        ),
        without: Want::Is("/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n\n0"),
        with: Want::Is("b c\n/x:/bin\nfrom the caller\n0"),
    },
    Row {
        flag: "env-file",
        words: &["--env-file", "{dir}/env", "-e", "B=flag"],
        look: Look::Inside("echo $A $B"),
        without: Want::Is(""),
        with: Want::Is("file flag"),
    },
    Row {
        flag: "label",
        words: &["-l", "a=1", "--label", "b"],
        look: Look::Inspect("/Config/Labels"),
        without: Want::Is("{}"),
        with: Want::Is(r#"{"a":"1","b":""}"#),
    },
    Row {
        flag: "label-file",
        words: &["--label-file", "{dir}/labels"],
        look: Look::Inspect("/Config/Labels"),
        without: Want::Is("{}"),
        with: Want::Is(r#"{"from":"file"}"#),
    },
    Row {
        flag: "user",
        words: &["-u", "1000:1001"],
        look: Look::Inside("id -u; id -g; echo $HOME; grep Groups /proc/self/status"),
        without: Want::Is("0\n0\n/root\nGroups:\t0"),
        with: Want::Is("1000\n1001\n/\nGroups:\t1001"),
    },
    Row {
        flag: "user",
        words: &["--user", "nobody"],
        look: Look::Inside("id -u; cat /proc/self/status | grep CapEff"),
        without: Want::Has("0\n"),
        with: Want::Is("65534\nCapEff:\t0000000000000000"),
    },
    Row {
        flag: "workdir",
        words: &["-w", "/made/for/it"],
        look: Look::Inside("pwd"),
        without: Want::Is("/"),
        with: Want::Is("/made/for/it"),
    },
    Row {
        flag: "entrypoint",
        words: &["--entrypoint", "/bin/busybox"],
        look: Look::Act(whole_program),
        without: Want::Is("[\"/usr/bin/busybox\"]+[\"true\"]"),
        with: Want::Is("[\"/bin/busybox\"]+[\"true\"]"),
    },
    Row {
        flag: "entrypoint",
        words: &["--entrypoint", ""],
        look: Look::Act(entrypoint_alone),
        without: Want::Is("busybox"),
        with: Want::Has("exit 127"),
    },
    Row {
        flag: "add-host",
        words: &["--add-host", "db:10.0.0.7", "--add-host", "v6=[2001:db8::1]"],
        look: Look::Inside("grep -E '[[:space:]](db|v6)$' /etc/hosts || true"),
        without: Want::Is(""),
        with: Want::Is("10.0.0.7\tdb\n2001:db8::1\tv6"),
    },
    Row {
        flag: "pull",
        words: &["--pull", "always"],
        look: Look::Act(whether_it_is_asked_for),
        without: Want::Has("ran"),
        // Nobody serves it here.
        with: Want::Has("127.0.0.1:1"),
    },
    Row {
        flag: "quiet",
        words: &["--quiet"],
        look: Look::Act(what_a_pull_says),
        without: Want::Has("Status: "),
        with: Want::Is(""),
    },
];

/// The program and its arguments, which say that an entrypoint goes before the command.
fn whole_program(bench: &Bench, words: &[String]) -> String {
    let mut args = vec!["create"];
    args.extend(words.iter().map(String::as_str));
    args.extend([IMAGE, "true"]);
    let made = bench.host.sampan(args).expect_code(0);
    let program =
        format!("[\"{}\"]+{}", bench.inspect(made.line(), "/Path"), bench.inspect(made.line(), "/Args"),);
    bench.host.sampan(["rm", made.line()]).expect_code(0);
    program
}

/// With the image's entrypoint `echo` is an applet of it; without any it is a program that the image does not have.
fn entrypoint_alone(bench: &Bench, words: &[String]) -> String {
    shown(&bench.run(words, &["echo", "busybox"]))
}

fn whether_it_is_asked_for(bench: &Bench, words: &[String]) -> String {
    bench.host.sampan(["tag", IMAGE, "here:1"]).expect_code(0);
    let all = ["run", "--rm"].into_iter().chain(words.iter().map(String::as_str));
    let run = bench.host.sampan(all.chain(["here:1", "busybox", "echo", "ran"]));
    bench.host.sampan(["rmi", "here:1"]).expect_code(0);
    format!("{}{}", run.stdout, run.stderr)
}

fn what_a_pull_says(bench: &Bench, words: &[String]) -> String {
    let registry = testkit::Registry::start();
    let name = format!("{}/said:1", registry.name());
    bench.host.sampan(["tag", IMAGE, &name]).expect_code(0);
    bench.host.sampan(["push", &name]).expect_code(0);
    let all = ["run", "--rm", "--pull", "always"].into_iter().chain(words.iter().map(String::as_str));
    let run = bench.host.sampan(all.chain([&*name, "true"])).expect_code(0);
    bench.host.sampan(["rmi", &name]).expect_code(0);
    run.stderr
}

#[test]
fn names_environment_and_program() {
    let mut bench = Bench::new();
    let dir = bench.dir();
    std::fs::write(dir.join("env"), "# comment\nA=file\nB=file\n").unwrap();
    std::fs::write(dir.join("labels"), "from=file\n").unwrap();
    bench.rows(ROWS);
    bench.finish();
}

#[test]
fn an_image_that_is_not_there_is_named_and_never_asked_for() {
    let bench = Bench::new();
    for when in ["missing", "never"] {
        let run = bench.host.sampan(["run", "--pull", when, "no-such:1"]).expect_code(125);
        assert!(run.stderr.contains("no-such:1"), "{}", run.stderr);
    }
    bench.finish();
}
