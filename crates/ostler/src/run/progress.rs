//! A sign of life while nothing is shown; only on a terminal.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// How often the sign changes.
const TICK: Duration = Duration::from_millis(120);

/// What is being waited for.
#[derive(Debug)]
pub(super) struct Progress {
    bar: Option<ProgressBar>,
}

impl Progress {
    /// Nothing is shown unless `visible`.
    pub(super) fn new(visible: bool) -> Self {
        let bar = visible.then(|| {
            let style = ProgressStyle::with_template("{spinner} {msg} {elapsed}").unwrap_or_else(|_| ProgressStyle::default_spinner());
            ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr()).with_style(style)
        });
        Self { bar }
    }

    /// Shows what is waited for. The text must be harmless.
    pub(super) fn wait(&mut self, what: String) {
        if let Some(bar) = &self.bar {
            bar.reset_elapsed();
            bar.set_message(what);
            bar.enable_steady_tick(TICK);
        }
    }

    /// Leaves the line free.
    pub(super) fn clear(&mut self) {
        if let Some(bar) = &self.bar {
            bar.disable_steady_tick();
            bar.finish_and_clear();
            bar.reset();
        }
    }
}
