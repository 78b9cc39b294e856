//! How the allocator of a server gives memory back.
//!
//! glibc keeps what is freed in pools of threads that may never need it again, and raises the size from which on a buffer
//! is memory of its own, given back when it is freed, to 32 MiB as it goes. Under overload that was most of the memory
//! (docs/decisions/0017-memory-limit.md).

/// Has freed buffers of 128 KiB, glibc's own first value, and more given back at once, and limits the pools to the number
/// of cores. Called once, before there are threads. A size that the environment names (`MALLOC_ARENA_MAX` and others)
/// counts for more.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub(crate) fn prepare() {
    const GIVEN_BACK: i32 = 128 << 10;
    let cores = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
    let arenas = i32::try_from(cores).unwrap_or(64).max(2);
    let settings = [
        ("MALLOC_MMAP_THRESHOLD_", libc::M_MMAP_THRESHOLD, GIVEN_BACK),
        ("MALLOC_TRIM_THRESHOLD_", libc::M_TRIM_THRESHOLD, GIVEN_BACK),
        ("MALLOC_ARENA_MAX", libc::M_ARENA_MAX, arenas),
    ];
    for (variable, parameter, value) in settings {
        if std::env::var_os(variable).is_none() {
            // SAFETY: mallopt takes two integers and keeps no pointer; it is called before there are other threads, as
            // its manual page asks for. A value that it does not take changes nothing.
            #[allow(unsafe_code, reason = "glibc has no safe way to say it")]
            unsafe {
                libc::mallopt(parameter, value);
            }
        }
    }
}

/// Gives free memory of all pools back. Takes milliseconds, in which other threads wait for a pool when they need it.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub(crate) fn give_back() {
    // SAFETY: malloc_trim takes an integer, touches only memory that is free, and may be called from any thread.
    #[allow(unsafe_code, reason = "glibc has no safe way to say it")]
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Other allocators have their own ways.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub(crate) fn prepare() {}

/// Other allocators have their own ways.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub(crate) fn give_back() {}
