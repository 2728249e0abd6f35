//! runc's grammar: global flags, a verb, and flags before or after the container's id.

use std::path::PathBuf;
use std::str::FromStr;

use fault::{Fault, Kind};
use lexopt::{Arg, Parser, ValueExt};

/// Why a command line cannot be followed, or what its verb says.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// An unknown flag, a missing value.
    #[error("{0}")]
    Grammar(#[from] lexopt::Error),
    /// A required argument is missing.
    #[error("{verb}: {what} is required")]
    Missing { verb: &'static str, what: &'static str },
    /// A value that is none of those that are possible.
    #[error("--{flag} {value:?}: {reason}")]
    Value { flag: &'static str, value: String, reason: &'static str },
    /// No such verb.
    #[error("no such command: {0:?}; see `sampan-runtime help`")]
    Verb(String),
    /// The verb failed.
    #[error(transparent)]
    Runtime(#[from] runtime::Error),
    /// Standard output is gone.
    #[error("standard output: {0}")]
    Output(std::io::Error),
}

impl Fault for Error {
    fn kind(&self) -> Kind {
        match self {
            Self::Runtime(error) => error.kind(),
            Self::Output(error) => Kind::of_io(error),
            Self::Value { flag: "systemd-cgroup", .. } => Kind::Unsupported,
            _ => Kind::Invalid,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Runtime(error) => error.hint(),
            _ => None,
        }
    }
}

/// How the file of `--log` is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum LogFormat {
    #[default]
    Text,
    Json,
}

/// The flags before the verb.
#[derive(Debug)]
pub(crate) struct Global {
    pub root: PathBuf,
    pub log: Option<PathBuf>,
    pub log_format: LogFormat,
}

impl Default for Global {
    fn default() -> Self {
        Self { root: "/run/sampan-runtime".into(), log: None, log_format: LogFormat::Text }
    }
}

/// What comes first behind the global flags.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verb {
    Version,
    Help,
    Named(String),
}

impl Global {
    /// Reads up to the verb.
    pub(crate) fn read(&mut self, parser: &mut Parser) -> Result<Verb, Error> {
        while let Some(arg) = parser.next()? {
            match arg {
                Arg::Long("root") => self.root = parser.value()?.into(),
                Arg::Long("log") => self.log = Some(parser.value()?.into()),
                Arg::Long("log-format") => self.log_format = log_format(&parser.value()?.string()?)?,
                // More messages than there are anyway are not to be had.
                Arg::Long("debug") => drop(truth(parser)?),
                Arg::Long("systemd-cgroup") => {
                    if truth(parser)? {
                        let reason = "the systemd cgroup driver is not built in; use cgroupfs paths";
                        return Err(Error::Value { flag: "systemd-cgroup", value: "true".into(), reason });
                    }
                }
                Arg::Long("rootless" | "criu") => drop(parser.value()?),
                Arg::Long("version") | Arg::Short('v') => return Ok(Verb::Version),
                Arg::Long("help") | Arg::Short('h') => return Ok(Verb::Help),
                Arg::Value(name) => return Ok(Verb::Named(name.string()?)),
                other => return Err(other.unexpected().into()),
            }
        }
        Ok(Verb::Help)
    }
}

fn log_format(text: &str) -> Result<LogFormat, Error> {
    match text {
        "text" => Ok(LogFormat::Text),
        "json" => Ok(LogFormat::Json),
        _ => Err(Error::Value { flag: "log-format", value: text.into(), reason: "must be text or json" }),
    }
}

/// A flag that is true when it is given alone, and may have a value (`--systemd-cgroup=false`).
pub(crate) fn truth(parser: &mut Parser) -> Result<bool, Error> {
    let Some(value) = parser.optional_value() else { return Ok(true) };
    let text = value.string()?;
    match text.as_str() {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(Error::Value { flag: "(boolean)", value: text, reason: "must be true or false" }),
    }
}

/// A number without sign or space.
pub(crate) fn number<T: FromStr>(parser: &mut Parser, flag: &'static str) -> Result<T, Error> {
    let text = parser.value()?.string()?;
    let digits = text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|_| digits).ok_or(Error::Value {
        flag,
        value: text,
        reason: "must be a number in decimal digits",
    })
}

/// The positional arguments: exactly one id.
pub(crate) fn one_id(verb: &'static str, ids: Vec<String>) -> Result<String, Error> {
    let mut ids = ids.into_iter();
    match (ids.next(), ids.next()) {
        (Some(id), None) => Ok(id),
        (None, _) => Err(Error::Missing { verb, what: "the container's id" }),
        (_, Some(more)) => Err(lexopt::Error::UnexpectedArgument(more.into()).into()),
    }
}
