//! `importance`: which params explain the differences of a metric between runs.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Float64Array, Int64Array, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use datafusion::common::{DataFusionError, Result, plan_err};
use datafusion::datasource::TableProvider;
use kernels::cluster::Goal;
use kernels::importance::{
    Assessment, Direction, FanovaRequest, Forest, ForestRequest, ImportanceError, NumericSpace, Pairs,
    Parameter, ParameterTable, PedAnovaRequest, PermutationImportanceRequest, PoolRequest, Scale, Trials,
    Warning, functional_anova, impurity_decrease, ped_anova, permutation_importance, pool,
};
use kernels::{Backend, KernelError, Request};
use model::MetricName;
use model::schema::Table;

use super::Call;
use super::computed::{ComputedTable, Inputs, Memory, Taken, Work};
use super::embedded::goal;
use super::source::{RUNS, Source};
use crate::functions::bootstrap::{LEVEL, SEED};
use crate::functions::definition::{ArgumentKind, Definition, FunctionKind, optional, required};
use crate::tables::{ParamColumn, ParamTable, ParamValues, SnapshotCatalog, last_values, params_of};

pub(in crate::functions) static DEFINITION: Definition = Definition {
    name: "importance",
    kind: FunctionKind::Table,
    summary: "Which params explain the differences of a metric between runs, most important first. fanova: the share of \
              the metric's variance over the search space that each param explains alone, and each pair beyond both, by \
              a random forest; the row 'remainder' is what neither explains. ped-anova: what separates the best tenth \
              of the runs from the others. permutation: how much worse the forest predicts when a param is shuffled, \
              as a share of the variance. mdi: shares in what the splits of the forest explain. Every importance has an \
              interval. Several experiments are assessed one by one and pooled with random effects; i2 is the share of \
              the variance that is between them. The metric counts by its last value in a run; a run without a finite \
              one has failed and is counted in n_failed. A param that only some runs have is assessed where it is \
              set, n says in how many. Numbers are taken as logarithmic when they span two orders of magnitude and \
              crowd at the low end, whole numbers as steps, all else as categories; None, null, NaN and empty texts \
              are no values. In a SELECT the metric is a column, the others are params, run_id is left out, and a \
              column experiment tells experiments apart. flags has words such as few_trials, poor_fit, constant, \
              where_active, and all_different for a text that is another one in every run, which is not assessed.",
    parameters: &[
        RUNS,
        required("metric", ArgumentKind::Text, "the metric to explain, or that column of the SELECT"),
        optional("method", ArgumentKind::Text, "'fanova' (default), 'ped-anova', 'permutation' or 'mdi'"),
        optional("params", ArgumentKind::Texts, "only these params, with commas or as a list"),
        optional(
            "pairs",
            ArgumentKind::Integer,
            "fanova: assess the pairs of so many of the strongest params, default 10, 0 for none",
        ),
        optional(
            "direction",
            ArgumentKind::Text,
            "ped-anova: 'min' or 'max' is good; default that of the experiment, else 'min'",
        ),
        optional("trees", ArgumentKind::Integer, "trees of the forest, default 64"),
        LEVEL,
        SEED,
    ],
    returns: "table(kind, param, other, importance, low, high, se, n, n_failed, experiments, i2, method, flags)",
    example: "SELECT param, round(importance, 1) AS importance FROM importance('SELECT * FROM (VALUES (0.1, 4, 0.9), (0.2, 8, 0.8), (0.3, 4, 0.7), (0.4, 8, 0.6), (0.5, 4, 0.5), (0.6, 8, 0.4), (0.7, 4, 0.3), (0.8, 8, 0.2)) AS t(rate, depth, loss)', 'loss', pairs => 0) WHERE kind = 'param'",
};

/// Trees at most: each is fitted on all runs.
const TREES_MAX: i64 = 4_096;
/// Params whose pairs are assessed, at most: pairs grow with the square.
const PAIRS_MAX: i64 = 64;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Method {
    Fanova,
    PedAnova,
    Permutation,
    Mdi,
}

impl Method {
    fn name(self) -> &'static str {
        match self {
            Self::Fanova => "fanova",
            Self::PedAnova => "ped-anova",
            Self::Permutation => "permutation",
            Self::Mdi => "mdi",
        }
    }
}

