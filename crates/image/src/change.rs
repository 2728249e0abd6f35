//! `--change` of `import`: the Dockerfile instructions that change a config.

use std::str::FromStr;

use crate::config::{Config, Empty};
use crate::{Error, Result};

/// One instruction, parsed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// `CMD`
    Cmd(Vec<String>),
    /// `ENTRYPOINT`
    Entrypoint(Vec<String>),
    /// `ENV`
    Env(Vec<(String, String)>),
    /// `LABEL`
    Label(Vec<(String, String)>),
    /// `EXPOSE`
    Expose(Vec<String>),
    /// `VOLUME`
    Volume(Vec<String>),
    /// `USER`
    User(String),
    /// `WORKDIR`
    Workdir(String),
    /// `STOPSIGNAL`
    StopSignal(String),
}

impl FromStr for Change {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        parse(text).map_err(|why| Error::Change { text: text.chars().take(120).collect(), why })
    }
}

fn parse(text: &str) -> Result<Change, &'static str> {
    let (verb, rest) = text.trim().split_once(char::is_whitespace).ok_or("it has no argument")?;
    let rest = rest.trim();
    if rest.contains('\0') {
        return Err("it contains NUL");
    }
    match verb.to_ascii_uppercase().as_str() {
        "CMD" => Ok(Change::Cmd(command(rest))),
        "ENTRYPOINT" => Ok(Change::Entrypoint(command(rest))),
        "ENV" => pairs(rest).map(Change::Env),
        "LABEL" => pairs(rest).map(Change::Label),
        "EXPOSE" => rest.split_whitespace().map(port).collect::<Result<_, _>>().map(Change::Expose),
        "VOLUME" => {
            let paths = json(rest).unwrap_or_else(|| rest.split_whitespace().map(str::to_owned).collect());
            match paths.iter().all(|path| path.starts_with('/')) {
                true => Ok(Change::Volume(paths)),
                false => Err("a volume's path must be absolute"),
            }
        }
        "USER" if rest.contains(char::is_whitespace) => Err("USER takes one argument"),
        "USER" => Ok(Change::User(rest.to_owned())),
        "WORKDIR" => Ok(Change::Workdir(rest.to_owned())),
        "STOPSIGNAL" if rest.contains(char::is_whitespace) => Err("STOPSIGNAL takes one argument"),
        "STOPSIGNAL" => Ok(Change::StopSignal(rest.to_owned())),
        _ => Err(
            "only CMD, ENTRYPOINT, ENV, EXPOSE, LABEL, STOPSIGNAL, USER, VOLUME and WORKDIR can be changed",
        ),
    }
}

/// The exec form, a JSON list, or the shell form.
fn command(text: &str) -> Vec<String> {
    json(text).unwrap_or_else(|| vec!["/bin/sh".into(), "-c".into(), text.to_owned()])
}

fn json(text: &str) -> Option<Vec<String>> {
    serde_json::from_str(text).ok()
}

fn port(text: &str) -> Result<String, &'static str> {
    let (number, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let valid = number.parse::<u16>().is_ok_and(|n| n > 0) && matches!(protocol, "tcp" | "udp" | "sctp");
    if valid {
        Ok(format!("{number}/{protocol}"))
    } else {
        Err("a port is 1 to 65535 with /tcp, /udp or /sctp")
    }
}

/// `KEY=VALUE...` with quotes and backslashes, or the old `KEY VALUE`.
fn pairs(text: &str) -> Result<Vec<(String, String)>, &'static str> {
    let words = words(text)?;
    if !words.first().is_some_and(|word| word.contains('=')) {
        let (key, value) = text.split_once(char::is_whitespace).ok_or("it needs KEY=VALUE")?;
        return Ok(vec![(key.to_owned(), value.trim().to_owned())]);
    }
    let pair = |word: &String| match word.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("it needs KEY=VALUE"),
    };
    words.iter().map(pair).collect()
}

fn words(text: &str) -> Result<Vec<String>, &'static str> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None);
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match (c, quote) {
            ('\\', q) if q != Some('\'') => {
                word.get_or_insert_default().push(chars.next().ok_or("it ends in a backslash")?);
            }
            (c, Some(q)) if c == q => quote = None,
            (c, Some(_)) => word.get_or_insert_default().push(c),
            ('"' | '\'', None) => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (c, None) if c.is_whitespace() => words.extend(word.take()),
            (c, None) => word.get_or_insert_default().push(c),
        }
    }
    if quote.is_some() {
        return Err("a quote is not closed");
    }
    words.extend(word);
    Ok(words)
}

impl Change {
    /// Applies the instruction.
    pub(crate) fn apply(&self, config: &mut Config) {
        match self {
            Self::Cmd(words) => config.cmd = Some(words.clone()),
            Self::Entrypoint(words) => {
                config.entrypoint = Some(words.clone());
            }
            Self::Env(pairs) => {
                for (key, value) in pairs {
                    let prefix = format!("{key}=");
                    config.env.retain(|entry| !entry.starts_with(&prefix));
                    config.env.push(prefix + value);
                }
            }
            Self::Label(pairs) => config.labels.extend(pairs.iter().cloned()),
            Self::Expose(ports) => config.exposed_ports.extend(ports.iter().map(|p| (p.clone(), Empty {}))),
            Self::Volume(paths) => config.volumes.extend(paths.iter().map(|p| (p.clone(), Empty {}))),
            Self::User(user) => config.user = user.clone(),
            Self::Workdir(path) if path.starts_with('/') => config.working_dir = path.clone(),
            Self::Workdir(path) => {
                config.working_dir = format!("{}/{path}", config.working_dir.trim_end_matches('/'));
            }
            Self::StopSignal(signal) => config.stop_signal = Some(signal.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn instructions_change_the_config() {
        let mut config = Config::default();
        for text in [
            r#"CMD ["redis-server", "--port", "1"]"#,
            "entrypoint echo hi",
            r#"ENV A=1 B="two words" C=x\ y"#,
            "ENV A 2 3",
            "EXPOSE 80 53/udp",
            "LABEL k='v w'",
            r#"VOLUME ["/data"]"#,
            "USER 1000:1000",
            "WORKDIR /a",
            "WORKDIR b",
            "STOPSIGNAL SIGINT",
        ] {
            text.parse::<Change>().unwrap().apply(&mut config);
        }
        assert_eq!(config.cmd.unwrap(), ["redis-server", "--port", "1"]);
        assert_eq!(config.entrypoint.unwrap(), ["/bin/sh", "-c", "echo hi"]);
        assert_eq!(config.env, ["B=two words", "C=x y", "A=2 3"]);
        assert_eq!(config.exposed_ports.keys().collect::<Vec<_>>(), ["53/udp", "80/tcp"]);
        assert_eq!(config.labels["k"], "v w");
        assert_eq!((config.working_dir.as_str(), config.user.as_str()), ("/a/b", "1000:1000"));
        for bad in ["RUN x", "CMD", "EXPOSE 0", "EXPOSE 80/x", "ENV A", "LABEL =x", "VOLUME rel", "ENV A=\"x"]
        {
            assert!(bad.parse::<Change>().is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_parsed_or_refused(text in any::<String>()) {
            let _ = format!("ENV {text}").parse::<Change>();
            let _ = text.parse::<Change>();
        }
    }
}
