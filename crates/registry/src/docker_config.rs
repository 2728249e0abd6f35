//! Docker's file of credentials, and its credential helpers.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::credentials::{decode, encode};
use crate::error::clean;
use crate::{Credential, Credentials, Error, Result, Secret};

/// How long the file may be.
const LONGEST: u64 = 4 << 20;
/// How much of a helper's answer is read.
const ANSWER: u64 = 256 << 10;
/// How long a helper may take; it may ask the user to unlock a keychain.
const HELPER_TIME: Duration = Duration::from_secs(60);
/// The name of docker's hub in this file.
const HUB: &str = "https://index.docker.io/v1/";

/// `config.json` of docker: `auths`, `credHelpers` and `credsStore`.
#[derive(Clone, Debug)]
pub struct DockerConfig {
    path: PathBuf,
    helpers: Option<PathBuf>,
}

/// What a helper answers to `get`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    username: String,
    secret: String,
}

impl DockerConfig {
    /// The `config.json` in `dir`, which need not exist.
    pub fn at(dir: &Path) -> Self {
        Self { path: dir.join("config.json"), helpers: None }
    }

    /// The one of this user: in `$DOCKER_CONFIG`, or else in `~/.docker`.
    pub fn of_user() -> Result<Self> {
        if let Some(dir) = std::env::var_os("DOCKER_CONFIG").filter(|dir| !dir.is_empty()) {
            return Ok(Self::at(Path::new(&dir)));
        }
        let home = std::env::home_dir().filter(|home| home.is_absolute());
        let home = home.ok_or_else(|| Error::Credentials {
            path: "~/.docker/config.json".into(),
            why: "there is no home directory; set DOCKER_CONFIG".into(),
        })?;
        Ok(Self::at(&home.join(".docker")))
    }

    /// Looks for credential helpers in `dir` instead of `PATH`.
    #[must_use]
    pub fn helpers_in(mut self, dir: &Path) -> Self {
        self.helpers = Some(dir.to_owned());
        self
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Keeps `credential` for `registry`: with the helper that the file names for it, or else in the file, which is
    /// written anew with mode 0600.
    pub fn store(&self, registry: &str, credential: &Credential) -> Result<()> {
        let key = key(registry);
        let mut config = self.read()?;
        if let Some(helper) = helper(&config, &key) {
            let (username, secret) = match credential {
                Credential::Password { username, password } => (username.as_str(), password),
                Credential::IdentityToken(token) => ("<token>", token),
            };
            let request = json!({"ServerURL": key, "Username": username, "Secret": secret.expose()});
            self.run(&helper, "store", &request.to_string())?;
            // What the file has for this registry is old now, and would stay readable.
            if self.forget(&mut config, &key) {
                self.write(&config)?;
            }
            return Ok(());
        }
        let entry = match credential {
            Credential::Password { username, password } => json!({"auth": encode(username, password)?}),
            Credential::IdentityToken(token) => {
                json!({"auth": encode("00000000-0000-0000-0000-000000000000", &Secret::new(""))?, "identitytoken": token.expose()})
            }
        };
        let auths = config.entry("auths").or_insert_with(|| json!({}));
        let auths = auths.as_object_mut().ok_or_else(|| self.wrong("`auths` is not an object"))?;
        auths.insert(key, entry);
        self.write(&config)
    }

    /// Forgets what there is for `registry`; false where there was nothing.
    pub fn erase(&self, registry: &str) -> Result<bool> {
        let key = key(registry);
        let mut config = self.read()?;
        let mut had = false;
        if let Some(helper) = helper(&config, &key) {
            had = self.run(&helper, "get", &key)?.is_some();
            if had {
                self.run(&helper, "erase", &key)?;
            }
        }
        if self.forget(&mut config, &key) {
            self.write(&config)?;
            had = true;
        }
        Ok(had)
    }

    fn forget(&self, config: &mut Map<String, Value>, key: &str) -> bool {
        let Some(auths) = config.get_mut("auths").and_then(Value::as_object_mut) else { return false };
        let before = auths.len();
        auths.retain(|name, _| !same(name, key));
        auths.len() != before
    }

    fn wrong(&self, why: impl Into<String>) -> Error {
        Error::Credentials { path: self.path.display().to_string(), why: why.into() }
    }

    fn read(&self) -> Result<Map<String, Value>> {
        let file = match fs::File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Map::new()),
            Err(error) => return Err(self.wrong(error.to_string())),
        };
        let mut text = Vec::new();
        file.take(LONGEST + 1).read_to_end(&mut text).map_err(|error| self.wrong(error.to_string()))?;
        if text.len() as u64 > LONGEST {
            return Err(self.wrong("it is too long"));
        }
        if text.trim_ascii().is_empty() {
            return Ok(Map::new());
        }
        // The parser's message has a place, not the text there.
        match serde_json::from_slice(&text) {
            Ok(Value::Object(config)) => Ok(config),
            Ok(_) => Err(self.wrong("it is not an object")),
            Err(error) => {
                Err(self.wrong(format!("no JSON in line {}, column {}", error.line(), error.column())))
            }
        }
    }

    /// Writes a new file beside the old one and renames it. A link stays a link.
    fn write(&self, config: &Map<String, Value>) -> Result<()> {
        let failed = |error: std::io::Error| self.wrong(error.to_string());
        let path = fs::canonicalize(&self.path).unwrap_or_else(|_| self.path.clone());
        let dir = path.parent().ok_or_else(|| self.wrong("it has no directory"))?;
        if !dir.exists() {
            fs::create_dir_all(dir).map_err(failed)?;
            fs::set_permissions(dir, fs::Permissions::from_mode(0o700)).map_err(failed)?;
        }
        let mut text = serde_json::to_string_pretty(config).map_err(|error| self.wrong(error.to_string()))?;
        text.push('\n');
        let fresh = dir.join(format!(".config.json.{}", std::process::id()));
        let _ = fs::remove_file(&fresh);
        let written = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&fresh)
            .and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.sync_all()))
            .and_then(|()| fs::rename(&fresh, &path));
        if written.is_err() {
            let _ = fs::remove_file(&fresh);
        }
        written.map_err(failed)
    }

    /// Runs a helper's `verb`. `None` when it has nothing for that server.
    fn run(&self, name: &str, verb: &str, input: &str) -> Result<Option<Vec<u8>>> {
        let failed = |why: String| Error::Credentials { path: format!("docker-credential-{name}"), why };
        let plain = !name.is_empty()
            && name.len() <= 64
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
            && !name.starts_with('.');
        if !plain {
            return Err(self.wrong(format!("{:?} is no name of a credential helper", clean(name, 64))));
        }
        let program = PathBuf::from(format!("docker-credential-{name}"));
        let program = self.helpers.as_ref().map_or_else(|| program.clone(), |dir| dir.join(&program));
        let mut child = Command::new(program)
            .arg(verb)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| failed(error.to_string()))?;
        if let Some(mut stdin) = child.stdin.take() {
            // One that does not read says why by its status.
            let _ = stdin.write_all(input.as_bytes());
        }
        let (sender, receiver) = mpsc::channel();
        if let Some(stdout) = child.stdout.take() {
            std::thread::spawn(move || {
                let mut answer = Vec::new();
                let _ = stdout.take(ANSWER + 1).read_to_end(&mut answer);
                let _ = sender.send(answer);
            });
        }
        let end = Instant::now() + HELPER_TIME;
        let answer = receiver.recv_timeout(HELPER_TIME).unwrap_or_default();
        let status = loop {
            match child.try_wait().map_err(|error| failed(error.to_string()))? {
                Some(status) => break status,
                None if Instant::now() >= end || answer.len() as u64 > ANSWER => {
                    let _ = child.kill();
                    let _ = child.wait();
                    return Err(failed("it did not end, or said too much".into()));
                }
                None => std::thread::sleep(Duration::from_millis(5)),
            }
        };
        if answer.len() as u64 > ANSWER {
            return Err(failed("it did not end, or said too much".into()));
        }
        if status.success() {
            return Ok(Some(answer));
        }
        let said = clean(&String::from_utf8_lossy(&answer), 200);
        if verb == "get" && said.contains("credentials not found") {
            return Ok(None);
        }
        Err(failed(if said.is_empty() { status.to_string() } else { said }))
    }
}

