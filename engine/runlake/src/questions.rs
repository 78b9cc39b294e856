//! Questions over many runs that the kernels answer, as one call each: which params matter, which runs are alike, which
//! went wrong. Each becomes a SQL statement, so that a lake, a server and the command line ask the same; what the
//! columns and options mean stands at the SQL function of the same name.

use std::fmt::Write as _;

use arrow::array::RecordBatch;

use crate::error::Result;
use crate::lake::Lake;

/// Which runs a question is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RunSet {
    /// All runs of these experiments, each `name` or `project/name`.
    Experiments(Vec<String>),
    /// The rows of a SELECT, one for each run.
    Sql(String),
}

impl From<&str> for RunSet {
    /// One experiment.
    fn from(experiment: &str) -> Self {
        Self::Experiments(vec![experiment.to_owned()])
    }
}

impl RunSet {
    fn literal(&self) -> String {
        match self {
            Self::Experiments(names) => list(names),
            Self::Sql(sql) => quoted(sql),
        }
    }
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

fn list(texts: &[String]) -> String {
    let texts: Vec<String> = texts.iter().map(|text| quoted(text)).collect();
    format!("[{}]", texts.join(", "))
}

/// The text of a call with named arguments, of those that are given.
struct Call(String);

impl Call {
    fn of(function: &str, first: &[String]) -> Self {
        Self(format!("SELECT * FROM {function}({}", first.join(", ")))
    }

    fn option(mut self, name: &str, literal: Option<String>) -> Self {
        if let Some(literal) = literal {
            // Writing into a String does not fail.
            let _ = write!(self.0, ", {name} => {literal}");
        }
        self
    }

    fn text(self, name: &str, text: Option<&String>) -> Self {
        self.option(name, text.map(|text| quoted(text)))
    }

    fn texts(self, name: &str, texts: &[String]) -> Self {
        self.option(name, (!texts.is_empty()).then(|| list(texts)))
    }

    fn number(self, name: &str, number: Option<f64>) -> Self {
        self.option(name, number.map(|number| format!("{number:?}")))
    }

    fn end(self) -> String {
        self.0 + ")"
    }
}

/// Which params explain a metric: SQL's `importance`.
///
/// ```
/// use runlake::ImportanceQuestion;
///
/// let question = ImportanceQuestion { pairs: Some(0), ..ImportanceQuestion::new("vision/lr sweep", "val/acc") };
/// assert_eq!(question.sql(), "SELECT * FROM importance(['vision/lr sweep'], 'val/acc', pairs => 0)");
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct ImportanceQuestion {
    /// The runs; several experiments are pooled.
    pub runs: RunSet,
    /// The metric, or its column in the SELECT.
    pub metric: String,
    /// `fanova` unless given, `ped-anova`, `permutation` or `mdi`.
    pub method: Option<String>,
    /// Only these params; all when empty.
    pub params: Vec<String>,
    /// Of how many of the strongest params pairs are assessed.
    pub pairs: Option<u32>,
    /// Whether `min` or `max` is good.
    pub direction: Option<String>,
    /// Trees of the forest.
    pub trees: Option<u32>,
    /// Confidence level of the intervals.
    pub level: Option<f64>,
    /// The seed.
    pub seed: Option<u64>,
}

impl ImportanceQuestion {
    /// The question with the defaults of SQL.
    pub fn new(runs: impl Into<RunSet>, metric: impl Into<String>) -> Self {
        Self {
            runs: runs.into(),
            metric: metric.into(),
            method: None,
            params: Vec::new(),
            pairs: None,
            direction: None,
            trees: None,
            level: None,
            seed: None,
        }
    }

