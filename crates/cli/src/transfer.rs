//! How far a pull or a push is: a bar per layer on a terminal, docker's lines elsewhere.

use std::collections::HashMap;
use std::io::IsTerminal;
use std::sync::Mutex;

use content::Digest;
use image::{Descriptor, Progress, TransferStep as Step};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

/// A blob that is not on its way.
const PLAIN: &str = "{prefix}: {msg}";
/// One that is.
const MOVING: &str = "{prefix}: {msg} [{bar:40}] {bytes}/{total_bytes} {bytes_per_sec}";

/// Which way blobs go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    /// From a registry.
    Pull,
    /// To a registry.
    Push,
}

impl Direction {
    /// docker's words.
    fn words(self, step: Step) -> &'static str {
        match (self, step) {
            (Self::Pull, Step::Waiting) => "Pulling fs layer",
            (Self::Pull, Step::Exists) => "Already exists",
            (Self::Pull, Step::Moved(_)) => "Downloading",
            (Self::Pull, Step::Complete | Step::Mounted) => "Pull complete",
            (Self::Push, Step::Waiting) => "Preparing",
            (Self::Push, Step::Exists) => "Layer already exists",
            (Self::Push, Step::Moved(_)) => "Pushing",
            (Self::Push, Step::Mounted) => "Mounted",
            (Self::Push, Step::Complete) => "Pushed",
        }
    }
}

/// Shows a transfer.
pub(crate) struct Transfer {
    direction: Direction,
    to_stderr: bool,
    quiet: bool,
    bars: Option<Bars>,
}

struct Bars {
    all: MultiProgress,
    each: Mutex<HashMap<Digest, ProgressBar>>,
}

impl Transfer {
    /// On standard output, for a verb that transfers and nothing else.
    pub(crate) fn new(direction: Direction, quiet: bool) -> Self {
        Self::on(direction, quiet, false, std::io::stdout().is_terminal(), ProgressDrawTarget::stdout())
    }

    /// On standard error, where the output is a container's.
    pub(crate) fn to_stderr(direction: Direction, quiet: bool) -> Self {
        Self::on(direction, quiet, true, std::io::stderr().is_terminal(), ProgressDrawTarget::stderr())
    }

    fn on(
        direction: Direction,
        quiet: bool,
        to_stderr: bool,
        terminal: bool,
        target: ProgressDrawTarget,
    ) -> Self {
        let bars = (terminal && !quiet)
            .then(|| Bars { all: MultiProgress::with_draw_target(target), each: Mutex::default() });
        Self { direction, to_stderr, quiet, bars }
    }
}

impl Drop for Transfer {
    fn drop(&mut self) {
        // The last bar's line is not ended.
        let shown = self.bars.as_ref().and_then(|bars| bars.each.lock().ok().map(|each| !each.is_empty()));
        match shown {
            Some(true) if self.to_stderr => eprintln!(),
            Some(true) => println!(),
            _ => {}
        }
    }
}

impl Progress for Transfer {
    fn blob(&self, blob: &Descriptor, step: Step) {
        let words = self.direction.words(step);
        match &self.bars {
            Some(bars) => bars.show(blob, step, words),
            None if self.quiet || matches!(step, Step::Moved(_)) => {}
            None if self.to_stderr => eprintln!("{}: {words}", blob.digest.short()),
            None => println!("{}: {words}", blob.digest.short()),
        }
    }
}

impl Bars {
    fn show(&self, blob: &Descriptor, step: Step, words: &'static str) {
        // A thread that panicked with the lock ends the transfer anyway.
        let Ok(mut each) = self.each.lock() else { return };
        let bar = each.entry(blob.digest).or_insert_with(|| {
            let bar = ProgressBar::new(blob.size).with_style(style(PLAIN));
            self.all.add(bar.with_prefix(blob.digest.short()).with_message(words))
        });
        match step {
            Step::Moved(bytes) => {
                if bar.position() == 0 {
                    bar.set_style(style(MOVING));
                    bar.set_message(words);
                }
                bar.set_position(bytes);
            }
            Step::Waiting => bar.set_message(words),
            Step::Exists | Step::Mounted | Step::Complete => {
                bar.set_style(style(PLAIN));
                bar.finish_with_message(words);
            }
        }
    }
}

fn style(template: &str) -> ProgressStyle {
    // The templates are constants of this file.
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    style.progress_chars("=> ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_templates_are_right() {
        for template in [PLAIN, MOVING] {
            ProgressStyle::with_template(template).unwrap();
        }
    }
}
