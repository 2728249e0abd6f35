//! From a verb and its flags to the function that does it.

use std::io::Write;

use lexopt::{Arg, Parser, ValueExt};
use runtime::verbs::{self, Create, Exec, Format, Run};

use crate::args::{Error, Global, Verb, number, one_id, truth};
use crate::log;

const HELP: &str = "\
sampan-runtime: runs OCI containers, with runc's command line

Usage: sampan-runtime [--root DIR] [--log FILE] [--log-format text|json] COMMAND ...

  create [-b BUNDLE] [--console-socket S] [--pid-file F] [--preserve-fds N] ID
  start ID
  run [-b BUNDLE] [-d] [--keep] ID
  exec [-t] [-d] [-e NAME=VALUE] [--cwd DIR] [-u UID[:GID]] [-p process.json] ID COMMAND ...
  kill [-a] ID [SIGNAL]
  delete [-f] ID
  state ID
  list [-f table|json] [-q]
  ps [-f table|json] ID [PS OPTIONS]
  pause ID
  resume ID
  spec [-b BUNDLE] [--rootless]
  features
";

/// Follows a command line; returns the exit code.
pub(crate) fn route(global: &mut Global, mut parser: Parser) -> Result<i32, Error> {
    let name = match global.read(&mut parser)? {
        Verb::Version => {
            let version = env!("CARGO_PKG_VERSION");
            return print(&format!("sampan-runtime version {version}\nspec: 1.2.0\n"));
        }
        Verb::Help => return print(HELP),
        Verb::Named(name) => name,
    };
    let parser = &mut parser;
    match name.as_str() {
        "create" => create(global, parser),
        "run" => run(global, parser),
        "exec" => exec(global, parser),
        "start" => {
            let id = only_id("start", parser)?;
            Ok(warned(global, 0, verbs::start(&global.root, &id)?))
        }
        "kill" => kill(global, parser),
        "delete" => delete(global, parser),
        "state" => print(&format!("{}\n", verbs::state(&global.root, &only_id("state", parser)?)?)),
        "list" => list(global, parser),
        "ps" => ps(global, parser),
        "pause" => verbs::pause(&global.root, &only_id("pause", parser)?).map(|()| 0).map_err(Error::from),
        "resume" => verbs::resume(&global.root, &only_id("resume", parser)?).map(|()| 0).map_err(Error::from),
        "spec" => spec(parser),
        "features" => print(&format!("{}\n", features())),
        "help" | "h" => print(HELP),
        _ => Err(Error::Verb(name)),
    }
}

fn print(text: &str) -> Result<i32, Error> {
    std::io::stdout().write_all(text.as_bytes()).map_err(Error::Output)?;
    Ok(0)
}

fn warned(global: &Global, code: i32, warnings: Vec<String>) -> i32 {
    for text in warnings {
        log::warning(global, &text);
    }
    code
}

/// The grammar of verbs that take an id and no flags.
fn only_id(verb: &'static str, parser: &mut Parser) -> Result<String, Error> {
    let mut ids = Vec::new();
    while let Some(arg) = parser.next()? {
        match arg {
            Arg::Value(id) => ids.push(id.string()?),
            other => return Err(other.unexpected().into()),
        }
    }
    one_id(verb, ids)
}

/// A flag that `create` and `run` share; what is none of them is an error.
fn create_flag(arg: Arg<'_>, create: &mut Create) -> Result<Option<Wanted>, Error> {
    Ok(Some(match arg {
        Arg::Long("bundle") | Arg::Short('b') => Wanted::Bundle,
        Arg::Long("console-socket") => Wanted::ConsoleSocket,
        Arg::Long("pidfd-socket") => Wanted::PidfdSocket,
        Arg::Long("pid-file") => Wanted::PidFile,
        Arg::Long("preserve-fds") => Wanted::PreserveFds,
        Arg::Long("no-pivot") => Wanted::NoPivot,
        Arg::Long("no-new-keyring") => Wanted::NoNewKeyring,
        Arg::Value(id) if create.id.is_empty() => {
            create.id = id.string()?;
            return Ok(None);
        }
        other => return Err(other.unexpected().into()),
    }))
}

/// A flag of `create` whose value is still to be read.
enum Wanted {
    Bundle,
    ConsoleSocket,
    PidfdSocket,
    PidFile,
    PreserveFds,
    NoPivot,
    NoNewKeyring,
}