    /// The statement.
    pub fn sql(&self) -> String {
        Call::of("importance", &[self.runs.literal(), quoted(&self.metric)])
            .text("method", self.method.as_ref())
            .texts("params", &self.params)
            .option("pairs", self.pairs.map(|pairs| pairs.to_string()))
            .text("direction", self.direction.as_ref())
            .option("trees", self.trees.map(|trees| trees.to_string()))
            .number("level", self.level)
            .option("seed", self.seed.map(|seed| seed.to_string()))
            .end()
    }
}

/// Which runs have like params and like curves: SQL's `cluster_runs`.
///
/// ```
/// use runlake::ClusterRunsQuestion;
///
/// let question = ClusterRunsQuestion { k: Some(3), ..ClusterRunsQuestion::new("lr sweep") };
/// assert_eq!(question.sql(), "SELECT * FROM cluster_runs(['lr sweep'], k => 3)");
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct ClusterRunsQuestion {
    /// The runs.
    pub runs: RunSet,
    /// `kmeans` unless given, or `hdbscan`.
    pub method: Option<String>,
    /// Clusters of `kmeans`; found by silhouette when not given.
    pub k: Option<u32>,
    /// Fewest runs of a cluster of `hdbscan`.
    pub min_size: Option<u32>,
    /// Metrics whose curves count too.
    pub metrics: Vec<String>,
    /// Only these params; all but the seed when empty.
    pub params: Vec<String>,
    /// Whether `min` or `max` of the metrics is good.
    pub direction: Option<String>,
    /// The seed.
    pub seed: Option<u64>,
}

impl ClusterRunsQuestion {
    /// The question with the defaults of SQL.
    pub fn new(runs: impl Into<RunSet>) -> Self {
        Self {
            runs: runs.into(),
            method: None,
            k: None,
            min_size: None,
            metrics: Vec::new(),
            params: Vec::new(),
            direction: None,
            seed: None,
        }
    }

    /// The statement.
    pub fn sql(&self) -> String {
        Call::of("cluster_runs", &[self.runs.literal()])
            .text("method", self.method.as_ref())
            .option("k", self.k.map(|k| k.to_string()))
            .option("min_size", self.min_size.map(|size| size.to_string()))
            .texts("metrics", &self.metrics)
            .texts("params", &self.params)
            .text("direction", self.direction.as_ref())
            .option("seed", self.seed.map(|seed| seed.to_string()))
            .end()
    }
}

/// Which runs have like curves of one metric: SQL's `cluster_curves`.
///
/// ```
/// use runlake::ClusterCurvesQuestion;
///
/// let question = ClusterCurvesQuestion { normalise: true, ..ClusterCurvesQuestion::new("lr sweep", "loss") };
/// assert_eq!(question.sql(), "SELECT * FROM cluster_curves(['lr sweep'], 'loss', normalise => true)");
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct ClusterCurvesQuestion {
    /// The runs.
    pub runs: RunSet,
    /// The metric.
    pub metric: String,
    /// Number of clusters.
    pub k: Option<u32>,
    /// `euclidean` unless given, `dtw` or `soft-dtw`.
    pub measure: Option<String>,
    /// Points that curves are compared at.
    pub points: Option<u32>,
    /// `own` unless given, or `common`.
    pub grid: Option<String>,
    /// Whether only the shape counts.
    pub normalise: bool,
    /// Smoothing of `soft-dtw`.
    pub gamma: Option<f64>,
    /// The seed.
    pub seed: Option<u64>,
}

impl ClusterCurvesQuestion {
    /// The question with the defaults of SQL.
    pub fn new(runs: impl Into<RunSet>, metric: impl Into<String>) -> Self {
        Self {
            runs: runs.into(),
            metric: metric.into(),
            k: None,
            measure: None,
            points: None,
            grid: None,
            normalise: false,
            gamma: None,
            seed: None,
        }
    }

    /// The statement.
    pub fn sql(&self) -> String {
        Call::of("cluster_curves", &[self.runs.literal(), quoted(&self.metric)])
            .option("k", self.k.map(|k| k.to_string()))
            .text("measure", self.measure.as_ref())
            .option("points", self.points.map(|points| points.to_string()))
            .text("grid", self.grid.as_ref())
            .option("normalise", self.normalise.then(|| "true".to_owned()))
            .number("gamma", self.gamma)
            .option("seed", self.seed.map(|seed| seed.to_string()))
            .end()
    }
}

/// Which runs are most like one: SQL's `similar_runs`.
///
/// ```
/// use runlake::SimilarRunsQuestion;
///
/// let question = SimilarRunsQuestion { k: Some(5), ..SimilarRunsQuestion::new("baseline-s1") };
/// assert_eq!(question.sql(), "SELECT * FROM similar_runs('baseline-s1', k => 5)");
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct SimilarRunsQuestion {
    /// The id of the run, or its name where only one run has it.
    pub run: String,
    /// How many.
    pub k: Option<u32>,
    /// Among which runs; those of its experiment unless given.
    pub among: Option<RunSet>,
    /// Metrics whose curves count too.
    pub metrics: Vec<String>,
    /// Only these params; all but the seed when empty.
    pub params: Vec<String>,
}

impl SimilarRunsQuestion {
    /// The question with the defaults of SQL.
    pub fn new(run: impl Into<String>) -> Self {
        Self { run: run.into(), k: None, among: None, metrics: Vec::new(), params: Vec::new() }
    }

