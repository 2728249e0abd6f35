//! One host of a registry, and where it may send us.

use std::io::Read as _;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use ureq::Agent;
use ureq::http::Request;
use ureq::tls::{Certificate, ClientCert, PemItem, PrivateKey, RootCerts, TlsConfig, TlsProvider, parse_pem};

use crate::answer::tls_error;
use crate::auth::Auth;
use crate::error::clean;
use crate::hosts::Host;
use crate::url::{Origin, Scheme, Url};
use crate::{Error, Options, Result};

/// How much of a file of certificates is read.
const PEM: u64 = 4 << 20;

/// One host of a registry.
pub(crate) struct Endpoint {
    pub(crate) host: Host,
    /// What a mirror is told: the registry it stands for.
    pub(crate) namespace: Option<String>,
    /// Whether plain http was asked for.
    plain: bool,
    /// The scheme that a host of this machine speaks, once it is known.
    spoken: OnceLock<Scheme>,
    pub(crate) own: Agent,
    /// For other hosts that it sends us to: its headers and a certificate that nobody checks are not for them.
    pub(crate) others: Agent,
    pub(crate) auth: Auth,
    pub(crate) options: Options,
}

impl Endpoint {
    pub(crate) fn new(mut host: Host, registry: &str, options: &Options) -> Result<Self> {
        let plain = (host.scheme_given && host.base.origin.scheme == Scheme::Http)
            || (options.plain_http && !host.scheme_given);
        if plain {
            use_http(&mut host.base);
        }
        let mut roots = None;
        if !host.ca.is_empty() {
            let mut all = system_roots().to_vec();
            for path in &host.ca {
                all.extend(read_pem(path)?.0);
            }
            roots = Some(all);
        }
        let loopback = host.base.origin.is_loopback();
        let client = match host.client.first() {
            None => None,
            Some((chain, key)) => {
                let lacks =
                    |why: &str| Error::Hosts { path: chain.display().to_string(), why: why.to_owned() };
                let certificates = read_pem(chain)?.0;
                let key = read_pem(key)?.1.ok_or_else(|| lacks("there is no key for it"))?;
                if certificates.is_empty() {
                    return Err(lacks("it has no certificate"));
                }
                Some(ClientCert::new_with_certs(&certificates, key))
            }
        };
        let own = agent(options, roots.clone(), client, host.skip_verify, loopback);
        let others = agent(options, roots, None, false, loopback);
        let name = match host.base.origin.host.as_str() {
            "registry-1.docker.io" | "index.docker.io" => "docker.io".to_owned(),
            _ => host.base.origin.authority(),
        };
        let namespace = (!host.is_server).then(|| registry.to_owned());
        let auth = Auth::new(options.credentials.clone(), name);
        Ok(Self {
            host,
            namespace,
            plain,
            spoken: OnceLock::new(),
            own,
            others,
            auth,
            options: options.clone(),
        })
    }

    /// Where the API begins, with the scheme that the host speaks.
    pub(crate) fn base(&self) -> Result<Url> {
        let mut base = self.host.base.clone();
        if self.plain || self.host.scheme_given || !base.origin.is_loopback() {
            return Ok(base);
        }
        let scheme = match self.spoken.get() {
            Some(scheme) => *scheme,
            None => {
                let scheme = self.try_https(&base)?;
                *self.spoken.get_or_init(|| scheme)
            }
        };
        if scheme == Scheme::Http {
            use_http(&mut base);
        }
        Ok(base)
    }

    /// Whether a host of this machine speaks https. A certificate that is not trusted is https, and an error later.
    fn try_https(&self, base: &Url) -> Result<Scheme> {
        let request = Request::get(format!("{base}/"))
            .body(())
            .map_err(|error| self.failed(&base.origin, "its API", error.into()))?;
        let limit = self.options.read_timeout.min(Duration::from_secs(5));
        let request = self.own.configure_request(request).timeout_global(Some(limit)).build();
        Ok(match self.own.run(request) {
            Ok(_) => Scheme::Https,
            Err(error) => match tls_error(&error) {
                Some(rustls::Error::InvalidMessage(_)) => Scheme::Http,
                Some(_) => Scheme::Https,
                None => Scheme::Http,
            },
        })
    }

    /// The host's name, for messages.
    pub(crate) fn host(&self) -> String {
        self.host.base.origin.authority()
    }

    /// An answer that breaks the protocol.
    pub(crate) fn protocol(&self, what: &str, why: impl Into<String>) -> Error {
        Error::Protocol { host: self.host(), what: what.to_owned(), why: clean(&why.into(), 400) }
    }

    pub(crate) fn cancelled(&self, what: &str) -> Error {
        Error::Cancelled { host: self.host(), what: what.to_owned() }
    }

    pub(crate) fn is_own(&self, origin: &Origin) -> bool {
        self.base().is_ok_and(|base| base.origin == *origin)
    }

