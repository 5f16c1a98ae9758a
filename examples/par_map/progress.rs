//! A bar that moves on a terminal, and is not there elsewhere.

use std::io::{IsTerminal, stderr, stdout};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

pub(crate) struct Bar(Option<ProgressBar>);

impl Bar {
    pub(crate) fn new(label: &'static str, elements: usize) -> Self {
        if !stderr().is_terminal() || !stdout().is_terminal() {
            return Self(None);
        }
        let template = "{prefix:<12} {bar:40} {percent:>3} % {elapsed}";
        let style = ProgressStyle::with_template(template).expect("the template is well-formed");
        let bar = ProgressBar::new(elements as u64)
            .with_style(style)
            .with_prefix(label);
        bar.enable_steady_tick(Duration::from_millis(200));
        Self(Some(bar))
    }

    /// Somebody watches.
    pub(crate) fn is_visible(&self) -> bool {
        self.0.is_some()
    }

    /// So many elements are done.
    pub(crate) fn set(&self, done: usize) {
        if let Some(bar) = &self.0 {
            bar.set_position(done as u64);
        }
    }

    /// Clears the line.
    pub(crate) fn finish(&self) {
        if let Some(bar) = &self.0 {
            bar.finish_and_clear();
        }
    }
}
