//! The stated effects can be recovered from what the runs log, and nothing else is there.

use std::collections::BTreeMap;

use datasets::{Corpus, CorpusConfig, MetricMix, RunStatus, SyntheticRun, term};

/// A design column: its name, what is true of it, and how to compute it.
struct Column {
    name: String,
    truth: f64,
    value: Box<dyn Fn(&SyntheticRun) -> f64>,
}

/// Ordinary least squares within experiments: estimates and standard errors of the columns.
fn regress(runs: &[SyntheticRun], logs: &[f64], columns: &[Column]) -> Vec<(f64, f64)> {
    let mut rows: Vec<Vec<f64>> = runs
        .iter()
        .zip(logs)
        .map(|(run, log)| columns.iter().map(|column| (column.value)(run)).chain([*log]).collect())
        .collect();
    let mut groups = BTreeMap::<&str, Vec<usize>>::new();
    for (place, run) in runs.iter().enumerate() {
        groups.entry(&run.experiment).or_default().push(place);
    }
    for members in groups.values() {
        let mut means = vec![0.0; columns.len() + 1];
        for row in members {
            means.iter_mut().zip(&rows[*row]).for_each(|(mean, cell)| *mean += cell / members.len() as f64);
        }
        for row in members {
            rows[*row].iter_mut().zip(&means).for_each(|(cell, mean)| *cell -= mean);
        }
    }
    let k = columns.len();
    // Gauss and Jordan on [X'X | X'y | I].
    let mut system = vec![vec![0.0; 2 * k + 1]; k];
    for (i, line) in system.iter_mut().enumerate() {
        for (j, cell) in line.iter_mut().take(k + 1).enumerate() {
            *cell = rows.iter().map(|row| row[i] * row[j]).sum();
        }
        line[k + 1 + i] = 1.0;
    }
    for pivot in 0..k {
        let best =
            (pivot..k).max_by(|a, b| system[*a][pivot].abs().total_cmp(&system[*b][pivot].abs())).unwrap();
        system.swap(pivot, best);
        let scale = system[pivot][pivot];
        assert!(scale.abs() > 1e-9, "{} never varies within an experiment", columns[pivot].name);
        system[pivot].iter_mut().for_each(|cell| *cell /= scale);
        let line = system[pivot].clone();
        for (other, row) in system.iter_mut().enumerate() {
            let factor = row[pivot];
            if other != pivot {
                row.iter_mut().zip(&line).for_each(|(cell, pivot)| *cell -= factor * pivot);
            }
        }
    }
    let estimates: Vec<f64> = system.iter().map(|line| line[k]).collect();
    let residual = |row: &Vec<f64>| row[k] - row[..k].iter().zip(&estimates).map(|(x, b)| x * b).sum::<f64>();
    let squares: f64 = rows.iter().map(|row| residual(row).powi(2)).sum();
    let variance = squares / (rows.len() - groups.len() - k) as f64;
    (0..k).map(|i| (estimates[i], (variance * system[i][k + 1 + i]).sqrt())).collect()
}

#[test]
fn regression_recovers_the_effects_and_finds_no_others() {
    for seed in [1, 2, 3] {
        let config = CorpusConfig {
            runs: 6_000,
            experiments: 40,
            projects: 4,
            seed,
            metrics: MetricMix::Summary,
            ..CorpusConfig::tiny()
        };
        let corpus = Corpus::new(config).unwrap();
        let truth = corpus.truth();
        let runs: Vec<SyntheticRun> = corpus
            .runs()
            .filter(|run| run.status == RunStatus::Finished && !run.diverged && run.duplicate_of.is_none())
            .collect();
        let last_loss = |run: &SyntheticRun| {
            let series = run.metrics().find(|series| series.key == "val/loss").unwrap();
            series.values.last().unwrap().ln()
        };
        let logs: Vec<f64> = runs.iter().map(last_loss).collect();

        let mut columns: Vec<Column> = truth
            .effects
            .iter()
            .map(|effect| Column {
                name: effect.name.to_owned(),
                truth: effect.coefficient,
                value: Box::new(move |run| term(effect.name, |key| run.param(key)).unwrap()),
            })
            .collect();
        let effects = columns.len();
        columns.push(Column {
            name: "lion, tied with adamw".to_owned(),
            truth: 0.0,
            value: Box::new(|run| f64::from(run.param("optimizer.name") == Some("lion"))),
        });
        // A true null is a column of zeros where an experiment lacks the param, and so tells nothing there.
        for key in truth.null_params {
            let value = move |run: &SyntheticRun| match run.param(key) {
                Some(text) => {
                    text.parse::<f64>().map_or(f64::from(text.len() as u8), |number| (1.0 + number).ln())
                }
                None => 0.0,
            };
            if runs.iter().zip(&runs[1..]).any(|(a, b)| a.experiment == b.experiment && value(a) != value(b))
            {
                columns.push(Column { name: key.to_owned(), truth: 0.0, value: Box::new(value) });
            }
        }
        assert!(columns.len() > effects + 20, "{} null params are swept", columns.len() - effects);

        let found = regress(&runs, &logs, &columns);
        for (place, (column, (estimate, error))) in columns.iter().zip(&found).enumerate() {
            let Column { name, truth, .. } = column;
            // About 40 columns and 3 seeds: one in 3,000 draws would fail by chance; these are fixed.
            assert!(
                (estimate - truth).abs() < 4.5 * error,
                "seed {seed} {name}: {estimate} ± {error}, not {truth}"
            );
            assert!(
                place >= effects || truth.abs() > 8.0 * error,
                "seed {seed} {name}: ± {error} is too vague"
            );
        }
    }
}

#[test]
fn seeds_of_one_configuration_spread_as_stated() {
    let config = CorpusConfig { runs: 6_000, metrics: MetricMix::Summary, ..CorpusConfig::tiny() };
    let corpus = Corpus::new(config).unwrap();
    let mut groups = BTreeMap::<String, Vec<f64>>::new();
    for run in corpus.runs().filter(|run| run.duplicate_of.is_none()) {
        let group = run.name.rsplit_once("-s").unwrap().0.to_owned();
        groups.entry(group).or_default().push(run.final_val_loss.ln());
    }
    assert_eq!(groups.values().map(Vec::len).max(), Some(8));
    let (mut squares, mut freedom) = (0.0, 0.0);
    for logs in groups.values() {
        let mean = logs.iter().sum::<f64>() / logs.len() as f64;
        squares += logs.iter().map(|log| (log - mean).powi(2)).sum::<f64>();
        freedom += (logs.len() - 1) as f64;
    }
    let sd = (squares / freedom).sqrt();
    let wanted = corpus.truth().seed_noise_sd;
    assert!((sd / wanted - 1.0).abs() < 5.0 / (2.0_f64 * freedom).sqrt(), "{sd}, not {wanted}");
}