/// One call.
#[derive(Debug)]
struct Importance {
    catalog: SnapshotCatalog,
    source: Source,
    metric: String,
    method: Method,
    params: Vec<String>,
    pairs: usize,
    direction: Direction,
    trees: u32,
    level: f64,
    seed: u64,
    device: kernels::Policy,
}

pub(super) fn table(call: &Call<'_>) -> Result<Arc<dyn TableProvider>> {
    let constants = &call.constants;
    let source = Source::read(call, RUNS.name)?;
    let metric = call.text("metric")?.to_owned();
    let method = match constants.text("method") {
        None | Some("fanova") => Method::Fanova,
        Some("ped-anova" | "ped_anova") => Method::PedAnova,
        Some("permutation") => Method::Permutation,
        Some("mdi") => Method::Mdi,
        Some(other) => {
            let allowed = "give 'fanova', 'ped-anova', 'permutation' or 'mdi'";
            return constants.refuse("method", format_args!("'{other}'"), allowed);
        }
    };
    let pairs = match constants.integer("pairs") {
        None => 10,
        Some(count @ 0..=PAIRS_MAX) => count as usize,
        Some(count) => return constants.refuse("pairs", count, "give a number of params from 0 to 64"),
    };
    let trees = match constants.integer("trees") {
        None => 64,
        Some(count @ 1..=TREES_MAX) => count as u32,
        Some(count) => return constants.refuse("trees", count, "give a number from 1 to 4096"),
    };
    let direction = match goal(call, &source, Some(&metric))? {
        Goal::Low => Direction::Minimize,
        Goal::High => Direction::Maximize,
    };
    let work = Importance {
        catalog: call.catalog.clone(),
        metric,
        method,
        params: constants.texts("params"),
        pairs,
        direction,
        trees,
        level: constants.level()?,
        seed: constants.seed(call.draws.seed)?,
        device: call.draws.device,
        source: source.clone(),
    };
    let inputs = Inputs { rows: source.plan(), curves: None };
    Ok(Arc::new(ComputedTable::new(DEFINITION.name, schema(), inputs, Arc::new(work))))
}

fn schema() -> SchemaRef {
    let number = |name: &str| Field::new(name, DataType::Float64, true);
    let count = |name: &str| Field::new(name, DataType::Int64, false);
    let text = |name: &str, nullable: bool| Field::new(name, DataType::Utf8, nullable);
    Arc::new(Schema::new(vec![
        text("kind", false),
        text("param", true),
        text("other", true),
        number("importance"),
        number("low"),
        number("high"),
        number("se"),
        count("n"),
        count("n_failed"),
        count("experiments"),
        number("i2"),
        text("method", false),
        text("flags", true),
    ]))
}

/// A param or two, by their places; two places that are equal are one param.
type Places = (usize, usize);

/// One importance of one experiment.
#[derive(Debug, Clone, Copy)]
struct Estimate {
    importance: f64,
    low: f64,
    high: f64,
    se: f64,
    n: u32,
    assessment: Option<Assessment>,
}

/// What is known of one experiment.
#[derive(Debug, Default)]
struct Assessed {
    estimates: BTreeMap<Places, Estimate>,
    remainder: Option<f64>,
    warnings: Vec<Warning>,
    trials: usize,
    failed: usize,
}

/// A row of the answer.
#[derive(Debug)]
struct Row {
    kind: &'static str,
    places: Option<Places>,
    numbers: [f64; 5],
    n: i64,
    n_failed: i64,
    experiments: i64,
    flags: Vec<&'static str>,
}

impl Work for Importance {
    fn described(&self) -> String {
        format!("method={}, of={}, metric={}", self.method.name(), self.source.in_words(), self.metric)
    }

