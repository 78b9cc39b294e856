//! Checks a CUDA device against the CPU and measures it: equality first, then bounds, then times as a table.
//!
//! `gpu_check [--ordinal N] [--quick] [--json FILE]`. Exits with 1 when the device is unavailable or any bit differs.
//! `kernels/gpu-check.sh` runs it with everything else that is worth doing on a machine with a GPU.

use std::fmt::Write as _;
use std::process::ExitCode;
use std::time::Instant;

use kernels::cluster::{Features, KnnRequest, Queries};
use kernels::{
    Backend, BootstrapOutput, BootstrapRequest, Ceilings, CpuBackend, CudaBackend, Design, KernelError,
    Method, PermutationOutput, PermutationRequest, PermutationStatistic, Samples, Statistic, Streams,
};

/// Runs that do not count, and runs of which the median counts.
const WARM_UP: usize = 3;
const RUNS: usize = 20;

struct Options {
    ordinal: u32,
    quick: bool,
    json: Option<String>,
}

/// A request of equal groups.
struct Case {
    name: &'static str,
    groups: usize,
    n: usize,
    resamples: u32,
    statistic: Statistic,
    method: Method,
    independent: bool,
}

const fn case(name: &'static str, groups: usize, n: usize, statistic: Statistic, method: Method) -> Case {
    Case { name, groups, n, resamples: 9_999, statistic, method, independent: false }
}

const CASES: [Case; 9] = [
    case("BCa of the mean", 1_000, 20, Statistic::Mean, Method::Bca),
    case("BCa of the mean", 10_000, 20, Statistic::Mean, Method::Bca),
    case("BCa of the mean", 1_000, 100, Statistic::Mean, Method::Bca),
    case("BCa of the mean", 100, 1_000, Statistic::Mean, Method::Bca),
    case("BCa of the mean, gathered", 10, 10_000, Statistic::Mean, Method::Bca),
    case("BCa of the IQM", 1_000, 20, Statistic::Iqm, Method::Bca),
    case("studentized mean", 1_000, 20, Statistic::Mean, Method::Studentized),
    case("studentized difference", 1_000, 20, Statistic::MeanDifference, Method::Studentized),
    Case { independent: true, ..case("BCa, own streams", 1_000, 20, Statistic::Mean, Method::Bca) },
];

/// Samples with spread and skew; other ones for another `salt`.
fn values(count: usize, salt: usize) -> Vec<f64> {
    (0..count).map(|i| (((i + salt) * 2_654_435_761 % 1_000_003) as f64 / 1_000_003.0).powi(3)).collect()
}

