//! From text to pieces: what stands outside of `{{ }}`, and the words inside.

use super::{Result, fail};

/// A word of an action.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token {
    /// `.`, `.A`, `.A.B`: the names.
    Field(Vec<String>),
    /// `$` or `$x`, with the names behind it.
    Variable(String, Vec<String>),
    /// A function's or keyword's name.
    Word(String),
    /// `"text"` or `` `text` ``.
    Text(String),
    /// A number.
    Number(f64),
    /// `|`
    Pipe,
    /// `(`
    Open,
    /// `)`, with the names behind it.
    Close(Vec<String>),
    /// `:=`
    Declare,
    /// `=`
    Assign,
    /// `,`
    Comma,
}

/// A piece of a template.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Piece {
    Text(String),
    Action(Vec<Token>),
}

/// Splits a template.
pub(super) fn pieces(source: &str) -> Result<Vec<Piece>> {
    let mut pieces = Vec::new();
    let mut rest = source;
    let mut trim_next = false;
    while let Some(start) = rest.find("{{") {
        let after = &rest[start + 2..];
        let trim_left = after.starts_with("- ") || after.starts_with("-\n") || after.starts_with("-\t");
        let mut text = &rest[..start];
        if trim_next {
            text = text.trim_start();
        }
        if trim_left {
            text = text.trim_end();
        }
        push_text(&mut pieces, text);
        let body_start = usize::from(trim_left);
        let end = end_of_action(&after[body_start..]).map(|end| end + body_start);
        let Some(end) = end else { return fail("unclosed action") };
        let mut body = &after[body_start..end];
        trim_next = body.ends_with(" -") || body.ends_with("\n-");
        if trim_next {
            body = &body[..body.len() - 1];
        }
        let body = body.trim();
        if !(body.starts_with("/*") && body.ends_with("*/")) {
            pieces.push(Piece::Action(tokens(body)?));
        }
        rest = &after[end + 2..];
    }
    push_text(&mut pieces, if trim_next { rest.trim_start() } else { rest });
    Ok(pieces)
}

fn push_text(pieces: &mut Vec<Piece>, text: &str) {
    if !text.is_empty() {
        pieces.push(Piece::Text(text.to_owned()));
    }
}

/// Where `}}` is that is in no string.
fn end_of_action(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let (mut at, mut quote) = (0, None);
    while at < bytes.len() {
        match (quote, bytes[at]) {
            (None, b'}') if bytes.get(at + 1) == Some(&b'}') => return Some(at),
            (None, byte @ (b'"' | b'`')) => quote = Some(byte),
            (Some(b'"'), b'\\') => at += 1,
            (Some(open), byte) if open == byte => quote = None,
            _ => {}
        }
        at += 1;
    }
    None
}

fn tokens(body: &str) -> Result<Vec<Token>> {
    let mut tokens = Vec::new();
    let mut rest = body.trim_start();
    while let Some(first) = rest.chars().next() {
        let (token, length) = token(rest, first)?;
        tokens.push(token);
        rest = rest[length..].trim_start();
    }
    Ok(tokens)
}

fn token(rest: &str, first: char) -> Result<(Token, usize)> {
    Ok(match first {
        '.' if !rest[1..].starts_with(|c: char| c.is_ascii_digit()) => {
            let (names, length) = fields(rest);
            (Token::Field(names), length.max(1))
        }
        '$' => {
            let name = word_length(&rest[1..]);
            let (names, length) = fields(&rest[1 + name..]);
            (Token::Variable(rest[1..=name].to_owned(), names), 1 + name + length)
        }
        '"' => quoted(rest)?,
        '`' => match rest[1..].find('`') {
            Some(end) => (Token::Text(rest[1..=end].to_owned()), end + 2),
            None => return fail("unterminated raw quoted string"),
        },
        '|' => (Token::Pipe, 1),
        '(' => (Token::Open, 1),
        ')' => {
            let (names, length) = fields(&rest[1..]);
            (Token::Close(names), 1 + length)
        }
        ',' => (Token::Comma, 1),
        ':' if rest.starts_with(":=") => (Token::Declare, 2),
        '=' => (Token::Assign, 1),
        c if c.is_ascii_digit() || c == '-' || c == '+' || c == '.' => {
            let digit = |c: char| c.is_ascii_digit() || "+-.eE_".contains(c);
            let length = rest.find(|c| !digit(c)).unwrap_or(rest.len());
            match rest[..length].replace('_', "").parse() {
                Ok(number) => (Token::Number(number), length),
                Err(_) => return fail(format!("bad number syntax: {:?}", &rest[..length])),
            }
        }
        c if c.is_alphabetic() || c == '_' => {
            let length = word_length(rest);
            (Token::Word(rest[..length].to_owned()), length)
        }
        c => return fail(format!("unexpected {c:?} in command")),
    })
}

fn word_length(text: &str) -> usize {
    text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len())
}

/// `.A.B`: the names and how long they are together.
fn fields(text: &str) -> (Vec<String>, usize) {
    let (mut names, mut at) = (Vec::new(), 0);
    while text[at..].starts_with('.') {
        let length = word_length(&text[at + 1..]);
        if length == 0 {
            break;
        }
        names.push(text[at + 1..at + 1 + length].to_owned());
        at += 1 + length;
    }
    (names, at)
}

/// A Go string; its escapes are JSON's but for a few that nobody writes.
fn quoted(text: &str) -> Result<(Token, usize)> {
    let mut end = 1;
    let bytes = text.as_bytes();
    while end < bytes.len() && bytes[end] != b'"' {
        end += if bytes[end] == b'\\' { 2 } else { 1 };
    }
    if end >= bytes.len() {
        return fail("unterminated quoted string");
    }
    match serde_json::from_str(&text[..=end]) {
        Ok(value) => Ok((Token::Text(value), end + 1)),
        Err(_) => fail(format!("bad string {}", &text[..=end])),
    }
}
