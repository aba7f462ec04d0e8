//! A sign of life while nothing is shown; only on a terminal.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// How often the sign changes.
const TICK: Duration = Duration::from_millis(120);

/// What is being waited for.
#[derive(Debug)]
pub(super) struct Progress {
    visible: bool,
    /// Only while something is waited for: a bar that exists may draw over what is shown.
    bar: Option<ProgressBar>,
}

impl Progress {
    /// Nothing is shown unless `visible`.
    pub(super) fn new(visible: bool) -> Self {
        Self { visible, bar: None }
    }

    /// Shows what is waited for. The text must be harmless.
    pub(super) fn wait(&mut self, what: String) {
        self.clear();
        if self.visible {
            let style = ProgressStyle::with_template("{spinner} {msg} {elapsed}").unwrap_or_else(|_| ProgressStyle::default_spinner());
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr()).with_style(style).with_message(what);
            bar.enable_steady_tick(TICK);
            self.bar = Some(bar);
        }
    }

    /// Leaves the line free, and keeps it free until the next wait.
    pub(super) fn clear(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}
