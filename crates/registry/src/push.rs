//! Writing: blobs, manifests; and the list of tags.

use std::collections::HashSet;
use std::io::Read;

use serde::Deserialize;
use ureq::http::Method;

use crate::answer::{Answer, read_small};
use crate::call::{Body, Call, Measured};
use crate::endpoint::Endpoint;
use crate::error::clean;
use crate::url::Url;
use crate::{Error, Registry, Result, names};

/// How many pages of tags are read, and how many tags at most.
const PAGES: usize = 1000;
const TAGS: usize = 200_000;
/// How much of a page is read.
const PAGE: u64 = 4 << 20;

impl Registry {
    /// Lets the registry take a blob over from another of its repositories; false if it did not.
    pub fn mount(&self, digest: &str, from: &str) -> Result<bool> {
        names::digest(digest)?;
        names::repository(from)?;
        let endpoint = self.pusher()?;
        let what = format!("blob {digest} of {from} in {}", self.repository);
        let mut call = self
            .call(endpoint, Method::POST, "blobs/uploads/", &what)?
            .query("mount", digest)
            .query("from", from)
            .scope(format!("repository:{from}:pull"));
        let answer = self.expect(endpoint, &mut call, &[201, 202])?;
        if answer.response.status() == 201 {
            return Ok(true);
        }
        // It opened an upload instead, which nobody will use.
        if let Ok(url) = location(endpoint, &answer, &what) {
            let _ = endpoint.send(&mut Call::new(Method::DELETE, url, &what, &self.scopes()));
        }
        Ok(false)
    }

    /// Uploads a blob of `size` bytes. The registry checks that they have the digest.
    pub fn upload(&self, digest: &str, size: u64, content: &mut dyn Read) -> Result<()> {
        names::digest(digest)?;
        let endpoint = self.pusher()?;
        let what = format!("the upload of blob {digest} to {}", self.repository);
        let mut open = self.call(endpoint, Method::POST, "blobs/uploads/", &what)?;
        let answer = self.expect(endpoint, &mut open, &[202])?;
        let url = location(endpoint, &answer, &what)?.with("digest", digest);
        drop(answer);
        let mut stream = Measured {
            reader: content,
            left: size,
            size,
            failed: None,
            cancel: endpoint.options.cancel.clone(),
        };
        let mut send = Call::new(Method::PUT, url, &what, &self.scopes())
            .header("content-type", "application/octet-stream")
            .body(Body::Stream(&mut stream));
        let answer = self.expect(endpoint, &mut send, &[201])?;
        if let Some(said) = answer.header("docker-content-digest").filter(|said| *said != digest) {
            return Err(endpoint.protocol(&what, format!("it stored the blob as {:?}", clean(said, 100))));
        }
        Ok(())
    }

    /// Stores a manifest under a tag or its digest, and gives the digest.
    pub fn put_manifest(&self, reference: &str, media_type: &str, bytes: &[u8]) -> Result<String> {
        names::reference(reference)?;
        let digest = names::digest_of(bytes);
        if reference.contains(':') && reference != digest {
            return Err(Error::invalid("digest", reference, format!("the manifest is {digest}")));
        }
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"!#$&-^_.+/".contains(&b);
        if !media_type.contains('/') || !media_type.bytes().all(plain) {
            return Err(Error::invalid("media type", media_type, "it needs two names with a slash between"));
        }
        let endpoint = self.pusher()?;
        let what = self.manifest_name(reference);
        let mut call = self
            .call(endpoint, Method::PUT, &format!("manifests/{reference}"), &what)?
            .header("content-type", media_type)
            .body(Body::Bytes(bytes));
        let answer = self.expect(endpoint, &mut call, &[201])?;
        if let Some(said) = answer.header("docker-content-digest").filter(|said| *said != digest) {
            return Err(endpoint.protocol(&what, format!("it stored the manifest as {:?}", clean(said, 100))));
        }
        Ok(digest)
    }

    /// Removes a manifest by its digest, or a tag where the registry can.
    pub fn delete_manifest(&self, reference: &str) -> Result<()> {
        names::reference(reference)?;
        let endpoint = self.pusher()?;
        let what = self.manifest_name(reference);
        let mut call = self
            .call(endpoint, Method::DELETE, &format!("manifests/{reference}"), &what)?
            .scope(format!("repository:{}:delete", self.repository));
        self.expect(endpoint, &mut call, &[200, 202]).map(drop)
    }

