//! What can go wrong: the caller's request, or the device.

use thiserror::Error;

use crate::cluster::InvalidClustering;
use crate::importance::ImportanceError;

/// Error of a kernel call. [`KernelError::code`] gives a stable identifier for reports.
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
pub enum KernelError {
    /// The request cannot be answered as it stands; nothing was computed.
    #[error("invalid request: {0}")]
    Invalid(#[from] Invalid),
    /// Importances cannot be computed from these trials.
    #[error("importance: {0}")]
    Importance(#[from] ImportanceError),
    /// This combination of statistic and method has no sound answer.
    #[error("{method} intervals are not available for {statistic}: {advice}")]
    Unsupported {
        /// The interval method asked for.
        method: &'static str,
        /// The statistic asked for.
        statistic: &'static str,
        /// What to ask for instead.
        advice: &'static str,
    },
    /// The device asked for cannot be used.
    #[error("device unavailable: {0}")]
    Unavailable(Reason),
    /// The job needs more memory than there is.
    #[error(
        "out of memory: {need} bytes needed, {free} known to be free; ask for fewer resamples or smaller batches"
    )]
    OutOfMemory {
        /// Bytes the job needs.
        need: u64,
        /// Bytes that can be had (0 when the allocator does not say).
        free: u64,
    },
    /// The device reported an error while a kernel ran.
    #[error("device error {code} ({name}) on {device}, {call}")]
    Device {
        /// The device in words.
        device: String,
        /// The driver's error number.
        code: i32,
        /// The driver's name for it.
        name: String,
        /// What was being done, with the kernel that ran last.
        call: String,
    },
    /// An earlier device error made the device unusable for the rest of this process.
    #[error("the device failed earlier in this process and is not used again")]
    Poisoned,
}

impl KernelError {
    /// A stable identifier, the same in the command line, SQL and JSON.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Invalid(invalid) => invalid.code(),
            Self::Importance(error) => error.code(),
            Self::Unsupported { .. } => "unsupported_method",
            Self::Unavailable(_) => "device_unavailable",
            Self::OutOfMemory { .. } => "out_of_memory",
            Self::Device { .. } => "device_error",
            Self::Poisoned => "device_poisoned",
        }
    }
}

/// Why a request is invalid.
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
pub enum Invalid {
    /// `offsets` holds no element; it needs one more element than there are groups.
    #[error("offsets of sample {sample} is empty; it needs one element more than there are groups")]
    OffsetsEmpty {
        /// `first` or `second`.
        sample: &'static str,
    },
    /// `offsets` does not start at 0.
    #[error("offsets of sample {sample} starts at {start}, expected 0")]
    OffsetsStart {
        /// `first` or `second`.
        sample: &'static str,
        /// The first offset found.
        start: u32,
    },
    /// `offsets` falls somewhere.
    #[error("offsets of sample {sample} falls from {from} to {to} at group {group}")]
    OffsetsFall {
        /// `first` or `second`.
        sample: &'static str,
        /// The group whose end lies before its start.
        group: usize,
        /// Start of the group.
        from: u32,
        /// End of the group.
        to: u32,
    },
    /// The last offset is not the number of values.
    #[error("offsets of sample {sample} ends at {end}, but there are {values} values")]
    OffsetsEnd {
        /// `first` or `second`.
        sample: &'static str,
        /// The last offset.
        end: u32,
        /// The number of values.
        values: usize,
    },
    /// A value is NaN or infinite.
    #[error(
        "value {value} at position {position} of group {group} in sample {sample} is not finite; drop or impute failed runs first"
    )]
    NonFinite {
        /// `first` or `second`.
        sample: &'static str,
        /// The group that holds the value.
        group: usize,
        /// Position inside the group.
        position: usize,
        /// The value.
        value: f64,
    },
    /// The number of resamples is 0 or too large.
    #[error("resamples must be between 1 and {max}, got {got}")]
    Resamples {
        /// The number asked for.
        got: u32,
        /// The largest number accepted.
        max: u32,
    },
    /// The confidence level is not strictly between 0 and 1.
    #[error("level must be strictly between 0 and 1, got {0}")]
    Level(f64),
    /// The quantile is not between 0 and 1.
    #[error("quantile must be between 0 and 1, got {0}")]
    Quantile(f64),
    /// The trimmed fraction is not in `[0, 0.5)`.
    #[error("trimmed fraction must be at least 0 and below 0.5, got {0}")]
    Trim(f64),
    /// The statistic needs two samples and only one was given.
    #[error("{statistic} compares two samples; the second is missing")]
    SecondMissing {
        /// The statistic asked for.
        statistic: &'static str,
    },
    /// A second sample was given to a statistic of one sample.
    #[error("{statistic} is a statistic of one sample, but a second was given")]
    SecondUnexpected {
        /// The statistic asked for.
        statistic: &'static str,
    },
    /// The two samples have different numbers of groups.
    #[error("the first sample has {first} groups, the second {second}")]
    GroupCounts {
        /// Groups of the first sample.
        first: usize,
        /// Groups of the second sample.
        second: usize,
    },
    /// The environment names a device that there is not.
    #[error("RUNLAKE_DEVICE is `{0}`; use auto, cpu, cuda or cuda:N")]
    DeviceName(String),
    /// A pair of a comparison names a group that does not exist.
    #[error("pair {pair} names group {group}, but there are {groups} groups")]
    PairGroup {
        /// Position of the pair.
        pair: usize,
        /// The group named.
        group: u32,
        /// Groups given.
        groups: usize,
    },
    /// A group begins inside of a stratum or cluster.
    #[error(
        "group {group} starts at {start}, which is no start in {sample}; strata and clusters lie inside of groups"
    )]
    CutMissing {
        /// `strata` or `clusters`.
        sample: &'static str,
        /// The group.
        group: usize,
        /// Where it starts.
        start: u32,
    },
    /// Blocks of no points.
    #[error("a block must have at least one point")]
    BlockLength,
    /// The two sides of a paired sample have different sizes.
    #[error(
        "group {group} has {first} values in the first sample and {second} in the second; pairs need equal numbers"
    )]
    PairSizes {
        /// The group.
        group: usize,
        /// Values in the first sample.
        first: u32,
        /// Values in the second sample.
        second: u32,
    },
    /// The number of stream identifiers differs from the number of groups.
    #[error("independent mode needs one stream per group: {streams} streams for {groups} groups")]
    StreamCount {
        /// Streams given.
        streams: usize,
        /// Groups given.
        groups: usize,
    },
    /// A request for clusters, neighbours or curves is invalid.
    #[error(transparent)]
    Clustering(#[from] InvalidClustering),
}

