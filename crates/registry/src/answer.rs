//! What comes back.

use std::io::Read as _;
use std::time::Instant;

use serde::Deserialize;
use ureq::http::Response;

use crate::endpoint::Endpoint;
use crate::error::{Refusal, clean, seconds};
use crate::url::{Origin, Url};
use crate::{Error, Result};

/// How much of a refusal is read.
const REFUSAL: u64 = 64 << 10;

/// What came, and from where.
pub(crate) struct Answer {
    pub(crate) response: Response<ureq::Body>,
    pub(crate) url: Url,
    /// Whether a redirect led away from the host that was asked.
    pub(crate) crossed: bool,
}

impl Answer {
    /// The value of a header, if it has one that is text.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.response.headers().get(name).and_then(|value| value.to_str().ok())
    }

    /// How long the body is, where its length is not told by its parts.
    pub(crate) fn length(&self) -> Option<u64> {
        let parts = self.response.headers().contains_key("transfer-encoding");
        let text = self
            .header("content-length")
            .filter(|text| !parts && text.bytes().all(|b| b.is_ascii_digit()))?;
        text.parse().ok()
    }
}

impl Endpoint {
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
    pub(crate) fn failed(&self, origin: &Origin, what: &str, error: ureq::Error) -> Error {
        let (host, what) = (origin.authority(), what.to_owned());
        if let Some(tls) = tls_error(&error) {
            let why = match &tls {
                // What `openssl req -x509` makes unless it is told otherwise.
                rustls::Error::InvalidCertificate(error)
                    if error.to_string().contains("CaUsedAsEndEntity") =>
                {
                    "its certificate is one of an authority (CA:TRUE), which no server may use as its own"
                        .to_owned()
                }
                other => clean(&other.to_string(), 200),
            };
            return Error::Tls { host, what, why };
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

/// The reason of rustls in an error, wherever it stands.
pub(crate) fn tls_error(error: &ureq::Error) -> Option<rustls::Error> {
    match error {
        ureq::Error::Rustls(error) => Some(error.clone()),
        ureq::Error::Io(error) => {
            error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()).cloned()
        }
        _ => None,
    }
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
