//! How long a decision over a thousand metrics takes: `cargo bench -p analysis --bench gate`. The bound is what is
//! resampled beside the deciding test: from ten runs an arm on, 9,999 resamples of each metric.
// A benchmark that cannot run has nothing better to do than to stop.
#![allow(clippy::expect_used)]

use analysis::{Circumstances, GatePolicy, GateRun, MetricPolicy, MetricRuns, judge};
use divan::{Bencher, counter::ItemsCount};

const METRICS: usize = 1_000;

/// Runs of one arm; what the values are does not matter for speed, except that no two arms share them.
fn arm(name: &str, runs: usize, salt: usize) -> Vec<GateRun> {
    let value = |i: usize| ((i * 7_919 + salt * 104_729) % 10_007) as f64 / 10_007.0;
    (0..runs).map(|i| GateRun::finished(format!("{name}{i}"), value(i))).collect()
}

/// Runs of the baseline and of the candidate: all splits are counted up to ten and ten.
#[divan::bench(sample_count = 10, args = [(3, 3), (5, 5), (8, 8), (8, 10), (9, 9), (10, 9), (10, 10), (11, 11), (20, 20), (50, 50)])]
fn thousand_metrics(bencher: Bencher<'_, '_>, (baseline, candidate): (usize, usize)) {
    let metric = |i: usize| {
        let parameters = format!("name = 'm{i}'\ndirection = 'up'\nmargin = 0.2");
        let policy = GatePolicy::from_toml(&format!("version = 1\n[[metrics]]\n{parameters}"));
        policy.expect("the policy is valid").metrics.remove(0)
    };
    let metrics: Vec<MetricPolicy> = (0..METRICS).map(metric).collect();
    let policy = GatePolicy::new(metrics);
    let runs: Vec<MetricRuns> = (0..METRICS)
        .map(|i| MetricRuns {
            baseline: arm("b", baseline, 2 * i),
            candidate: arm("c", candidate, 2 * i + 1),
        })
        .collect();
    bencher.counter(ItemsCount::new(METRICS)).bench_local(|| {
        judge(divan::black_box(&policy), &runs, Circumstances::default()).expect("the policy is valid")
    });
}

fn main() {
    divan::main();
}
