//! Telling a registry who asks: Basic, and Bearer tokens of its token server.
//!
//! Credentials belong to one origin. They are sent to it, and to the token server that it names itself if that is of the
//! same site, or one that is known. A host that a redirect led to names none. Without credentials any token server is asked.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::Deserialize;
use ureq::http::Method;

use crate::answer::read_small;
use crate::call::Body;
use crate::challenge::Challenge;
use crate::endpoint::Endpoint;
use crate::url::{Url, escape};
use crate::{Credential, Credentials, Error, Result, Secret};

/// How long a token is used whose server does not say (distribution-spec's token protocol, `expires_in`).
const LIFETIME: u64 = 60;
/// How long a token is used at most.
const LONGEST_LIFETIME: u64 = 24 * 3600;
/// How much of a token server's answer is read.
const ANSWER: u64 = 1 << 20;
/// Token servers of registries that are at another site: docker's hardened images, Red Hat.
const KNOWN: [&str; 2] = ["auth.docker.io", "sso.redhat.com"];
/// How many tokens are kept; each belongs to a scope.
const TOKENS: usize = 64;

/// What is known about one origin.
pub(crate) struct Auth {
    credentials: Arc<dyn Credentials>,
    /// How the registry is called in a file of credentials.
    registry: String,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    basic: bool,
    credential: Option<Option<Credential>>,
    tokens: HashMap<String, Token>,
}

struct Token {
    header: Secret,
    until: Instant,
}

#[derive(Deserialize)]
struct Granted {
    token: Option<String>,
    access_token: Option<String>,
    expires_in: Option<u64>,
}

impl Auth {
    pub(crate) fn new(credentials: Arc<dyn Credentials>, registry: String) -> Self {
        Self { credentials, registry, state: Mutex::default() }
    }

    fn credential(&self, state: &mut State) -> Result<Option<Credential>> {
        if state.credential.is_none() {
            state.credential = Some(self.credentials.get(&self.registry)?);
        }
        Ok(state.credential.clone().flatten())
    }

    /// The value of `Authorization` that is known already.
    pub(crate) fn known(&self, scopes: &[String]) -> Result<Option<Secret>> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.basic {
            return Ok(self.credential(&mut state)?.and_then(|credential| credential.basic()));
        }
        let token = state.tokens.get(&scopes.join(" ")).filter(|token| token.until > Instant::now());
        Ok(token.map(|token| token.header.clone()))
    }

    /// The value of `Authorization` that answers a challenge; `used` is the one that was refused.
    ///
    /// The lock is held while a token is fetched: calls in parallel need one token, not one each.
    pub(crate) fn answer(
        &self,
        endpoint: &Endpoint,
        challenge: &Challenge,
        scopes: &[String],
        used: Option<&Secret>,
        what: &str,
    ) -> Result<Option<Secret>> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match challenge {
            Challenge::Basic => {
                let header = self.credential(&mut state)?.and_then(|credential| credential.basic());
                state.basic = header.is_some();
                Ok(header.filter(|header| Some(header) != used))
            }
            Challenge::Bearer { realm, service, error } => {
                let key = scopes.join(" ");
                let fresh = state.tokens.get(&key).filter(|token| token.until > Instant::now());
                if let Some(token) = fresh.filter(|token| Some(&token.header) != used) {
                    return Ok(Some(token.header.clone()));
                }
                // The token is good, but not good for this: another one would be the same.
                if used.is_some() && error.as_deref() == Some("insufficient_scope") {
                    return Ok(None);
                }
                let credential = self.credential(&mut state)?;
                let realm = realm_of(endpoint, realm, what)?;
                if credential.is_some() && !is_trusted(endpoint, &realm.origin.host) {
                    let host = realm.origin.authority();
                    return Err(endpoint.protocol(
                        what,
                        format!("its token server {host} is of another site, where credentials do not go"),
                    ));
                }
                let asked = Instant::now();
                let granted = fetch(endpoint, realm, service.as_deref(), scopes, credential.as_ref(), what)?;
                let lifetime =
                    granted.expires_in.filter(|n| *n > 0).unwrap_or(LIFETIME).min(LONGEST_LIFETIME);
                let token = granted.token.filter(|token| !token.is_empty()).or(granted.access_token);
                let token =
                    token.filter(|token| !token.is_empty() && token.bytes().all(|b| b.is_ascii_graphic()));
                let token =
                    token.ok_or_else(|| endpoint.protocol(what, "its token server granted no token"))?;
                let header = Secret::new(format!("Bearer {token}"));
                if state.tokens.len() >= TOKENS {
                    state.tokens.clear();
                }
                // A tenth less, so that no request arrives with a token that ended on its way.
                let until = asked + Duration::from_secs(lifetime).mul_f32(0.9);
                state.tokens.insert(key, Token { header: header.clone(), until });
                Ok(Some(header))
            }
        }
    }
}

