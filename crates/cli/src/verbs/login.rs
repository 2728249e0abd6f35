use std::io::{BufRead, IsTerminal, Read, Write};
use std::os::fd::AsFd;
use std::sync::Arc;

use fault::{Fault, Kind};
use registry::{Credential, DockerConfig, Fixed, Options, Registry, Secret};

use crate::registries;
use crate::terminal::Raw;
use crate::{Failed, Outcome};

/// docker's registry, where none is named.
const DEFAULT: &str = "docker.io";
/// Most bytes of a password.
const MAX_PASSWORD: u64 = 64 << 10;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The registry: HOST[:PORT]
    #[arg(default_value = DEFAULT)]
    server: String,
    /// The user
    #[arg(short, long)]
    username: Option<String>,
    /// The password; others can see it in the list of processes
    #[arg(short, long, conflicts_with = "password_stdin")]
    password: Option<String>,
    /// Read the password from standard input
    #[arg(long, requires = "username")]
    password_stdin: bool,
    #[command(flatten)]
    registries: registries::Flags,
}

/// Why nobody could be asked.
#[derive(Debug, thiserror::Error)]
enum Unasked {
    #[error("cannot perform an interactive login from a non TTY device")]
    NoTerminal,
    #[error("the password is empty")]
    Empty,
    #[error("cannot read from standard input")]
    Unreadable(#[source] std::io::Error),
}

impl Fault for Unasked {
    fn kind(&self) -> Kind {
        Kind::Invalid
    }

    fn hint(&self) -> Option<String> {
        matches!(self, Self::NoTerminal).then(|| "use -u USER --password-stdin".into())
    }
}

impl Args {
    pub(crate) fn run(self) -> Outcome {
        let username = match &self.username {
            Some(name) => name.clone(),
            None => ask("Username: ", false)?,
        };
        let credential = Credential::Password { username, password: self.secret()? };
        let server = self.server.trim_start_matches("https://").trim_end_matches('/').to_owned();
        let server = if server.starts_with("index.docker.io") { DEFAULT.to_owned() } else { server };
        let options = Options {
            credentials: Arc::new(Fixed::new(server.clone(), credential.clone())),
            ..self.registries.options()?
        };
        Registry::login(&server, &options)?.check()?;
        DockerConfig::of_user()?.store(&server, &credential)?;
        println!("Login Succeeded");
        Ok(0)
    }

    fn secret(&self) -> Result<Secret, Failed> {
        let password = match &self.password {
            Some(password) => {
                eprintln!("WARNING! Using --password via the CLI is insecure. Use --password-stdin.");
                password.clone()
            }
            None if self.password_stdin => {
                let mut text = String::new();
                let read = std::io::stdin().take(MAX_PASSWORD).read_to_string(&mut text);
                read.map_err(Unasked::Unreadable)?;
                text.trim_end_matches(['\r', '\n']).to_owned()
            }
            None => ask("Password: ", true)?,
        };
        if password.is_empty() {
            return Err(Unasked::Empty.into());
        }
        Ok(Secret::new(password))
    }
}

/// Asks the terminal's user.
fn ask(prompt: &str, hidden: bool) -> Result<String, Failed> {
    let stdin = std::io::stdin();
    if !stdin.is_terminal() {
        return Err(Unasked::NoTerminal.into());
    }
    eprint!("{prompt}");
    // A prompt that cannot be shown is one that nobody answers.
    let _ = std::io::stderr().flush();
    let mut line = String::new();
    let read = {
        let _silent = if hidden {
            Raw::hide(stdin.as_fd()).map_err(|e| Unasked::Unreadable(e.errno.into()))?
        } else {
            None
        };
        stdin.lock().take(MAX_PASSWORD).read_line(&mut line)
    };
    if hidden {
        eprintln!();
    }
    read.map_err(Unasked::Unreadable)?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}
