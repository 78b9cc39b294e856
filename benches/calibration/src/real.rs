//! Final values of real runs that differ in their seed alone, from the logs of the shared data.
//!
//! A configuration is a set of runs with everything equal but the seed. Runs are compared within a pool: a
//! configuration of twenty runs or more is one by itself; the runs of smaller ones of the same task are taken less
//! the mean of their configuration, times sqrt(k / (k - 1)) for the degree of freedom that the mean costs, and make
//! one pool together.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io::Read;
use std::path::Path;

use serde_json::Value;

use crate::error::{CalibrationError, Result};
use crate::worlds::{Pool, Source, World};

/// Runs without which a pool is too small to draw from.
const POOL_MIN: usize = 20;

/// Runs without which a configuration has no mean to speak of.
const CONFIGURATION_MIN: usize = 3;

/// The final value of one run.
#[derive(Debug, Clone, PartialEq)]
pub struct Run {
    /// The task: runs of different configurations of it may be pooled.
    pub task: String,
    /// Everything but the seed.
    pub configuration: String,
    /// The final value.
    pub value: f64,
}

/// Makes pools of runs, in the order of their names.
pub fn pools(runs: &[Run]) -> Vec<Pool> {
    let mut configurations: BTreeMap<(&str, &str), Vec<f64>> = BTreeMap::new();
    for run in runs {
        configurations.entry((&run.task, &run.configuration)).or_default().push(run.value);
    }
    let mut pools: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for ((task, configuration), values) in &configurations {
        if values.len() < CONFIGURATION_MIN {
            continue;
        }
        let count = values.len() as f64;
        let mean = values.iter().sum::<f64>() / count;
        let pool = if values.len() >= POOL_MIN { configuration } else { task };
        let widened = (count / (count - 1.0)).sqrt();
        pools.entry(pool).or_default().extend(values.iter().map(|value| (value - mean) * widened));
    }
    let large = pools.into_iter().filter(|(_, values)| values.len() >= POOL_MIN);
    large.filter_map(|(name, values)| Pool::new(name.to_owned(), &values)).collect()
}

/// The worlds of real runs; empty where the shared data is not there.
///
/// # Errors
/// When a file cannot be read.
pub fn real_worlds() -> Result<Vec<World>> {
    let Some(data) = e2e::data() else { return Ok(Vec::new()) };
    type Reader = fn(&Path) -> Result<Vec<Run>>;
    let readers: [(&str, &str, Reader); 4] = [
        ("modded-nanogpt", "modded-nanogpt", nanogpt),
        ("MLPerf v0.7", "mlperf-v0.7", mlperf),
        ("DreamerV3 and baselines", "dreamerv3-scores", dreamer),
        ("AlgoPerf baselines", "algoperf", algoperf),
    ];
    let mut worlds = Vec::new();
    for (place, (name, folder, read)) in readers.into_iter().enumerate() {
        let pools = pools(&read(&data.join(folder))?);
        if !pools.is_empty() {
            let stream = 100 + place as u32;
            worlds.push(World { name: name.to_owned(), stream, source: Source::Real(pools) });
        }
    }
    Ok(worlds)
}

/// Calls `visit` with each file under `raw/` and in each archive, by its path there, in a fixed order.
fn each_file(
    folder: &Path,
    wanted: impl Fn(&str) -> bool,
    mut visit: impl FnMut(&str, Vec<u8>),
) -> Result<()> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| CalibrationError::File { path, source }
    };
    let raw = folder.join("raw");
    for entry in walkdir::WalkDir::new(folder).sort_by_file_name() {
        let entry = entry.map_err(|error| failed(folder)(error.into()))?;
        let path = entry.path();
        if let Ok(inside) = path.strip_prefix(&raw) {
            let name = inside.to_string_lossy().replace('\\', "/");
            if entry.file_type().is_file() && wanted(&name) {
                visit(&name, std::fs::read(path).map_err(failed(path))?);
            }
        } else if path.to_string_lossy().ends_with(".tar.zst") {
            let file = std::fs::File::open(path).map_err(failed(path))?;
            let mut archive = tar::Archive::new(zstd::Decoder::new(file).map_err(failed(path))?);
            for entry in archive.entries().map_err(failed(path))? {
                let mut entry = entry.map_err(failed(path))?;
                let name = entry.path().map_err(failed(path))?.to_string_lossy().into_owned();
                if entry.header().entry_type().is_file() && wanted(&name) {
                    let mut bytes = Vec::new();
                    entry.read_to_end(&mut bytes).map_err(failed(path))?;
                    visit(&name, bytes);
                }
            }
        }
    }
    Ok(())
}

fn folder_of(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(folder, _)| folder)
}

/// The last validation loss of each log. Logs that stand twice count once.
fn nanogpt(folder: &Path) -> Result<Vec<Run>> {
    let (mut runs, mut seen) = (Vec::new(), BTreeSet::new());
    each_file(
        folder,
        |path| path.ends_with(".txt") || path.ends_with(".log"),
        |path, bytes| {
            let mut hasher = DefaultHasher::new();
            bytes.hash(&mut hasher);
            let text = String::from_utf8_lossy(&bytes);
            let mut losses = text.lines().filter_map(|line| {
                let rest = line.strip_prefix("step:")?.split_once("val_loss:")?.1;
                rest.split_whitespace().next()?.parse::<f64>().ok()
            });
            if let Some(value) = losses.next_back()
                && value.is_finite()
                && seen.insert(hasher.finish())
            {
                let track = path.split('/').next().unwrap_or_default();
                let task = format!("{track}, smaller groups");
                runs.push(Run { task, configuration: folder_of(path).to_owned(), value });
            }
        },
    )?;
    Ok(runs)
}

