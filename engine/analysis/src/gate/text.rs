//! The gate report as plain text for a terminal.

use std::fmt::Write;

use super::parameters::Mode;
use super::report::{ArmReport, GateReport, Verdict};
use super::seeds::{Heading, SeedPlan};

impl GateReport {
    /// The report in a dozen short lines, without colours or a trailing newline.
    pub fn to_text(&self) -> String {
        let mut lines = vec![format!("{}  {}", title(self.verdict), self.sentence)];
        if self.verdict != Verdict::Error {
            lines.extend(self.evidence_lines());
        }
        lines.extend(self.warnings.iter().map(|w| format!("warning: {} ({})", w.message, w.code)));
        lines.join("\n  ")
    }

    fn evidence_lines(&self) -> Vec<String> {
        let number = Numbers::of(self);
        let mut lines = vec![
            arm_line("candidate", &self.candidate, &number),
            arm_line("baseline ", &self.baseline, &number),
        ];
        if let (Some(improvement), Some(lower), Some(upper)) = (self.improvement, self.lower, self.upper) {
            let threshold = match (self.threshold, self.threshold_upper) {
                (Some(low), Some(high)) => format!("{} to {}", number.signed(low), number.signed(high)),
                (Some(low), None) => number.signed(low),
                _ => String::new(),
            };
            lines.push(format!(
                "improvement {}, {} interval {} to {}, threshold {threshold}",
                number.signed(improvement),
                percent(self.level),
                number.signed(lower),
                number.signed(upper),
            ));
        }
        lines.extend(self.test_line());
        lines.extend(self.strata_line(&number));
        lines.extend(self.effect_line());
        for bootstrap in &self.bootstrap {
            lines.push(format!(
                "bootstrap ({}) interval {} to {}, {} resamples",
                bootstrap.method,
                number.signed(bootstrap.low),
                number.signed(bootstrap.high),
                bootstrap.resamples
            ));
        }
        lines.push(format!(
            "look {} of {}: alpha {} used, {} left",
            self.look.current,
            self.look.planned,
            digits(self.look.alpha_used),
            digits(self.look.alpha_left)
        ));
        if let Some(reversal) = self.reversals.first() {
            lines.push(format!(
                "to settle it: declare {0} as strata, or run both arms alike over its values",
                reversal.key
            ));
        } else if self.reason == Some("failed_runs") {
            lines.push(
                "to settle it: repeat the failed runs, or declare what a failure costs (allow failures, failure value)"
                    .to_owned(),
            );
        } else if let Some(plan) = &self.seeds {
            lines.extend(self.seed_lines(plan, &number));
        }
        lines
    }

    fn test_line(&self) -> Option<String> {
        let method = self.method?;
        let mut line = format!("{} on {} + {} ", method.title(), self.n_candidate, self.n_baseline);
        if self.parameters.pair_by.is_some() {
            line = format!("{} on {} pairs", method.title(), self.n_candidate);
        } else {
            line.push_str("runs");
        }
        if let (Some(pass), Some(fail)) = (self.p_pass, self.p_fail) {
            let _ = write!(line, ": p for pass {pass}, for fail {fail}");
        }
        if let Some(permutation) = &self.permutation {
            let _ = write!(line, "; permutation p {} (at least {})", permutation.p, permutation.floor);
        }
        Some(line)
    }

    fn strata_line(&self, number: &Numbers) -> Option<String> {
        let (key, strata) = match (&self.strata, self.reversals.first()) {
            (Some(report), _) => (&report.key, &report.strata),
            (None, Some(reversal)) => (&reversal.key, &reversal.strata),
            (None, None) => return None,
        };
        const SHOWN: usize = 10;
        let shown: Vec<String> = strata
            .iter()
            .take(SHOWN)
            .map(|stratum| {
                format!(
                    "{} {} ({} + {})",
                    stratum.name,
                    number.signed(stratum.improvement),
                    stratum.n_candidate,
                    stratum.n_baseline
                )
            })
            .collect();
        let more = strata.len().saturating_sub(SHOWN);
        let rest = if more > 0 { format!(" and {more} more") } else { String::new() };
        Some(format!("within {key}: {}{rest}", shown.join(", ")))
    }

