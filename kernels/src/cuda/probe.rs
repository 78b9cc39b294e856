//! Finding the driver without trusting that there is one.
//!
//! `cudarc` panics when the driver's library or one of its functions is missing. So both are looked for here before
//! the first call of `cudarc`, in the same places, and the library stays open.

use std::sync::OnceLock;

use cudarc::driver::{DriverError, result};
use libloading::Library;

use crate::error::Reason;

/// The oldest driver that reads PTX of CUDA 12.0: 1000 times the major plus 10 times the minor version.
const DRIVER_VERSION_MIN: i32 = 12_000;

/// Every function of the driver that this crate may call. All exist since CUDA 12.0. The emulated driver of the tests
/// has these and no others, so a call that is not in this list fails there.
const SYMBOLS: [&str; 39] = [
    "cuInit",
    "cuDriverGetVersion",
    "cuDeviceGetCount",
    "cuDeviceGet",
    "cuDeviceGetName",
    "cuDeviceGetAttribute",
    "cuDeviceTotalMem_v2",
    "cuDevicePrimaryCtxRetain",
    "cuDevicePrimaryCtxRelease_v2",
    "cuCtxSetCurrent",
    "cuCtxGetCurrent",
    "cuCtxSynchronize",
    "cuMemAlloc_v2",
    "cuMemFree_v2",
    "cuMemAllocAsync",
    "cuMemFreeAsync",
    "cuMemGetInfo_v2",
    "cuMemcpyHtoDAsync_v2",
    "cuMemcpyDtoHAsync_v2",
    "cuMemcpyDtoDAsync_v2",
    "cuMemsetD8Async",
    "cuModuleLoadData",
    "cuModuleUnload",
    "cuModuleGetFunction",
    "cuFuncSetAttribute",
    "cuFuncGetAttribute",
    "cuLaunchKernel",
    "cuStreamCreate",
    "cuStreamSynchronize",
    "cuStreamDestroy_v2",
    "cuEventCreate",
    "cuEventDestroy_v2",
    "cuEventRecord",
    "cuStreamWaitEvent",
    "cuEventSynchronize",
    "cuEventQuery",
    "cuEventElapsedTime",
    "cuGetErrorName",
    "cuGetErrorString",
];

/// Looks for the driver's library and its functions, once. Cheap; starts nothing.
pub(crate) fn library() -> Result<(), Reason> {
    static FOUND: OnceLock<Result<Library, Reason>> = OnceLock::new();
    let found = FOUND.get_or_init(|| {
        let names = ["cuda", "nvcuda"].into_iter().flat_map(cudarc::get_lib_name_candidates);
        let mut tried = String::from("no library was tried");
        for name in names {
            // SAFETY: loading a library runs its initialisers; these are the names of NVIDIA's driver, which has none
            // that do more than prepare itself.
            match unsafe { Library::new(&name) } {
                Ok(library) => return with_all_symbols(library),
                Err(error) => tried = error.to_string(),
            }
        }
        Err(Reason::DriverMissing(tried))
    });
    found.as_ref().map(|_| ()).map_err(Clone::clone)
}

fn with_all_symbols(library: Library) -> Result<Library, Reason> {
    for symbol in SYMBOLS {
        // SAFETY: the address is looked up, not used.
        if unsafe { library.get::<unsafe extern "C" fn()>(symbol.as_bytes()) }.is_err() {
            return Err(Reason::SymbolMissing(symbol));
        }
    }
    Ok(library)
}

/// Starts the driver, once, and says how many devices it has.
pub(crate) fn driver() -> Result<u32, Reason> {
    static STARTED: OnceLock<Result<u32, Reason>> = OnceLock::new();
    STARTED
        .get_or_init(|| {
            library()?;
            result::init().map_err(refused("cuInit"))?;
            let mut version = 0;
            // SAFETY: the library has this function, and `version` outlives the call.
            unsafe { cudarc::driver::sys::cuDriverGetVersion(&raw mut version) }
                .result()
                .map_err(refused("cuDriverGetVersion"))?;
            if version < DRIVER_VERSION_MIN {
                return Err(Reason::DriverOld { version });
            }
            let count = result::device::get_count().map_err(refused("cuDeviceGetCount"))?;
            Ok(count.max(0) as u32)
        })
        .clone()
}

/// For `map_err` after a call that belongs to the probe. The library must have been found.
pub(crate) fn refused(call: &'static str) -> impl Fn(DriverError) -> Reason {
    move |error| {
        let code = error.0 as i32;
        let advice = match code {
            34 => "this library is a stub for linking; the real one comes with the NVIDIA driver",
            100 => "no NVIDIA GPU is visible to this process",
            802 | 803 => {
                "the driver in the kernel and its library do not fit; restart the machine or reinstall the driver"
            }
            _ => "see nvidia-smi",
        };
        Reason::DriverRefused { call, code, name: error_name(error), advice }
    }
}

/// The driver's name for an error.
pub(crate) fn error_name(error: DriverError) -> String {
    error.error_name().map_or_else(|_| "unnamed".to_owned(), |name| name.to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_emulated_driver_has_the_functions_that_are_looked_for_and_no_others() {
        let emulated = include_str!("../../emu/fake_libcuda.cpp").lines();
        let names: Vec<&str> = emulated
            .filter_map(|line| line.strip_prefix("Result cu"))
            .filter_map(|rest| rest.split_once('(').map(|(name, _)| name))
            .collect();
        let expected: Vec<&str> = SYMBOLS.iter().filter_map(|symbol| symbol.strip_prefix("cu")).collect();
        assert_eq!(names, expected);
    }
}