    fn compute(&self, taken: Taken, memory: &Memory) -> Result<RecordBatch> {
        let (mut table, objective) = self.read(taken, memory)?;
        let mut all_different: Vec<String> = Vec::new();
        table.params.retain(|param| {
            let is_kept = !param.names_each_run();
            if !is_kept {
                all_different.push(param.name.clone());
            }
            is_kept
        });
        if table.params.is_empty() {
            return plan_err!(
                "importance: {} has no params to assess: log hyperparameters as params, or select them as columns",
                self.source.in_words()
            );
        }
        for param in &table.params {
            if let ParamValues::Numbers { values, .. } = &param.values
                && values.iter().any(|value| value.is_infinite())
            {
                return plan_err!(
                    "importance: the column '{}' is infinite in some rows: leave them out, or give NULL there",
                    param.name
                );
            }
        }
        let scales: Vec<Scale> = table.params.iter().map(scale_of).collect();
        let members: Vec<Vec<u32>> = match table.experiments.len() {
            1 => Vec::new(),
            count => {
                let mut members = vec![Vec::new(); count];
                (0u32..).zip(&table.experiment_of).for_each(|(row, of)| members[*of as usize].push(row));
                members
            }
        };
        let backend = kernels::select(self.device).map_err(|error| self.failure(&error))?.backend;
        let mut assessed: Vec<Assessed> = Vec::new();
        let mut left_out: Option<ImportanceError> = None;
        if members.is_empty() {
            let columns: Vec<&ParamColumn> = table.params.iter().collect();
            assessed.push(
                self.assess(&backend, &columns, &scales, &objective, memory)?
                    .map_err(|error| self.failure(&KernelError::Importance(error)))?,
            );
        } else {
            for rows in members.iter().filter(|rows| !rows.is_empty()) {
                memory.take(rows.len() * size_of::<f64>() * (table.params.len() + 1))?;
                let columns: Vec<ParamColumn> = table.params.iter().map(|param| part(param, rows)).collect();
                let objective: Vec<f64> = rows.iter().map(|row| objective[*row as usize]).collect();
                let columns: Vec<&ParamColumn> = columns.iter().collect();
                match self.assess(&backend, &columns, &scales, &objective, memory)? {
                    Ok(one) => assessed.push(one),
                    Err(error) => left_out = Some(error),
                }
            }
        }
        let is_partial = left_out.is_some();
        if assessed.is_empty() {
            let error = left_out.unwrap_or(ImportanceError::TooFewTrials { usable: 0, trials: 0 });
            return Err(self.failure(&KernelError::Importance(error)));
        }
        let mut rows = if assessed.len() == 1 { one(&assessed[0]) } else { pooled(&assessed, self.level)? };
        if is_partial {
            rows.iter_mut().for_each(|row| row.flags.push("experiments_left_out"));
        }
        self.batch(&table, rows, &all_different)
    }
}

impl Importance {
    /// The params and the objective of each run or trial.
    fn read(&self, taken: Taken, memory: &Memory) -> Result<(ParamTable, Vec<f64>)> {
        let snapshot = self.catalog.snapshot();
        match (&self.source, taken.rows) {
            (Source::Experiments(experiments), _) => {
                self.catalog.check(&[Table::Runs, Table::Params, Table::Series])?;
                let take = |bytes: usize| memory.take(bytes);
                let table = params_of(snapshot, self.catalog.access(), experiments, &self.params, &take)?;
                if table.rows == 0 {
                    return plan_err!("importance: {} has no runs", self.source.in_words());
                }
                let last = match MetricName::new(&self.metric) {
                    Ok(metric) => last_values(snapshot, &metric),
                    Err(_) => Vec::new(),
                };
                memory.take((last.len() + table.rows) * 2 * size_of::<f64>())?;
                let value = |run: &u32| last.get(*run as usize).copied().flatten();
                if table.runs.iter().all(|run| value(run).is_none()) {
                    return plan_err!(
                        "importance: no run of {} has the metric '{}'; SELECT DISTINCT metric FROM series lists those \
                         that were logged",
                        self.source.in_words(),
                        self.metric
                    );
                }
                let objective = table.runs.iter().map(|run| value(run).unwrap_or(f64::NAN)).collect();
                Ok((table, objective))
            }
            (Source::Query(..), Some(rows)) => {
                let mut table = rows.finish(snapshot, &|_| true)?;
                let place = table.params.iter().position(|param| param.name == self.metric);
                let Some(place) = place else {
                    return plan_err!(
                        "importance: the query has no column '{}': select the metric under this name",
                        self.metric
                    );
                };
                let metric = table.params.remove(place);
                if !self.params.is_empty() {
                    table.params.retain(|param| self.params.contains(&param.name));
                }
                match metric.values {
                    ParamValues::Numbers { values, .. } => Ok((table, values)),
                    ParamValues::Levels { .. } => {
                        plan_err!("importance: the column '{}' is no number: cast it", self.metric)
                    }
                }
            }
            (Source::Query(..), None) => plan_err!("importance: the query was not run"),
        }
    }