impl Wanted {
    fn read(self, parser: &mut Parser, create: &mut Create) -> Result<(), Error> {
        match self {
            Self::Bundle => create.bundle = parser.value()?.into(),
            Self::ConsoleSocket => create.console_socket = Some(parser.value()?.into()),
            Self::PidfdSocket => create.pidfd_socket = Some(parser.value()?.into()),
            Self::PidFile => create.pid_file = Some(parser.value()?.into()),
            Self::PreserveFds => create.preserve_fds = number(parser, "preserve-fds")?,
            Self::NoPivot => create.no_pivot = truth(parser)?,
            Self::NoNewKeyring => create.no_new_keyring = truth(parser)?,
        }
        Ok(())
    }
}

fn new_create(global: &Global) -> Create {
    Create { root: global.root.clone(), bundle: ".".into(), ..Default::default() }
}

fn create(global: &Global, parser: &mut Parser) -> Result<i32, Error> {
    let mut request = new_create(global);
    while let Some(arg) = parser.next()? {
        if let Some(wanted) = create_flag(arg, &mut request)? {
            wanted.read(parser, &mut request)?;
        }
    }
    one_id("create", vec![request.id.clone()].into_iter().filter(|id| !id.is_empty()).collect())?;
    linux::exe::run_from_read_only_mount().map_err(runtime::Error::from)?;
    Ok(warned(global, 0, verbs::create(&request)?))
}

fn run(global: &Global, parser: &mut Parser) -> Result<i32, Error> {
    let mut request = Run { create: new_create(global), ..Default::default() };
    while let Some(arg) = parser.next()? {
        match arg {
            Arg::Long("detach") | Arg::Short('d') => request.detach = truth(parser)?,
            Arg::Long("no-subreaper") => request.no_subreaper = truth(parser)?,
            Arg::Long("keep") => request.keep = truth(parser)?,
            other => {
                if let Some(wanted) = create_flag(other, &mut request.create)? {
                    wanted.read(parser, &mut request.create)?;
                }
            }
        }
    }
    one_id("run", vec![request.create.id.clone()].into_iter().filter(|id| !id.is_empty()).collect())?;
    linux::exe::run_from_read_only_mount().map_err(runtime::Error::from)?;
    let (code, warnings) = verbs::run(&request)?;
    Ok(warned(global, code, warnings))
}

fn exec(global: &Global, parser: &mut Parser) -> Result<i32, Error> {
    let mut request = Exec { root: global.root.clone(), ..Default::default() };
    while let Some(arg) = parser.next()? {
        match arg {
            Arg::Long("console-socket") => request.console_socket = Some(parser.value()?.into()),
            Arg::Long("pidfd-socket") => request.pidfd_socket = Some(parser.value()?.into()),
            Arg::Long("pid-file") => request.pid_file = Some(parser.value()?.into()),
            Arg::Long("cwd") => request.cwd = Some(parser.value()?.into()),
            Arg::Long("env") | Arg::Short('e') => request.env.push(parser.value()?.string()?),
            Arg::Long("tty") | Arg::Short('t') => request.tty = truth(parser)?,
            Arg::Long("user") | Arg::Short('u') => request.user = Some(parser.value()?.string()?),
            Arg::Long("additional-gids") | Arg::Short('g') => {
                request.additional_gids.push(number(parser, "additional-gids")?);
            }
            Arg::Long("process") | Arg::Short('p') => request.process_file = Some(parser.value()?.into()),
            Arg::Long("detach") | Arg::Short('d') => request.detach = truth(parser)?,
            Arg::Long("process-label") => request.process_label = Some(parser.value()?.string()?),
            Arg::Long("apparmor") => request.apparmor = Some(parser.value()?.string()?),
            Arg::Long("no-new-privs") => request.no_new_privs = truth(parser)?,
            Arg::Long("cap") | Arg::Short('c') => request.caps.push(parser.value()?.string()?),
            Arg::Long("preserve-fds") => request.preserve_fds = number(parser, "preserve-fds")?,
            Arg::Long("ignore-paused") => request.ignore_paused = truth(parser)?,
            Arg::Long("cgroup") => check_cgroup(parser.value()?.string()?)?,
            Arg::Value(id) => {
                request.id = id.string()?;
                // Everything behind the id is the command's, flags too.
                for word in parser.raw_args()? {
                    request.args.push(word.string()?);
                }
                if request.args.first().is_some_and(|word| word == "--") {
                    request.args.remove(0);
                }
            }
            other => return Err(other.unexpected().into()),
        }
    }
    if request.id.is_empty() {
        return Err(Error::Missing { verb: "exec", what: "the container's id" });
    }
    if request.args.is_empty() && request.process_file.is_none() {
        return Err(Error::Missing { verb: "exec", what: "a command or --process" });
    }
    linux::exe::run_from_read_only_mount().map_err(runtime::Error::from)?;
    let (code, warnings) = verbs::exec(&request)?;
    Ok(warned(global, code, warnings))
}

