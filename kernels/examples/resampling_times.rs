//! Times the resampling kernels and writes their data and answers, for a comparison with other packages in the same
//! run: `resampling_times FOLDER` leaves raw doubles there and prints one JSON object a case.
//! See `benches/peers/resampling.py`. `resampling_times ragged [RESAMPLES]` bootstraps one group of ten million values
//! beside a hundred thousand groups of three, and writes nothing.
// A program that cannot write its files has nothing better to do than to stop.
#![allow(clippy::expect_used)]

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use kernels::rng::{Stream, Tag, uniform, words64};
use kernels::{
    Backend, BootstrapRequest, CpuBackend, Design, Method, PermutationRequest, PermutationStatistic, Request,
    Samples, Statistic, StratifiedRequest, stratified_bootstrap,
};

/// Skewed positive values, and a little more of them from `shift` on.
fn values(count: usize, sub: u32) -> Vec<f64> {
    let stream = Stream { seed: 1, stream: 0, tag: Tag::Other, sub };
    (0..count).map(|i| -(1.0 - uniform(words64(stream.block(i as u32, 0))[0])).ln()).collect()
}

fn offsets(groups: usize, n: usize) -> Vec<u32> {
    (0..=groups).map(|group| (group * n) as u32).collect()
}

/// The fastest of some runs after one to warm up, as for the peers.
fn time(mut run: impl FnMut()) -> f64 {
    run();
    let (mut fastest, mut runs, begin) = (f64::INFINITY, 0, Instant::now());
    while runs < 5 || (runs < 100 && begin.elapsed() < Duration::from_secs(1)) {
        let start = Instant::now();
        run();
        fastest = start.elapsed().as_secs_f64().min(fastest);
        runs += 1;
    }
    fastest
}

struct Report<'a> {
    folder: &'a Path,
}

impl Report<'_> {
    fn write(&self, name: &str, values: &[f64]) {
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        fs::write(self.folder.join(name), bytes).expect("the folder is writable");
    }

    fn print(&self, case: &str, seconds: f64, work: f64) {
        println!(
            "{{\"case\": \"{case}\", \"seconds\": {seconds:e}, \"per_second\": {:e}, \"threads\": {}}}",
            work / seconds,
            rayon::current_num_threads()
        );
    }
}

fn main() {
    let folder = std::env::args().nth(1).unwrap_or_else(|| ".".to_owned());
    if folder == "ragged" {
        let resamples = std::env::args().nth(2).and_then(|number| number.parse().ok());
        return ragged(&CpuBackend::new(), resamples.unwrap_or(1_000));
    }
    let report = Report { folder: Path::new(&folder) };
    let backend = CpuBackend::new();
    eprintln!("{:?}", backend.info());
    bootstrap(&report, &backend);
    permutation(&report, &backend);
    stratified(&report);
}

/// One run: the largest group is as large as the others together, thirty times over.
fn ragged(backend: &CpuBackend, resamples: u32) {
    const LARGE: usize = 10_000_000;
    const SMALL: usize = 100_000;
    let data = values(LARGE + 3 * SMALL, 5);
    let mut offsets = offsets(SMALL, 3);
    offsets.push((LARGE + 3 * SMALL) as u32);
    let samples = Samples { values: &data, offsets: &offsets };
    for method in [Method::Percentile, Method::Bca] {
        let request = BootstrapRequest::new(samples, Statistic::Mean).method(method).resamples(resamples);
        let cost = backend.estimate(&Request::Bootstrap(&request)).expect("the request is valid");
        let start = Instant::now();
        let out = backend.bootstrap(&request).expect("the request is valid");
        let seconds = start.elapsed().as_secs_f64();
        let width = out.high[SMALL] - out.low[SMALL];
        println!(
            "{{\"case\": \"ragged\", \"method\": \"{method:?}\", \"resamples\": {resamples}, \"seconds\": {seconds:.2}, \
             \"estimated\": {:.2}, \"groups\": {}, \"width\": {width:e}}}",
            cost.seconds,
            out.n.len()
        );
    }
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    println!("{}", status.lines().find(|line| line.starts_with("VmHWM")).unwrap_or("no peak known"));
}

fn bootstrap(report: &Report<'_>, backend: &CpuBackend) {
    const GROUPS: usize = 1_000;
    let (data, offsets) = (values(GROUPS * 20, 0), offsets(GROUPS, 20));
    report.write("bca_data", &data);
    let samples = Samples { values: &data, offsets: &offsets };
    for (name, statistic) in
        [("bca", Statistic::Mean), ("bca_iqm", Statistic::Iqm), ("bca_variance", Statistic::Variance)]
    {
        let request = BootstrapRequest::new(samples, statistic).method(Method::Bca).resamples(10_000);
        let out = backend.bootstrap(&request).expect("the request is valid");
        report.write(&format!("{name}_low"), &out.low);
        report.write(&format!("{name}_high"), &out.high);
        let seconds = time(|| drop(backend.bootstrap(&request)));
        report.print(name, seconds, (GROUPS * 20 * 10_000) as f64);
    }
}

fn permutation(report: &Report<'_>, backend: &CpuBackend) {
    const COMPARISONS: usize = 200;
    let (first, second) = (values(COMPARISONS * 10, 1), values(COMPARISONS * 10, 2));
    let offsets = offsets(COMPARISONS, 10);
    report.write("permutation_first", &first);
    report.write("permutation_second", &second);
    let samples = Samples { values: &first, offsets: &offsets };
    let design = Design::TwoSamples(Samples { values: &second, offsets: &offsets });
    let differences: Vec<f64> = first.iter().zip(&second).map(|(x, y)| x - y).collect();
    let signs = Samples { values: &differences, offsets: &offsets };
    for (name, samples, design, statistic, max_exact) in [
        ("permutation_drawn", samples, design, PermutationStatistic::MeanDifference, 0),
        ("permutation_exact", samples, design, PermutationStatistic::MeanDifference, kernels::MAX_EXACT),
        ("welch_drawn", samples, design, PermutationStatistic::WelchT, 0),
        ("welch_exact", samples, design, PermutationStatistic::WelchT, kernels::MAX_EXACT),
        ("ranks_exact", samples, design, PermutationStatistic::RankSum, kernels::MAX_EXACT),
        ("signs_drawn", signs, Design::Signs, PermutationStatistic::MeanDifference, 0),
    ] {
        let request = PermutationRequest::new(samples, design, statistic).max_exact(max_exact);
        let out = backend.permutation(&request).expect("the request is valid");
        report.write(&format!("{name}_p"), &out.p_greater);
        let seconds = time(|| drop(backend.permutation(&request)));
        report.print(name, seconds, out.relabellings.iter().sum());
    }
}

fn stratified(report: &Report<'_>) {
    for (name, tasks, runs) in [("stratified_26x10", 26, 10), ("stratified_55x5", 55, 5)] {
        let (data, offsets) = (values(tasks * runs, 3), offsets(tasks, runs));
        report.write(&format!("{name}_data"), &data);
        let tasks_of = Samples { values: &data, offsets: &offsets };
        let request = StratifiedRequest {
            tasks: tasks_of,
            statistic: Statistic::Iqm,
            level: 0.95,
            resamples: 50_000,
            seed: 1,
        };
        let out = stratified_bootstrap(&request).expect("the request is valid");
        report.write(&format!("{name}_ends"), &[out.estimate, out.low, out.high]);
        let seconds = time(|| drop(stratified_bootstrap(&request)));
        report.print(name, seconds, (tasks * runs * 50_000) as f64);
    }
}
