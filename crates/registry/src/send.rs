//! Requests: redirects, challenges, repetition.

use std::io::Read;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime};

use serde::Deserialize;
use ureq::http::{Method, Request, Response, StatusCode};
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, TlsProvider, parse_pem};
use ureq::{Agent, SendBody};

use crate::auth::Auth;
use crate::challenge;
use crate::error::{Refusal, clean, seconds};
use crate::hosts::Host;
use crate::retry::{LONGEST_WAIT, TRIES, growing, retry_after};
use crate::url::{Origin, Scheme, Url};
use crate::{Cancel, Error, Options, Result, Secret};

/// How many redirects are followed.
const REDIRECTS: usize = 5;
/// How much of a refusal is read.
const REFUSAL: u64 = 64 << 10;
/// How often a request is sent that a registry puts off with 429.
const PUT_OFF: u32 = 10;

/// What a request carries.
pub(crate) enum Body<'a> {
    None,
    Bytes(&'a [u8]),
    /// A stream of a known length. It can be sent only once.
    Stream(&'a mut Measured<'a>),
}

/// A reader that gives exactly so many bytes, or an error.
pub(crate) struct Measured<'a> {
    pub(crate) reader: &'a mut dyn Read,
    pub(crate) left: u64,
    pub(crate) size: u64,
    pub(crate) failed: Option<std::io::Error>,
    pub(crate) cancel: Cancel,
}

impl Read for Measured<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let most = buffer.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        if most == 0 {
            return Ok(0);
        }
        if self.cancel.is_cancelled() {
            return Err(std::io::Error::other("cancelled"));
        }
        let read = match self.reader.read(&mut buffer[..most]) {
            Ok(0) => Err(std::io::Error::new(
                std::io::ErrorKind::UnexpectedEof,
                format!("it ends {} bytes before its size", self.left),
            )),
            other => other,
        };
        match read {
            Ok(n) => {
                self.left -= n as u64;
                Ok(n)
            }
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => Err(error),
            Err(error) => {
                let told = std::io::Error::new(error.kind(), "the content to upload cannot be read");
                self.failed = Some(error);
                Err(told)
            }
        }
    }
}

/// One request, as the caller thinks of it.
pub(crate) struct Call<'a> {
    method: Method,
    url: Url,
    headers: Vec<(&'static str, String)>,
    body: Body<'a>,
    scopes: Vec<String>,
    pub(crate) what: String,
}

impl<'a> Call<'a> {
    pub(crate) fn new(method: Method, url: Url, what: &str, scopes: &[String]) -> Self {
        Self {
            method,
            url,
            headers: Vec::new(),
            body: Body::None,
            scopes: scopes.to_vec(),
            what: what.to_owned(),
        }
    }

    pub(crate) fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    pub(crate) fn body(mut self, body: Body<'a>) -> Self {
        self.body = body;
        self
    }

    pub(crate) fn scope(mut self, scope: String) -> Self {
        self.scopes.push(scope);
        self
    }

    pub(crate) fn query(mut self, key: &str, value: &str) -> Self {
        self.url = self.url.with(key, value);
        self
    }

    /// Whether it can be sent again: nothing of a stream is gone yet.
    fn again(&self) -> bool {
        match &self.body {
            Body::Stream(stream) => stream.left == stream.size,
            _ => true,
        }
    }
}

/// What came, and from where.
pub(crate) struct Answer {
    pub(crate) response: Response<ureq::Body>,
    pub(crate) url: Url,
    /// Whether a redirect led away from the host that was asked.
    crossed: bool,
}

impl Answer {
    /// The value of a header, if it has one that is text.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.response.headers().get(name).and_then(|value| value.to_str().ok())
    }
}

impl Answer {
    /// How long the body is, where its length is not told by its parts.
    pub(crate) fn length(&self) -> Option<u64> {
        let parts = self.response.headers().contains_key("transfer-encoding");
        let text = self
            .header("content-length")
            .filter(|text| !parts && text.bytes().all(|b| b.is_ascii_digit()))?;
        text.parse().ok()
    }
}

