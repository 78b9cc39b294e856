//! Prints the shape of a synthetic corpus: `cargo run --release -p datasets --example shape -- small [seed]`.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use datasets::{Corpus, CorpusConfig};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let config = match arguments.next().as_deref() {
        None | Some("tiny") => CorpusConfig::tiny(),
        Some("small") => CorpusConfig::small(),
        Some("medium") => CorpusConfig::medium(),
        Some("large") => CorpusConfig::large(),
        Some("registry") => CorpusConfig::registry(),
        Some(other) => {
            return Err(format!("no scale `{other}`: tiny, small, medium, large or registry").into());
        }
    };
    let seed = arguments.next().map_or(Ok(1), |text| text.parse())?;
    let corpus = Corpus::new(config.with_seed(seed))?;

    let started = Instant::now();
    let (mut params, mut tags, mut runs_points, mut keys) = (0, 0, Vec::new(), Vec::new());
    let mut statuses = BTreeMap::<_, u64>::new();
    let (mut resumed, mut repeated, mut diverged) = (0, 0, 0);
    let mut configurations = BTreeSet::new();
    for run in corpus.runs() {
        params += run.params.len();
        tags += run.tags.len();
        runs_points.push(run.point_count());
        *statuses.entry(run.status.as_str()).or_default() += 1;
        resumed += u64::from(run.resumed);
        diverged += u64::from(run.diverged);
        repeated += u64::from(run.duplicate_of.is_some());
        configurations.insert(run.params);
    }
    let runs = corpus.len() as usize;
    let counted: u64 = runs_points.iter().sum();
    println!(
        "{runs} runs, {counted} points, {params} params, {tags} tags counted in {:.2?}",
        started.elapsed()
    );
    println!("{statuses:?}, resumed {resumed}, diverged {diverged}, repeated {repeated}");
    println!("runs whose params are not the first of their kind: {}", runs - configurations.len());
    drop(configurations);

    let started = Instant::now();
    let mut families = BTreeMap::<String, u64>::new();
    let (mut lengths, mut nan, mut infinite, mut single) = (Vec::new(), 0_u64, 0_u64, 0_u64);
    for run in corpus.runs() {
        let before = lengths.len();
        for series in run.metrics() {
            let family = series.key.split('/').next().unwrap_or_default().to_owned();
            *families.entry(family).or_default() += series.values.len() as u64;
            lengths.push(series.values.len() as u64);
            for value in series.values {
                nan += u64::from(value.is_nan());
                infinite += u64::from(value.is_infinite());
                single += u64::from(f64::from(value as f32) == value);
            }
        }
        keys.push((lengths.len() - before) as u64);
    }
    let points: u64 = lengths.iter().sum();
    assert_eq!(points, counted);
    let seconds = started.elapsed().as_secs_f64();
    println!("{points} points in {} series: {:.1} M points/s", lengths.len(), points as f64 / seconds / 1e6);
    let share = |count: u64| 100.0 * count as f64 / points as f64;
    for (family, count) in families {
        println!("  {family:10} {:5.1} %", share(count));
    }
    println!("exact float32 {:.1} %, NaN {:.3} %, Inf {:.3} %", share(single), share(nan), share(infinite));
    print_quantiles("points a run", runs_points);
    print_quantiles("keys a run", keys);
    print_quantiles("points a series", lengths);
    Ok(())
}

fn print_quantiles(what: &str, mut values: Vec<u64>) {
    values.sort_unstable();
    let at = |share: f64| values[((values.len() - 1) as f64 * share) as usize];
    let [least, p5, median, p90, p95, p99, most] = [0.0, 0.05, 0.5, 0.9, 0.95, 0.99, 1.0].map(at);
    println!("{what}: least {least}, p5 {p5}, median {median}, p90 {p90}, p95 {p95}, p99 {p99}, most {most}");
}
