//! From pieces to a tree.

use serde_json::Value;

use super::lex::{Piece, Token, pieces};
use super::{Result, fail};

/// Blocks inside blocks, and parentheses inside parentheses.
const MAX_DEPTH: usize = 64;

/// A parsed template.
#[derive(Debug)]
pub(crate) struct Template {
    pub(super) nodes: Vec<Node>,
}

#[derive(Debug)]
pub(super) enum Node {
    Text(String),
    /// Printed, unless it is a declaration.
    Pipeline(Pipeline),
    If(Pipeline, Vec<Node>, Vec<Node>),
    Range(Pipeline, Vec<Node>, Vec<Node>),
    With(Pipeline, Vec<Node>, Vec<Node>),
    Break,
    Continue,
}

#[derive(Debug, Default)]
pub(super) struct Pipeline {
    /// Names that get the value: one, or two in a `range`.
    pub declare: Vec<String>,
    pub commands: Vec<Vec<Operand>>,
}

#[derive(Debug)]
pub(super) enum Operand {
    Value(Value),
    Field(Vec<String>),
    Variable(String, Vec<String>),
    Function(String),
    Group(Box<Pipeline>, Vec<String>),
}

impl Template {
    /// Reads a template.
    pub(crate) fn parse(source: &str) -> Result<Self> {
        let mut parser = Parser { pieces: pieces(source)?.into_iter() };
        let (nodes, end) = parser.list(0)?;
        match end {
            End::Input => Ok(Self { nodes }),
            End::Closed => fail("unexpected {{end}}"),
            End::Else(_) => fail("unexpected {{else}}"),
        }
    }
}

/// What ended a list of nodes.
enum End {
    Input,
    Closed,
    /// `else`, with the tokens of an `else if` or `else with`.
    Else(Vec<Token>),
}

struct Parser {
    pieces: std::vec::IntoIter<Piece>,
}

impl Parser {
    fn list(&mut self, depth: usize) -> Result<(Vec<Node>, End)> {
        if depth > MAX_DEPTH {
            return fail("too many nested blocks");
        }
        let mut nodes = Vec::new();
        while let Some(piece) = self.pieces.next() {
            let tokens = match piece {
                Piece::Text(text) => {
                    nodes.push(Node::Text(text));
                    continue;
                }
                Piece::Action(tokens) => tokens,
            };
            let keyword = if let Some(Token::Word(word)) = tokens.first() { word.as_str() } else { "" };
            match keyword {
                "end" => return Ok((nodes, End::Closed)),
                "else" => return Ok((nodes, End::Else(tokens[1..].to_vec()))),
                "break" => nodes.push(Node::Break),
                "continue" => nodes.push(Node::Continue),
                "if" | "range" | "with" => nodes.push(self.block(&tokens, depth)?),
                "template" | "define" | "block" => {
                    return fail(format!("{{{{{keyword}}}}} is not supported"));
                }
                _ => nodes.push(Node::Pipeline(pipeline(&tokens)?)),
            }
        }
        Ok((nodes, End::Input))
    }

    /// The tokens begin with `if`, `range` or `with`.
    fn block(&mut self, tokens: &[Token], depth: usize) -> Result<Node> {
        let head = pipeline(&tokens[1..])?;
        let (body, end) = self.list(depth + 1)?;
        let otherwise = match end {
            End::Input => return fail("unexpected EOF: a block is not closed by {{end}}"),
            End::Closed => Vec::new(),
            // `else if` is a block inside the else, which its `end` closes too.
            End::Else(rest) if !rest.is_empty() => vec![self.block(&rest, depth + 1)?],
            End::Else(_) => match self.list(depth + 1)? {
                (nodes, End::Closed) => nodes,
                (_, End::Input) => return fail("unexpected EOF: a block is not closed by {{end}}"),
                (_, End::Else(_)) => return fail("expected end; found {{else}}"),
            },
        };
        Ok(match &tokens[0] {
            Token::Word(word) if word == "if" => Node::If(head, body, otherwise),
            Token::Word(word) if word == "range" => Node::Range(head, body, otherwise),
            Token::Word(word) if word == "with" => Node::With(head, body, otherwise),
            other => return fail(format!("unexpected {other:?} in {{{{else}}}}")),
        })
    }
}

fn pipeline(tokens: &[Token]) -> Result<Pipeline> {
    let mut rest = tokens;
    let mut declare = Vec::new();
    if let Some(at) = tokens.iter().position(|token| matches!(token, Token::Declare | Token::Assign)) {
        for token in &tokens[..at] {
            match token {
                Token::Variable(name, fields) if fields.is_empty() && !name.is_empty() => {
                    declare.push(name.clone())
                }
                Token::Comma if declare.len() == 1 => {}
                other => return fail(format!("unexpected {other:?} in a declaration")),
            }
        }
        if declare.is_empty() || declare.len() > 2 {
            return fail("a declaration names one variable, or two in a range");
        }
        rest = &tokens[at + 1..];
    }
    let (commands, used, _) = commands(rest, 0)?;
    if used < rest.len() {
        return fail(format!("unexpected {:?}", rest[used]));
    }
    Ok(Pipeline { declare, commands })
}

/// The commands of a pipeline, how many tokens they took, and the names behind the parenthesis that ended them, if one did.
type Commands = (Vec<Vec<Operand>>, usize, Option<Vec<String>>);

/// Reads up to a closing parenthesis.
fn commands(tokens: &[Token], depth: usize) -> Result<Commands> {
    if depth > MAX_DEPTH {
        return fail("too many nested parentheses");
    }
    let (mut all, mut current) = (Vec::new(), Vec::new());
    let mut at = 0;
    let mut closed = None;
    while let Some(token) = tokens.get(at) {
        at += 1;
        match token {
            Token::Pipe if current.is_empty() => return fail("missing value for command"),
            Token::Pipe => all.push(std::mem::take(&mut current)),
            Token::Open => {
                let (inner, used, names) = commands(&tokens[at..], depth + 1)?;
                let Some(names) = names else { return fail("unclosed left paren") };
                let group = Pipeline { declare: Vec::new(), commands: inner };
                current.push(Operand::Group(Box::new(group), names));
                at += used;
            }
            Token::Close(names) if depth > 0 => {
                closed = Some(names.clone());
                break;
            }
            Token::Close(_) => return fail("unexpected right paren"),
            Token::Field(names) => current.push(Operand::Field(names.clone())),
            Token::Variable(name, names) => current.push(Operand::Variable(name.clone(), names.clone())),
            Token::Text(text) => current.push(Operand::Value(text.as_str().into())),
            Token::Number(number) => current.push(Operand::Value(number_value(*number))),
            Token::Word(word) => current.push(match word.as_str() {
                "true" => Operand::Value(true.into()),
                "false" => Operand::Value(false.into()),
                "nil" => Operand::Value(Value::Null),
                _ => Operand::Function(word.clone()),
            }),
            Token::Declare | Token::Assign | Token::Comma => return fail(format!("unexpected {token:?}")),
        }
    }
    if current.is_empty() {
        return fail("missing value for command");
    }
    all.push(current);
    Ok((all, at, closed))
}

/// A whole number stays one, so that it is printed without a point.
fn number_value(number: f64) -> Value {
    if number.fract() == 0.0 && number.abs() < 9e15 { (number as i64).into() } else { number.into() }
}
