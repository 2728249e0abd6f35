//! The `WWW-Authenticate` header (RFC 9110, 11.6.1), as far as registries use it.

/// How much of a header is read.
const LONGEST: usize = 4096;
/// How many parameters a challenge has at most.
const PARAMETERS: usize = 16;

/// How a registry wants to be told who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Challenge {
    Basic,
    Bearer { realm: String, service: Option<String>, error: Option<String> },
}

/// The challenge of a header; a header with several gives the strongest that is known: Bearer before Basic.
///
/// A parameter given twice, an open quote, a character that may not stand where it does: all of it is an error.
pub(crate) fn parse(header: &str) -> Result<Challenge, &'static str> {
    if header.len() > LONGEST {
        return Err("the challenge is too long");
    }
    let mut rest = Reader { text: header };
    let mut found: Option<Challenge> = None;
    loop {
        rest.skip_commas();
        if rest.text.is_empty() {
            return found.ok_or("no challenge that is known");
        }
        let scheme = rest.token().ok_or("a challenge has no scheme")?;
        let parameters = rest.parameters()?;
        let get = |name: &str| parameters.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone());
        let challenge = match scheme.to_ascii_lowercase().as_str() {
            "basic" => Challenge::Basic,
            "bearer" => Challenge::Bearer {
                realm: get("realm").ok_or("a bearer challenge has no realm")?,
                service: get("service"),
                error: get("error"),
            },
            _ => continue,
        };
        if !matches!(found, Some(Challenge::Bearer { .. })) {
            found = Some(challenge);
        }
    }
}

struct Reader<'a> {
    text: &'a str,
}

impl<'a> Reader<'a> {
    fn skip_blanks(&mut self) {
        self.text = self.text.trim_start_matches([' ', '\t']);
    }

    fn skip_commas(&mut self) {
        self.text = self.text.trim_start_matches([' ', '\t', ',']);
    }

    fn token(&mut self) -> Option<&'a str> {
        let end = self.text.bytes().position(|b| !is_token(b)).unwrap_or(self.text.len());
        let (token, rest) = self.text.split_at(end);
        self.text = rest;
        (!token.is_empty()).then_some(token)
    }

    /// The parameters behind a scheme, up to the end or the next scheme.
    fn parameters(&mut self) -> Result<Vec<(String, String)>, &'static str> {
        let mut parameters: Vec<(String, String)> = Vec::new();
        loop {
            self.skip_commas();
            let before = self.text;
            let Some(name) = self.token() else {
                return if self.text.is_empty() {
                    Ok(parameters)
                } else {
                    Err("a challenge has stray characters")
                };
            };
            self.skip_blanks();
            let Some(rest) = self.text.strip_prefix('=') else {
                // The next scheme.
                self.text = before;
                return Ok(parameters);
            };
            self.text = rest;
            self.skip_blanks();
            let name = name.to_ascii_lowercase();
            let value = self.value()?;
            if parameters.iter().any(|(known, _)| *known == name) {
                return Err("a challenge has a parameter twice");
            }
            if parameters.len() == PARAMETERS {
                return Err("a challenge has too many parameters");
            }
            parameters.push((name, value));
            self.skip_blanks();
            if !self.text.is_empty() && !self.text.starts_with(',') {
                return Err("a comma is missing in a challenge");
            }
        }
    }

    fn value(&mut self) -> Result<String, &'static str> {
        let Some(quoted) = self.text.strip_prefix('"') else {
            return self.token().map(str::to_owned).ok_or("a parameter of a challenge has no value");
        };
        let mut value = String::new();
        let mut characters = quoted.char_indices();
        while let Some((at, character)) = characters.next() {
            match character {
                '"' => {
                    self.text = &quoted[at + 1..];
                    return Ok(value);
                }
                '\\' => value.push(
                    characters
                        .next()
                        .map(|(_, c)| c)
                        .filter(|c| !c.is_control())
                        .ok_or("a stray backslash")?,
                ),
                c if c.is_control() && c != '\t' => return Err("a challenge has control characters"),
                c => value.push(c),
            }
        }
        Err("a quote in a challenge is open")
    }
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bearer(realm: &str, service: Option<&str>) -> Challenge {
        Challenge::Bearer { realm: realm.into(), service: service.map(Into::into), error: None }
    }

    #[test]
    fn challenges() {
        for (header, expected) in [
            (
                r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="a,b""#,
                Some(bearer("https://auth.docker.io/token", Some("registry.docker.io"))),
            ),
            (r#"bearer realm="a\"b" , service=x"#, Some(bearer("a\"b", Some("x")))),
            (r#"Basic realm="x""#, Some(Challenge::Basic)),
            ("Basic", Some(Challenge::Basic)),
            (r#"Basic realm="x", Bearer realm="y""#, Some(bearer("y", None))),
            (r#"Bearer realm="y", Basic realm="x""#, Some(bearer("y", None))),
            (r#"Negotiate, Basic realm="x""#, Some(Challenge::Basic)),
            ("Negotiate", None),
            ("", None),
            ("Bearer", None),
            (r#"Bearer realm="x"#, None),
            (r#"Bearer realm="x",realm="y""#, None),
            (r#"Bearer realm="x" service="y""#, None),
            ("Bearer realm=\"x\u{1}\"", None),
            ("Bearer realm=", None),
            ("=", None),
        ] {
            assert_eq!(parse(header).ok(), expected, "{header}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_parsed_or_refused(text in "\\PC{0,200}|(Bearer |Basic |realm=|service=|\"|,|=|\\\\|[a-z ]){0,40}") {
            let _ = parse(&text);
        }

        #[test]
        fn a_quoted_realm_comes_back(realm in "[ -~]{0,60}", service in "[ -~]{0,60}") {
            let quote = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"");
            let header = format!("Bearer realm=\"{}\",service=\"{}\"", quote(&realm), quote(&service));
            prop_assert_eq!(parse(&header).unwrap(), bearer(&realm, Some(&service)));
        }
    }
}
