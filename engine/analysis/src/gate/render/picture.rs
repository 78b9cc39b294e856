//! What a picture of a decision shows: one line a metric with its interval, its threshold and no difference. SVG and PNG
//! draw the same marks.

use crate::gate::decision::DecisionReport;
use crate::gate::report::Verdict;

use super::interval::IntervalScale;

/// Metrics drawn; those that did not pass come first.
const METRICS_DRAWN_MAX: usize = 100;

const LABEL_WIDTH: f64 = 260.0;
const PLOT_WIDTH: f64 = 420.0;
const ROW_HEIGHT: f64 = 26.0;

/// Letters of a name that fit left of the intervals, also where each is eight wide.
const LABEL_LETTERS: usize = 31;

/// Colours as `#rrggbb`.
pub(super) type Colour = &'static str;

/// Text is black unless it says otherwise.
const INK: Colour = "#000000";

/// One thing that is drawn, from back to front.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Mark {
    /// Text that begins at `x` on the base line `y`.
    Text { x: f64, y: f64, text: String, colour: Colour, bold: bool },
    /// A line along an axis.
    Line { from: [f64; 2], to: [f64; 2], colour: Colour, width: f64, dashed: bool },
    /// A filled circle.
    Dot { x: f64, y: f64, radius: f64, colour: Colour },
}

/// A picture in units of which one is a pixel on a plain screen.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Picture {
    pub(super) width: f64,
    pub(super) height: f64,
    /// What it says, in a sentence.
    pub(super) title: String,
    pub(super) marks: Vec<Mark>,
}

impl Mark {
    /// It is drawn in the colour of text that says nothing else.
    pub(super) fn is_ink(colour: Colour) -> bool {
        colour == INK
    }
}

impl Picture {
    pub(super) fn of(report: &DecisionReport) -> Self {
        let (passed, others): (Vec<_>, Vec<_>) =
            report.metrics.iter().partition(|metric| metric.verdict == Verdict::Pass);
        let rows: Vec<_> = others.into_iter().chain(passed).take(METRICS_DRAWN_MAX).collect();
        let text =
            |x: f64, y: f64, text: String, colour: Colour| Mark::Text { x, y, text, colour, bold: false };
        let verdict = report.verdict.name().to_owned();
        let mut marks = vec![Mark::Text { x: 8.0, y: 18.0, text: verdict, colour: INK, bold: true }];
        for (i, metric) in rows.iter().enumerate() {
            let y = ROW_HEIGHT * (i as f64 + 1.5);
            let colour = match metric.verdict {
                Verdict::Pass => "#1a7f37",
                Verdict::Fail => "#cf222e",
                Verdict::Inconclusive => "#9a6700",
                Verdict::Error => "#6e7781",
            };
            marks.push(text(8.0, y + 4.0, metric.report.metric.chars().take(LABEL_LETTERS).collect(), INK));
            let Some(scale) = IntervalScale::of(metric) else {
                let reason = metric.reason.unwrap_or("no interval").to_owned();
                marks.push(text(LABEL_WIDTH, y + 4.0, reason, colour));
                continue;
            };
            let x = |position: f64| LABEL_WIDTH + PLOT_WIDTH * position;
            let upright = |position: f64, colour: Colour, dashed: bool| Mark::Line {
                from: [x(position), y - 0.45 * ROW_HEIGHT],
                to: [x(position), y + 0.45 * ROW_HEIGHT],
                colour,
                width: 1.0,
                dashed,
            };
            marks.push(upright(scale.zero, "#d0d7de", false));
            marks.push(upright(scale.threshold, "#24292f", true));
            marks.extend(scale.threshold_upper.map(|upper| upright(upper, "#24292f", true)));
            let (from, to) = ([x(scale.lower), y], [x(scale.upper), y]);
            marks.push(Mark::Line { from, to, colour, width: 3.0, dashed: false });
            marks.push(Mark::Dot { x: x(scale.estimate), y, radius: 4.5, colour });
        }
        let (width, height) = (LABEL_WIDTH + PLOT_WIDTH, ROW_HEIGHT * (rows.len() + 2) as f64);
        Self { width, height, title: report.sentence.clone(), marks }
    }
}
