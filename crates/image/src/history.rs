use crate::config::History;
use crate::{Image, Images, Result};

/// A step of an image's making, with what it added.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// What the image says of it.
    pub history: History,
    /// Bytes of its layer's files; 0 for a step that made no layer.
    pub size: u64,
}

impl Images {
    /// How an image was made, newest first, as `docker history`.
    ///
    /// # Errors
    /// [`Error::Snapshot`](crate::Error::Snapshot) for a damaged layer.
    pub fn history(&self, image: &Image) -> Result<Vec<Step>> {
        let mut layers = image.layers.iter();
        let mut steps = Vec::new();
        for history in image.history.iter().cloned() {
            let chain = if history.empty_layer { None } else { layers.next() };
            let layer = chain.map(|chain| self.layers.get(chain)).transpose()?.flatten();
            steps.push(Step { history, size: layer.map_or(0, |layer| layer.size) });
        }
        steps.reverse();
        Ok(steps)
    }
}