impl Credentials for DockerConfig {
    fn get(&self, registry: &str) -> Result<Option<Credential>> {
        let config = self.read()?;
        let key = key(registry);
        if let Some(name) = helper(&config, &key)
            && let Some(answer) = self.run(&name, "get", &key)?
        {
            // The parser's message could quote a part of a secret.
            let wrong = |_| Error::Credentials {
                path: format!("docker-credential-{name}"),
                why: "its answer is not the protocol's JSON".into(),
            };
            let answer: Answer = serde_json::from_slice(&answer).map_err(wrong)?;
            return Ok(match answer {
                Answer { username, secret } if username == "<token>" => {
                    Some(Credential::IdentityToken(Secret::new(secret)))
                }
                Answer { username, secret } if username.is_empty() && secret.is_empty() => None,
                Answer { username, secret } => {
                    Some(Credential::Password { username, password: Secret::new(secret) })
                }
            });
        }
        let Some(auths) = config.get("auths").and_then(Value::as_object) else { return Ok(None) };
        let entry = auths
            .get(&key)
            .or_else(|| auths.iter().find(|(name, _)| same(name, &key)).map(|(_, entry)| entry));
        let Some(entry) = entry else { return Ok(None) };
        let field = |name: &str| entry.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
        if let Some(token) = field("identitytoken") {
            return Ok(Some(Credential::IdentityToken(Secret::new(token))));
        }
        if let Some(auth) = field("auth") {
            let (username, password) = decode(auth).map_err(|why| self.wrong(why))?;
            return Ok(Some(Credential::Password { username, password }));
        }
        Ok(match (field("username"), field("password")) {
            (Some(username), Some(password)) => {
                Some(Credential::Password { username: username.into(), password: Secret::new(password) })
            }
            _ => None,
        })
    }
}

/// The name of a registry in the file.
fn key(registry: &str) -> String {
    match registry {
        "docker.io" | "index.docker.io" | "registry-1.docker.io" => HUB.to_owned(),
        other => other.to_owned(),
    }
}

/// Whether two names of the file are of one host; old ones have a scheme and a path.
fn same(one: &str, other: &str) -> bool {
    fn host(name: &str) -> &str {
        let name = name.strip_prefix("https://").or_else(|| name.strip_prefix("http://")).unwrap_or(name);
        name.split('/').next().unwrap_or(name)
    }
    host(one) == host(other)
}

/// The helper for a registry: its own, or that of all.
fn helper(config: &Map<String, Value>, key: &str) -> Option<String> {
    let own = config.get("credHelpers").and_then(Value::as_object);
    let own = own.and_then(|own| own.iter().find(|(name, _)| same(name, key)).map(|(_, helper)| helper));
    own.or_else(|| config.get("credsStore"))
        .and_then(Value::as_str)
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
}
