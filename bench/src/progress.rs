//! The progress of a run, on stderr: in place on a terminal, otherwise a line
//! for each figure.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::{IsTerminal as _, Write as _};
use std::time::Duration;

const EVERY: Duration = Duration::from_millis(200);

#[derive(Debug)]
pub(crate) struct Progress {
    bar: ProgressBar,
    terminal: bool,
}

impl Progress {
    /// So many turns of contenders are to come.
    pub(crate) fn new(turns: u64) -> Self {
        let terminal = std::io::stderr().is_terminal();
        let bar = ProgressBar::with_draw_target(Some(turns), ProgressDrawTarget::stderr());
        let template = "  {elapsed_precise} [{bar:30}] {pos}/{len} {prefix} {msg}";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        if terminal {
            bar.enable_steady_tick(EVERY);
        }
        Self { bar, terminal }
    }

    /// The row that is measured.
    pub(crate) fn row(&self, name: &str) {
        self.bar.set_prefix(name.to_owned());
    }

    /// The present step.
    pub(crate) fn say(&self, text: &str) {
        self.bar.set_message(text.to_owned());
    }

    /// A contender has had its turn.
    pub(crate) fn turn(&self, line: &str) {
        self.print(line);
        self.bar.inc(1);
    }

    /// A line that stays.
    pub(crate) fn print(&self, line: &str) {
        if self.terminal {
            self.bar.println(line);
        } else {
            // A closed stderr ends the display, but not the run.
            let _ = writeln!(std::io::stderr(), "{line}");
        }
    }

    pub(crate) fn end(&self) {
        self.bar.finish_and_clear();
    }
}
