//! Importances of a table of numbers in a file: objective first, then one column for each
//! parameter, 64-bit floats, low byte first. Prints times, the peak of resident memory and the
//! importances as JSON. Without a file the table is made up, for runs of any size.
//!
//! `importance METHOD TRIALS PARAMETERS [FILE]`, METHOD one of fanova, pairs, permutation, ped,
//! ped_intervals.

use std::error::Error;
use std::time::Instant;

use kernels::importance::{
    FanovaRequest, ForestRequest, Pairs, Parameter, PedAnovaRequest, PermutationImportanceRequest, Trials,
    functional_anova, ped_anova, permutation_importance,
};
use kernels::{Backend, CpuBackend};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [method, trials, parameters, file @ ..] = arguments.as_slice() else {
        return Err("usage: importance METHOD TRIALS PARAMETERS [FILE]".into());
    };
    let (trials, parameters): (usize, usize) = (trials.parse()?, parameters.parse()?);
    let table = match file {
        [file, ..] => read(file, trials, parameters)?,
        [] => made_up(trials, parameters),
    };
    let columns: Vec<Parameter<'_>> =
        table[1..].iter().map(|column| Parameter::linear(column).range(0.0, 1.0)).collect();
    let trials = Trials { parameters: &columns, objective: &table[0] };
    let start = Instant::now();
    let (importance, fit, more) = match method.as_str() {
        "ped" | "ped_intervals" => {
            let resamples = if method == "ped" { 0 } else { 200 };
            let anova = ped_anova(&PedAnovaRequest::new(trials).resamples(resamples))?;
            (anova.parameters.importance, 0.0, String::new())
        }
        method => {
            let forest = CpuBackend::new().forest(&ForestRequest::new(trials))?;
            let fit = start.elapsed().as_secs_f64();
            let importance = if method == "permutation" {
                permutation_importance(&forest, &PermutationImportanceRequest::default())?.importance
            } else {
                let pairs = if method == "pairs" { Pairs::Top(10) } else { Pairs::None };
                let request = FanovaRequest { pairs, ..FanovaRequest::default() };
                functional_anova(&forest, &request)?.parameters.importance
            };
            let more = format!(
                ", \"leaves\": {}, \"additions\": {}, \"out_of_bag_r2\": {:.4}",
                forest.leaves(),
                forest.additions(),
                forest.out_of_bag_r2()
            );
            (importance, fit, more)
        }
    };
    let seconds = start.elapsed().as_secs_f64();
    println!(
        "{{\"seconds\": {seconds:.6}, \"fit_seconds\": {fit:.6}, \"peak_mib\": {}{more}, \"importance\": {importance:?}}}",
        peak_mib()
    );
    Ok(())
}

fn read(file: &str, trials: usize, parameters: usize) -> Result<Vec<Vec<f64>>, Box<dyn Error>> {
    let bytes = std::fs::read(file)?;
    if bytes.len() != trials * (parameters + 1) * 8 {
        return Err(format!("{file} has {} bytes, which is no table of that size", bytes.len()).into());
    }
    let (words, _) = bytes.as_chunks::<8>();
    let numbers: Vec<f64> = words.iter().map(|word| f64::from_le_bytes(*word)).collect();
    Ok(numbers.chunks(trials).map(<[f64]>::to_vec).collect())
}

/// Uniform parameters; an objective of four of them, with an interaction and noise.
fn made_up(trials: usize, parameters: usize) -> Vec<Vec<f64>> {
    let mut state = 0x9E37_79B9_7F4A_7C15u64;
    let mut uniform = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 11) as f64 / (1u64 << 53) as f64
    };
    let columns: Vec<Vec<f64>> = (0..parameters).map(|_| (0..trials).map(|_| uniform()).collect()).collect();
    let objective = (0..trials).map(|row| {
        let at = |parameter: usize| columns[parameter % parameters][row];
        4.0 * at(0) + 2.0 * at(1) + at(2) * at(3) + 0.5 * uniform()
    });
    let mut table = vec![objective.collect()];
    table.extend(columns);
    table
}

/// The peak of resident memory in MiB, 0 where the system does not say.
fn peak_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
    kib.unwrap_or(0) / 1_024
}