    /// The importances of one experiment; the inner error is about its trials.
    fn assess(
        &self,
        backend: &Arc<dyn Backend>,
        params: &[&ParamColumn],
        scales: &[Scale],
        objective: &[f64],
        memory: &Memory,
    ) -> Result<std::result::Result<Assessed, ImportanceError>> {
        let parameters: Vec<Parameter<'_>> =
            params.iter().zip(scales).map(|(param, scale)| parameter(param, *scale)).collect();
        let trials = Trials { parameters: &parameters, objective };
        let outcome = self.estimates(backend, trials, memory);
        match outcome {
            Ok(mut assessed) => {
                assessed.failed = objective.iter().filter(|value| !value.is_finite()).count();
                assessed.trials = objective.len() - assessed.failed;
                Ok(Ok(assessed))
            }
            Err(Failure::Kernel(KernelError::Importance(error))) => Ok(Err(error)),
            Err(Failure::Kernel(error)) => Err(self.failure(&error)),
            Err(Failure::Engine(error)) => Err(error),
        }
    }

    fn estimates(
        &self,
        backend: &Arc<dyn Backend>,
        trials: Trials<'_>,
        memory: &Memory,
    ) -> std::result::Result<Assessed, Failure> {
        if self.method == Method::PedAnova {
            // Cells of all trials, and how often each is drawn by each thread.
            let threads = std::thread::available_parallelism().map_or(1, usize::from);
            memory.take(trials.objective.len() * (4 * trials.parameters.len() + 16 + 2 * threads))?;
            let request =
                PedAnovaRequest { level: self.level, seed: self.seed, ..PedAnovaRequest::new(trials) };
            let found = ped_anova(&request.direction(self.direction)).map_err(KernelError::from)?;
            return Ok(Assessed { warnings: found.warnings, ..Assessed::of(&found.parameters) });
        }
        let request = ForestRequest::new(trials).trees(self.trees).seed(self.seed);
        memory.take_for(backend.estimate(&Request::Forest(&request))?)?;
        let forest = backend.forest(&request)?;
        // Asks for nothing, and learns of a stop between the two long steps.
        memory.take(0)?;
        let mut assessed = match self.method {
            Method::Permutation => {
                let request = PermutationImportanceRequest { level: self.level, ..Default::default() };
                let found = permutation_importance(&forest, &request).map_err(KernelError::from)?;
                Assessed::of(&found)
            }
            Method::Mdi => Assessed::of(&impurity_decrease(&forest, self.level).map_err(KernelError::from)?),
            Method::Fanova | Method::PedAnova => self.fanova(&forest)?,
        };
        assessed.warnings = forest.warnings();
        Ok(assessed)
    }

    fn fanova(&self, forest: &Forest) -> std::result::Result<Assessed, KernelError> {
        let pairs = if self.pairs == 0 { Pairs::None } else { Pairs::Top(self.pairs) };
        let request = FanovaRequest { pairs, level: self.level, ..FanovaRequest::default() };
        let found = functional_anova(forest, &request)?;
        let mut assessed = Assessed::of(&found.parameters);
        let pairs = found.pairs;
        for pair in 0..pairs.importance.len() {
            let estimate = Estimate {
                importance: pairs.importance[pair],
                low: pairs.low[pair],
                high: pairs.high[pair],
                se: pairs.se[pair],
                n: pairs.n[pair],
                assessment: None,
            };
            assessed.estimates.insert((pairs.first[pair], pairs.second[pair]), estimate);
        }
        assessed.remainder = Some(found.remainder);
        Ok(assessed)
    }

    fn failure(&self, error: &KernelError) -> DataFusionError {
        let advice = match error {
            KernelError::Importance(ImportanceError::TooFewTrials { .. }) => {
                ": log the metric in more runs, or take several experiments together in a SELECT"
            }
            KernelError::Importance(ImportanceError::ZeroVariance { .. }) => ": explain another metric",
            _ => "",
        };
        let of = self.source.in_words();
        DataFusionError::Plan(format!("{error}{advice} (metric '{}' of {of})", self.metric))
    }