/// Seconds to train, as shares of the mean of the configuration: from seconds to hours, they are comparable in no other
/// way. Runs that were aborted have none.
fn mlperf(folder: &Path) -> Result<Vec<Run>> {
    let mut runs = Vec::new();
    each_file(
        folder,
        |path| path.contains("/result_") && path.ends_with(".txt"),
        |path, bytes| {
            let text = String::from_utf8_lossy(&bytes);
            let (mut start, mut stop, mut benchmark) = (None, None, None);
            for line in text.lines() {
                let Some((_, record)) = line.split_once(":::MLLOG") else { continue };
                let Ok(record) = serde_json::from_str::<Value>(record.trim()) else { continue };
                let seconds = || {
                    let of = |key: &str| record.get(key).and_then(Value::as_f64);
                    of("time_ms").map(|ms| ms / 1_000.0).or_else(|| of("time_s"))
                };
                match record.get("key").and_then(Value::as_str) {
                    Some("run_start") => start = seconds(),
                    Some("run_stop") => {
                        let status = record.pointer("/metadata/status").and_then(Value::as_str);
                        stop = seconds().filter(|_| status.is_none_or(|status| status == "success"));
                    }
                    Some("submission_benchmark") => {
                        benchmark = record.get("value").and_then(Value::as_str).map(str::to_owned);
                    }
                    _ => {}
                }
            }
            if let (Some(start), Some(stop), Some(task)) = (start, stop, benchmark)
                && stop > start
            {
                runs.push(Run { task, configuration: folder_of(path).to_owned(), value: stop - start });
            }
        },
    )?;
    let mut sums: BTreeMap<String, (f64, f64)> = BTreeMap::new();
    for run in &runs {
        let (sum, count) = sums.entry(run.configuration.clone()).or_default();
        *sum += run.value;
        *count += 1.0;
    }
    for run in &mut runs {
        let (sum, count) = sums[&run.configuration];
        run.value /= sum / count;
    }
    Ok(runs)
}

/// The mean of the last tenth of each score curve.
fn dreamer(folder: &Path) -> Result<Vec<Run>> {
    let mut runs = Vec::new();
    each_file(
        folder,
        |path| path.ends_with(".json.gz"),
        |path, bytes| {
            let mut text = String::new();
            let whole = flate2::read::GzDecoder::new(bytes.as_slice()).read_to_string(&mut text);
            let Ok(Value::Array(curves)) = whole.and_then(|_| Ok(serde_json::from_str(&text)?)) else {
                return;
            };
            let suite = path.split('-').next().unwrap_or_default();
            for curve in &curves {
                let word = |key: &str| curve.get(key).and_then(Value::as_str).unwrap_or_default();
                let scores: Vec<f64> = curve
                    .get("ys")
                    .and_then(Value::as_array)
                    .into_iter()
                    .flatten()
                    .filter_map(Value::as_f64)
                    .collect();
                let last = &scores[scores.len() - scores.len().div_ceil(10)..];
                if !last.is_empty() {
                    runs.push(Run {
                        task: format!("{suite}/{}", word("task")),
                        configuration: format!("{suite}/{}/{}", word("task"), word("method")),
                        value: last.iter().sum::<f64>() / last.len() as f64,
                    });
                }
            }
        },
    )?;
    Ok(runs)
}

/// The last validation result of each trial of the baselines: the same point in five studies is five seeds of it.
fn algoperf(folder: &Path) -> Result<Vec<Run>> {
    const COLUMNS: [&str; 5] = [
        "validation/loss",
        "validation/ssim",
        "validation/mean_average_precision",
        "validation/ctc_loss",
        "validation/wer",
    ];
    let mut runs = Vec::new();
    let wanted = |path: &str| {
        path.starts_with("external_tuning/baseline/") && path.ends_with("/eval_measurements.csv")
    };
    each_file(folder, wanted, |path, bytes| {
        // external_tuning/baseline/study_0/criteo1tb_jax/trial_1/eval_measurements.csv
        let parts: Vec<&str> = path.split('/').collect();
        let [_, _, _, workload, trial, _] = parts[..] else { return };
        let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(bytes.as_slice());
        let Ok(header) = reader.headers().cloned() else { return };
        let place = |column: &str| header.iter().position(|name| name == column);
        let Some(column) = COLUMNS.into_iter().find_map(place) else { return };
        let cells = reader.records().flatten();
        let values = cells.filter_map(|row| row.get(column)?.parse::<f64>().ok());
        if let Some(value) = values.last().filter(|value| value.is_finite()) {
            let configuration = format!("{workload}/{trial}");
            runs.push(Run { task: workload.to_owned(), configuration, value });
        }
    })?;
    Ok(runs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_configurations_of_a_task_are_pooled_and_large_ones_stand_alone() {
        let run = |task: &str, configuration: &str, value: f64| Run {
            task: task.to_owned(),
            configuration: configuration.to_owned(),
            value,
        };
        let mut runs: Vec<Run> = (0..20).map(|i| run("t", "large", f64::from(i))).collect();
        for configuration in 0..10 {
            let level = 100.0 * f64::from(configuration);
            runs.extend((0..3).map(|i| run("t", &format!("small{configuration}"), level + f64::from(i))));
            runs.extend((0..2).map(|i| run("t", &format!("pair{configuration}"), f64::from(i))));
        }
        runs.extend((0..4).map(|i| run("rare", "only", f64::from(i))));
        let pools = pools(&runs);
        let shape: Vec<(&str, usize)> = pools.iter().map(|pool| (pool.name.as_str(), pool.count())).collect();
        assert_eq!(shape, [("large", 20), ("t", 30)]);
    }
}
