//! `--explain`: the steps of a start as they happened, on standard error.

use std::io::IsTerminal;

use monitor::StepReport;

/// Prints one step: who did it, how long it took, what it was, the kernel's calls and the same by hand.
pub(crate) fn print(step: &StepReport) {
    let colours = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    eprint!("{}", render(step, colours));
}

fn render(step: &StepReport, colours: bool) -> String {
    let (dim, bold, off) = if colours { ("\x1b[2m", "\x1b[1m", "\x1b[0m") } else { ("", "", "") };
    let mut text = format!("{dim}{:<7} {:>6} us{off}  {bold}{}{off}\n", step.by, step.micros, step.step);
    if !step.call.is_empty() && step.call != "none" {
        text.push_str(&format!("{:20}{}\n", "", step.call));
    }
    if !step.shell.is_empty() {
        text.push_str(&format!("{:20}{dim}$ {}{off}\n", "", step.shell));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_three_lines() {
        let step = StepReport {
            step: "set the host name to box".into(),
            call: "sethostname".into(),
            shell: "hostname box".into(),
            micros: 12,
            by: "init".into(),
        };
        assert_eq!(
            render(&step, false),
            "init        12 us  set the host name to box\n                    sethostname\n                    $ hostname box\n"
        );
        let bare = StepReport { call: "none".into(), shell: String::new(), ..step };
        assert_eq!(render(&bare, false).lines().count(), 1);
        assert!(render(&bare, true).contains("\x1b[1m"));
    }
}