    /// The statement.
    pub fn sql(&self) -> String {
        Call::of("similar_runs", &[quoted(&self.run)])
            .option("k", self.k.map(|k| k.to_string()))
            .option("experiment_or_sql", self.among.as_ref().map(RunSet::literal))
            .texts("metrics", &self.metrics)
            .texts("params", &self.params)
            .end()
    }
}

/// Which curves diverged, are stuck, or spike: SQL's `outliers` with its usual thresholds.
///
/// ```
/// use runlake::OutliersQuestion;
///
/// let question = OutliersQuestion { direction: Some("max".to_owned()), ..OutliersQuestion::new("lr sweep", "acc") };
/// assert_eq!(question.sql(), "SELECT * FROM outliers(['lr sweep'], 'acc', direction => 'max')");
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct OutliersQuestion {
    /// The runs.
    pub runs: RunSet,
    /// The metric.
    pub metric: String,
    /// Whether `min` or `max` is good.
    pub direction: Option<String>,
}

impl OutliersQuestion {
    /// The question with the defaults of SQL.
    pub fn new(runs: impl Into<RunSet>, metric: impl Into<String>) -> Self {
        Self { runs: runs.into(), metric: metric.into(), direction: None }
    }

    /// The statement.
    pub fn sql(&self) -> String {
        Call::of("outliers", &[self.runs.literal(), quoted(&self.metric)])
            .text("direction", self.direction.as_ref())
            .end()
    }
}

impl Lake {
    /// Which params explain a metric, most important first, each with its interval.
    ///
    /// ```no_run
    /// # async fn example(lake: &runlake::Lake) -> Result<(), runlake::Error> {
    /// let rows = lake.importance(&runlake::ImportanceQuestion::new("vision/lr sweep", "val/acc")).await?;
    /// println!("{}", arrow::util::pretty::pretty_format_batches(&rows)?);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// When there is no such experiment or metric, or too few runs have it.
    pub async fn importance(&self, question: &ImportanceQuestion) -> Result<Vec<RecordBatch>> {
        self.sql(&question.sql()).await
    }

    /// Groups of runs with like params and curves, a row for each run.
    ///
    /// # Errors
    /// When there is no such experiment, it has fewer runs than clusters, or they are all alike.
    pub async fn cluster_runs(&self, question: &ClusterRunsQuestion) -> Result<Vec<RecordBatch>> {
        self.sql(&question.sql()).await
    }

    /// Groups of runs with like curves of a metric, a row for each run that logged it.
    ///
    /// # Errors
    /// When there is no such experiment, no run has the metric, or there are fewer curves than clusters.
    pub async fn cluster_curves(&self, question: &ClusterCurvesQuestion) -> Result<Vec<RecordBatch>> {
        self.sql(&question.sql()).await
    }

    /// The runs nearest to one, nearest first.
    ///
    /// # Errors
    /// When there is no such run, or there are not so many others.
    pub async fn similar_runs(&self, question: &SimilarRunsQuestion) -> Result<Vec<RecordBatch>> {
        self.sql(&question.sql()).await
    }

    /// Runs whose curve of a metric diverged, is stuck, or spikes, with score and reason.
    ///
    /// # Errors
    /// When there is no such experiment, or no run has the metric.
    pub async fn outliers(&self, question: &OutliersQuestion) -> Result<Vec<RecordBatch>> {
        self.sql(&question.sql()).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_cannot_end_their_literal() {
        let question = ImportanceQuestion {
            params: vec!["it's".to_owned()],
            level: Some(0.9),
            seed: Some(7),
            ..ImportanceQuestion::new(RunSet::Sql("SELECT 'a' AS x".to_owned()), "m'); DROP TABLE runs --")
        };
        assert_eq!(
            question.sql(),
            "SELECT * FROM importance('SELECT ''a'' AS x', 'm''); DROP TABLE runs --', params => ['it''s'], \
             level => 0.9, seed => 7)"
        );
    }
}
