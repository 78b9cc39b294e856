//! How often the same question was asked before: every look that could have decided spends a part of alpha.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use analysis::{GatePolicy, GateRun, MetricPolicy, MetricRuns};
use arrow::array::{Array, AsArray, RecordBatch, StringArray};
use arrow::datatypes::{Float64Type, Int64Type};
use model::RecordKind;
use sha2::{Digest, Sha256};
use store::Snapshot;

use super::{Arms, GateQuery};

/// Both arms as a question names them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Question {
    pub(super) candidate: ArmName,
    pub(super) baseline: ArmName,
    /// Configurations without their seeds, and commits, of both arms.
    recipes: String,
}

/// How an arm was chosen, and its runs in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ArmName {
    pub(super) selector: String,
    pub(super) runs: BTreeSet<String>,
}

impl ArmName {
    /// Whether both are one arm that has grown: chosen alike, or with runs in common.
    fn continues(&self, earlier: &Self) -> bool {
        self.selector == earlier.selector || !self.runs.is_disjoint(&earlier.runs)
    }
}

/// What looks at one metric have in common, and what this look sees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct MetricKey {
    /// Equal for every look at the same claim about the same recipes.
    pub(super) look_key: String,
    /// A hash of the runs and values that are judged.
    pub(super) data: String,
}

impl Question {
    pub(super) fn of(query: &GateQuery, arms: &Arms<'_>) -> Self {
        let arm = |selector: &str, runs: &[store::RunRow<'_>]| ArmName {
            selector: selector.to_owned(),
            runs: runs.iter().map(|run| run.id().to_string()).collect(),
        };
        let recipes = |runs: &[store::RunRow<'_>]| -> String {
            let recipes: BTreeSet<String> = runs
                .iter()
                .map(|run| format!("{} {}", run.config_hash(), run.git_commit().unwrap_or_default()))
                .collect();
            recipes.into_iter().collect::<Vec<_>>().join(",")
        };
        Self {
            candidate: arm(query.candidate.as_str(), &arms.candidate),
            baseline: arm(query.baseline.as_str(), &arms.baseline),
            recipes: format!("{}|{}", recipes(&arms.candidate), recipes(&arms.baseline)),
        }
    }

    pub(super) fn key(&self, metric: &MetricPolicy, runs: &MetricRuns) -> MetricKey {
        let margin = metric.margin.unwrap_or(0.0);
        let claim = (metric.direction, metric.mode, metric.relative);
        MetricKey {
            look_key: hash([
                metric.name.as_str(),
                &format!("{claim:?}"),
                &margin.to_bits().to_string(),
                &self.recipes,
            ]),
            data: hash([arm_data(&runs.candidate).as_str(), &arm_data(&runs.baseline)]),
        }
    }
}

fn arm_data(runs: &[GateRun]) -> String {
    let sorted: BTreeMap<&str, String> = runs
        .iter()
        .map(|run| {
            let value = run.value.map(f64::to_bits);
            (run.id.as_str(), format!("{value:?} {} {:?}", run.failed, run.pair))
        })
        .collect();
    format!("{sorted:?}")
}

/// The data of all metrics under one name.
pub(super) fn data_of_all(keys: &[MetricKey]) -> String {
    match keys {
        [only] => only.data.clone(),
        keys => hash(keys.iter().map(|key| key.data.as_str())),
    }
}

/// 128 bits of SHA-256 over texts and their lengths, as 32 hexadecimal digits.
fn hash<'a>(texts: impl IntoIterator<Item = &'a str>) -> String {
    let mut hasher = Sha256::new();
    for text in texts {
        hasher.update((text.len() as u64).to_le_bytes());
        hasher.update(text.as_bytes());
    }
    hasher.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

/// An earlier look at a metric that could have decided.
struct Look {
    number: u32,
    alpha: f64,
    data: String,
}

/// Which look this is, from 1. The same data seen again are the same look; one beyond what alpha is left for has a number
/// beyond the planned ones, which the gate answers as spent. A policy is looked at as a whole: the furthest metric counts.
pub(super) fn next(snapshot: &Snapshot, question: &Question, keys: &[MetricKey], policy: &GatePolicy) -> u32 {
    let Some(table) = snapshot.registry().records(RecordKind::Gates) else { return 1 };
    let batches: Vec<RecordBatch> = table.batches().filter_map(Result::ok).collect();
    let asked: HashSet<&str> = keys.iter().map(|key| key.look_key.as_str()).collect();
    let mut found: Vec<(&str, &str, Look)> = Vec::new();
    for batch in &batches {
        let columns = (text(batch, "look_key"), text(batch, "gate_run"), text(batch, "reason"));
        let (Some(look_keys), Some(gate_runs), Some(reasons)) = columns else { continue };
        for row in 0..batch.num_rows() {
            let key = look_keys.is_valid(row).then(|| look_keys.value(row)).filter(|key| asked.contains(key));
            // A look without a bound decided nothing, whatever it saw: too few runs, nothing to judge, no alpha left.
            let could_decide = is_valid(batch, "low", row)
                && !(reasons.is_valid(row) && reasons.value(row) == "looks_spent");
            if let (Some(key), true, true) = (key, could_decide, gate_runs.is_valid(row)) {
                found.push((key, gate_runs.value(row), Look::of(batch, row)));
            }
        }
    }
    let wanted: HashSet<&str> = found.iter().map(|(_, gate_run, _)| *gate_run).collect();
    let arms: HashMap<&str, [ArmName; 2]> =
        batches.iter().flat_map(|batch| arms_of(batch, &wanted)).collect();
    let mut looks: HashMap<&str, Vec<Look>> = HashMap::new();
    for (key, gate_run, look) in found {
        let is_continued = arms.get(gate_run).is_some_and(|[candidate, baseline]| {
            question.candidate.continues(candidate) && question.baseline.continues(baseline)
        });
        if is_continued {
            looks.entry(key).or_default().push(look);
        }
    }
    let of_metric = |(key, metric): (&MetricKey, &MetricPolicy)| {
        let earlier = looks.get(key.look_key.as_str()).map_or(&[][..], Vec::as_slice);
        number(earlier, &key.data, metric.alpha.unwrap_or(policy.alpha), policy)
    };
    keys.iter().zip(&policy.metrics).map(of_metric).max().unwrap_or(1)
}

fn number(earlier: &[Look], data: &str, alpha: f64, policy: &GatePolicy) -> u32 {
    if let Some(same) = earlier.iter().find(|look| look.data == data) {
        return same.number;
    }
    let spent: BTreeMap<u32, f64> = earlier.iter().map(|look| (look.number, look.alpha)).collect();
    let next = spent.keys().last().map_or(1, |last| last.saturating_add(1));
    let planned = policy.planned_looks();
    // Looks at planned sizes spend what their plan says of what is left; others each an equal part.
    let part = if policy.look_sizes.is_empty() { alpha / f64::from(planned.max(1)) } else { alpha * 1e-6 };
    let wanted = spent.values().sum::<f64>() + part;
    if wanted > alpha * (1.0 + 1e-9) { next.max(planned.saturating_add(1)) } else { next }
}

fn text<'a>(batch: &'a RecordBatch, column: &str) -> Option<&'a StringArray> {
    batch.column_by_name(column)?.as_string_opt::<i32>()
}

