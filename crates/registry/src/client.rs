//! One repository at one registry.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ureq::http::Method;

use crate::answer::Answer;
use crate::call::{Body, Call};
use crate::endpoint::Endpoint;
use crate::hosts::Host;
use crate::{Anonymous, Cancel, Credentials, Error, Result, hosts, names};

/// What a repository is opened for; a token is asked for no more than that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Reading.
    Pull,
    /// Reading and writing.
    Push,
}

/// How a registry is spoken to.
#[derive(Clone)]
pub struct Options {
    /// Directories with `<host>/hosts.toml`, as containerd has them; the first that has one for the registry counts.
    pub hosts_dirs: Vec<PathBuf>,
    /// Whether plain http was asked for. Without it only hosts of this machine are spoken to so, after https failed.
    pub plain_http: bool,
    /// Who asks.
    pub credentials: Arc<dyn Credentials>,
    /// Token servers of other sites than the registry's which may be sent its credentials.
    pub token_hosts: Vec<String>,
    /// The value of `User-Agent`.
    pub user_agent: String,
    /// How long making a connection may take.
    pub connect_timeout: Duration,
    /// How long a registry may be silent. Twice that may pass for 16 KiB of a blob, or for all of a short answer.
    pub read_timeout: Duration,
    /// How long a registry may take to check an uploaded blob.
    pub upload_timeout: Duration,
    /// The pause before a request that failed is sent again; it doubles each time.
    pub retry_pause: Duration,
    /// Ends running calls.
    pub cancel: Cancel,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            hosts_dirs: Vec::new(),
            plain_http: false,
            credentials: Arc::new(Anonymous),
            token_hosts: Vec::new(),
            user_agent: concat!("sampan/", env!("CARGO_PKG_VERSION")).to_owned(),
            connect_timeout: Duration::from_secs(15),
            read_timeout: Duration::from_secs(30),
            upload_timeout: Duration::from_secs(600),
            retry_pause: Duration::from_millis(250),
            cancel: Cancel::new(),
        }
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("hosts_dirs", &self.hosts_dirs)
            .field("plain_http", &self.plain_http)
            .field("user_agent", &self.user_agent)
            .finish_non_exhaustive()
    }
}

/// One repository at one registry, with its mirrors. Calls may run in parallel.
pub struct Registry {
    pub(crate) repository: String,
    access: Access,
    endpoints: Vec<Endpoint>,
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hosts: Vec<String> = self.endpoints.iter().map(|endpoint| endpoint.host()).collect();
        f.debug_struct("Registry")
            .field("repository", &self.repository)
            .field("hosts", &hosts)
            .finish_non_exhaustive()
    }
}

impl Registry {
    /// `repository` at `registry`, which is `host` or `host:port`; docker's hub is `docker.io`.
    ///
    /// Reads the configuration of hosts; nothing is sent yet.
    pub fn open(registry: &str, repository: &str, access: Access, options: &Options) -> Result<Self> {
        names::repository(repository)?;
        let with = |host: Host| Endpoint::new(host, registry, options);
        let endpoints =
            hosts::of(&options.hosts_dirs, registry)?.into_iter().map(with).collect::<Result<_>>()?;
        Ok(Self { repository: repository.to_owned(), access, endpoints })
    }

    /// A registry without a repository, for [`check`](Self::check) alone.
    pub fn login(registry: &str, options: &Options) -> Result<Self> {
        let with = |host: Host| Endpoint::new(host, registry, options);
        let hosts = hosts::of(&options.hosts_dirs, registry)?;
        let endpoints = hosts.into_iter().filter(|host| host.is_server).map(with).collect::<Result<_>>()?;
        Ok(Self { repository: String::new(), access: Access::Pull, endpoints })
    }

    /// Asks the registry itself, not its mirrors, whether it speaks the protocol and takes the credentials.
    pub fn check(&self) -> Result<()> {
        let endpoint = self.server()?;
        let what = "its API";
        let url = endpoint.base()?.below("");
        let mut call = Call::new(Method::GET, url, what, &[]);
        self.expect(endpoint, &mut call, &[200]).map(drop)
    }

    /// What a token has to be good for.
    pub(crate) fn scopes(&self) -> Vec<String> {
        let actions = match self.access {
            Access::Pull => "pull",
            Access::Push => "pull,push",
        };
        vec![format!("repository:{}:{actions}", self.repository)]
    }

    /// The registry itself.
    pub(crate) fn server(&self) -> Result<&Endpoint> {
        let server = self.endpoints.iter().find(|endpoint| endpoint.host.is_server).or(self.endpoints.last());
        server.ok_or_else(|| Error::invalid("registry", "", "its hosts.toml names no host"))
    }

    /// The host that uploads go to.
    pub(crate) fn pusher(&self) -> Result<&Endpoint> {
        self.endpoints.iter().find(|endpoint| endpoint.host.push).ok_or_else(|| {
            Error::invalid("registry", &self.repository, "no host in its hosts.toml takes a push")
        })
    }

    /// Asks the hosts that `fit`, in their order, until one has it. The error is that of the last one, the registry.
    pub(crate) fn first<T>(
        &self,
        fit: impl Fn(&Host) -> bool,
        ask: impl Fn(&Endpoint) -> Result<T>,
    ) -> Result<T> {
        let mut failed = None;
        for endpoint in self.endpoints.iter().filter(|endpoint| fit(&endpoint.host)) {
            match ask(endpoint) {
                Ok(found) => return Ok(found),
                Err(error @ (Error::Cancelled { .. } | Error::Invalid { .. })) => return Err(error),
                Err(error) => failed = Some(error),
            }
        }
        Err(failed.unwrap_or_else(|| {
            Error::invalid("registry", &self.repository, "no host in its hosts.toml is for that")
        }))
    }

    /// Sends `call` and gives its answer if it has one of the statuses wanted; else what the registry said is an error.
    pub(crate) fn expect(&self, endpoint: &Endpoint, call: &mut Call<'_>, wanted: &[u16]) -> Result<Answer> {
        let mut answer = endpoint.send(call)?;
        let status = answer.response.status().as_u16();
        if wanted.contains(&status) {
            return Ok(answer);
        }
        let refusal = endpoint.refusal(&answer.url.origin, &mut answer.response, &call.what);
        if status < 400 {
            return Err(endpoint.protocol(&call.what, format!("status {status} is not expected here")));
        }
        Err(Error::of_status(refusal))
    }

    /// The address of `path` in the repository; a mirror is told whose it is.
    pub(crate) fn address(&self, endpoint: &Endpoint, path: &str) -> Result<crate::url::Url> {
        if self.repository.is_empty() {
            return Err(Error::invalid("repository", "", "the registry was opened to log in"));
        }
        let url = endpoint.base()?.below(&format!("{}/{path}", self.repository));
        Ok(match &endpoint.namespace {
            Some(namespace) => url.with("ns", namespace),
            None => url,
        })
    }

    /// A request of this repository without a body.
    pub(crate) fn call<'a>(
        &self,
        endpoint: &Endpoint,
        method: Method,
        path: &str,
        what: &str,
    ) -> Result<Call<'a>> {
        Ok(Call::new(method, self.address(endpoint, path)?, what, &self.scopes()).body(Body::None))
    }
}
