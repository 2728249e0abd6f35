use engine::Engine;
use fault::Fault;
use serde_json::Value;

use crate::{Outcome, docker, tell};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Containers or images, by name or id
    #[arg(required = true)]
    names: Vec<String>,
    /// Only a container, or only an image
    #[arg(long = "type", value_name = "TYPE", value_parser = ["container", "image"])]
    only: Option<String>,
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
        println!("{:#}", Value::Array(shown));
        Ok(code)
    }
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
            Err(error) if error.kind() == fault::Kind::NotFound => image(),
            other => other.map_err(boxed),
        },
    }
}

fn boxed(error: impl Fault) -> Box<dyn Fault> {
    Box::new(error)
}
