//! Synthetic corpora are what their documentation promises: repeatable, and shaped like a large team's logs.

use std::collections::{BTreeMap, BTreeSet};

use datasets::{Corpus, CorpusConfig, CorpusError, MetricMix, RunStatus, SyntheticRun};
use sha2::{Digest, Sha256};

fn corpus(config: CorpusConfig) -> Corpus {
    Corpus::new(config).unwrap()
}

/// Everything a run consists of, as bytes.
fn bytes(run: &SyntheticRun) -> Vec<u8> {
    let mut bytes = format!(
        "{} {} {} {} {} {} {} {} {} {:?} {:?} {:?} {} {} {} {:?}\n",
        run.index,
        run.id,
        run.project,
        run.experiment,
        run.name,
        run.user,
        run.status,
        run.host,
        run.start_us,
        run.end_us,
        run.params,
        run.tags,
        run.final_val_loss.to_bits(),
        run.diverged,
        run.resumed,
        run.duplicate_of,
    )
    .into_bytes();
    for series in run.metrics() {
        bytes.extend(series.key.as_bytes());
        for step in series.steps {
            bytes.extend(step.to_le_bytes());
        }
        for time in series.times_us {
            bytes.extend(time.to_le_bytes());
        }
        for value in series.values {
            bytes.extend(value.to_bits().to_le_bytes());
        }
    }
    bytes
}

