use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};

use crate::{Error, Result};

/// What an image says about running it (OCI image-spec, config.md, and docker's additions). It comes from outside: it
/// configures the workload and never the engine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Config {
    /// `user`, `uid`, `user:group`, `uid:gid`; empty for root.
    #[serde(skip_serializing_if = "String::is_empty", deserialize_with = "or_default")]
    pub user: String,
    /// `NAME=value`, in order.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "or_default")]
    pub env: Vec<String>,
    /// The arguments that come before the command.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entrypoint: Option<Vec<String>>,
    /// The default command.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cmd: Option<Vec<String>>,
    /// Absolute; empty for `/`.
    #[serde(skip_serializing_if = "String::is_empty", deserialize_with = "or_default")]
    pub working_dir: String,
    /// Free text for people and tools.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "or_default")]
    pub labels: BTreeMap<String, String>,
    /// `port/protocol` -> `{}`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "or_default")]
    pub exposed_ports: BTreeMap<String, Empty>,
    /// Absolute paths -> `{}`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "or_default")]
    pub volumes: BTreeMap<String, Empty>,
    /// A signal's name or number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop_signal: Option<String>,
    /// docker's HEALTHCHECK.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub healthcheck: Option<Healthcheck>,
}

/// The `{}` of Go's `map[string]struct{}`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Empty {}

/// docker's HEALTHCHECK; durations in nanoseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Healthcheck {
    /// `["NONE"]`, `["CMD", ...]` or `["CMD-SHELL", line]`.
    #[serde(deserialize_with = "or_default")]
    pub test: Vec<String>,
    /// Time between two checks.
    pub interval: i64,
    /// Time one check may take.
    pub timeout: i64,
    /// Time during which failures do not count.
    pub start_period: i64,
    /// Failures in a row that make it unhealthy.
    pub retries: i64,
}

/// One step of an image's making.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct History {
    /// RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// The command.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created_by: Option<String>,
    /// Who.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
    /// Free text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    /// Whether the step made no layer.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub empty_layer: bool,
}

/// The layers' diff ids, bottom first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RootFs {
    /// Always `layers`.
    pub r#type: String,
    /// `sha256:<hex>` each.
    #[serde(deserialize_with = "or_default")]
    pub diff_ids: Vec<snapshot::DiffId>,
}

/// The whole config document, whose digest is the image's id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigFile {
    /// RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// Who.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
    /// Go's name: `amd64`, `arm64`, ...
    pub architecture: String,
    /// `linux`.
    pub os: String,
    /// What to run.
    #[serde(default, deserialize_with = "or_default")]
    pub config: Config,
    /// What to run it on.
    pub rootfs: RootFs,
    /// How it was made.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "or_default")]
    pub history: Vec<History>,
}

/// Takes `null`, which Go writes for empty slices and maps, as the default.
pub(crate) fn or_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

impl ConfigFile {
    /// Checks what is stated, and drops environment entries that state nothing (no `=`, no name): such an entry
    /// must never be filled from the environment of whoever starts the container.
    pub(crate) fn validated(mut self) -> Result<Self> {
        let bad = |why: &str| Err(Error::Document { what: "config", why: why.to_owned() });
        if self.os != "linux" {
            return bad("its os is not linux");
        }
        if self.rootfs.r#type != "layers" {
            return bad("rootfs.type is not \"layers\"");
        }
        if self.rootfs.diff_ids.len() > MAX_LAYERS {
            return bad("it has more than 500 layers");
        }
        let config = &mut self.config;
        config.env.retain(|entry| entry.find('=').is_some_and(|at| at > 0));
        let words = config.entrypoint.iter().chain(&config.cmd).flatten();
        let mut texts = words.chain(&config.env).chain([&config.user, &config.working_dir]);
        let has_nul = texts.any(|text| text.contains('\0'));
        drop(texts);
        if has_nul {
            return bad("a text contains NUL");
        }
        if config.user.contains(['\n', '/']) {
            return bad("the user contains a newline or a slash");
        }
        if !config.working_dir.is_empty() && !config.working_dir.starts_with('/') {
            return bad("the working directory is not absolute");
        }
        if config.volumes.keys().any(|path| !path.starts_with('/') || path.contains('\0')) {
            return bad("a volume's path is not absolute");
        }
        Ok(self)
    }
}

/// overlay takes at most 500 lower directories (`OVL_MAX_STACK`).
const MAX_LAYERS: usize = 500;

/// Go's name of this machine's architecture.
pub(crate) fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "386",
        other => other,
    }
}

/// `time` (or now) as RFC 3339 in UTC.
pub(crate) fn timestamp(seconds: Option<i64>) -> String {
    match seconds.and_then(|s| jiff::Timestamp::from_second(s).ok()) {
        Some(time) => time.to_string(),
        None => jiff::Timestamp::now().to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(config: &str) -> Result<ConfigFile> {
        let text = format!(
            r#"{{"architecture":"amd64","os":"linux","config":{config},"rootfs":{{"type":"layers","diff_ids":[]}}}}"#
        );
        crate::strict::parse::<ConfigFile>("config", text.as_bytes()).and_then(ConfigFile::validated)
    }

    #[test]
    fn gos_nulls_are_empty() {
        let config = file(r#"{"Env":null,"Cmd":["sh"],"Labels":null,"Volumes":{"/d":{}},"Entrypoint":null}"#)
            .unwrap()
            .config;
        assert_eq!((config.env.len(), config.cmd, config.entrypoint), (0, Some(vec!["sh".into()]), None));
        assert_eq!(file("null").unwrap().config, Config::default());
    }

    #[test]
    fn env_entries_that_state_nothing_are_dropped() {
        let config = file(r#"{"Env":["AWS_SECRET_ACCESS_KEY","=x","A","B=1","C="]}"#).unwrap().config;
        assert_eq!(config.env, ["B=1", "C="]);
    }

    #[test]
    fn nonsense_is_refused() {
        for bad in [
            r#"{"User":"a\nroot2::0:0"}"#,
            r#"{"WorkingDir":"rel"}"#,
            r#"{"Volumes":{"../x":{}}}"#,
            r#"{"Cmd":["a\u0000b"]}"#,
            r#"{"Cmd":"sh"}"#,
            r#"{"Env":{}}"#,
        ] {
            assert!(file(bad).is_err(), "{bad}");
        }
    }
}
