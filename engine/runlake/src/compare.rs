//! Which hyperparameter matters: the groups of every param compared on one metric.

use analysis::{Direction, GroupComparison, ParameterColumn, ParameterValues, compare_parameters};
use model::{MetricName, RunStatus};

use crate::error::Result;
use crate::lake::Lake;
use crate::samples::last_values_of;
use crate::selector::Selector;

impl Lake {
    /// Compares the runs of a selector by the values of each param, on the last value of a metric. Params in `ignored`
    /// (such as the seed) and params with a single value are left out.
    ///
    /// # Errors
    /// When the selector is wrong or takes no run, or a run has the metric in several contexts.
    pub async fn compare_params(
        &self,
        selector: &Selector,
        metric: &MetricName,
        direction: Direction,
        level: f64,
        ignored: &[&str],
    ) -> Result<GroupComparison> {
        let snapshot = self.snapshot().await?;
        let runs = selector.runs(self, &snapshot).await?;
        let last = last_values_of(&snapshot, metric, &runs)?;
        let values: Vec<Option<f64>> = runs
            .iter()
            .map(|run| {
                let failed = matches!(run.status(), RunStatus::Failed | RunStatus::Killed);
                last.get(&run.id()).copied().filter(|value| value.is_finite() && !failed)
            })
            .collect();
        let keys: std::collections::BTreeSet<&str> = runs
            .iter()
            .flat_map(|run| run.params().map(|(key, _)| key))
            .filter(|key| !ignored.contains(key))
            .collect();
        let columns: Vec<ParameterColumn> = keys
            .into_iter()
            .filter_map(|key| {
                let given: Vec<Option<&str>> = runs.iter().map(|run| run.param(key)).collect();
                let first = given.first().copied().flatten();
                if given.iter().all(|value| *value == first) {
                    return None;
                }
                let number = |text: &str| text.trim().parse::<f64>().ok();
                let numeric = given.iter().flatten().all(|value| number(value).is_some());
                let values = if numeric {
                    ParameterValues::Numbers(given.iter().map(|value| value.and_then(number)).collect())
                } else {
                    let text = |value: &Option<&str>| value.map(str::to_owned);
                    ParameterValues::Categories(given.iter().map(text).collect())
                };
                Some(ParameterColumn { name: key.to_owned(), values })
            })
            .collect();
        Ok(compare_parameters(&columns, &values, direction, level)?)
    }
}