    fn effect_line(&self) -> Option<String> {
        let g = self.hedges_g?;
        let mut line = format!(
            "Hedges g {:.2} ({:.2} to {:.2})",
            g.hedges_g, g.hedges_g_interval[0], g.hedges_g_interval[1]
        );
        if let Some(a12) = self.a12 {
            let _ = write!(
                line,
                "; a candidate run beats a baseline run {:.0} % of the time ({:.0} to {:.0} %)",
                100.0 * a12.a12,
                100.0 * a12.interval[0],
                100.0 * a12.interval[1]
            );
        }
        Some(line)
    }

    fn seed_lines(&self, plan: &SeedPlan, number: &Numbers) -> Vec<String> {
        let mut lines = Vec::new();
        let what = if self.parameters.pair_by.is_some() { "pairs" } else { "runs an arm" };
        let max = self.parameters.max_runs;
        match plan.n_needed {
            Some(_) if plan.margin_was_powered => {
                lines.push("enough runs for this margin: the effect lies near the threshold".to_owned());
            }
            Some(needed) => {
                let safe =
                    plan.n_needed_conservative.map_or("more than 10000".to_owned(), |safe| safe.to_string());
                let missing = match (plan.more_candidate, plan.more_baseline) {
                    (Some(candidate), Some(_)) if self.parameters.pair_by.is_some() => {
                        format!("{candidate} more")
                    }
                    (Some(candidate), Some(baseline)) => {
                        format!("{candidate} more candidate and {baseline} more baseline runs")
                    }
                    _ => String::new(),
                };
                lines.push(format!("to settle it: {needed} {what} ({safe} to be safe), that is {missing}"));
            }
            None if plan.planning_effect.is_none() => {
                lines.push("to plan the number of runs, say which gain is worth having (detect)".to_owned());
            }
            None => lines.push(format!("more than 10000 {what} would be needed for this margin")),
        }
        if plan.n_needed.is_none_or(|needed| needed > max) {
            lines.push(format!(
                "{max} {what} would show an effect of {}",
                number.plain(plan.detectable_at_max_runs)
            ));
        }
        if let Some(observed) = plan.n_needed_observed {
            let heading = match plan.heading {
                Heading::Pass => "PASS",
                Heading::Fail => "FAIL",
            };
            lines.push(format!(
                "if the observed difference is the true one, {observed} {what} settle this as {heading}"
            ));
        }
        lines
    }
}

/// The verdict in one sentence, in metric units.
pub(crate) fn sentence(report: &GateReport) -> String {
    let number = Numbers::of(report);
    let subject = match (report.candidate.mean, report.baseline.mean, report.improvement) {
        (Some(candidate), Some(baseline), Some(improvement)) => format!(
            "candidate {} against baseline {}, {}{}",
            number.plain(candidate),
            number.plain(baseline),
            better_or_worse(improvement, &number),
            // Both means are over all strata, and their difference is another one.
            report.strata.as_ref().map_or(String::new(), |strata| format!(" within {}", strata.key))
        ),
        _ => "no candidate run has a finite final value".to_owned(),
    };
    let margin = number.plain(report.margin.unwrap_or(0.0));
    let has_margin = report.margin.is_some_and(|margin| margin > 0.0);
    let claim = match report.mode {
        Mode::Better if has_margin => format!("better by more than {margin}"),
        Mode::Better => "better".to_owned(),
        Mode::NotWorse => format!("not worse by {margin} or more"),
        Mode::Equivalent => format!("within {margin} of the baseline"),
    };
    let conclusion = match (report.verdict, report.reason) {
        (Verdict::Pass, _) => format!("it is {claim}"),
        (Verdict::Fail, Some("all_runs_failed")) => {
            format!("all {} failed", counted(report.candidate.runs, "candidate run"))
        }
        (Verdict::Fail, Some("failure_rate")) => format!(
            "but {} of {} candidate runs failed, against {} of {} baseline runs",
            report.candidate.failed, report.candidate.runs, report.baseline.failed, report.baseline.runs
        ),
        (Verdict::Fail, _) => match report.mode {
            Mode::Better if has_margin => format!("it is not better by {margin}"),
            Mode::Better => "it is worse".to_owned(),
            Mode::NotWorse => format!("it is worse by more than {margin}"),
            Mode::Equivalent => format!("it is more than {margin} away from the baseline"),
        },
        (_, Some("too_few_runs")) => format!(
            "nothing is decided on {} + {} finite values, {} an arm are needed",
            report.n_candidate,
            report.n_baseline,
            report.parameters.runs_needed()
        ),
        (_, Some("zero_variance")) => {
            "but all values of an arm are identical: is the seed applied, or was one run logged several times?"
                .to_owned()
        }
        (_, Some("failed_runs")) => format!(
            "it is {claim} on the runs that finished, but {} of {} candidate runs failed",
            report.candidate.failed, report.candidate.runs
        ),
        (_, Some("simpson_reversal")) => match report.reversals.first() {
            Some(reversal) => format!(
                "but within {} it is {}, and the arms ran different shares of its values",
                reversal.key,
                better_or_worse(reversal.within, &number)
            ),
            None => "but within strata it is the other way round".to_owned(),
        },
        (_, Some("looks_spent")) => {
            format!(
                "{} planned and used before: no verdict from a further one",
                counted(report.look.planned as usize, "look")
            )
        }
        _ => format!("too uncertain to say whether it is {claim}"),
    };
    format!("{}: {subject}; {conclusion}", report.metric)
}