    /// The tags of the repository, as the registry itself lists them.
    pub fn tags(&self) -> Result<Vec<String>> {
        #[derive(Deserialize)]
        struct Page {
            /// Null for a repository without tags.
            tags: Option<Vec<String>>,
        }
        let endpoint = self.server()?;
        let what = format!("the tags of {}", self.repository);
        let mut url = self.address(endpoint, "tags/list")?.with("n", "1000");
        let mut seen = HashSet::new();
        let mut tags = Vec::new();
        for _ in 0..PAGES {
            if !seen.insert(url.to_string()) {
                return Err(endpoint.protocol(&what, "its pages lead in a circle"));
            }
            let mut call = Call::new(Method::GET, url.clone(), &what, &self.scopes());
            let mut answer = self.expect(endpoint, &mut call, &[200])?;
            let next = match answer.header("link").map(next_link) {
                None | Some(Ok(None)) => None,
                Some(Ok(Some(link))) => {
                    Some(url.join(&link).map_err(|error| endpoint.protocol(&what, error.to_string()))?)
                }
                Some(Err(why)) => return Err(endpoint.protocol(&what, why)),
            };
            let text = read_small(endpoint, answer.response.body_mut(), PAGE, &what)?;
            let page: Page = serde_json::from_slice(&text)
                .map_err(|_| endpoint.protocol(&what, "a page is not the protocol's JSON"))?;
            for tag in page.tags.unwrap_or_default() {
                names::reference(&tag).map_err(|error| endpoint.protocol(&what, error.to_string()))?;
                if tags.len() == TAGS {
                    return Err(endpoint.protocol(&what, format!("it has more than {TAGS} tags")));
                }
                tags.push(tag);
            }
            let Some(next) = next else { return Ok(tags) };
            if next.origin != url.origin {
                return Err(endpoint.protocol(&what, "the next page is at another host"));
            }
            url = next;
        }
        Err(endpoint.protocol(&what, format!("it has more than {PAGES} pages")))
    }
}

/// Where an upload goes on. Another host is sent no credentials, and must be one that a registry may send us to.
fn location(endpoint: &Endpoint, answer: &Answer, what: &str) -> Result<Url> {
    let text =
        answer.header("location").ok_or_else(|| endpoint.protocol(what, "the upload has no location"))?;
    let url = answer.url.join(text).map_err(|error| endpoint.protocol(what, error.to_string()))?;
    endpoint.may_go(&url).map_err(|why| endpoint.protocol(what, format!("the upload's location: {why}")))?;
    Ok(url)
}

/// The target of `rel="next"` in a `Link` header (RFC 8288).
fn next_link(header: &str) -> Result<Option<String>, &'static str> {
    if header.len() > 8192 {
        return Err("a link is too long");
    }
    let mut rest = header.trim_start();
    while !rest.is_empty() {
        let (target, after) =
            rest.strip_prefix('<').and_then(|rest| rest.split_once('>')).ok_or("a link has no target")?;
        // Parameters go on to a comma outside quotes.
        let mut quoted = false;
        let end = after.char_indices().find(|(_, c)| {
            quoted ^= *c == '"';
            *c == ',' && !quoted
        });
        if quoted {
            return Err("a quote in a link is open");
        }
        let (parameters, more) = end.map_or((after, ""), |(end, _)| (&after[..end], &after[end + 1..]));
        for parameter in parameters.split(';') {
            let Some((name, value)) = parameter.split_once('=') else { continue };
            let value = value.trim().trim_matches('"');
            if name.trim().eq_ignore_ascii_case("rel")
                && value.split(' ').any(|rel| rel.eq_ignore_ascii_case("next"))
            {
                return Ok(Some(target.to_owned()));
            }
        }
        rest = more.trim_start();
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn links() {
        for (header, expected) in [
            ("</v2/x?n=1&last=a>; rel=\"next\"", Ok(Some("/v2/x?n=1&last=a"))),
            ("<a>; rel=prev, <b>; title=\"x,y\"; rel=next", Ok(Some("b"))),
            ("<a>; rel=\"last next\"", Ok(Some("a"))),
            ("<a>; rel=prev", Ok(None)),
            ("", Ok(None)),
            ("a; rel=next", Err(())),
            ("<a; rel=next", Err(())),
            ("<a>; rel=\"next", Err(())),
        ] {
            assert_eq!(
                next_link(header).map_err(drop),
                expected.map(|link| link.map(str::to_owned)),
                "{header}"
            );
        }
    }

    proptest! {
        #[test]
        fn any_text_is_a_link_or_refused(text in "\\PC{0,80}|(<|>|rel=|next|;|,|\"| |a){0,30}") {
            let _ = next_link(&text);
        }
    }
}
