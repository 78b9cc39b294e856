//! One CUDA device of this process: its context, its modules, and whether it can still be trusted.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use cudarc::driver::{DriverError, result, sys};

use crate::cuda::lane::{Argument, Lane, Plain};
use crate::cuda::module::{Family, Kernel, Module};
use crate::cuda::probe;
use crate::error::{KernelError, Reason};
use crate::rng::{ROUNDS, Stream, WEYL_0, WEYL_1, words64};

/// The oldest compute capability that the PTX is made for.
const CAPABILITY_MIN: (i32, i32) = (7, 5);
/// The driver's number for a lack of memory, the one error after which a device can still be trusted.
const OUT_OF_MEMORY: i32 = 2;

/// An open device. There is one for each number in a process.
pub(crate) struct Device {
    name: String,
    description: String,
    /// Fused multiply-adds of doubles per second, at most.
    multiply_adds_per_second: f64,
    context: sys::CUcontext,
    poisoned: AtomicBool,
    modules: Mutex<HashMap<Family, Module>>,
    /// Lanes that no request uses at the moment.
    idle: Mutex<Vec<Lane>>,
}

// SAFETY: contexts and what belongs to them may be used from any thread that has made the context current, which every
// request does first; the tables are behind locks.
unsafe impl Send for Device {}
// SAFETY: as above.
unsafe impl Sync for Device {}

impl std::fmt::Debug for Device {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Device").field("name", &self.description).finish_non_exhaustive()
    }
}

/// The round keys of a seed, as kernels take them.
#[derive(Debug, Clone, Copy, Default)]
#[repr(C)]
pub(crate) struct RoundKeys([u32; 2 * ROUNDS]);

// SAFETY: numbers without padding.
unsafe impl Plain for RoundKeys {}

impl Argument for RoundKeys {}

impl RoundKeys {
    pub(crate) fn new(key: [u32; 2]) -> Self {
        let mut words = [0; 2 * ROUNDS];
        for (round, pair) in words.chunks_exact_mut(2).enumerate() {
            pair[0] = key[0].wrapping_add(WEYL_0.wrapping_mul(round as u32));
            pair[1] = key[1].wrapping_add(WEYL_1.wrapping_mul(round as u32));
        }
        Self(words)
    }
}

/// All devices that were asked for, with what became of it.
static OPENED: Mutex<BTreeMap<u32, Result<Arc<Device>, Reason>>> = Mutex::new(BTreeMap::new());

impl Device {
    /// Opens a device and tests it, once.
    pub(crate) fn open(ordinal: u32) -> Result<Arc<Self>, KernelError> {
        let mut opened = OPENED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = opened.get(&ordinal) {
            let device = known.clone().map_err(KernelError::Unavailable)?;
            device.usable()?;
            return Ok(device);
        }
        match Self::start(ordinal) {
            Ok(device) => {
                let device = Arc::new(device);
                opened.insert(ordinal, Ok(Arc::clone(&device)));
                Ok(device)
            }
            Err(KernelError::Unavailable(reason)) => {
                opened.insert(ordinal, Err(reason.clone()));
                Err(KernelError::Unavailable(reason))
            }
            // Another time there may be enough memory.
            Err(error) => Err(error),
        }
    }

    /// Whether the device is open and well, so that a request need not wait for its start.
    pub(crate) fn is_warm(ordinal: u32) -> bool {
        let opened = OPENED.lock().unwrap_or_else(PoisonError::into_inner);
        opened.get(&ordinal).is_some_and(|known| known.as_ref().is_ok_and(|device| device.usable().is_ok()))
    }