/// One host of a registry.
pub(crate) struct Endpoint {
    pub(crate) host: Host,
    /// What a mirror is told: the registry it stands for.
    pub(crate) namespace: Option<String>,
    /// Whether plain http was asked for.
    plain: bool,
    /// The scheme that a host of this machine speaks, once it is known.
    spoken: OnceLock<Scheme>,
    own: Agent,
    /// For other hosts that it sends us to: its headers and a certificate that nobody checks are not for them.
    others: Agent,
    auth: Auth,
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
                let failed = |why: String| Error::Hosts { path: path.display().to_string(), why };
                let text = std::fs::read(path).map_err(|error| failed(error.to_string()))?;
                for item in parse_pem(&text) {
                    if let PemItem::Certificate(certificate) =
                        item.map_err(|error| failed(error.to_string()))?
                    {
                        all.push(certificate);
                    }
                }
            }
            roots = Some(all);
        }
        let loopback = host.base.origin.is_loopback();
        let own = agent(options, roots.clone(), host.skip_verify, loopback);
        let others = agent(options, roots, false, loopback);
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

    fn is_own(&self, origin: &Origin) -> bool {
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

    /// Sends a request, and again where that may help.
    pub(crate) fn send(&self, call: &mut Call<'_>) -> Result<Answer> {
        let mut waited = Duration::ZERO;
        let mut tries = 1;
        loop {
            let outcome = self.authorized(call);
            if self.options.cancel.is_cancelled() {
                return Err(self.cancelled(&call.what));
            }
            let growing = growing(self.options.retry_pause, tries);
            let pause = match &outcome {
                Ok(answer) => {
                    let asked =
                        answer.header("retry-after").and_then(|text| retry_after(text, SystemTime::now()));
                    match answer.response.status().as_u16() {
                        429 if tries < PUT_OFF => asked.unwrap_or(growing),
                        500 | 502 | 503 | 504 if tries < TRIES => asked.unwrap_or(growing),
                        _ => return outcome,
                    }
                }
                Err(error) if error.is_passing() && tries < TRIES => growing,
                Err(_) => return outcome,
            };
            if !call.again() || waited.saturating_add(pause) > LONGEST_WAIT {
                return outcome;
            }
            drop(outcome);
            if !self.options.cancel.pause(pause) {
                return Err(self.cancelled(&call.what));
            }
            waited += pause;
            tries += 1;
        }
    }

    /// Sends a request, and once more with credentials if it is challenged.
    fn authorized(&self, call: &mut Call<'_>) -> Result<Answer> {
        if self.options.cancel.is_cancelled() {
            return Err(self.cancelled(&call.what));
        }
        let own = self.is_own(&call.url.origin);
        let used = if own { self.auth.known(&call.scopes)? } else { None };
        let answer = self.follow(call, used.as_ref())?;
        if answer.response.status() != StatusCode::UNAUTHORIZED || answer.crossed || !own || !call.again() {
            return Ok(answer);
        }
        let all: Vec<&str> = answer
            .response
            .headers()
            .get_all("www-authenticate")
            .iter()
            .filter_map(|value| value.to_str().ok())
            .collect();
        if all.is_empty() {
            return Ok(answer);
        }
        let challenge = challenge::parse(&all.join(", ")).map_err(|why| self.protocol(&call.what, why))?;
        match self.auth.answer(self, &challenge, &call.scopes, used.as_ref(), &call.what)? {
            None => Ok(answer),
            Some(header) => {
                drop(answer);
                self.follow(call, Some(&header))
            }
        }
    }

    /// Sends a request and follows its redirects.
    fn follow(&self, call: &mut Call<'_>, authorization: Option<&Secret>) -> Result<Answer> {
        let mut url = call.url.clone();
        let mut crossed = !self.is_own(&url.origin);
        for _ in 0..=REDIRECTS {
            let mut headers = call.headers.clone();
            if let Some(secret) = authorization.filter(|_| !crossed) {
                headers.push(("authorization", secret.expose().to_owned()));
            }
            let response = self.once_more(&url, &call.method, &headers, &mut call.body, &call.what)?;
            let kept = matches!(response.status().as_u16(), 307 | 308);
            let read = matches!(call.method, Method::GET | Method::HEAD);
            if !(kept || read && matches!(response.status().as_u16(), 301..=303)) {
                return Ok(Answer { response, url, crossed });
            }
            let location = response.headers().get("location").and_then(|value| value.to_str().ok());
            let location = location.ok_or_else(|| self.protocol(&call.what, "a redirect has no location"))?;
            let to = url
                .join(location)
                .map_err(|error| self.protocol(&call.what, format!("a redirect: {error}")))?;
            let refused = |why: &str| {
                self.protocol(&call.what, format!("a redirect to {}: {why}", to.origin.authority()))
            };
            self.may_go(&to).map_err(refused)?;
            if url.origin.scheme == Scheme::Https && to.origin.scheme == Scheme::Http {
                return Err(refused("it leads from https to http"));
            }
            if !read && to.origin != url.origin {
                return Err(refused("what writes is not sent to another host"));
            }
            if !call.again() {
                return Err(refused("the content is sent already"));
            }
            crossed |= to.origin != url.origin;
            url = to;
        }
        Err(self.protocol(&call.what, format!("it redirects more than {REDIRECTS} times")))
    }

    /// Sends one request and follows nothing.
    pub(crate) fn once_more(
        &self,
        url: &Url,
        method: &Method,
        headers: &[(&'static str, String)],
        body: &mut Body<'_>,
        what: &str,
    ) -> Result<Response<ureq::Body>> {
        let own = self.is_own(&url.origin);
        let agent = if own { &self.own } else { &self.others };
        let mut builder = Request::builder().method(method.clone()).uri(url.to_string());
        for (name, value) in headers {
            builder = builder.header(*name, value);
        }
        if own {
            for (name, value) in &self.host.headers {
                builder = builder.header(name, value);
            }
        }
        let failed = |error| self.failed(&url.origin, what, error);
        let response = match body {
            Body::None if matches!(*method, Method::GET | Method::HEAD | Method::DELETE) => {
                agent.run(builder.body(()).map_err(|error| failed(error.into()))?)
            }
            Body::None => agent.run(
                builder.header("content-length", "0").body(&[][..]).map_err(|error| failed(error.into()))?,
            ),
            Body::Bytes(bytes) => agent.run(builder.body(*bytes).map_err(|error| failed(error.into()))?),
            Body::Stream(stream) => {
                let size = stream.size.to_string();
                let request = builder
                    .header("content-length", size)
                    .body(SendBody::from_reader(*stream))
                    .map_err(|error| failed(error.into()))?;
                let limit = Some(self.options.upload_timeout);
                let request = agent
                    .configure_request(request)
                    .timeout_recv_response(limit)
                    .timeout_per_read(limit)
                    .build();
                let response = agent.run(request);
                if let Some(error) = stream.failed.take() {
                    return Err(Error::Source(error));
                }
                response
            }
        };
        response.map_err(failed)
    }

    /// What the registry said when it refused.
    pub(crate) fn refusal(
        &self,
        origin: &Origin,
        response: &mut Response<ureq::Body>,
        what: &str,
    ) -> Refusal {
        #[derive(Deserialize)]
        struct Said {
            #[serde(default)]
            errors: Vec<One>,
            /// Token servers have this form.
            details: Option<String>,
        }
        #[derive(Deserialize)]
        struct One {
            code: Option<String>,
            message: Option<String>,
        }
        let status = response.status().as_u16();
        let text = read_small(self, response.body_mut(), REFUSAL, what).unwrap_or_default();
        let said: Option<Said> = serde_json::from_slice(&text).ok();
        let details = said.as_ref().and_then(|said| said.details.clone());
        let first = said.and_then(|said| said.errors.into_iter().next());
        let (code, message) = first.map_or((None, details), |one| (one.code, one.message));
        let cleaned = |text: String| Some(clean(&text, 300)).filter(|text| !text.is_empty());
        Refusal {
            host: origin.authority(),
            what: what.to_owned(),
            status,
            code: code.and_then(cleaned),
            message: message.and_then(cleaned),
        }
    }

    /// The error for a request that has no answer.
    fn failed(&self, origin: &Origin, what: &str, error: ureq::Error) -> Error {
        let (host, what) = (origin.authority(), what.to_owned());
        if let Some(tls) = tls_error(&error) {
            return Error::Tls { host, what, why: tls.to_string() };
        }
        match error {
            ureq::Error::Timeout(_) => Error::Timeout { host, what },
            ureq::Error::Io(error) if matches!(error.kind(), std::io::ErrorKind::TimedOut) => {
                Error::Timeout { host, what }
            }
            ureq::Error::Io(error) => Error::Network { host, what, why: error.to_string() },
            ureq::Error::HostNotFound => Error::Network { host, what, why: "no such host".into() },
            ureq::Error::ConnectionFailed => {
                Error::Network { host, what, why: "it cannot be reached".into() }
            }
            ureq::Error::ConnectProxyFailed(why) => Error::Network { host, what, why: clean(&why, 200) },
            ureq::Error::Tls(why) => Error::Tls { host, what, why: why.to_owned() },
            other => Error::Protocol { host, what, why: clean(&other.to_string(), 200) },
        }
    }
}

fn use_http(url: &mut Url) {
    if url.origin.scheme == Scheme::Https && url.origin.port == 443 {
        url.origin.port = 80;
    }
    url.origin.scheme = Scheme::Http;
}

/// The reason of rustls in an error, wherever it stands.
fn tls_error(error: &ureq::Error) -> Option<rustls::Error> {
    match error {
        ureq::Error::Rustls(error) => Some(error.clone()),
        ureq::Error::Io(error) => {
            error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()).cloned()
        }
        _ => None,
    }
}

/// The certificates that this host trusts, read once.
fn system_roots() -> &'static [Certificate<'static>] {
    static ROOTS: OnceLock<Vec<Certificate<'static>>> = OnceLock::new();
    ROOTS.get_or_init(|| {
        let found = rustls_native_certs::load_native_certs();
        found.certs.iter().map(|der| Certificate::from_der(der.as_ref()).to_owned()).collect()
    })
}

