//! Requests: redirects, challenges, repetition.

use std::time::{Duration, SystemTime};

use ureq::SendBody;
use ureq::http::{Method, Request, Response, StatusCode};

use crate::answer::Answer;
use crate::call::{Body, Call};
use crate::endpoint::Endpoint;
use crate::retry::{LONGEST_WAIT, TRIES, growing, retry_after};
use crate::url::{Scheme, Url};
use crate::{Error, Result, Secret, challenge};

/// How many redirects are followed.
const REDIRECTS: usize = 5;
/// How often a request is sent that a registry puts off with 429.
const PUT_OFF: u32 = 10;

impl Endpoint {
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
            // One that hosts.toml has stands for ours.
            let given = self.host.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("authorization"));
            if let Some(secret) = authorization.filter(|_| !crossed && !given) {
                headers.push(("authorization", secret.expose().to_owned()));
            }
            let response = self.once(&url, &call.method, &headers, &mut call.body, &call.what)?;
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
    pub(crate) fn once(
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
}
