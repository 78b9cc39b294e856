//! Progress bars of commands that read or write a whole lake.

use std::sync::Arc;

use indicatif::{ProgressBar, ProgressStyle};
use runlake::store::{Progress, ProgressSink};

/// A bar of bytes on standard error; nothing where that is no terminal.
pub(crate) struct Bar(ProgressBar);

impl Bar {
    pub(crate) fn new(what: &'static str) -> Self {
        let bar = ProgressBar::new(0);
        // The template is fixed; were it wrong, the default style would do.
        let template = format!("{what} {{bar:30}} {{bytes}}/{{total_bytes}} {{elapsed}} {{wide_msg}}");
        if let Ok(style) = ProgressStyle::with_template(&template) {
            bar.set_style(style);
        }
        Self(bar)
    }

    pub(crate) fn sink(&self) -> ProgressSink {
        let bar = self.0.clone();
        Arc::new(move |progress: Progress| {
            bar.set_length(progress.bytes_total);
            bar.set_position(progress.bytes_done);
            bar.set_message(progress.place);
        })
    }

    pub(crate) fn finish(self) {
        self.0.finish_and_clear();
    }
}
