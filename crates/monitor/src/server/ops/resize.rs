use rustix::termios::{Winsize, tcsetwinsize};

use super::super::Monitor;
use super::{Answer, Outcome, conflict, failed};

impl Monitor {
    pub(super) fn op_resize(&mut self, rows: u16, cols: u16) -> Outcome {
        if !self.task.tty {
            return Err(conflict("the container has no terminal"));
        }
        self.size = Some((rows, cols));
        if let Some(terminal) = self.running.as_ref().and_then(|running| running.terminal.as_ref()) {
            let size = Winsize { ws_row: rows, ws_col: cols, ws_xpixel: 0, ws_ypixel: 0 };
            tcsetwinsize(terminal, size).map_err(|errno| failed(&std::io::Error::from(errno)))?;
        }
        Ok(Answer::Done)
    }
}
