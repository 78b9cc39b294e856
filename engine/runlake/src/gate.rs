//! The gate over a lake: selectors to samples, samples to a verdict, and every verdict on record.

pub(crate) mod changes;
mod looks;
mod recording;
mod replay;

use std::collections::{BTreeMap, HashMap};

use analysis::{
    ChainStep, Circumstances, DecisionReport, GatePolicy, GateReport, GateRun, MetricRuns, RunKeys, Verdict,
    Warning, judge,
};
use futures::FutureExt as _;
use futures::future::BoxFuture;
use model::{MetricName, Record, RunStatus, SEED_KEYS};
use store::{RunRow, Snapshot};

use crate::baseline;
use crate::error::{Error, Result};
use crate::lake::{Lake, now_micros};
use crate::samples::last_values;
use crate::selector::Selector;

use looks::{MetricKey, Question};
pub use recording::GateOrigin;
pub use replay::GateReplay;

const MICROSECONDS_A_DAY: i64 = 24 * 3600 * 1_000_000;

/// What a gate is asked.
#[derive(Debug, Clone)]
pub struct GateQuery {
    /// The runs under test.
    pub candidate: Selector,
    /// The runs to compare with.
    pub baseline: Selector,
    /// Metrics, claims, error rates and the rest.
    pub policy: GatePolicy,
    /// Which look at the same question this is; `None` to count those on record.
    pub look: Option<u32>,
    /// Runs of the baseline's recipe that were made again now: whether the baseline still holds.
    pub refreshed: Option<Selector>,
    /// The moment by which a baseline is old, microseconds since 1970 UTC.
    pub time: i64,
    /// The runs of candidate and baseline, in place of those that the selectors take now.
    exactly: Option<[Selector; 2]>,
}

impl GateQuery {
    /// A policy with its arms; one that is given here goes before the policy's.
    ///
    /// # Errors
    /// When an arm is named neither here nor in the policy, or a selector is wrong.
    pub fn new(mut policy: GatePolicy, candidate: Option<&str>, baseline: Option<&str>) -> Result<Self> {
        let arm = |given: Option<&str>, written: &mut Option<String>, name: &str| -> Result<Selector> {
            let text =
                given.map(str::to_owned).or_else(|| written.clone()).ok_or_else(|| Error::Selector {
                    text: String::new(),
                    reason: format!("which runs are the {name}? name them in the policy, or give --{name}"),
                })?;
            let selector = Selector::parse(&text)?;
            *written = Some(text);
            Ok(selector)
        };
        let candidate = arm(candidate, &mut policy.candidate, "candidate")?;
        let baseline = arm(baseline, &mut policy.baseline, "baseline")?;
        Ok(Self {
            candidate,
            baseline,
            policy,
            look: None,
            refreshed: None,
            time: now_micros(),
            exactly: None,
        })
    }
}

/// What a gate answers.
#[derive(Debug, Clone)]
pub struct GateOutcome {
    /// Verdict and evidence; the same bytes for the same data, question and day.
    pub report: DecisionReport,
    /// What the versions of a named baseline and the candidate gained over the first version; empty for other baselines,
    /// and for policies of several metrics.
    pub chain: Vec<ChainStep>,
    question: Question,
    keys: Vec<MetricKey>,
    last_seq: u64,
    time: i64,
}

impl GateOutcome {
    /// The report of the only metric with the verdict over all; `None` when there are several.
    pub fn single(&self) -> Option<GateReport> {
        let [only] = &self.report.metrics[..] else { return None };
        let mut report = only.report.clone();
        report.verdict = self.report.verdict;
        // Of the whole, as far as that is not the metric's own.
        report.reason = self.report.reason.or(only.reason.filter(|_| only.verdict == self.report.verdict));
        report.exit_code = self.report.exit_code;
        report.sentence.clone_from(&self.report.sentence);
        report.parameters.on_inconclusive = self.report.policy.on_inconclusive;
        Some(report)
    }
}

