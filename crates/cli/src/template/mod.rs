//! `--format`: the part of Go's text/template that people script docker with, over JSON values.
//!
//! Text, `{{.A.B}}`, pipelines, `if`/`else if`/`else`, `range` (with variables), `with`, variables, comments, `{{-` and
//! `-}}`, Go's comparison and logic functions, and docker's own (`json`, `join`, `lower`, `upper`, `title`, `split`,
//! `truncate`, `pad`, `println`). Templates come from a user: depth and output are bounded.

mod eval;
mod functions;
mod lex;
mod parse;

use fault::{Fault, Kind};
use serde_json::Value;

pub(crate) use parse::Template;

/// A template that cannot be read, or does not fit what it is applied to.
#[derive(Debug, thiserror::Error)]
#[error("template parsing error: {0}")]
pub(crate) struct TemplateError(pub(crate) String);

impl Fault for TemplateError {
    fn kind(&self) -> Kind {
        Kind::Invalid
    }
}

/// What a parser or an evaluation step gives.
type Result<T> = std::result::Result<T, TemplateError>;

fn fail<T>(text: impl Into<String>) -> Result<T> {
    Err(TemplateError(text.into()))
}

/// How a value is printed: as Go's `%v`.
fn show(value: &Value) -> String {
    match value {
        Value::Null => "<no value>".into(),
        Value::String(text) => text.clone(),
        Value::Bool(_) | Value::Number(_) => value.to_string(),
        Value::Array(items) => {
            format!("[{}]", items.iter().map(show).collect::<Vec<_>>().join(" "))
        }
        Value::Object(map) => {
            let pairs: Vec<String> =
                map.iter().map(|(key, value)| format!("{key}:{}", show(value))).collect();
            format!("map[{}]", pairs.join(" "))
        }
    }
}

/// Go's truth: whether a value is not its type's zero.
fn truth(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(value) => *value,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(map) => !map.is_empty(),
    }
}

#[cfg(test)]
mod tests;