    fn batch(&self, table: &ParamTable, rows: Vec<Row>, all_different: &[String]) -> Result<RecordBatch> {
        let name = |place: usize| table.params.get(place).map(|param| param.name.as_str());
        let method = self.method.name();
        let left: Vec<Row> = all_different
            .iter()
            .map(|_| Row {
                kind: "param",
                places: None,
                numbers: [f64::NAN; 5],
                n: rows.first().map_or(0, |row| row.n),
                n_failed: rows.first().map_or(0, |row| row.n_failed),
                experiments: rows.first().map_or(1, |row| row.experiments),
                flags: vec!["all_different"],
            })
            .collect();
        let of_rows = rows.iter().map(|row| match row.places {
            Some((first, second)) => (name(first), (first != second).then(|| name(second)).flatten()),
            None => (None, None),
        });
        let names: Vec<(Option<&str>, Option<&str>)> =
            of_rows.chain(all_different.iter().map(|name| (Some(name.as_str()), None))).collect();
        let rows: Vec<&Row> = rows.iter().chain(&left).collect();
        let number = |at: usize| -> Float64Array {
            rows.iter().map(|row| Some(row.numbers[at]).filter(|number| !number.is_nan())).collect()
        };
        let count = |of: fn(&Row) -> i64| Int64Array::from_iter_values(rows.iter().map(|row| of(row)));
        let flags = rows.iter().map(|row| (!row.flags.is_empty()).then(|| row.flags.join(",")));
        Ok(RecordBatch::try_new(
            schema(),
            vec![
                Arc::new(StringArray::from_iter_values(rows.iter().map(|row| row.kind))),
                Arc::new(names.iter().map(|(first, _)| *first).collect::<StringArray>()),
                Arc::new(names.iter().map(|(_, second)| *second).collect::<StringArray>()),
                Arc::new(number(0)),
                Arc::new(number(1)),
                Arc::new(number(2)),
                Arc::new(number(3)),
                Arc::new(count(|row| row.n)),
                Arc::new(count(|row| row.n_failed)),
                Arc::new(count(|row| row.experiments)),
                Arc::new(number(4)),
                Arc::new(StringArray::from_iter_values(rows.iter().map(|_| method))),
                Arc::new(flags.collect::<StringArray>()),
            ],
        )?)
    }
}

/// Why there are no estimates.
enum Failure {
    Kernel(KernelError),
    Engine(DataFusionError),
}

impl From<KernelError> for Failure {
    fn from(error: KernelError) -> Self {
        Self::Kernel(error)
    }
}

impl From<DataFusionError> for Failure {
    fn from(error: DataFusionError) -> Self {
        Self::Engine(error)
    }
}

fn scale_of(param: &ParamColumn) -> Scale {
    match &param.values {
        ParamValues::Numbers { values, .. } => Scale::guess(values),
        ParamValues::Levels { .. } => Scale::Linear,
    }
}

fn parameter(param: &ParamColumn, scale: Scale) -> Parameter<'_> {
    match &param.values {
        ParamValues::Numbers { values, whole } => {
            let step = whole.then_some(1.0);
            Parameter::Numeric { values, space: NumericSpace { scale, range: None, step } }
        }
        // As many as there are codes.
        ParamValues::Levels { codes, levels } => Parameter::categorical(codes, levels.len() as u32),
    }
}

/// The values of some rows.
fn part(param: &ParamColumn, rows: &[u32]) -> ParamColumn {
    let values = match &param.values {
        ParamValues::Numbers { values, whole } => ParamValues::Numbers {
            values: rows.iter().map(|row| values[*row as usize]).collect(),
            whole: *whole,
        },
        ParamValues::Levels { codes, levels } => ParamValues::Levels {
            codes: rows.iter().map(|row| codes[*row as usize]).collect(),
            levels: levels.clone(),
        },
    };
    ParamColumn { name: param.name.clone(), values }
}

impl Assessed {
    fn of(table: &ParameterTable) -> Self {
        let estimate = |place: usize| Estimate {
            importance: table.importance[place],
            low: table.low[place],
            high: table.high[place],
            se: table.se[place],
            n: table.n[place],
            assessment: Some(table.assessment[place]),
        };
        let estimates = (0..table.importance.len()).map(|place| ((place, place), estimate(place))).collect();
        Self { estimates, ..Self::default() }
    }

    /// The words that concern a row.
    fn flags(&self, places: Option<Places>, flags: &mut Vec<&'static str>) {
        let assessment = places.and_then(|places| self.estimates.get(&places)?.assessment);
        let mut add = |word: &'static str| {
            if !flags.contains(&word) {
                flags.push(word);
            }
        };
        if let Some(assessment) = assessment.filter(|assessment| *assessment != Assessment::AllTrials) {
            add(assessment.code());
        }
        for warning in &self.warnings {
            let concerns = match (warning, places) {
                (Warning::MergedLevels { parameter, .. }, Some((first, second))) => {
                    [first, second].contains(parameter)
                }
                (Warning::MergedLevels { .. }, None) => false,
                _ => true,
            };
            if concerns {
                add(warning.code());
            }
        }
    }
}