    /// Whether this host may send us there, by a redirect, a location or as its token server.
    pub(crate) fn may_go(&self, to: &Url) -> Result<(), &'static str> {
        let from = self.base().map_err(|_| "the registry has no address")?.origin;
        if to.origin == from {
            return Ok(());
        }
        let at_home = from.is_loopback() && to.origin.is_loopback();
        if to.origin.scheme == Scheme::Http && (from.scheme == Scheme::Https || !(self.plain || at_home)) {
            return Err("it leads to plain http");
        }
        if to.origin.is_internal() || (to.origin.is_loopback() && !at_home) {
            return Err("it leads to an address that is not for registries");
        }
        Ok(())
    }
}

fn use_http(url: &mut Url) {
    if url.origin.scheme == Scheme::Https && url.origin.port == 443 {
        url.origin.port = 80;
    }
    url.origin.scheme = Scheme::Http;
}

/// The certificates that this host trusts, read once.
fn system_roots() -> &'static [Certificate<'static>] {
    static ROOTS: OnceLock<Vec<Certificate<'static>>> = OnceLock::new();
    ROOTS.get_or_init(|| {
        let found = rustls_native_certs::load_native_certs();
        found.certs.iter().map(|der| Certificate::from_der(der.as_ref()).to_owned()).collect()
    })
}

/// The certificates of a file, and its first key.
fn read_pem(path: &Path) -> Result<(Vec<Certificate<'static>>, Option<PrivateKey<'static>>)> {
    let failed = |why: String| Error::Hosts { path: path.display().to_string(), why };
    let mut text = Vec::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(PEM).read_to_end(&mut text))
        .map_err(|error| failed(error.to_string()))?;
    let (mut certificates, mut key) = (Vec::new(), None);
    for item in parse_pem(&text) {
        match item.map_err(|error| failed(error.to_string()))? {
            PemItem::Certificate(certificate) => certificates.push(certificate),
            PemItem::PrivateKey(found) => key = key.or(Some(found)),
            _ => {}
        }
    }
    Ok((certificates, key))
}

fn agent(
    options: &Options,
    roots: Option<Vec<Certificate<'static>>>,
    client: Option<ClientCert>,
    skip_verify: bool,
    loopback: bool,
) -> Agent {
    let roots = roots.unwrap_or_else(|| system_roots().to_vec());
    let tls = TlsConfig::builder()
        .provider(TlsProvider::Rustls)
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .root_certs(RootCerts::from(roots))
        .client_cert(client)
        .disable_verification(skip_verify)
        .build();
    let mut config = Agent::config_builder()
        .tls_config(tls)
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .user_agent(&options.user_agent)
        .max_response_header_size(64 << 10)
        .timeout_resolve(Some(options.connect_timeout))
        .timeout_connect(Some(options.connect_timeout))
        .timeout_per_read(Some(options.read_timeout))
        .timeout_per_write(Some(options.read_timeout))
        .timeout_recv_response(Some(options.read_timeout));
    if loopback {
        config = config.proxy(None);
    }
    config.build().new_agent()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hosts;

    #[test]
    fn where_a_registry_may_send_us() {
        for (registry, plain, to, good) in [
            ("h.example", false, "https://h.example/x", true),
            ("h.example", false, "https://cdn.example/x", true),
            ("h.example", false, "http://h.example/x", false),
            ("h.example", false, "http://cdn.example/x", false),
            ("h.example", false, "https://h.example:444/x", true),
            ("h.example", false, "https://10.0.0.1/x", true),
            ("h.example", false, "https://127.0.0.1/x", false),
            ("h.example", false, "http://127.0.0.1/x", false),
            ("h.example", false, "https://localhost/x", false),
            ("h.example", false, "https://[::1]/x", false),
            ("h.example", false, "https://[::ffff:127.0.0.1]/x", false),
            ("h.example", false, "https://169.254.169.254/x", false),
            ("h.example", true, "http://cdn.example/x", true),
            ("h.example", true, "https://cdn.example/x", true),
            ("h.example", true, "http://169.254.169.254/x", false),
            ("h.example", true, "http://127.0.0.1/x", false),
            ("localhost:5000", true, "http://127.0.0.1:6000/x", true),
        ] {
            let options = Options { plain_http: plain, ..Options::default() };
            let host = hosts::of(&[], registry).unwrap().remove(0);
            let endpoint = Endpoint::new(host, registry, &options).unwrap();
            assert_eq!(endpoint.may_go(&Url::parse(to).unwrap()).is_ok(), good, "{registry} {plain} {to}");
        }
    }

    #[test]
    fn plain_http_is_asked_for() {
        for (registry, plain, base) in [
            ("h.example", false, "https://h.example/v2"),
            ("h.example", true, "http://h.example/v2"),
            ("h.example:5000", true, "http://h.example:5000/v2"),
            // Nothing listens there.
            ("localhost:1", false, "http://localhost:1/v2"),
        ] {
            let options = Options { plain_http: plain, ..Options::default() };
            let host = hosts::of(&[], registry).unwrap().remove(0);
            assert_eq!(Endpoint::new(host, registry, &options).unwrap().base().unwrap().to_string(), base);
        }
    }
}
