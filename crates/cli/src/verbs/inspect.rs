use engine::Engine;
use fault::Fault;
use serde::Serialize;
use serde_json::Value;

use crate::format::Format;
use crate::{Outcome, docker, tell};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Containers or images, by name or id
    #[arg(required = true)]
    names: Vec<String>,
    /// Only a container, or only an image
    #[arg(long = "type", value_name = "TYPE", value_parser = ["container", "image"])]
    only: Option<String>,
    /// A Go template, or json, for each of them
    #[arg(short, long, value_name = "FORMAT")]
    format: Option<String>,
}

/// What a name may mean.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A container, else an image.
    Any,
    /// A container.
    Container,
    /// An image.
    Image,
}

impl Args {
    pub(crate) fn run(self, engine: &Engine, kind: Kind) -> Outcome {
        let kind = match self.only.as_deref() {
            Some("container") => Kind::Container,
            Some(_) => Kind::Image,
            None => kind,
        };
        let format = self.format.as_deref().map(Format::parse).transpose()?;
        let (mut shown, mut code) = (Vec::new(), 0);
        for name in &self.names {
            match find(engine, name, kind) {
                Ok(document) => shown.push(document),
                Err(fault) => {
                    tell(&*fault);
                    code = 1;
                }
            }
        }
        match format {
            None | Some(Format::Table) => println!("{}", pretty(&Value::Array(shown))?),
            Some(format) => print!("{}", format.render(&Value::Null, &shown)?.unwrap_or_default()),
        }
        Ok(code)
    }
}

/// As docker prints it: four spaces a level.
fn pretty(value: &Value) -> std::io::Result<String> {
    let mut text = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(b"    ");
    value.serialize(&mut serde_json::Serializer::with_formatter(&mut text, formatter))?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

fn find(engine: &Engine, name: &str, kind: Kind) -> Result<Value, Box<dyn Fault>> {
    let container = || -> engine::Result<Value> {
        let id = engine.resolve(name)?;
        Ok(docker::container(engine, &engine.inspect(&id)?))
    };
    let image = || -> Result<Value, Box<dyn Fault>> {
        let images = engine.images().map_err(boxed)?;
        let image = images.resolve(name).map_err(boxed)?;
        let (tags, digests) = images.names_of(image.id).map_err(boxed)?;
        Ok(docker::image(&image, tags, digests))
    };
    match kind {
        Kind::Container => container().map_err(boxed),
        Kind::Image => image(),
        Kind::Any => match container() {
            Err(engine::Error::NotFound(_)) => image(),
            other => other.map_err(boxed),
        },
    }
}

fn boxed(error: impl Fault) -> Box<dyn Fault> {
    Box::new(error)
}
