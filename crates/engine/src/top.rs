//! `top`: a container's processes, as the host's `ps` shows them.

use crate::{ContainerId, Engine, Error, Result};

/// Rows of processes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Top {
    /// The columns' names.
    pub titles: Vec<String>,
    /// One row per process, as many cells as there are columns.
    pub processes: Vec<Vec<String>>,
}

impl Engine {
    /// The processes of a container; `options` are those of ps(1), `-ef` without any.
    ///
    /// # Errors
    /// [`Error::Conflict`] when it does not run; [`Error::File`] where there is no `ps`.
    pub fn top(&self, id: &ContainerId, options: &[String]) -> Result<Top> {
        if !self.state(id)?.status.is_live() {
            return Err(Error::Conflict(format!("container {id} is not running")));
        }
        let pids = match self.cgroup_of(id)? {
            Some(cgroup) => cgroup.pids()?.iter().map(|pid| pid.as_raw_nonzero().get()).collect(),
            None => Vec::new(),
        };
        let text =
            runtime::verbs::ps_rows(&pids, options).map_err(|error| Error::Request(error.to_string()))?;
        let mut lines = text.lines();
        let titles: Vec<String> =
            lines.next().unwrap_or_default().split_whitespace().map(str::to_owned).collect();
        let processes = lines.map(|line| cells(line, titles.len())).collect();
        Ok(Top { titles, processes })
    }
}

/// The last column takes the rest of the line.
fn cells(line: &str, columns: usize) -> Vec<String> {
    let mut words = line.split_whitespace();
    let mut cells: Vec<String> = words.by_ref().take(columns.saturating_sub(1)).map(str::to_owned).collect();
    cells.push(words.collect::<Vec<_>>().join(" "));
    cells
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_last_cell_has_the_rest() {
        assert_eq!(super::cells("root 1  sh -c x", 3), ["root", "1", "sh -c x"]);
        assert_eq!(super::cells("", 1), [""]);
    }
}
