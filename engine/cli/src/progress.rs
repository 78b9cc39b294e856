//! Progress bars of commands that read or write a whole lake.

use std::io::IsTerminal;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use indicatif::{HumanBytes, ProgressBar, ProgressStyle};
use runlake::store::{Progress, ProgressSink};

/// How often a line is written where there is no terminal.
const LINE_PAUSE: Duration = Duration::from_secs(2);

/// A bar of bytes on standard error; where that is no terminal, a line now and then once it takes long.
pub(crate) struct Bar {
    what: &'static str,
    bar: ProgressBar,
}

impl Bar {
    pub(crate) fn new(what: &'static str) -> Self {
        let bar = ProgressBar::new(0);
        // The template is fixed; were it wrong, the default style would do.
        let template = format!("{what} {{bar:30}} {{bytes}}/{{total_bytes}} {{elapsed}} {{wide_msg}}");
        if let Ok(style) = ProgressStyle::with_template(&template) {
            bar.set_style(style);
        }
        Self { what, bar }
    }

    pub(crate) fn sink(&self) -> ProgressSink {
        let (what, bar) = (self.what, self.bar.clone());
        if std::io::stderr().is_terminal() {
            return Arc::new(move |progress: Progress| {
                bar.set_length(progress.bytes_total);
                bar.set_position(progress.bytes_done);
                bar.set_message(progress.place);
            });
        }
        let told = Mutex::new(Instant::now());
        Arc::new(move |progress: Progress| {
            let Ok(mut told) = told.lock() else { return };
            if told.elapsed() >= LINE_PAUSE {
                *told = Instant::now();
                let (done, total) = (HumanBytes(progress.bytes_done), HumanBytes(progress.bytes_total));
                eprintln!("runlake: {what}: {done} of {total}, {}", progress.place);
            }
        })
    }

    pub(crate) fn finish(self) {
        self.bar.finish_and_clear();
    }
}