/// The token server's address, if one may go there.
fn realm_of(endpoint: &Endpoint, realm: &str, what: &str) -> Result<Url> {
    let url =
        Url::parse(realm).map_err(|error| endpoint.protocol(what, format!("its token server: {error}")))?;
    endpoint
        .may_go(&url)
        .map_err(|why| endpoint.protocol(what, format!("its token server {realm:?}: {why}")))?;
    Ok(url)
}

/// Whether a token server may be sent the credentials.
fn is_trusted(endpoint: &Endpoint, realm: &str) -> bool {
    let own = &endpoint.host.base.origin;
    let listed = |host: &str| host.eq_ignore_ascii_case(realm);
    own.host == realm
        || (own.ip().is_none() && same_site(&own.host, realm))
        || KNOWN.iter().copied().any(listed)
        || endpoint.options.token_hosts.iter().map(String::as_str).any(listed)
}

/// Whether two names are of one site, as far as names tell: their last two labels are the same.
fn same_site(one: &str, other: &str) -> bool {
    let (one, other): (Vec<&str>, Vec<&str>) = (one.rsplit('.').collect(), other.rsplit('.').collect());
    let common = one.iter().zip(&other).take_while(|(a, b)| a == b).count();
    // Below co.uk, com.au and their like two labels are everybody's.
    let everybody = one.len() > 1
        && one[0].len() == 2
        && matches!(one[1], "co" | "com" | "net" | "org" | "gov" | "edu" | "ac");
    common >= if everybody { 3 } else { 2 }
}

fn fetch(
    endpoint: &Endpoint,
    realm: Url,
    service: Option<&str>,
    scopes: &[String],
    credential: Option<&Credential>,
    what: &str,
) -> Result<Granted> {
    let what = format!("a token for {what}");
    let mut headers = vec![("accept", "application/json".to_owned())];
    let (method, url, form) = match credential {
        Some(Credential::IdentityToken(token)) => {
            let mut form = format!(
                "grant_type=refresh_token&client_id=sampan&service={}&refresh_token={}",
                escape(service.unwrap_or_default()),
                escape(token.expose())
            );
            if !scopes.is_empty() {
                form.push_str(&format!("&scope={}", escape(&scopes.join(" "))));
            }
            headers.push(("content-type", "application/x-www-form-urlencoded".to_owned()));
            (Method::POST, realm, Some(form))
        }
        other => {
            let mut url = realm;
            if let Some(service) = service {
                url = url.with("service", service);
            }
            for scope in scopes {
                url = url.with("scope", scope);
            }
            if let Some(Credential::Password { username, .. }) = other {
                url = url.with("account", username);
            }
            if let Some(basic) = other.and_then(Credential::basic) {
                headers.push(("authorization", basic.expose().to_owned()));
            }
            (Method::GET, url, None)
        }
    };
    // A redirect from here would take the credentials along: none is followed.
    let mut body = form.as_ref().map_or(Body::None, |form| Body::Bytes(form.as_bytes()));
    let mut response = endpoint.once(&url, &method, &headers, &mut body, &what)?;
    if response.status().is_redirection() {
        return Err(endpoint.protocol(&what, "its token server redirects, which is not followed"));
    }
    if !response.status().is_success() {
        return Err(Error::of_status(endpoint.refusal(&url.origin, &mut response, &what)));
    }
    let text = read_small(endpoint, response.body_mut(), ANSWER, &what)?;
    serde_json::from_slice(&text)
        .map_err(|_| endpoint.protocol(&what, "its token server's answer is not the protocol's JSON"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sites() {
        for (one, other, same) in [
            ("registry-1.docker.io", "auth.docker.io", true),
            ("registry.gitlab.com", "gitlab.com", true),
            ("gitlab.com", "registry.gitlab.com", true),
            ("r.example.co.uk", "auth.example.co.uk", true),
            ("r.example.co.uk", "auth.evil.co.uk", false),
            ("docker.io", "docker.io.evil.example", false),
            ("r.docker.io", "xdocker.io", false),
            ("localhost", "evil.localhost", false),
            ("h", "x.h", false),
        ] {
            assert_eq!(same_site(one, other), same, "{one} {other}");
        }
    }
}