fn hash(corpus: &Corpus) -> String {
    let mut hash = Sha256::new();
    for run in corpus.runs() {
        hash.update(bytes(&run));
    }
    hash.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

/// Changes only with the generator, on purpose: benchmarks of different days must have run on the same data.
#[test]
fn the_same_seed_gives_the_same_bytes() {
    assert_eq!(hash(&corpus(CorpusConfig::tiny())), "18a124e3a925d3e4");
    let summary = CorpusConfig { metrics: MetricMix::Summary, runs: 200, ..CorpusConfig::tiny() };
    assert_eq!(hash(&corpus(summary)), "d988121890f34a16");
    assert_ne!(hash(&corpus(CorpusConfig::tiny().with_seed(2))), hash(&corpus(CorpusConfig::tiny())));
}

#[test]
fn any_run_can_be_computed_alone() {
    let corpus = corpus(CorpusConfig::medium());
    for index in [9_999, 17, 4_321, 17] {
        let again = Corpus::new(CorpusConfig::medium()).unwrap().run(index);
        assert!(bytes(&corpus.run(index)) == bytes(&again), "run {index}");
    }
}

#[test]
fn every_run_is_consistent() {
    for seed in 1..6 {
        let corpus = corpus(CorpusConfig::tiny().with_seed(seed));
        let mut ids = BTreeSet::new();
        for run in corpus.runs() {
            let context = format!("seed {seed} run {}", run.index);
            assert!(
                run.id.len() == 32 && run.id.bytes().all(|b| b"0123456789abcdef".contains(&b)),
                "{context}"
            );
            assert!(ids.insert(run.id.clone()), "{context}");
            assert!((20..=59).contains(&run.params.len()), "{context}: {} params", run.params.len());
            assert!((4..=8).contains(&run.tags.len()), "{context}");
            assert!(run.params.is_sorted_by(|a, b| a.0 < b.0) && run.tags.is_sorted_by(|a, b| a.0 < b.0));
            assert_eq!(run.end_us.is_none(), run.status == RunStatus::Running, "{context}");

            let mut keys = BTreeSet::new();
            let mut points = 0;
            for series in run.metrics() {
                assert!(keys.insert(series.key.clone()), "{context}: {} twice", series.key);
                let n = series.values.len();
                assert!(n > 0 && series.steps.len() == n && series.times_us.len() == n, "{context}");
                points += n as u64;
                assert!(series.times_us.is_sorted() && series.times_us[0] >= run.start_us, "{context}");
                assert!(run.end_us.is_none_or(|end| series.times_us[n - 1] <= end), "{context}");
                let falls = series.steps.windows(2).filter(|pair| pair[1] <= pair[0]).count();
                assert!(falls <= usize::from(run.resumed), "{context}: steps fall {falls} times");
                assert!(series.steps[0] >= 0, "{context}");
            }
            assert_eq!(points, run.point_count(), "{context}");
            if run.resumed {
                let loss = run.metrics().next().unwrap();
                assert!(
                    loss.steps.windows(2).any(|pair| pair[1] <= pair[0]),
                    "{context}: nothing logged twice"
                );
            }
        }
    }
}

#[test]
fn finished_runs_end_at_their_final_loss_and_diverged_ones_do_not() {
    let corpus = corpus(CorpusConfig { runs: 2_000, ..CorpusConfig::tiny() });
    let (mut finite, mut infinite) = (0, 0);
    for run in corpus.runs().filter(|run| run.status == RunStatus::Finished) {
        let loss = run.metrics().find(|series| series.key == "val/loss").unwrap();
        let last = *loss.values.last().unwrap();
        match run.diverged {
            true => {
                assert_eq!(last, f64::INFINITY, "run {}", run.index);
                infinite += 1;
            }
            false => {
                assert_eq!(last, run.final_val_loss, "run {}", run.index);
                finite += 1;
            }
        }
    }
    assert!(finite > 1_000 && infinite > 10, "{finite} {infinite}");
}

#[test]
fn a_duplicate_repeats_params_and_values() {
    let corpus = corpus(CorpusConfig { runs: 3_000, ..CorpusConfig::tiny() });
    let mut compared = 0;
    for run in corpus.runs() {
        let Some(original) = run.duplicate_of.map(|index| corpus.run(index)) else { continue };
        assert_eq!((&run.params, &run.experiment), (&original.params, &original.experiment));
        assert_ne!(run.id, original.id);
        if run.status == RunStatus::Finished
            && original.status == RunStatus::Finished
            && !run.resumed
            && !original.resumed
        {
            for (mine, theirs) in run.metrics().zip(original.metrics()) {
                let same = mine.values.iter().zip(&theirs.values).all(|(a, b)| a.to_bits() == b.to_bits());
                assert!(same && mine.steps == theirs.steps, "{} of run {}", mine.key, run.index);
                compared += 1;
            }
        }
    }
    assert!(compared > 500, "{compared}");
}

fn quantile(values: &mut [u64], share: f64) -> f64 {
    values.sort_unstable();
    values[((values.len() - 1) as f64 * share) as usize] as f64
}

/// Shares and quantiles of runs; the bounds leave room for other seeds.
#[test]
fn runs_are_shaped_like_a_large_teams() {
    let corpus = corpus(CorpusConfig::medium());
    let mut points = Vec::new();
    let mut statuses = BTreeMap::<RunStatus, f64>::new();
    let (mut resumed, mut repeated, mut params) = (0.0, 0.0, 0);
    let mut settings = BTreeSet::new();
    for run in corpus.runs() {
        points.push(run.point_count());
        *statuses.entry(run.status).or_default() += 1e-4;
        resumed += f64::from(u8::from(run.resumed)) * 1e-4;
        repeated += f64::from(u8::from(run.duplicate_of.is_some())) * 1e-4;
        params += run.params.len();
        settings.insert(run.params);
    }
    let near = |found: f64, wanted: f64, slack: f64| (found - wanted).abs() <= slack;
    assert!(near(statuses[&RunStatus::Finished], 0.80, 0.02), "{statuses:?}");
    assert!(near(statuses[&RunStatus::Failed], 0.10, 0.015), "{statuses:?}");
    assert!(near(statuses[&RunStatus::Killed], 0.06, 0.012), "{statuses:?}");
    assert!(near(statuses[&RunStatus::Running], 0.04, 0.01), "{statuses:?}");
    assert!(near(resumed, 0.05, 0.01), "{resumed}");
    assert!(near(repeated, 0.02, 0.006), "{repeated}");
    // Configurations are equal on purpose only.
    assert!(near(1.0 - settings.len() as f64 * 1e-4, repeated, 0.0005), "{} {repeated}", settings.len());
    assert!(near(params as f64 * 1e-4, 39.5, 4.0), "{params}");

    let total: u64 = points.iter().sum();
    assert!((70_000_000..140_000_000).contains(&total), "{total} points");
    for (share, wanted) in [(0.5, 3_700.0), (0.95, 27_000.0), (0.99, 125_000.0)] {
        let found = quantile(&mut points, share);
        assert!((found / wanted).ln().abs() < 0.35, "quantile {share}: {found}, wanted {wanted}");
    }
    let most = quantile(&mut points, 1.0);
    assert!((300_000.0..2_000_000.0).contains(&most), "{most}");
}

/// Metrics of a sample of scale M: every twentieth run.
#[test]
fn metrics_are_shaped_like_a_large_teams() {
    let corpus = corpus(CorpusConfig::medium());
    let mut families = BTreeMap::<String, f64>::new();
    let (mut keys, mut lengths) = (Vec::new(), Vec::new());
    let (mut points, mut nan, mut infinite, mut single) = (0.0, 0.0, 0.0, 0.0);
    for run in (0..corpus.len()).step_by(20).map(|index| corpus.run(index)) {
        // Long runs weigh most; without the longest the shares are steady.
        if run.point_count() > 100_000 {
            continue;
        }
        let before = lengths.len();
        for series in run.metrics() {
            let n = series.values.len() as f64;
            *families.entry(series.key.split('/').next().unwrap().to_owned()).or_default() += n;
            points += n;
            lengths.push(series.values.len() as u64);
            for value in series.values {
                nan += f64::from(u8::from(value.is_nan()));
                infinite += f64::from(u8::from(value.is_infinite()));
                single += f64::from(u8::from(f64::from(value as f32) == value));
            }
        }
        keys.push((lengths.len() - before) as u64);
    }
    let share = |family: &str| families[family] / points;
    assert!((0.47..0.67).contains(&share("train")), "{families:?}");
    assert!((0.17..0.33).contains(&share("grad_norm")), "{families:?}");
    assert!((0.11..0.21).contains(&share("system")), "{families:?}");
    assert!((0.01..0.06).contains(&(share("val") + share("test"))), "{families:?}");
    assert!((0.7..0.92).contains(&(single / points)), "exact float32: {}", single / points);
    assert!((0.0001..0.001).contains(&(nan / points)), "NaN: {}", nan / points);
    assert!((0.0003..0.006).contains(&(infinite / points)), "Inf: {}", infinite / points);
    assert!((45.0..85.0).contains(&quantile(&mut keys, 0.5)), "{}", quantile(&mut keys, 0.5));
    assert!(keys.iter().all(|keys| (13..=152).contains(keys)));
    assert!((18.0..45.0).contains(&quantile(&mut lengths, 0.5)), "{}", quantile(&mut lengths, 0.5));
}

#[test]
fn the_registry_scale_has_few_points_and_many_params() {
    let corpus = corpus(CorpusConfig::registry());
    let sample: Vec<_> = (0..corpus.len()).step_by(500).map(|index| corpus.run(index)).collect();
    let mean = |of: fn(&SyntheticRun) -> u64| sample.iter().map(of).sum::<u64>() as f64 / sample.len() as f64;
    assert!((7.0..10.0).contains(&mean(SyntheticRun::point_count)));
    assert!((35.0..44.0).contains(&mean(|run| run.params.len() as u64)));
    assert!((5.5..6.5).contains(&mean(|run| run.tags.len() as u64)));
    for run in sample {
        let keys: Vec<_> = run.metrics().map(|series| series.key).collect();
        assert!(
            keys.iter().all(|key| ["train/loss", "val/loss", "val/acc"].contains(&key.as_str())),
            "{keys:?}"
        );
        assert!(run.metrics().all(|series| (1..=5).contains(&series.values.len())));
    }
    let projects: BTreeSet<_> = corpus.experiments().map(|(_, project, _)| project.to_owned()).collect();
    assert_eq!((projects.len(), corpus.experiments().count()), (50, 2_000));
}

#[test]
fn impossible_sizes_are_refused() {
    let refused = |config: CorpusConfig| Corpus::new(config).unwrap_err();
    let tiny = CorpusConfig::tiny;
    assert_eq!(refused(CorpusConfig { runs: 0, ..tiny() }), CorpusError::Runs { runs: 0 });
    assert!(matches!(refused(CorpusConfig { runs: u64::MAX, ..tiny() }), CorpusError::Runs { .. }));
    assert!(matches!(refused(CorpusConfig { experiments: 61, ..tiny() }), CorpusError::Experiments { .. }));
    assert!(matches!(refused(CorpusConfig { experiments: 0, ..tiny() }), CorpusError::Experiments { .. }));
    assert!(matches!(refused(CorpusConfig { projects: 4, ..tiny() }), CorpusError::Projects { .. }));
    assert!(matches!(
        refused(CorpusConfig { points_per_run_median: 3, ..tiny() }),
        CorpusError::Points { .. }
    ));
    assert!(matches!(refused(CorpusConfig { days: 0, ..tiny() }), CorpusError::Time { .. }));
    assert!(matches!(refused(CorpusConfig { first_start_us: i64::MIN, ..tiny() }), CorpusError::Time { .. }));
    let message = refused(CorpusConfig { experiments: 61, ..tiny() }).to_string();
    assert_eq!(message, "60 runs cannot fill 61 experiments: give 1 to as many experiments as runs");
    // The smallest corpus there is.
    let one = CorpusConfig { runs: 1, experiments: 1, projects: 1, days: 1, ..tiny() };
    assert_eq!(corpus(one).runs().count(), 1);
}
