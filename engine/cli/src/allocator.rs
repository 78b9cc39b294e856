//! How the allocator of a server gives memory back.
//!
//! glibc raises the size from which on a buffer is memory of its own, given back when it is freed, to 32 MiB as it goes;
//! what is smaller stays in pools of threads that may never need it again. Under overload that was half of the memory
//! (docs/decisions/0017-memory-limit.md). The size is fixed by variables that glibc reads once, before `main`.

/// Buffers from this size on are given back when they are freed: glibc's own first value.
const SIZES: [(&str, &str); 2] = [("MALLOC_MMAP_THRESHOLD_", "131072"), ("MALLOC_TRIM_THRESHOLD_", "131072")];

/// Starts this program again in the same process, with the variables, unless one of them is set already. Comes back when
/// there is nothing to do or it cannot be done: then the server only holds more memory.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub(crate) fn give_back_early() {
    use std::os::unix::process::CommandExt;

    if SIZES.iter().any(|(name, _)| std::env::var_os(name).is_some()) {
        return;
    }
    let Ok(program) = std::env::current_exe() else { return };
    let mut arguments = std::env::args_os();
    let mut again = std::process::Command::new(program);
    if let Some(name) = arguments.next() {
        again.arg0(name);
    }
    // Comes back only when it failed.
    let _ = again.args(arguments).envs(SIZES).exec();
}

/// Other allocators have no such variables.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub(crate) fn give_back_early() {}