fn agent(
    options: &Options,
    roots: Option<Vec<Certificate<'static>>>,
    skip_verify: bool,
    loopback: bool,
) -> Agent {
    let roots = roots.unwrap_or_else(|| system_roots().to_vec());
    let tls = TlsConfig::builder()
        .provider(TlsProvider::Rustls)
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .root_certs(RootCerts::from(roots))
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

/// All of a body that is short: at most `limit` bytes, in twice the time that a registry may be silent.
pub(crate) fn read_small(
    endpoint: &Endpoint,
    body: &mut ureq::Body,
    limit: u64,
    what: &str,
) -> Result<Vec<u8>> {
    let end = Instant::now() + 2 * endpoint.options.read_timeout;
    let promised = body.content_length();
    if promised.is_some_and(|size| size > limit) {
        return Err(endpoint.protocol(what, format!("its answer has more than {limit} bytes")));
    }
    let mut reader = body.as_reader().take(limit + 1);
    let mut bytes = Vec::new();
    let mut buffer = [0; 16 << 10];
    loop {
        if endpoint.options.cancel.is_cancelled() {
            return Err(endpoint.cancelled(what));
        }
        if Instant::now() >= end {
            return Err(Error::Timeout {
                host: endpoint.host(),
                what: format!("{what}, in {}", seconds(2 * endpoint.options.read_timeout)),
            });
        }
        match reader.read(&mut buffer) {
            Ok(0) => break,
            Ok(n) => bytes.extend_from_slice(&buffer[..n]),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => {
                return Err(endpoint.failed(&endpoint.host.base.origin, what, ureq::Error::from(error)));
            }
        }
    }
    if bytes.len() as u64 > limit {
        return Err(endpoint.protocol(what, format!("its answer has more than {limit} bytes")));
    }
    if promised.is_some_and(|size| size != bytes.len() as u64) {
        return Err(Error::Network {
            host: endpoint.host(),
            what: what.to_owned(),
            why: "its answer was cut off".into(),
        });
    }
    Ok(bytes)
}
