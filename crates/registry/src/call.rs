//! What is sent.

use std::io::Read;

use ureq::http::Method;

use crate::Cancel;
use crate::url::Url;

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
        let read = loop {
            match self.reader.read(&mut buffer[..most]) {
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Ok(0) => {
                    let why = format!("it ends {} bytes before its size", self.left);
                    break Err(std::io::Error::new(std::io::ErrorKind::UnexpectedEof, why));
                }
                other => break other,
            }
        };
        match read {
            Ok(n) => {
                self.left = self.left.saturating_sub(n as u64);
                Ok(n)
            }
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
    pub(crate) method: Method,
    pub(crate) url: Url,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: Body<'a>,
    /// What a token for it has to be good for.
    pub(crate) scopes: Vec<String>,
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
    pub(crate) fn again(&self) -> bool {
        match &self.body {
            Body::Stream(stream) => stream.left == stream.size,
            _ => true,
        }
    }
}