impl From<InvalidClustering> for KernelError {
    fn from(invalid: InvalidClustering) -> Self {
        Self::Invalid(Invalid::Clustering(invalid))
    }
}

impl Invalid {
    /// A stable identifier, the same in the command line, SQL and JSON.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NonFinite { .. } => "nonfinite_value",
            Self::Level(_) | Self::Quantile(_) => "probability_out_of_range",
            Self::Trim(_) => "trim_out_of_range",
            Self::Resamples { .. } => "resamples_out_of_range",
            Self::OffsetsEmpty { .. }
            | Self::OffsetsStart { .. }
            | Self::OffsetsFall { .. }
            | Self::OffsetsEnd { .. }
            | Self::CutMissing { .. } => "bad_offsets",
            Self::BlockLength => "bad_block_length",
            Self::SecondMissing { .. }
            | Self::SecondUnexpected { .. }
            | Self::GroupCounts { .. }
            | Self::PairGroup { .. }
            | Self::PairSizes { .. } => "bad_sample_pair",
            Self::DeviceName(_) => "bad_device_name",
            Self::StreamCount { .. } => "bad_streams",
            Self::Clustering(invalid) => invalid.code(),
        }
    }
}

/// Why a device is not used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Reason {
    /// This build has no CUDA backend.
    #[error("this build has no CUDA backend; use the cpu policy, or auto, which falls back to the CPU")]
    CudaNotBuilt,
    /// The environment says `RUNLAKE_DEVICE=cpu`.
    #[error("RUNLAKE_DEVICE=cpu forbids other devices")]
    ForbiddenByEnvironment,
    /// No CUDA driver is installed.
    #[error("no CUDA driver found ({0}); install the NVIDIA driver, or use the cpu policy")]
    DriverMissing(String),
    /// The CUDA driver lacks a function that is needed.
    #[error("the CUDA driver lacks {0}; install driver 525 or newer")]
    SymbolMissing(&'static str),
    /// The CUDA driver refused to start.
    #[error("the CUDA driver refused {call} with error {code} ({name}); {advice}")]
    DriverRefused {
        /// The call.
        call: &'static str,
        /// The driver's error number.
        code: i32,
        /// The driver's name for it.
        name: String,
        /// What may help.
        advice: &'static str,
    },
    /// The CUDA driver is too old.
    #[error("the CUDA driver supports CUDA {}.{}; 12.0 is needed (driver 525 or newer)", .version / 1000, .version % 1000 / 10)]
    DriverOld {
        /// 1000 times the major plus 10 times the minor version.
        version: i32,
    },
    /// There is no device of that number.
    #[error("there is no CUDA device {ordinal}; there are {count}")]
    NoSuchDevice {
        /// The number asked for.
        ordinal: u32,
        /// How many there are.
        count: u32,
    },
    /// The device is too old.
    #[error("{device} has compute capability {major}.{minor}; 7.5 is needed")]
    CapabilityLow {
        /// The device in words.
        device: String,
        /// Major compute capability.
        major: i32,
        /// Minor compute capability.
        minor: i32,
    },
    /// The device computes wrong random numbers.
    #[error("{device} gives wrong answers to a test with known ones and is not used")]
    WrongAnswers {
        /// The device in words.
        device: String,
    },
    /// The device answered the request with an error, and the CPU took over.
    #[error("the request failed there: {0}")]
    Failed(String),
    /// The operation has no device kernel.
    #[error("there is no device kernel for {0}")]
    NoKernel(&'static str),
    /// The processor lacks an instruction set that was asked for by name.
    #[error("this processor has no {0}")]
    InstructionSetMissing(&'static str),
}
