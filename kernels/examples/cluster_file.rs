//! Clusters a file of numbers and says how long it took: what the comparison with other packages runs.
//!
//! `cluster_file METHOD DATA COLUMNS NUMBER [RESTARTS | LEAVES]` reads little-endian doubles, row after row, and writes one
//! little-endian 32-bit label a row beside the file, with `.labels` added to its name. METHOD is `kmeans` (NUMBER is k),
//! `hdbscan` (NUMBER is the smallest cluster, and the number of samples; with LEAVES neighbours are only searched in as
//! many leaves around), or `knn` (NUMBER is the neighbours; no labels).
//!
//! In place of a file, `made:ROWS:BLOBS:SPREAD:NOISE` makes rows: normal ones with this standard deviation around BLOBS
//! centres between -10 and 10, of which a share of NOISE is uniform instead; without blobs all are uniform. Then no
//! labels are written.
// A measurement that cannot run has nothing better to do than to stop.
#![allow(clippy::expect_used, clippy::panic)]

use std::time::Instant;

use kernels::cluster::{Features, HdbscanRequest, KmeansRequest, KnnRequest, NeighbourSearch, Queries};
use kernels::rng::{Stream, Tag, uniform, words64};
use kernels::{Policy, Request, select};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [method, data, rest @ ..] = &arguments[..] else { panic!("METHOD DATA COLUMNS NUMBER [RESTARTS]") };
    let numbers: Vec<usize> = rest.iter().map(|word| word.parse().expect("a whole number")).collect();
    let [columns, number, restarts @ ..] = &numbers[..] else { panic!("COLUMNS NUMBER [RESTARTS]") };
    let made = data.strip_prefix("made:");
    let values: Vec<f64> = match made {
        Some(recipe) => make(recipe, *columns),
        None => {
            let bytes = std::fs::read(data).expect("the file can be read");
            bytes.as_chunks::<8>().0.iter().map(|word| f64::from_le_bytes(*word)).collect()
        }
    };
    let features = Features { values: &values, columns: *columns };
    let backend = select(Policy::Cpu).expect("the CPU is there").backend;
    let (start, before) = (Instant::now(), processor_seconds());
    let (labels, says) = match method.as_str() {
        "kmeans" => {
            let restarts = restarts.first().map_or(10, |&restarts| restarts as u32);
            let out = backend.kmeans(&KmeansRequest::new(features, *number).restarts(restarts));
            let out = out.expect("the request is valid");
            let says = format!("\"inertia\": {}, \"iterations\": {}", out.inertia, out.iterations);
            (out.labels.iter().map(|&label| label as i32).collect(), says)
        }
        "hdbscan" => {
            let request = HdbscanRequest::new(features, *number);
            let search =
                restarts.first().map_or(NeighbourSearch::Exact, |&leaves| NeighbourSearch::Near { leaves });
            let request = request.search(search);
            let worst = backend.estimate(&Request::Hdbscan(&request)).expect("the request is valid");
            let out = backend.hdbscan(&request).expect("the request is valid");
            let says = format!(
                "\"clusters\": {}, \"noise\": {}, \"recall\": {:.4}, \"estimated\": {:.1}",
                out.sizes.len(),
                out.noise,
                out.recall,
                worst.seconds
            );
            (out.labels, says)
        }
        "knn" => {
            let request = KnnRequest { features, k: *number, queries: Queries::All };
            let out = backend.nearest_neighbours(&request).expect("the request is valid");
            (
                Vec::new(),
                format!(
                    "\"mean_distance\": {}",
                    out.distances.iter().sum::<f64>() / out.distances.len() as f64
                ),
            )
        }
        other => panic!("unknown method {other}"),
    };
    let (seconds, processor) = (start.elapsed().as_secs_f64(), processor_seconds() - before);
    if made.is_none() {
        let words: Vec<u8> = labels.iter().flat_map(|label| label.to_le_bytes()).collect();
        std::fs::write(format!("{data}.labels"), words).expect("labels can be written");
    }
    let (peak, device) = (peak(), backend.info().device);
    println!(
        "{{\"seconds\": {seconds:.3}, \"processor_seconds\": {processor:.2}, \"peak\": \"{peak}\", {says}, \"device\": \"{device}\"}}"
    );
}

/// Rows after a recipe `ROWS:BLOBS:SPREAD:NOISE`.
fn make(recipe: &str, columns: usize) -> Vec<f64> {
    let words: Vec<f64> = recipe.split(':').map(|word| word.parse().expect("a number")).collect();
    let [rows, blobs, spread, noise] = words[..] else { panic!("made:ROWS:BLOBS:SPREAD:NOISE") };
    let (rows, blobs) = (rows as usize, blobs as usize);
    let uniforms = |place: usize, sub: u32| {
        let stream = Stream { seed: 1, stream: (place >> 32) as u32, tag: Tag::Other, sub };
        words64(stream.block(place as u32, 0)).map(uniform)
    };
    let wide = |place: usize, sub: u32| uniforms(place, sub)[0] * 20.0 - 10.0;
    let centres: Vec<f64> = (0..blobs * columns).map(|place| wide(place, 1)).collect();
    let mut values = Vec::with_capacity(rows * columns);
    for row in 0..rows {
        let is_noise = blobs == 0 || uniforms(row, 2)[0] < noise;
        for column in 0..columns {
            let place = row * columns + column;
            values.push(if is_noise {
                wide(place, 3)
            } else {
                let [first, second] = uniforms(place, 4);
                let normal = (-2.0 * (1.0 - first).ln()).sqrt() * (std::f64::consts::TAU * second).cos();
                centres[row % blobs * columns + column] + spread * normal
            });
        }
    }
    values
}

/// Processor seconds of this process so far (0 where the system does not tell), in ticks of a hundredth.
fn processor_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    after_name.split_whitespace().skip(11).take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>()
        / 100.0
}

/// The largest memory of this process so far, features included.
fn peak() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or("unknown").trim().to_owned()
}
