//! The engine's own steps, told in the same form as the runtime's.

use std::time::Instant;

use runtime::StepReport;

/// Where steps are told, if anybody wants to hear them.
pub(crate) struct Explain<'a>(pub(crate) Option<&'a mut dyn FnMut(StepReport)>);

impl Explain<'_> {
    /// Does a step and tells it. `words`: what it does, the kernel calls behind it, the shell command that would do it.
    pub(crate) fn step<T, E>(
        &mut self,
        words: impl FnOnce() -> (String, &'static str, String),
        act: impl FnOnce() -> Result<T, E>,
    ) -> Result<T, E> {
        let Some(sink) = &mut self.0 else { return act() };
        let began = Instant::now();
        let value = act()?;
        let micros = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
        let (step, call, shell) = words();
        sink(StepReport { step, call: call.into(), shell, micros, by: "engine".into() });
        Ok(value)
    }
}