/// Calls `work` with the request of a case.
fn with_request<T>(case: &Case, salt: usize, work: impl FnOnce(&BootstrapRequest<'_>) -> T) -> T {
    let (first, second) = (values(case.groups * case.n, salt), values(case.groups * case.n, salt + 17));
    let offsets: Vec<u32> = (0..=case.groups).map(|group| (group * case.n) as u32).collect();
    let names: Vec<u32> = (0..case.groups as u32).collect();
    let request = BootstrapRequest {
        second: (case.statistic == Statistic::MeanDifference)
            .then_some(Samples { values: &second, offsets: &offsets }),
        streams: if case.independent { Streams::Independent(&names) } else { Streams::Shared },
        ..BootstrapRequest::new(Samples { values: &first, offsets: &offsets }, case.statistic)
    };
    work(&request.method(case.method).resamples(case.resamples).seed(salt as u64))
}

/// Permutation tests: name, comparisons, values of each of two samples, statistic.
const TESTS: [(&str, usize, usize, PermutationStatistic); 4] = [
    ("mean differences, drawn", 10_000, 10, PermutationStatistic::MeanDifference),
    ("mean differences, drawn", 1_000, 100, PermutationStatistic::MeanDifference),
    ("Welch t, drawn", 10_000, 10, PermutationStatistic::WelchT),
    ("Welch t, drawn", 1_000, 100, PermutationStatistic::WelchT),
];

/// Runs a permutation test of [`TESTS`], and says how long it took.
fn permutation(
    backend: &dyn Backend,
    (_, comparisons, n, statistic): (&str, usize, usize, PermutationStatistic),
    salt: usize,
) -> Result<(PermutationOutput, f64), KernelError> {
    let (first, second) = (values(comparisons * n, salt), values(comparisons * n, salt + 17));
    let offsets: Vec<u32> = (0..=comparisons).map(|group| (group * n) as u32).collect();
    let design = Design::TwoSamples(Samples { values: &second, offsets: &offsets });
    let samples = Samples { values: &first, offsets: &offsets };
    let request = PermutationRequest::new(samples, design, statistic).max_exact(0).seed(salt as u64);
    let start = Instant::now();
    let out = backend.permutation(&request)?;
    Ok((out, start.elapsed().as_secs_f64()))
}

/// Compares and measures the permutation tests; adds a line for each to the table and the JSON.
fn check_permutations(
    cpu: &CpuBackend,
    cuda: &CudaBackend,
    (warm_up, runs): (usize, usize),
    json: &mut String,
) -> Result<bool, KernelError> {
    println!(
        "\n{:<28} {:>11} {:>6} {:>10} {:>10} {:>7} {:>12}  equal",
        "case (9,999 relabellings)", "comparisons", "N", "CPU ms", "CUDA ms", "ratio", "look-ups/s"
    );
    let mut all_equal = true;
    for (index, test) in TESTS.into_iter().enumerate() {
        let median = |backend: &dyn Backend, warm_up: usize, runs: usize| -> Result<f64, KernelError> {
            let mut seconds = Vec::new();
            for run in 0..warm_up + runs {
                seconds.push(permutation(backend, test, run % 3)?.1);
            }
            let measured = &mut seconds[warm_up..];
            measured.sort_by(f64::total_cmp);
            Ok(measured[runs / 2])
        };
        let p_values = |out: PermutationOutput| [out.p_greater, out.p_less, out.p_absolute];
        let (on_device, on_host) = (permutation(cuda, test, 99)?.0, permutation(cpu, test, 99)?.0);
        let equal = p_values(on_device) == p_values(on_host);
        all_equal &= equal;
        let (on_cpu, on_cuda) = (median(cpu, 1, 3)?, median(cuda, warm_up, runs)?);
        let (name, comparisons, n, statistic) = test;
        let tables = if statistic == PermutationStatistic::WelchT { 2 } else { 1 };
        let look_ups = (comparisons * 9_999 * (2 * n).div_ceil(8) * tables) as f64 / on_cuda;
        println!(
            "{name:<28} {comparisons:>11} {:>6} {:>10.2} {:>10.3} {:>7.1} {look_ups:>12.3e}  {}",
            2 * n,
            on_cpu * 1e3,
            on_cuda * 1e3,
            on_cpu / on_cuda,
            if equal { "yes" } else { "NO" }
        );
        let comma = if index > 0 { "," } else { "" };
        let _ = write!(
            json,
            "{comma}{{\"case\":{name:?},\"comparisons\":{comparisons},\"values\":{},\"cpu_s\":{on_cpu},\
             \"cuda_s\":{on_cuda},\"look_ups_per_s\":{look_ups},\"equal\":{equal}}}",
            2 * n
        );
    }
    Ok(all_equal)
}

/// Nearest rows: rows and features.
const ROWS: [(usize, usize); 3] = [(20_000, 32), (100_000, 32), (100_000, 64)];

/// Compares and measures the nearest rows; adds a line for each to the table and the JSON. There is one subtraction,
/// one multiplication and one addition of doubles for each feature of each pair.
fn check_neighbours(
    cpu: &CpuBackend,
    cuda: &CudaBackend,
    runs: usize,
    multiply_adds_per_second: f64,
    json: &mut String,
) -> Result<bool, KernelError> {
    println!(
        "\n{:<28} {:>8} {:>8} {:>10} {:>10} {:>7} {:>12} {:>9}  equal",
        "case (15 neighbours)", "rows", "features", "CPU ms", "CUDA ms", "ratio", "pairs/s", "of bound"
    );
    let mut all_equal = true;
    for (index, (rows, columns)) in ROWS.into_iter().enumerate() {
        let values = values(rows * columns, 5);
        let features = Features { values: &values, columns };
        let request = KnnRequest { features, k: 15, queries: Queries::All };
        let run = |backend: &dyn Backend| -> Result<(Vec<u32>, f64), KernelError> {
            let start = Instant::now();
            let out = backend.nearest_neighbours(&request)?;
            Ok((out.rows, start.elapsed().as_secs_f64()))
        };
        let ((on_host, on_cpu), (on_device, _)) = (run(cpu)?, run(cuda)?);
        let equal = on_host == on_device;
        all_equal &= equal;
        let mut seconds = (0..runs).map(|_| Ok(run(cuda)?.1)).collect::<Result<Vec<f64>, KernelError>>()?;
        seconds.sort_by(f64::total_cmp);
        let on_cuda = seconds[runs / 2];
        let pairs = (rows * rows) as f64 / on_cuda;
        let of_bound = 3.0 * pairs * columns as f64 / multiply_adds_per_second;
        println!(
            "{:<28} {rows:>8} {columns:>8} {:>10.2} {:>10.3} {:>7.1} {pairs:>12.3e} {:>8.1}%  {}",
            "nearest rows",
            on_cpu * 1e3,
            on_cuda * 1e3,
            on_cpu / on_cuda,
            of_bound * 100.0,
            if equal { "yes" } else { "NO" }
        );
        let comma = if index > 0 { "," } else { "" };
        let _ = write!(
            json,
            "{comma}{{\"rows\":{rows},\"features\":{columns},\"cpu_s\":{on_cpu},\"cuda_s\":{on_cuda},\
             \"pairs_per_s\":{pairs},\"of_bound\":{of_bound},\"equal\":{equal}}}"
        );
    }
    Ok(all_equal)
}

fn same_bits(left: &BootstrapOutput, right: &BootstrapOutput) -> bool {
    let columns = |out: &BootstrapOutput| -> Vec<u64> {
        let columns = [&out.estimate, &out.low, &out.high, &out.se, &out.dropped_share];
        columns.into_iter().flatten().map(|number| number.to_bits()).collect()
    };
    columns(left) == columns(right) && left.flags == right.flags && left.computation == right.computation
}

/// Median seconds of some calls, with inputs that rotate.
fn median_seconds(
    backend: &dyn Backend,
    case: &Case,
    (warm_up, runs): (usize, usize),
) -> Result<f64, KernelError> {
    let mut seconds = Vec::new();
    for run in 0..warm_up + runs {
        seconds.push(with_request(case, run % 3, |request| {
            let start = Instant::now();
            backend.bootstrap(request).map(|_| start.elapsed().as_secs_f64())
        })?);
    }
    let measured = &mut seconds[warm_up..];
    measured.sort_by(f64::total_cmp);
    Ok(measured[runs / 2])
}

fn check(options: &Options) -> Result<bool, KernelError> {
    let start = Instant::now();
    let cuda = CudaBackend::new(options.ordinal)?;
    let opened = start.elapsed().as_secs_f64();
    let cpu = CpuBackend::new();
    println!("device   {}", cuda.info().device);
    println!("host     {}", cpu.info().device);
    println!("opened   {opened:.3} s (context, first kernels, known answers)");
    let Ceilings { copied_bytes_per_second, multiply_adds_per_second, wide_multiplies_per_second } =
        cuda.ceilings()?;
    println!(
        "bounds   copy {:.2} TB/s, {:.2} T multiply-adds/s of doubles, {:.2} T wide multiplications/s\n",
        copied_bytes_per_second / 1e12,
        multiply_adds_per_second / 1e12,
        wide_multiplies_per_second / 1e12
    );
    let mut json = format!(
        "{{\"device\":{:?},\"host\":{:?},\"opened_s\":{opened},\"copy_bytes_per_s\":{copied_bytes_per_second},\
         \"fma_per_s\":{multiply_adds_per_second},\"wide_multiplies_per_s\":{wide_multiplies_per_second},\"cases\":[",
        cuda.info().device,
        cpu.info().device
    );
    println!(
        "{:<28} {:>7} {:>6} {:>10} {:>10} {:>7} {:>12} {:>9}  equal",
        "case (9,999 resamples)", "groups", "n", "CPU ms", "CUDA ms", "ratio", "draws/s", "of bound"
    );
    let mut all_equal = true;
    let times = if options.quick { (1, 3) } else { (WARM_UP, RUNS) };
    for (index, case) in CASES.iter().enumerate() {
        let equal = with_request(case, 99, |request| -> Result<bool, KernelError> {
            Ok(same_bits(&cuda.bootstrap(request)?, &cpu.bootstrap(request)?))
        })?;
        all_equal &= equal;
        let on_cuda = median_seconds(&cuda, case, times)?;
        let on_cpu = median_seconds(&cpu, case, (1, 3))?;
        let samples = if case.statistic == Statistic::MeanDifference { 2.0 } else { 1.0 };
        let draws = samples * (case.groups * case.n) as f64 * f64::from(case.resamples);
        // One multiply-add a draw and column of sums.
        let columns = if case.method == Method::Studentized { 2.0 } else { 1.0 };
        let of_bound = draws * columns / on_cuda / multiply_adds_per_second;
        println!(
            "{:<28} {:>7} {:>6} {:>10.2} {:>10.3} {:>7.1} {:>12.3e} {:>8.1}%  {}",
            case.name,
            case.groups,
            case.n,
            on_cpu * 1e3,
            on_cuda * 1e3,
            on_cpu / on_cuda,
            draws / on_cuda,
            of_bound * 100.0,
            if equal { "yes" } else { "NO" }
        );
        let comma = if index > 0 { "," } else { "" };
        let _ = write!(
            json,
            "{comma}{{\"case\":{:?},\"groups\":{},\"n\":{},\"cpu_s\":{on_cpu},\"cuda_s\":{on_cuda},\
             \"draws_per_s\":{},\"of_bound\":{of_bound},\"equal\":{equal}}}",
            case.name,
            case.groups,
            case.n,
            draws / on_cuda
        );
    }
    json.push_str("],\"permutations\":[");
    all_equal &= check_permutations(&cpu, &cuda, times, &mut json)?;
    json.push_str("],\"neighbours\":[");
    all_equal &= check_neighbours(&cpu, &cuda, times.1, multiply_adds_per_second, &mut json)?;
    json.push_str("]}\n");
    if let Some(path) = &options.json
        && let Err(error) = std::fs::write(path, json)
    {
        eprintln!("{path}: {error}");
    }
    Ok(all_equal)
}

fn options() -> Option<Options> {
    let mut options = Options { ordinal: 0, quick: false, json: None };
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--quick" => options.quick = true,
            "--ordinal" => options.ordinal = arguments.next()?.parse().ok()?,
            "--json" => options.json = Some(arguments.next()?),
            _ => return None,
        }
    }
    Some(options)
}

fn main() -> ExitCode {
    let Some(options) = options() else {
        eprintln!("use: gpu_check [--ordinal N] [--quick] [--json FILE]");
        return ExitCode::FAILURE;
    };
    match check(&options) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => {
            eprintln!("the device does not give the bits of the CPU");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
