//! JSON without ambiguity: a document with a key twice means two things, so it is refused before it is stored.

use std::collections::HashSet;
use std::fmt;

use serde::de::{DeserializeOwned, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};

use crate::{Error, Result};

/// Bytes of a config or manifest (OCI distribution-spec asks for 4 MiB at least).
pub(crate) const MAX_DOCUMENT: usize = 4 << 20;

/// Parses a document from outside.
pub(crate) fn parse<T: DeserializeOwned>(what: &'static str, bytes: &[u8]) -> Result<T> {
    if bytes.len() > MAX_DOCUMENT {
        return Err(Error::Document { what, why: format!("it is longer than {MAX_DOCUMENT} bytes") });
    }
    serde_json::from_slice::<Unambiguous>(bytes).map_err(|e| Error::Document { what, why: e.to_string() })?;
    parse_stored(what, bytes)
}

/// Parses a document that was checked before it was stored, and whose digest has been verified.
pub(crate) fn parse_stored<T: DeserializeOwned>(what: &'static str, bytes: &[u8]) -> Result<T> {
    serde_json::from_slice(bytes).map_err(|e| Error::Document { what, why: e.to_string() })
}

struct Unambiguous;

impl<'de> serde::Deserialize<'de> for Unambiguous {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Any)
    }
}

struct Any;

macro_rules! accept {
    ($($method:ident: $type:ty),*) => {
        $(fn $method<E>(self, _: $type) -> Result<Unambiguous, E> { Ok(Unambiguous) })*
    };
}

impl<'de> Visitor<'de> for Any {
    type Value = Unambiguous;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    accept!(visit_bool: bool, visit_i64: i64, visit_u64: u64, visit_f64: f64, visit_str: &str);

    fn visit_unit<E>(self) -> Result<Unambiguous, E> {
        Ok(Unambiguous)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Unambiguous, A::Error> {
        while items.next_element::<Unambiguous>()?.is_some() {}
        Ok(Unambiguous)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Unambiguous, A::Error> {
        let mut seen = HashSet::new();
        while let Some(key) = map.next_key::<String>()? {
            map.next_value::<Unambiguous>()?;
            if let Some(twice) = seen.replace(key) {
                return Err(A::Error::custom(format_args!("the key {twice:?} appears twice")));
            }
        }
        Ok(Unambiguous)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_key_twice_is_refused_at_any_depth() {
        for bad in [r#"{"a":1,"a":1}"#, r#"{"x":[{"a":1,"b":2,"a":3}]}"#, r#"{"a":1,"\u0061":2}"#] {
            assert!(parse::<serde_json::Value>("config", bad.as_bytes()).is_err(), "{bad}");
        }
        assert!(parse::<serde_json::Value>("config", br#"{"a":{"b":null},"b":[1.5,-2,"x",true]}"#).is_ok());
        assert!(parse::<serde_json::Value>("config", "[".repeat(100_000).as_bytes()).is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_config_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse::<crate::ConfigFile>("config", &bytes);
        }
    }
}
