//! CVE-2019-5736: the runtime's own program, reached through `/proc/PID/exe`.

use testkit::{Host, binary};

use crate::evil::{Tree, sha256};

fn sums() -> Vec<String> {
    ["sampan", "sampan-runtime"].map(|name| sha256(&std::fs::read(binary(name)).unwrap())).to_vec()
}

/// Opens what any process that is not busybox executes for writing, as long as there is a file `/go`;
/// not for ever, should the test be killed.
const HUNT: &str = "touch /go; turn=0; while [ -e /go ] && [ $turn -lt 6000 ]; do turn=$((turn+1)); for p in /proc/[0-9]*; do \
    case $(readlink $p/exe 2>/dev/null) in */busybox|'') ;; *) (: >>$p/exe) 2>/dev/null && echo WROTE $p; \
    (: <>$p/exe) 2>/dev/null && echo OPENED $p; seen=$((seen+1));; esac; done; done; echo hunted";

#[test]
fn the_runtime_cannot_be_overwritten() {
    let host = Host::new();
    let before = sums();
    let tree = Tree::new();
    tree.file("/entry", "#!/proc/self/exe\n").file("/etc/passwd", "root:x:0:0::/:/bin/sh\n");
    let entry = tree.path("/entry");
    std::process::Command::new("chmod").arg("755").arg(&entry).status().unwrap();
    tree.import(&host, "entry", &[]);
    for words in [&[][..], &["--privileged"], &["--init"], &["--userns", "auto"]] {
        let all = ["run", "--rm"].iter().chain(words).chain(&["entry", "/entry"]);
        // It is the runtime that runs in the container then, which can do nothing there.
        let run = host.sampan(all);
        assert_ne!(run.code, 0, "{words:?}: {run:?}");
        assert_eq!(sums(), before, "{words:?}");
    }
}

#[test]
fn nor_while_it_enters_a_container() {
    let host = Host::new();
    let before = sums();
    let tree = Tree::new();
    tree.file("/entry", "#!/proc/self/exe\n").file("/etc/passwd", "root:x:0:0::/:/bin/sh\n");
    std::process::Command::new("chmod").arg("755").arg(tree.path("/entry")).status().unwrap();
    tree.import(&host, "entry", &[]);
    let run = ["run", "-d", "--name", "target", "--cap-add", "SYS_PTRACE", "entry", "/bin/sh", "-c", HUNT];
    host.sampan(run).expect_code(0);
    for _ in 0..40 {
        host.sampan(["exec", "target", "/bin/busybox", "true"]).expect_code(0);
        host.sampan(["exec", "target", "/entry"]);
    }
    host.sampan(["exec", "target", "/bin/busybox", "rm", "/go"]).expect_code(0);
    host.sampan(["wait", "target"]).expect_code(0);
    let logs = host.sampan(["logs", "target"]).expect_code(0);
    assert_eq!(logs.line(), "hunted");
    assert_eq!(sums(), before);
    host.sampan(["rm", "-f", "target"]).expect_code(0);
}
