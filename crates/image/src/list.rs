use std::collections::HashMap;

use content::Digest;

use crate::{Images, Result};

/// Which images a listing shows.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Only repositories (`REPOSITORY[:TAG]`, `*` for any characters but `/`) like this.
    pub reference: Option<String>,
    /// Only images without, or with, a name.
    pub dangling: Option<bool>,
    /// Only images that have all these labels: `KEY` or `KEY=VALUE`.
    pub labels: Vec<String>,
}

/// One line of `docker images`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// As docker shows it; `<none>` for an image without a name.
    pub repository: String,
    /// `<none>` for an image without a tag.
    pub tag: String,
    /// The image's id.
    pub id: Digest,
    /// The manifest's digest.
    pub digest: Digest,
    /// RFC 3339.
    pub created: String,
    /// Bytes of all layers' files.
    pub size: u64,
    /// The image's labels.
    pub labels: std::collections::BTreeMap<String, String>,
}

impl Images {
    /// The images, newest first: one line per tag, one for an image without any.
    pub fn list(&self, filter: &Filter) -> Result<Vec<Summary>> {
        let mut names: HashMap<Digest, Vec<(String, String)>> = HashMap::new();
        for (reference, manifest) in self.store.references()? {
            if let (Some(id), Some(tag)) = (self.store.image_of(manifest)?, reference.tag()) {
                names.entry(id).or_default().push((reference.familiar_name(), tag.to_owned()));
            }
        }
        let mut lines = Vec::new();
        for id in self.ids()? {
            let image = match self.load(id) {
                // Removed by another caller since the directory was read.
                Err(crate::Error::NotFound(_)) => continue,
                other => other?,
            };
            let has = |label: &String| match label.split_once('=') {
                Some((key, value)) => image.config.labels.get(key).is_some_and(|v| v == value),
                None => image.config.labels.contains_key(label),
            };
            let names = names.remove(&id).unwrap_or_default();
            if !filter.labels.iter().all(has) || filter.dangling.is_some_and(|d| d != names.is_empty()) {
                continue;
            }
            let none = || vec![("<none>".to_owned(), "<none>".to_owned())];
            for (repository, tag) in if names.is_empty() { none() } else { names } {
                if filter.reference.as_deref().is_none_or(|pattern| matches(pattern, &repository, &tag)) {
                    lines.push(Summary {
                        repository,
                        tag,
                        id,
                        digest: image.manifest,
                        created: image.created.clone(),
                        size: image.size,
                        labels: image.config.labels.clone(),
                    });
                }
            }
        }
        lines.sort_by(|a, b| (&b.created, &a.repository, &a.tag).cmp(&(&a.created, &b.repository, &b.tag)));
        Ok(lines)
    }
}

fn matches(pattern: &str, repository: &str, tag: &str) -> bool {
    match pattern.rsplit_once(':') {
        Some((name, wanted)) if !wanted.contains('/') => {
            glob(name.as_bytes(), repository.as_bytes()) && glob(wanted.as_bytes(), tag.as_bytes())
        }
        _ => glob(pattern.as_bytes(), repository.as_bytes()),
    }
}

/// `*` for any run of characters but `/`, `?` for one. The last `*` alone is ever retried, so the time is bounded by
/// the product of the lengths.
fn glob(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(&c) if c == text[t] || (c == b'?' && text[t] != b'/') => (p, t) = (p + 1, t + 1),
            _ => match star {
                Some((at, from)) if text[from] != b'/' => {
                    star = Some((at, from + 1));
                    (p, t) = (at + 1, from + 1);
                }
                _ => return false,
            },
        }
    }
    pattern[p..].iter().all(|&c| c == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_as_docker_has_them() {
        assert!(matches("host/*", "host/sh", "latest"));
        assert!(matches("*:lat*", "redis", "latest"));
        assert!(matches("host/s?", "host/sh", "x"));
        assert!(matches("redis", "redis", "7"));
        assert!(!matches("*", "host/sh", "latest"));
        assert!(!matches("redis:7", "redis", "8"));
        assert!(!matches("a*b*c", "aXbX", "t"));
    }
}