/// Params first, then pairs, each from the most to the least important, those without a number last.
fn ranked(mut rows: Vec<Row>) -> Vec<Row> {
    let place = |row: &Row| match row.places {
        Some((first, second)) if first == second => 0,
        Some(_) => 1,
        None => 2,
    };
    let importance = |row: &Row| if row.numbers[0].is_nan() { f64::NEG_INFINITY } else { row.numbers[0] };
    rows.sort_by(|a, b| place(a).cmp(&place(b)).then_with(|| importance(b).total_cmp(&importance(a))));
    rows
}

fn kind(places: Places) -> &'static str {
    if places.0 == places.1 { "param" } else { "pair" }
}

/// The rows of one experiment.
fn one(assessed: &Assessed) -> Vec<Row> {
    let row = |(places, estimate): (&Places, &Estimate)| {
        let mut flags = Vec::new();
        assessed.flags(Some(*places), &mut flags);
        let Estimate { importance, low, high, se, n, .. } = *estimate;
        Row {
            kind: kind(*places),
            places: Some(*places),
            numbers: [importance, low, high, se, f64::NAN],
            n: i64::from(n),
            n_failed: assessed.failed as i64,
            experiments: 1,
            flags,
        }
    };
    let mut rows: Vec<Row> = assessed.estimates.iter().map(row).collect();
    rows.extend(assessed.remainder.map(|share| remainder(&[assessed], share)));
    ranked(rows)
}

fn remainder(assessed: &[&Assessed], share: f64) -> Row {
    let mut flags = Vec::new();
    assessed.iter().for_each(|one| one.flags(None, &mut flags));
    Row {
        kind: "remainder",
        places: None,
        numbers: [share, f64::NAN, f64::NAN, f64::NAN, f64::NAN],
        n: assessed.iter().map(|one| one.trials as i64).sum(),
        n_failed: assessed.iter().map(|one| one.failed as i64).sum(),
        experiments: assessed.len() as i64,
        flags,
    }
}

/// The rows of several experiments together.
fn pooled(assessed: &[Assessed], level: f64) -> Result<Vec<Row>> {
    let mut by_places: BTreeMap<Places, Vec<&Assessed>> = BTreeMap::new();
    for one in assessed {
        for places in one.estimates.keys() {
            by_places.entry(*places).or_default().push(one);
        }
    }
    let (mut estimates, mut errors, mut offsets) = (Vec::new(), Vec::new(), vec![0u32]);
    for (places, of) in &by_places {
        // A param that none of an experiment's runs has is absent there.
        let here = of.iter().filter_map(|one| one.estimates.get(places));
        for estimate in here.filter(|estimate| estimate.assessment != Some(Assessment::Constant)) {
            estimates.push(estimate.importance);
            errors.push(estimate.se);
        }
        offsets.push(estimates.len() as u32);
    }
    let request = PoolRequest { estimates: &estimates, standard_errors: &errors, offsets: &offsets, level };
    let pooled = pool(&request).map_err(|error| DataFusionError::Plan(error.to_string()))?;
    let rows = by_places.iter().enumerate().map(|(at, (places, of))| {
        let mut flags = Vec::new();
        of.iter().for_each(|one| one.flags(Some(*places), &mut flags));
        let counts =
            of.iter().filter_map(|one| one.estimates.get(places)).map(|estimate| i64::from(estimate.n));
        Row {
            kind: kind(*places),
            places: Some(*places),
            numbers: [pooled.estimate[at], pooled.low[at], pooled.high[at], pooled.se[at], pooled.i2[at]],
            n: counts.sum(),
            n_failed: of.iter().map(|one| one.failed as i64).sum(),
            experiments: i64::from(pooled.experiments[at]),
            flags,
        }
    });
    let mut rows: Vec<Row> = rows.collect();
    let shares: Vec<f64> = assessed.iter().filter_map(|one| one.remainder).collect();
    if !shares.is_empty() {
        let mean = shares.iter().sum::<f64>() / shares.len() as f64;
        rows.push(remainder(&assessed.iter().collect::<Vec<_>>(), mean));
    }
    Ok(ranked(rows))
}