fn is_valid(batch: &RecordBatch, column: &str, row: usize) -> bool {
    batch.column_by_name(column).is_some_and(|column| column.is_valid(row))
}

impl Look {
    fn of(batch: &RecordBatch, row: usize) -> Self {
        let number = batch.column_by_name("look").and_then(|column| column.as_primitive_opt::<Int64Type>());
        let alpha = batch.column_by_name("alpha").and_then(|column| column.as_primitive_opt::<Float64Type>());
        Self {
            number: number.map_or(1, |column| u32::try_from(column.value(row)).unwrap_or(u32::MAX)),
            alpha: alpha.map_or(0.0, |column| column.value(row)),
            data: text(batch, "data").map(|column| column.value(row).to_owned()).unwrap_or_default(),
        }
    }
}

/// The arms of those of the wanted gate runs whose verdict stands in a batch.
fn arms_of<'a>(batch: &'a RecordBatch, wanted: &HashSet<&str>) -> Vec<(&'a str, [ArmName; 2])> {
    let Some(gate_runs) = text(batch, "gate_run") else { return Vec::new() };
    (0..batch.num_rows())
        .filter(|row| !is_valid(batch, "metric", *row) && gate_runs.is_valid(*row))
        .filter(|row| wanted.contains(gate_runs.value(*row)))
        .map(|row| {
            let value = |column: &str| {
                text(batch, column).filter(|column| column.is_valid(row)).map(|column| column.value(row))
            };
            let arms = ["candidate", "baseline"].map(|arm| ArmName {
                selector: value(arm).unwrap_or_default().to_owned(),
                runs: super::recording::ids(value(&format!("{arm}_runs"))).into_iter().collect(),
            });
            (gate_runs.value(row), arms)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use analysis::Direction;

    use super::*;

    fn look(number: u32, alpha: f64, data: &str) -> Look {
        Look { number, alpha, data: data.to_owned() }
    }

    #[test]
    fn looks_are_counted_by_what_they_saw_and_end_with_alpha() {
        let mut policy = GatePolicy::new(vec![MetricPolicy::new("m", Direction::Up)]);
        assert_eq!(number(&[], "a", 0.05, &policy), 1);
        let first = [look(1, 0.025, "a")];
        assert_eq!(number(&first, "a", 0.05, &policy), 1, "the same data are the same look");
        assert_eq!(number(&first, "b", 0.05, &policy), 2);
        let both = [look(1, 0.025, "a"), look(2, 0.025, "b"), look(2, 0.025, "b")];
        assert_eq!(number(&both, "c", 0.05, &policy), 3);
        // All of alpha at once leaves none for a second look, also when two are planned by then.
        assert_eq!(number(&[look(1, 0.05, "a")], "b", 0.05, &policy), 3);
        // A plan of sizes may spend most of alpha early.
        policy.look_sizes = vec![5, 6];
        assert_eq!(number(&[look(1, 0.04, "a")], "b", 0.05, &policy), 2);
        assert_eq!(number(&[look(1, 0.05, "a")], "b", 0.05, &policy), 3);
        (policy.look_sizes, policy.looks) = (Vec::new(), 1);
        assert_eq!(number(&[look(1, 0.05, "a")], "b", 0.05, &policy), 2);
    }

    #[test]
    fn an_arm_goes_on_by_its_name_or_its_runs() {
        let arm = |selector: &str, runs: &[&str]| ArmName {
            selector: selector.to_owned(),
            runs: runs.iter().map(|&run| run.to_owned()).collect(),
        };
        assert!(arm("tag:a=1", &["3"]).continues(&arm("tag:a=1", &["1", "2"])));
        assert!(arm("1,2,3", &["1", "2", "3"]).continues(&arm("1,2", &["1", "2"])));
        assert!(!arm("1,2", &["1", "2"]).continues(&arm("3,4", &["3", "4"])));
    }
}