impl Lake {
    /// Judges a candidate against a baseline. Nothing is recorded: see [`Lake::record_gate`].
    ///
    /// # Errors
    /// When a selector or a parameter is wrong, or a run has a metric in several contexts.
    pub fn gate<'a>(&'a self, query: &'a GateQuery) -> BoxFuture<'a, Result<GateOutcome>> {
        async move {
            let snapshot = self.snapshot().await?;
            let [candidate, baseline] = match &query.exactly {
                Some(arms) => arms.each_ref(),
                None => [&query.candidate, &query.baseline],
            };
            let arms = Arms {
                candidate: candidate.runs(self, &snapshot).await?,
                baseline: baseline.runs(self, &snapshot).await?,
            };
            let named =
                query.baseline.baseline_name().map(|name| baseline::named(&snapshot, name)).transpose()?;
            let mut policy = query.policy.clone();
            if policy.staleness.max_age_days.is_none() {
                let days = named.as_ref().and_then(|named| named.integer("max_age_days"));
                policy.staleness.max_age_days = days.map(|days| days as f64);
            }
            policy.check()?;
            let policy = &policy;
            let metrics: Vec<MetricName> = policy
                .metrics
                .iter()
                .map(|metric| MetricName::new(&metric.name))
                .collect::<Result<_, _>>()?;
            let runs = arms.of_metrics(&snapshot, &metrics, policy)?;
            let question = Question::of(query, &arms);
            let keys: Vec<MetricKey> =
                policy.metrics.iter().zip(&runs).map(|(metric, runs)| question.key(metric, runs)).collect();
            let look = query.look.unwrap_or_else(|| looks::next(&snapshot, &question, &keys, policy));
            let mut circumstances = circumstances(query, &arms, named.as_ref(), &keys, look);
            if let Some(refreshed) = &query.refreshed {
                let again = refreshed.runs(self, &snapshot).await?;
                circumstances.refreshed = values_again(&snapshot, &metrics, &again)?;
            }
            let mut report = judge(policy, &runs, circumstances)?;
            if let Some(named) = &named {
                report.warnings.extend(baseline_warnings(named, &report));
            }
            let chain = match (&named, &policy.metrics[..], &runs[..]) {
                (Some(named), [metric], [runs]) => {
                    let candidate: Vec<f64> =
                        runs.candidate.iter().filter_map(GateRun::finite_value).collect();
                    baseline::chain(&snapshot, named, &metric.name, metric.direction, &candidate)
                }
                _ => Vec::new(),
            };
            let last_seq = snapshot.last_seq();
            Ok(GateOutcome { report, chain, question, keys, last_seq, time: query.time })
        }
        .boxed()
    }
}

/// The runs of both arms.
struct Arms<'a> {
    candidate: Vec<RunRow<'a>>,
    baseline: Vec<RunRow<'a>>,
}

impl Arms<'_> {
    /// The runs with their values, metric by metric.
    fn of_metrics(
        &self,
        snapshot: &Snapshot,
        metrics: &[MetricName],
        policy: &GatePolicy,
    ) -> Result<Vec<MetricRuns>> {
        let baseline = last_values(snapshot, metrics, &self.baseline)?;
        let candidate = last_values(snapshot, metrics, &self.candidate)?;
        let known = [&self.baseline, &self.candidate].map(|runs| gate_runs(runs, policy));
        let of_metric = |(baseline, candidate)| {
            let [mut before, mut after] = known.clone();
            for (runs, arm, last) in
                [(&self.baseline, &mut before, baseline), (&self.candidate, &mut after, candidate)]
            {
                for (run, of_metric) in runs.iter().zip(arm) {
                    of_metric.value = HashMap::get(&last, &run.id()).copied();
                }
            }
            MetricRuns { baseline: before, candidate: after }
        };
        Ok(baseline.into_iter().zip(candidate).map(of_metric).collect())
    }

    fn all(&self) -> impl Iterator<Item = RunRow<'_>> {
        self.candidate.iter().chain(&self.baseline).copied()
    }
}

