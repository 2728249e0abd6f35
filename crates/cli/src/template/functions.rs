//! The functions of a template: Go's, and docker's.

use std::cmp::Ordering;

use serde_json::Value;

use super::{Result, fail, show, truth};

/// Most characters that `pad` and a format's width add.
const MAX_PADDING: usize = 1000;

/// Calls a function by name.
pub(super) fn call(name: &str, arguments: Vec<Value>) -> Result<Value> {
    let count = arguments.len();
    let text = |at: usize| arguments.get(at).map(show).unwrap_or_default();
    let exactly = |wanted: usize| match count == wanted {
        true => Ok(()),
        false => fail(format!("wrong number of args for {name}: want {wanted} got {count}")),
    };
    Ok(match name {
        "json" => {
            exactly(1)?;
            arguments[0].to_string().into()
        }
        "and" => {
            arguments.iter().find(|value| !truth(value)).or(arguments.last()).cloned().unwrap_or(Value::Null)
        }
        "or" => {
            arguments.iter().find(|value| truth(value)).or(arguments.last()).cloned().unwrap_or(Value::Null)
        }
        "not" => {
            exactly(1)?;
            (!truth(&arguments[0])).into()
        }
        "len" => {
            exactly(1)?;
            length(&arguments[0])?.into()
        }
        "index" => index(&arguments)?,
        "eq" if count >= 2 => arguments[1..].iter().any(|other| same(&arguments[0], other)).into(),
        "ne" => {
            exactly(2)?;
            (!same(&arguments[0], &arguments[1])).into()
        }
        "lt" | "le" | "gt" | "ge" => {
            exactly(2)?;
            let Some(order) = compare(&arguments[0], &arguments[1]) else {
                return fail(format!("error calling {name}: incompatible types for comparison"));
            };
            match name {
                "lt" => order == Ordering::Less,
                "le" => order != Ordering::Greater,
                "gt" => order == Ordering::Greater,
                _ => order != Ordering::Less,
            }
            .into()
        }
        "print" => arguments.iter().map(show).collect::<Vec<_>>().join(" ").into(),
        "println" => (arguments.iter().map(show).collect::<Vec<_>>().join(" ") + "\n").into(),
        "printf" => printf(&arguments)?.into(),
        "lower" => text(0).to_lowercase().into(),
        "upper" => text(0).to_uppercase().into(),
        "title" => title(&text(0)).into(),
        "join" => {
            exactly(2)?;
            let Value::Array(items) = &arguments[0] else { return fail("join takes a list") };
            items.iter().map(show).collect::<Vec<_>>().join(&text(1)).into()
        }
        "split" => {
            exactly(2)?;
            text(0).split(&text(1)).collect::<Vec<_>>().into()
        }
        "truncate" => {
            exactly(2)?;
            let length = arguments[1].as_u64().and_then(|n| usize::try_from(n).ok()).unwrap_or(usize::MAX);
            text(0).chars().take(length).collect::<String>().into()
        }
        "pad" => {
            exactly(3)?;
            let spaces = |at: usize| {
                let wanted = arguments[at].as_u64().and_then(|n| usize::try_from(n).ok()).unwrap_or(0);
                " ".repeat(wanted.min(MAX_PADDING))
            };
            format!("{}{}{}", spaces(1), text(0), spaces(2)).into()
        }
        _ => return fail(format!("function {name:?} not defined")),
    })
}

fn length(value: &Value) -> Result<usize> {
    match value {
        Value::String(text) => Ok(text.len()),
        Value::Array(items) => Ok(items.len()),
        Value::Object(map) => Ok(map.len()),
        Value::Null => Ok(0),
        other => fail(format!("len of {}", show(other))),
    }
}

fn index(arguments: &[Value]) -> Result<Value> {
    let Some((value, keys)) = arguments.split_first() else { return fail("index of nothing") };
    let mut at = value;
    for key in keys {
        let found = match (at, key) {
            (Value::Object(map), Value::String(key)) => map.get(key),
            (Value::Array(items), Value::Number(number)) => {
                let at = number.as_u64().and_then(|n| usize::try_from(n).ok());
                let Some(item) = at.and_then(|at| items.get(at)) else {
                    return fail(format!("error calling index: index out of range: {number}"));
                };
                Some(item)
            }
            (other, key) => {
                return fail(format!("error calling index: can't index {} with {}", show(other), show(key)));
            }
        };
        // A key that is not there is an empty value, as in Go.
        match found {
            Some(found) => at = found,
            None => return Ok("".into()),
        }
    }
    Ok(at.clone())
}

fn same(a: &Value, b: &Value) -> bool {
    a == b || a.as_f64().zip(b.as_f64()).is_some_and(|(a, b)| a == b)
}

fn compare(a: &Value, b: &Value) -> Option<Ordering> {
    match (a, b) {
        (Value::String(a), Value::String(b)) => Some(a.cmp(b)),
        _ => a.as_f64()?.partial_cmp(&b.as_f64()?),
    }
}

fn title(text: &str) -> String {
    let mut out = String::new();
    let mut begin = true;
    for c in text.chars() {
        if begin {
            out.extend(c.to_uppercase())
        } else {
            out.push(c)
        }
        begin = !c.is_alphanumeric();
    }
    out
}

/// `%s %v %d %q %%`, with `-`, a width and a precision.
fn printf(arguments: &[Value]) -> Result<String> {
    let Some(Value::String(format)) = arguments.first() else { return fail("printf needs a format") };
    let mut values = arguments[1..].iter();
    let mut out = String::new();
    let mut rest = format.as_str();
    while let Some(at) = rest.find('%') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        let length = rest.find(|c: char| !matches!(c, '-' | '+' | '.' | '0'..='9')).unwrap_or(rest.len());
        let (flags, tail) = rest.split_at(length);
        let mut tail = tail.chars();
        let shown = match tail.next() {
            Some('%') => "%".to_owned(),
            Some('q') => values.next().map_or("%!q(MISSING)".into(), |value| format!("{:?}", show(value))),
            Some('s' | 'v' | 'd' | 'f' | 't' | 'x') => values.next().map_or("%!v(MISSING)".into(), show),
            Some(other) => return fail(format!("printf does not know %{other}")),
            None => return fail("printf: the format ends with %"),
        };
        rest = tail.as_str();
        pad(&mut out, shown, flags);
    }
    out.push_str(rest);
    Ok(out)
}

fn pad(out: &mut String, mut shown: String, flags: &str) {
    let (width, precision) = flags.split_once('.').unwrap_or((flags, ""));
    if let Ok(precision) = precision.parse::<usize>() {
        shown = shown.chars().take(precision).collect();
    }
    let left = width.starts_with('-');
    let width = width.trim_start_matches(['-', '+']).parse::<usize>().unwrap_or(0).min(MAX_PADDING);
    let missing = " ".repeat(width.saturating_sub(shown.chars().count()));
    out.push_str(&if left { format!("{shown}{missing}") } else { format!("{missing}{shown}") });
}
