//! A decision as a picture: one line a metric with its interval, its threshold and no difference.

use std::fmt::Write as _;

use crate::gate::decision::DecisionReport;
use crate::gate::report::Verdict;

use super::interval::IntervalScale;

/// Metrics drawn; those that did not pass come first.
const METRICS_DRAWN_MAX: usize = 100;

const LABEL_WIDTH: f64 = 260.0;
const PLOT_WIDTH: f64 = 420.0;
const ROW_HEIGHT: f64 = 26.0;

impl DecisionReport {
    /// The intervals as SVG 1.1, readable on light and dark pages.
    pub fn to_svg(&self) -> String {
        let (passed, others): (Vec<_>, Vec<_>) =
            self.metrics.iter().partition(|metric| metric.verdict == Verdict::Pass);
        let rows: Vec<_> = others.into_iter().chain(passed).take(METRICS_DRAWN_MAX).collect();
        let (width, height) = (LABEL_WIDTH + PLOT_WIDTH, ROW_HEIGHT * (rows.len() + 2) as f64);
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\" role=\"img\" font-family=\"sans-serif\" font-size=\"13\">\n<title>{}</title>\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n",
            escaped(&self.sentence)
        );
        let _ = writeln!(
            svg,
            "<text x=\"8\" y=\"18\" font-weight=\"bold\">{}</text>",
            escaped(self.verdict.name())
        );
        for (i, metric) in rows.iter().enumerate() {
            let y = ROW_HEIGHT * (i as f64 + 1.5);
            let colour = match metric.verdict {
                Verdict::Pass => "#1a7f37",
                Verdict::Fail => "#cf222e",
                Verdict::Inconclusive => "#9a6700",
                Verdict::Error => "#6e7781",
            };
            let name: String = metric.report.metric.chars().take(36).collect();
            let _ = writeln!(svg, "<text x=\"8\" y=\"{:.1}\">{}</text>", y + 4.0, escaped(&name));
            let Some(scale) = IntervalScale::of(metric) else {
                let reason = escaped(metric.reason.unwrap_or("no interval"));
                let _ = writeln!(
                    svg,
                    "<text x=\"{LABEL_WIDTH}\" y=\"{:.1}\" fill=\"{colour}\">{reason}</text>",
                    y + 4.0
                );
                continue;
            };
            let x = |position: f64| LABEL_WIDTH + PLOT_WIDTH * position;
            let mut upright = |position: f64, stroke: &str, dashes: &str| {
                let (x, top, bottom) = (x(position), y - 0.45 * ROW_HEIGHT, y + 0.45 * ROW_HEIGHT);
                let _ = writeln!(
                    svg,
                    "<line x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{top:.1}\" y2=\"{bottom:.1}\" stroke=\"{stroke}\"{dashes}/>"
                );
            };
            upright(scale.zero, "#d0d7de", "");
            upright(scale.threshold, "#24292f", " stroke-dasharray=\"3 2\"");
            if let Some(upper) = scale.threshold_upper {
                upright(upper, "#24292f", " stroke-dasharray=\"3 2\"");
            }
            let _ = writeln!(
                svg,
                "<line x1=\"{:.1}\" x2=\"{:.1}\" y1=\"{y:.1}\" y2=\"{y:.1}\" stroke=\"{colour}\" stroke-width=\"3\"/>\n<circle cx=\"{:.1}\" cy=\"{y:.1}\" r=\"4.5\" fill=\"{colour}\"/>",
                x(scale.lower),
                x(scale.upper),
                x(scale.estimate),
            );
        }
        svg.push_str("</svg>\n");
        svg
    }
}

/// Text of an XML element; characters that XML does not hold become a replacement.
pub(super) fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '&' => escaped.push_str("&amp;"),
            '"' => escaped.push_str("&quot;"),
            '\t' | '\n' | '\r' => escaped.push(' '),
            control if control.is_control() || matches!(control, '\u{FFFE}' | '\u{FFFF}') => {
                escaped.push('\u{FFFD}')
            }
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::escaped;

    #[test]
    fn names_cannot_become_elements() {
        assert_eq!(escaped("<script>&\u{0}\"\n"), "&lt;script&gt;&amp;\u{FFFD}&quot; ");
    }
}