fn check_cgroup(value: String) -> Result<(), Error> {
    if matches!(value.as_str(), "" | "/") {
        return Ok(());
    }
    Err(Error::Value { flag: "cgroup", value, reason: "only the container's own cgroup (/) is supported" })
}

fn kill(global: &Global, parser: &mut Parser) -> Result<i32, Error> {
    let (mut all, mut words) = (false, Vec::new());
    while let Some(arg) = parser.next()? {
        match arg {
            Arg::Long("all") | Arg::Short('a') => all = truth(parser)?,
            Arg::Value(word) if words.len() < 2 => words.push(word.string()?),
            other => return Err(other.unexpected().into()),
        }
    }
    let signal = words.get(1).map_or("TERM", String::as_str);
    let signal = verbs::parse_signal(signal)?;
    let id = words.first().ok_or(Error::Missing { verb: "kill", what: "the container's id" })?;
    verbs::kill(&global.root, id, signal, all)?;
    Ok(0)
}

fn delete(global: &Global, parser: &mut Parser) -> Result<i32, Error> {
    let (mut force, mut ids) = (false, Vec::new());
    while let Some(arg) = parser.next()? {
        match arg {
            Arg::Long("force") | Arg::Short('f') => force = truth(parser)?,
            Arg::Value(id) => ids.push(id.string()?),
            other => return Err(other.unexpected().into()),
        }
    }
    let id = one_id("delete", ids)?;
    Ok(warned(global, 0, verbs::delete(&global.root, &id, force)?))
}

fn list(global: &Global, parser: &mut Parser) -> Result<i32, Error> {
    let (mut format, mut quiet) = (Format::Table, false);
    while let Some(arg) = parser.next()? {
        match arg {
            Arg::Long("format") | Arg::Short('f') => format = parser.value()?.string()?.parse()?,
            Arg::Long("quiet") | Arg::Short('q') => quiet = truth(parser)?,
            other => return Err(other.unexpected().into()),
        }
    }
    let (text, warnings) = verbs::list(&global.root, format, quiet)?;
    print(&text)?;
    Ok(warned(global, 0, warnings))
}

fn ps(global: &Global, parser: &mut Parser) -> Result<i32, Error> {
    let (mut format, mut id, mut options) = (Format::Table, None, Vec::new());
    while let Some(arg) = parser.next()? {
        match arg {
            Arg::Long("format") | Arg::Short('f') => format = parser.value()?.string()?.parse()?,
            Arg::Value(word) => {
                id = Some(word.string()?);
                for option in parser.raw_args()? {
                    options.push(option.string()?);
                }
            }
            other => return Err(other.unexpected().into()),
        }
    }
    let id = id.ok_or(Error::Missing { verb: "ps", what: "the container's id" })?;
    print(&verbs::ps(&global.root, &id, format, &options)?)
}

fn spec(parser: &mut Parser) -> Result<i32, Error> {
    let (mut bundle, mut rootless) = (std::path::PathBuf::from("."), false);
    while let Some(arg) = parser.next()? {
        match arg {
            Arg::Long("bundle") | Arg::Short('b') => bundle = parser.value()?.into(),
            Arg::Long("rootless") => rootless = truth(parser)?,
            other => return Err(other.unexpected().into()),
        }
    }
    verbs::spec(&bundle, rootless)?;
    Ok(0)
}

/// The specification's features document (features.md), of what is built in.
fn features() -> serde_json::Value {
    serde_json::json!({
        "ociVersionMin": "1.0.0",
        "ociVersionMax": "1.3.0",
        "hooks": ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"],
        "linux": {
            "namespaces": ["cgroup", "ipc", "mount", "network", "pid", "time", "user", "uts"],
            "cgroup": { "v1": true, "v2": true, "systemd": false, "systemdUser": false },
            "seccomp": { "enabled": true },
        },
    })
}