/// What is known of runs before their values.
fn gate_runs(runs: &[RunRow<'_>], policy: &GatePolicy) -> Vec<GateRun> {
    runs.iter()
        .map(|run| GateRun {
            id: run.id().to_string(),
            value: None,
            failed: matches!(run.status(), RunStatus::Failed | RunStatus::Killed),
            pair: policy.pair_by.as_deref().and_then(|key| key_value(*run, key)),
            keys: RunKeys::new(keys_of(*run, policy)),
        })
        .collect()
}

/// What a run ran with: params, and tags where no param has the name. Left out is what tells runs apart and not recipes;
/// what the policy names is there by that name.
fn keys_of(run: RunRow<'_>, policy: &GatePolicy) -> BTreeMap<String, String> {
    let own = |(key, value): (&str, &str)| (key.to_owned(), value.to_owned());
    let is_setting = |(key, _): &(&str, &str)| !SEED_KEYS.contains(key) && !changes::is_of_tracker(key);
    let mut keys: BTreeMap<String, String> = run.tags().filter(is_setting).map(own).collect();
    keys.extend(run.params().filter(is_setting).map(own));
    for key in [&policy.strata, &policy.batch_by].into_iter().flatten() {
        if let Some(value) = key_value(run, key) {
            keys.insert(key.clone(), value);
        }
    }
    keys
}

/// The value of a key that a policy names: a param, else a tag; `seed` also as the registry reads it.
fn key_value(run: RunRow<'_>, key: &str) -> Option<String> {
    if key == "seed"
        && let Some(seed) = run.seed()
    {
        return Some(seed.to_string());
    }
    run.param(key).or_else(|| run.tag(key)).map(str::to_owned)
}

fn circumstances(
    query: &GateQuery,
    arms: &Arms<'_>,
    named: Option<&Record>,
    keys: &[MetricKey],
    look: u32,
) -> Circumstances {
    let established = named.and_then(|record| record.integer("established"));
    let newest = arms.baseline.iter().filter_map(|run| run.end_time().or(run.start_time())).max();
    let age = established.or(newest).map(|time| query.time.saturating_sub(time));
    let mut left_out: Vec<&str> = query.candidate.keys().chain(query.baseline.keys()).collect();
    left_out.extend(query.policy.pair_by.as_deref());
    let (grounds, changed) = changes::between(&arms.candidate, &arms.baseline, &left_out);
    Circumstances {
        // Whole days, so that asking twice gives the same bytes.
        baseline_age_days: age.map(|age| age.max(0).div_euclid(MICROSECONDS_A_DAY) as f64),
        grounds,
        changed,
        still_running: arms
            .all()
            .filter(|run| !run.status().is_ended())
            .map(|run| run.id().to_string())
            .collect(),
        snapshot: Some(looks::data_of_all(keys)),
        look,
        refreshed: BTreeMap::new(),
    }
}

/// The values of runs that were made again, by metric; NaN for those that failed.
fn values_again(
    snapshot: &Snapshot,
    metrics: &[MetricName],
    runs: &[RunRow<'_>],
) -> Result<BTreeMap<String, Vec<f64>>> {
    let values = last_values(snapshot, metrics, runs)?;
    let failed = |run: &RunRow<'_>| matches!(run.status(), RunStatus::Failed | RunStatus::Killed);
    let of_metric = |(metric, last): (&MetricName, HashMap<_, f64>)| {
        let value = |run: &RunRow<'_>| match last.get(&run.id()) {
            Some(value) if !failed(run) => *value,
            _ => f64::NAN,
        };
        let mut values: Vec<f64> = runs.iter().map(value).collect();
        values.sort_unstable_by(f64::total_cmp);
        (metric.to_string(), values)
    };
    Ok(metrics.iter().zip(values).map(of_metric).collect())
}

/// What the record of a named baseline says against using it as it is.
fn baseline_warnings(named: &Record, report: &DecisionReport) -> Vec<Warning> {
    let mut warnings = Vec::new();
    let id = &named.id;
    if named.text("status") == Some("retired") {
        let message = format!("baseline {id} is retired; a newer version may be active");
        warnings.push(Warning { code: "baseline_retired", message });
    }
    let measured = report.metrics.iter().find(|metric| named.text("metric") == Some(&metric.report.metric));
    if let (Some(metric), Some(n), Some(mean)) = (measured, named.integer("n"), named.number("mean")) {
        let arm = &metric.report.baseline;
        let moved = arm.mean.is_some_and(|now| now.to_bits() != mean.to_bits());
        if metric.verdict != Verdict::Error && (moved || i64::try_from(arm.finite) != Ok(n)) {
            let now = arm.mean.map_or("none".to_owned(), |mean| mean.to_string());
            let message = format!(
                "baseline {id} was set on {n} runs with mean {mean}, its runs have {} with mean {now} today: they were logged or measured again; set a new version",
                arm.finite
            );
            warnings.push(Warning { code: "baseline_changed", message });
        }
    }
    warnings
}
