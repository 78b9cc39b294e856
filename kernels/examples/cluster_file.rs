//! Clusters a file of numbers and says how long it took: what the comparison with other packages runs.
//!
//! `cluster_file METHOD FILE COLUMNS NUMBER [RESTARTS]` reads little-endian doubles, row after row, and writes one
//! little-endian 32-bit label a row beside the file, with `.labels` added to its name. METHOD is `kmeans` (NUMBER is k),
//! `hdbscan` (NUMBER is the smallest cluster, and the number of samples), or `knn` (NUMBER is the neighbours; no labels).
// A measurement that cannot run has nothing better to do than to stop.
#![allow(clippy::expect_used, clippy::panic)]

use std::time::Instant;

use kernels::cluster::{Features, HdbscanRequest, KmeansRequest, KnnRequest, Queries};
use kernels::{Policy, select};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [method, file, rest @ ..] = &arguments[..] else { panic!("METHOD FILE COLUMNS NUMBER [RESTARTS]") };
    let numbers: Vec<usize> = rest.iter().map(|word| word.parse().expect("a whole number")).collect();
    let [columns, number, restarts @ ..] = &numbers[..] else { panic!("COLUMNS NUMBER [RESTARTS]") };
    let bytes = std::fs::read(file).expect("the file can be read");
    let values: Vec<f64> = bytes.as_chunks::<8>().0.iter().map(|word| f64::from_le_bytes(*word)).collect();
    drop(bytes);
    let features = Features { values: &values, columns: *columns };
    let backend = select(Policy::Cpu).expect("the CPU is there").backend;
    let start = Instant::now();
    let (labels, says) = match method.as_str() {
        "kmeans" => {
            let restarts = restarts.first().map_or(10, |&restarts| restarts as u32);
            let out = backend.kmeans(&KmeansRequest::new(features, *number).restarts(restarts));
            let out = out.expect("the request is valid");
            let says = format!("\"inertia\": {}, \"iterations\": {}", out.inertia, out.iterations);
            (out.labels.iter().map(|&label| label as i32).collect(), says)
        }
        "hdbscan" => {
            let out = backend.hdbscan(&HdbscanRequest::new(features, *number)).expect("the request is valid");
            let says = format!("\"clusters\": {}, \"noise\": {}", out.sizes.len(), out.noise);
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
    let seconds = start.elapsed().as_secs_f64();
    let words: Vec<u8> = labels.iter().flat_map(|label| label.to_le_bytes()).collect();
    std::fs::write(format!("{file}.labels"), words).expect("labels can be written");
    println!("{{\"seconds\": {seconds}, {says}, \"device\": \"{}\"}}", backend.info().device);
}