fn better_or_worse(improvement: f64, number: &Numbers) -> String {
    let size = number.plain(improvement.abs());
    match improvement {
        d if d > 0.0 => format!("better by {size}"),
        d if d < 0.0 => format!("worse by {size}"),
        _ => "no difference".to_owned(),
    }
}

fn title(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Pass => "PASS",
        Verdict::Fail => "FAIL",
        Verdict::Inconclusive => "INCONCLUSIVE",
        Verdict::Error => "ERROR",
    }
}

fn arm_line(name: &str, arm: &ArmReport, number: &Numbers) -> String {
    let optional = |value: Option<f64>| value.map_or("-".to_owned(), |value| number.plain(value));
    let mut line = format!(
        "{name} mean {}, sd {}, range {} to {}, {}",
        optional(arm.mean),
        optional(arm.sd),
        optional(arm.minimum),
        optional(arm.maximum),
        counted(arm.runs, "run"),
    );
    if let Some(limit) = arm.failure_rate_upper95 {
        let _ = write!(line, ", {} failed (true rate up to {})", arm.failed, percent(limit));
    }
    line
}

/// A share with at most four digits that mean something.
fn digits(share: f64) -> String {
    let short = format!("{share:.3e}").parse::<f64>().unwrap_or(share);
    short.to_string()
}

fn counted(count: usize, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}

fn percent(share: f64) -> String {
    let shown = format!("{:.1}", 100.0 * share);
    format!("{} %", shown.strip_suffix(".0").unwrap_or(&shown))
}

/// Numbers of one report, all with the same decimals: two digits of the standard error.
struct Numbers {
    decimals: Option<usize>,
}

impl Numbers {
    fn of(report: &GateReport) -> Self {
        let spread = report
            .standard_error
            .filter(|se| *se > 0.0)
            .or(report.baseline.sd.filter(|sd| *sd > 0.0))
            .or(report.candidate.sd.filter(|sd| *sd > 0.0));
        let largest = [report.baseline.mean, report.candidate.mean, report.margin]
            .into_iter()
            .flatten()
            .fold(0.0f64, |m, v| m.max(v.abs()));
        let decimals = spread.map(|spread| 1 - spread.log10().floor() as i32);
        match decimals {
            Some(decimals) if decimals <= 12 && largest < 1e9 => {
                Self { decimals: Some(decimals.max(0) as usize) }
            }
            // Too small or too large for plain decimals, or no spread to tell how many are worth showing.
            _ => Self { decimals: None },
        }
    }

    fn plain(&self, value: f64) -> String {
        match self.decimals {
            Some(decimals) => format!("{value:.decimals$}"),
            None if value == 0.0 || (1e-3..1e6).contains(&value.abs()) => {
                // Nine digits hide the rounding of a subtraction.
                let text = format!("{value:.9}");
                text.trim_end_matches('0').trim_end_matches('.').to_owned()
            }
            None => format!("{value:.6e}"),
        }
    }

    fn signed(&self, value: f64) -> String {
        let text = self.plain(value);
        if value > 0.0 { format!("+{text}") } else { text }
    }
}