    fn start(ordinal: u32) -> Result<Self, KernelError> {
        let unavailable = |call| move |error| KernelError::Unavailable(probe::refused(call)(error));
        let count = probe::driver().map_err(KernelError::Unavailable)?;
        if ordinal >= count {
            return Err(KernelError::Unavailable(Reason::NoSuchDevice { ordinal, count }));
        }
        let handle = result::device::get(ordinal as i32).map_err(unavailable("cuDeviceGet"))?;
        let name = result::device::get_name(handle).map_err(unavailable("cuDeviceGetName"))?;
        let attribute = |attribute| {
            // SAFETY: the handle is that of a device.
            unsafe { result::device::get_attribute(handle, attribute) }
                .map_err(unavailable("cuDeviceGetAttribute"))
        };
        use sys::CUdevice_attribute as Attribute;
        let major = attribute(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?;
        let minor = attribute(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?;
        if (major, minor) < CAPABILITY_MIN {
            return Err(KernelError::Unavailable(Reason::CapabilityLow { device: name, major, minor }));
        }
        let processors = attribute(Attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)?;
        let kilohertz = attribute(Attribute::CU_DEVICE_ATTRIBUTE_CLOCK_RATE)?;
        // SAFETY: the handle is that of a device. The context is kept until the process ends.
        let context =
            unsafe { result::primary_ctx::retain(handle) }.map_err(|error| match error.0 as i32 {
                OUT_OF_MEMORY => KernelError::OutOfMemory { need: 0, free: 0 },
                _ => KernelError::Unavailable(probe::refused("cuDevicePrimaryCtxRetain")(error)),
            })?;
        let rate =
            f64::from(doubles_per_clock(major, minor)) * f64::from(processors) * f64::from(kilohertz) * 1e3;
        let device = Self {
            description: format!("CUDA device {ordinal}: {name}, compute capability {major}.{minor}"),
            name,
            multiply_adds_per_second: rate,
            context,
            poisoned: AtomicBool::new(false),
            modules: Mutex::default(),
            idle: Mutex::default(),
        };
        device.answer_known_questions()?;
        Ok(device)
    }

    /// Runs the generator where its answers are known. Any error means that the device is of no use.
    fn answer_known_questions(&self) -> Result<(), KernelError> {
        let failed = |error: KernelError| match error {
            KernelError::Device { code, name, .. } => {
                let call = "its first kernel";
                let advice = "see nvidia-smi";
                KernelError::Unavailable(Reason::DriverRefused { call, code, name, advice })
            }
            other => other,
        };
        let stream =
            Stream { seed: 0x0123_4567_89ab_cdef, stream: 3, tag: crate::rng::Tag::Bootstrap, sub: 1 };
        let counters: Vec<[u32; 4]> =
            (0..64).map(|block| [block, 7, stream.stream, stream.purpose()]).collect();
        let expected: Vec<u64> = (0..64).flat_map(|block| words64(stream.block(block, 7))).collect();
        let answers = || -> Result<Vec<u64>, KernelError> {
            self.enter()?;
            let mut lane = Lane::new(self)?;
            lane.reserve(self, 1 << 20)?;
            let (questions, keys) =
                (lane.take::<u32>(4 * counters.len())?, lane.take::<RoundKeys>(counters.len())?);
            let out = lane.take::<u64>(expected.len())?;
            lane.upload(self, questions, counters.as_flattened())?;
            lane.upload(self, keys, &vec![RoundKeys::new(stream.key()); counters.len()])?;
            let kernel = self.kernel(Family::Boot, "known_answers")?;
            let count = counters.len() as u32;
            lane.launch(self, &kernel, 2, 32, &[&questions, &keys, &out, &count])?;
            let answers = lane.download(self, out)?;
            self.put_back(lane);
            Ok(answers)
        };
        if answers().map_err(failed)? == expected {
            return Ok(());
        }
        Err(KernelError::Unavailable(Reason::WrongAnswers { device: self.name.clone() }))
    }

    /// The device in words.
    pub(crate) fn description(&self) -> &str {
        &self.description
    }

    /// The context that all work of this device needs.
    pub(super) fn context(&self) -> sys::CUcontext {
        self.context
    }

    /// Fused multiply-adds of doubles per second, at most.
    pub(crate) fn multiply_adds_per_second(&self) -> f64 {
        self.multiply_adds_per_second
    }

    /// # Errors
    /// [`KernelError::Poisoned`] after a device error.
    pub(crate) fn usable(&self) -> Result<(), KernelError> {
        if self.poisoned.load(Ordering::Relaxed) { Err(KernelError::Poisoned) } else { Ok(()) }
    }

    /// Makes the device current on this thread; before anything else.
    pub(crate) fn enter(&self) -> Result<(), KernelError> {
        self.usable()?;
        // SAFETY: the context is kept until the process ends.
        self.checked(unsafe { result::ctx::set_current(self.context) }, || "making it current".to_owned())
    }

    /// Turns an error of the driver into ours. After any but a lack of memory the device is not used again: its
    /// memory may hold anything.
    pub(crate) fn checked<T>(
        &self,
        result: Result<T, DriverError>,
        call: impl FnOnce() -> String,
    ) -> Result<T, KernelError> {
        result.map_err(|error| {
            let code = error.0 as i32;
            if code == OUT_OF_MEMORY {
                return KernelError::OutOfMemory { need: 0, free: self.free_memory().unwrap_or(0) };
            }
            self.poisoned.store(true, Ordering::Relaxed);
            let name = probe::error_name(error);
            KernelError::Device { device: self.description.clone(), code, name, call: call() }
        })
    }

    /// Bytes of device memory that are free.
    pub(crate) fn free_memory(&self) -> Option<u64> {
        result::mem_get_info().ok().map(|(free, _)| free as u64)
    }

    /// A kernel; its family is loaded when it is used for the first time.
    pub(crate) fn kernel(&self, family: Family, name: &'static str) -> Result<Kernel, KernelError> {
        let mut modules = self.modules.lock().unwrap_or_else(PoisonError::into_inner);
        let module = match modules.entry(family) {
            Entry::Occupied(loaded) => loaded.into_mut(),
            Entry::Vacant(place) => place
                .insert(self.checked(Module::load(family), || format!("loading the kernels {family:?}"))?),
        };
        // The names are those of the PTX in this program; the test of all kernels uses each of them.
        module.kernel(name).cloned().ok_or(KernelError::Unavailable(Reason::NoKernel(name)))
    }

    /// Two lanes for one request: those that lie idle, or new ones.
    pub(crate) fn lanes(&self) -> Result<[Lane; 2], KernelError> {
        let take = || {
            let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
            idle.map_or_else(|| Lane::new(self), Ok)
        };
        Ok([take()?, take()?])
    }

    /// Keeps a lane for the next request. Others than the first two are given up, and so are all of a device that
    /// failed.
    pub(crate) fn put_back(&self, lane: Lane) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < 2 && self.usable().is_ok() {
            idle.push(lane);
        }
    }
}

/// Fused multiply-adds of doubles that a multiprocessor does in a clock.
fn doubles_per_clock(major: i32, minor: i32) -> i32 {
    match (major, minor) {
        (8, 0) => 32,
        (9, 0) | (10, 0) => 64,
        _ => 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_keys_are_those_of_the_generator() {
        let keys = RoundKeys::new([0xa409_3822, 0x299f_31d0]);
        assert_eq!(keys.0[..4], [0xa409_3822, 0x299f_31d0, 0x4240_b1db, 0xe506_e055]);
        assert_eq!(keys.0[18], 0xa409_3822u32.wrapping_add(WEYL_0.wrapping_mul(9)));
    }
}
