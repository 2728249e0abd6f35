//! Applying a template to a value.

use serde_json::Value;

use super::functions;
use super::parse::{Node, Operand, Pipeline, Template};
use super::{Result, fail, show, truth};

/// Most bytes that a template may make of one value.
const MAX_OUTPUT: usize = 16 << 20;

/// How a list of nodes ended.
#[derive(PartialEq, Eq)]
enum Flow {
    On,
    Break,
    Continue,
}

struct Run {
    variables: Vec<(String, Value)>,
    out: String,
}

impl Template {
    /// What the template makes of a value.
    pub(crate) fn apply(&self, value: &Value) -> Result<String> {
        let mut run = Run { variables: vec![(String::new(), value.clone())], out: String::new() };
        run.list(&self.nodes, value)?;
        Ok(run.out)
    }
}

impl Run {
    fn list(&mut self, nodes: &[Node], dot: &Value) -> Result<Flow> {
        let depth = self.variables.len();
        for node in nodes {
            let flow = self.node(node, dot)?;
            if flow != Flow::On {
                self.variables.truncate(depth);
                return Ok(flow);
            }
        }
        self.variables.truncate(depth);
        Ok(Flow::On)
    }

    fn node(&mut self, node: &Node, dot: &Value) -> Result<Flow> {
        match node {
            Node::Text(text) => self.print(text)?,
            Node::Break => return Ok(Flow::Break),
            Node::Continue => return Ok(Flow::Continue),
            Node::Pipeline(pipeline) => {
                let value = self.pipeline(pipeline, dot)?;
                match pipeline.declare.first() {
                    Some(name) => self.declare(name, value),
                    None => self.print(&show(&value))?,
                }
            }
            Node::If(head, body, otherwise) => {
                let depth = self.variables.len();
                let value = self.pipeline(head, dot)?;
                if let Some(name) = head.declare.first() {
                    self.declare(name, value.clone());
                }
                let flow = self.list(if truth(&value) { body } else { otherwise }, dot)?;
                self.variables.truncate(depth);
                return Ok(flow);
            }
            Node::With(head, body, otherwise) => {
                let depth = self.variables.len();
                let value = self.pipeline(head, dot)?;
                if let Some(name) = head.declare.first() {
                    self.declare(name, value.clone());
                }
                let flow = if truth(&value) { self.list(body, &value)? } else { self.list(otherwise, dot)? };
                self.variables.truncate(depth);
                return Ok(flow);
            }
            Node::Range(head, body, otherwise) => return self.range(head, body, otherwise, dot),
        }
        Ok(Flow::On)
    }

    fn range(&mut self, head: &Pipeline, body: &[Node], otherwise: &[Node], dot: &Value) -> Result<Flow> {
        let items: Vec<(Value, Value)> = match self.pipeline(head, dot)? {
            Value::Array(items) => items.into_iter().enumerate().map(|(i, item)| (i.into(), item)).collect(),
            Value::Object(map) => map.into_iter().map(|(key, value)| (key.into(), value)).collect(),
            Value::Null => Vec::new(),
            other => return fail(format!("range can't iterate over {}", show(&other))),
        };
        if items.is_empty() {
            return self.list(otherwise, dot);
        }
        for (key, value) in items {
            let depth = self.variables.len();
            match head.declare.as_slice() {
                [name] => self.declare(name, value.clone()),
                [first, second] => {
                    self.declare(first, key);
                    self.declare(second, value.clone());
                }
                _ => {}
            }
            let flow = self.list(body, &value)?;
            self.variables.truncate(depth);
            if flow == Flow::Break {
                break;
            }
        }
        Ok(Flow::On)
    }

    fn print(&mut self, text: &str) -> Result<()> {
        if self.out.len() + text.len() > MAX_OUTPUT {
            return fail("the output is longer than 16 MiB");
        }
        self.out.push_str(text);
        Ok(())
    }

    /// A variable of the innermost block, over one of the same name further out.
    fn declare(&mut self, name: &str, value: Value) {
        self.variables.push((name.to_owned(), value));
    }

    fn pipeline(&self, pipeline: &Pipeline, dot: &Value) -> Result<Value> {
        let mut last = None;
        for command in &pipeline.commands {
            last = Some(self.command(command, last, dot)?);
        }
        Ok(last.unwrap_or(Value::Null))
    }

    fn command(&self, command: &[Operand], piped: Option<Value>, dot: &Value) -> Result<Value> {
        let Some((first, rest)) = command.split_first() else { return fail("missing value for command") };
        if let Operand::Function(name) = first {
            let mut arguments =
                rest.iter().map(|operand| self.operand(operand, dot)).collect::<Result<Vec<_>>>()?;
            arguments.extend(piped);
            return functions::call(name, arguments);
        }
        if !rest.is_empty() || piped.is_some() {
            return fail("can't give argument to non-function");
        }
        self.operand(first, dot)
    }

    fn operand(&self, operand: &Operand, dot: &Value) -> Result<Value> {
        match operand {
            Operand::Value(value) => Ok(value.clone()),
            Operand::Field(names) => fields(dot, names),
            Operand::Variable(name, names) => {
                let found = self.variables.iter().rev().find(|(own, _)| own == name);
                match found {
                    Some((_, value)) => fields(value, names),
                    None => fail(format!("undefined variable \"${name}\"")),
                }
            }
            Operand::Function(name) => functions::call(name, Vec::new()),
            Operand::Group(pipeline, names) => fields(&self.pipeline(pipeline, dot)?, names),
        }
    }
}

fn fields(value: &Value, names: &[String]) -> Result<Value> {
    let mut at = value;
    for name in names {
        at = match at {
            Value::Object(map) => match map.get(name) {
                Some(found) => found,
                None => return fail(format!("map has no entry for key {name:?}")),
            },
            Value::Null => return fail(format!("nil data; no entry for key {name:?}")),
            other => return fail(format!("can't evaluate field {name} in {}", show(other))),
        };
    }
    Ok(at.clone())
}
