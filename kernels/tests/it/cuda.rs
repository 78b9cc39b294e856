//! The whole CUDA backend, host code included, on an emulated device; and what becomes of broken drivers.

use std::process::Command;

use crate::cuda_emulator::{Emulator, passed, run_with_driver};

/// The order in which the emulator runs threads and the operations of streams.
const ORDERS: [&str; 3] = ["0", "1", "2"];

#[test]
fn the_device_gives_the_bits_of_the_cpu() {
    let Some(emulator) = Emulator::new() else { return };
    for order in ORDERS {
        emulator.pass("cuda_cases::equal::", &[("RL_EMU_ORDER", order)]);
        emulator.pass("cuda_permutation_cases::equal::", &[("RL_EMU_ORDER", order)]);
        emulator.pass("cuda_neighbour_cases::equal::", &[("RL_EMU_ORDER", order)]);
    }
}

#[test]
fn expected_values_and_edges_hold_on_the_device() {
    let Some(emulator) = Emulator::new() else { return };
    for suite in ["golden::", "edges::"] {
        emulator.pass(suite, &[("RUNLAKE_DEVICE", "cuda")]);
    }
}

#[test]
fn large_requests_take_the_device_by_themselves_and_small_ones_do_not() {
    let Some(emulator) = Emulator::new() else { return };
    emulator.pass("cuda_cases::automatic::", &[]);
    emulator.pass("cuda_neighbour_cases::automatic", &[("RAYON_NUM_THREADS", "2")]);
    emulator.pass("cuda_permutation_cases::automatic", &[("RAYON_NUM_THREADS", "2")]);
    emulator.pass("cuda_cases::ceilings_are_measured", &[]);
    emulator.pass("cuda_cases::what_has_no_kernel", &[]);
}

#[test]
fn the_environment_has_the_last_word() {
    let Some(emulator) = Emulator::new() else { return };
    emulator.pass("cuda_cases::environment_says_cpu", &[("RUNLAKE_DEVICE", "cpu")]);
    emulator.pass("cuda_cases::environment_says_cuda", &[("RUNLAKE_DEVICE", "cuda:0")]);
    emulator.pass("cuda_cases::environment_says_nonsense", &[("RUNLAKE_DEVICE", "gpu")]);
}

/// What a broken driver is, and what the reason must say.
#[test]
fn broken_drivers_are_refused_with_a_reason_and_auto_goes_on() {
    let Some(emulator) = Emulator::new() else { return };
    for (setting, value, expected) in [
        ("RL_EMU_FAIL", "cuInit:1:100", "error 100 (CUDA_ERROR_NO_DEVICE); no NVIDIA GPU is visible"),
        ("RL_EMU_FAIL", "cuInit:1:34", "error 34 (CUDA_ERROR_STUB_LIBRARY); this library is a stub"),
        ("RL_EMU_FAIL", "cuInit:1:803", "error 803 (CUDA_ERROR_SYSTEM_DRIVER_MISMATCH)"),
        ("RL_EMU_FAIL", "cuInit:1:999", "error 999 (CUDA_ERROR_UNKNOWN); see nvidia-smi"),
        ("RL_EMU_FAIL", "cuDevicePrimaryCtxRetain:1:999", "refused cuDevicePrimaryCtxRetain with error 999"),
        ("RL_EMU_FAIL", "cuModuleLoadData:1:222", "refused its first kernel with error 222"),
        ("RL_EMU_DRIVER", "11080", "supports CUDA 11.8; 12.0 is needed"),
        ("RL_EMU_DEVICES", "0", "there is no CUDA device 0; there are 0"),
        ("RL_EMU_CAPABILITY", "70", "compute capability 7.0; 7.5 is needed"),
        ("RL_EMU_WRONG", "1", "gives wrong answers to a test with known ones"),
    ] {
        emulator.pass("cuda_cases::refused", &[(setting, value), ("EXPECTED", expected)]);
    }
}

#[test]
fn a_driver_without_a_function_is_refused() {
    let Some(emulator) = Emulator::with_flags(&["-DcuStreamSynchronize=not_there"]) else { return };
    emulator.pass("cuda_cases::refused", &[("EXPECTED", "lacks cuStreamSynchronize")]);
}

/// Without a C++ compiler too.
#[test]
fn a_library_that_is_none_and_no_library_at_all_are_refused() {
    if Command::new("nvidia-smi").output().is_ok() {
        println!("skipped: this machine has a driver");
        return;
    }
    let folder = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("no-driver");
    std::fs::create_dir_all(&folder).unwrap();
    let library = folder.join("libcuda.so");
    let environment = [("EXPECTED", "no CUDA driver found")];
    for content in [None, Some("this is no library")] {
        let _ = std::fs::remove_file(&library);
        content.into_iter().for_each(|text| std::fs::write(&library, text).unwrap());
        let output = run_with_driver(&folder, "cuda_cases::refused", &environment);
        passed("cuda_cases::refused", &environment, &output);
    }
}

/// Every call that works on the device fails once, at its first, second, ... use: the answer is an error that names
/// device and cause, or with `Auto` that of the CPU with the reason; never another number.
#[test]
fn a_device_that_fails_mid_way_gives_an_error_or_the_answer_of_the_cpu() {
    let Some(emulator) = Emulator::new() else { return };
    for (call, code) in [
        ("cuMemAlloc_v2:2", "2"),
        ("cuMemAlloc_v2:3", "2"),
        ("cuLaunchKernel:2", "719"),
        ("cuLaunchKernel:4", "700"),
        ("cuMemcpyHtoDAsync_v2:4", "719"),
        ("cuMemcpyDtoHAsync_v2:2", "700"),
        ("cuStreamSynchronize:3", "719"),
        ("cuStreamSynchronize:5", "999"),
    ] {
        let failure = format!("{call}:{code}");
        for order in ORDERS {
            let expected = if code == "2" { "out_of_memory" } else { "device_error" };
            let environment =
                [("RL_EMU_FAIL", failure.as_str()), ("EXPECTED", expected), ("RL_EMU_ORDER", order)];
            emulator.pass("cuda_cases::fails_mid_way", &environment);
        }
    }
    for (failure, expected) in [
        ("cuMemAlloc_v2:2:2", "out_of_memory"),
        ("cuLaunchKernel:2:719", "device_error"),
        ("cuMemcpyHtoDAsync_v2:4:700", "device_error"),
        ("cuMemcpyDtoHAsync_v2:2:700", "device_error"),
    ] {
        let environment = [("RL_EMU_FAIL", failure), ("EXPECTED", expected)];
        emulator.pass("cuda_permutation_cases::fails_mid_way", &environment);
        emulator.pass("cuda_neighbour_cases::fails_mid_way", &environment);
    }
}

#[test]
fn auto_answers_on_the_cpu_when_the_device_fails_and_says_why() {
    let Some(emulator) = Emulator::new() else { return };
    for (failure, expected) in [
        ("cuLaunchKernel:2:719", "error 719 (CUDA_ERROR_LAUNCH_FAILED) on CUDA device 0: CPU emulation"),
        ("cuMemAlloc_v2:2:2", "out of memory"),
    ] {
        let environment = [("RL_EMU_FAIL", failure), ("EXPECTED", expected)];
        emulator.pass("cuda_cases::auto_goes_on_without_the_device", &environment);
    }
}

#[test]
fn a_device_with_little_memory_works_in_chunks_or_says_what_it_needs() {
    let Some(emulator) = Emulator::new() else { return };
    emulator.pass("cuda_cases::little_memory", &[("RL_EMU_MEMORY", "3000000")]);
    emulator.pass("cuda_permutation_cases::little_memory", &[("RL_EMU_MEMORY", "3000000")]);
}

/// The emulator itself: it must find the mistakes that it is there for.
#[test]
fn the_emulator_catches_what_a_kernel_must_not_do() {
    let Some(emulator) = Emulator::with_flags(&["-DRL_EMU_FORGET_BARRIERS"]) else { return };
    for order in ["1", "2"] {
        for tests in
            ["cuda_cases::equal::", "cuda_permutation_cases::equal::", "cuda_neighbour_cases::equal::"]
        {
            let output = emulator.run(tests, &[("RL_EMU_ORDER", order)]);
            assert!(!output.status.success(), "{tests}: kernels without barriers pass in order {order}");
        }
    }
    let Some(emulator) = Emulator::with_flags(&["-DRL_EMU_DIVERGE"]) else { return };
    let output = emulator.run("cuda_cases::equal::", &[]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("not all threads reach the barrier"), "{said}");
}

/// Reads and writes out of bounds, of kernels and of copies.
#[test]
#[ignore = "slow; for every night and every change of a kernel"]
fn the_address_sanitizer_finds_nothing() {
    let flags = ["-fsanitize=address", "-DRL_EMU_UCONTEXT", "-g"];
    let Some(emulator) = Emulator::with_flags(&flags) else { return };
    let found = Command::new("g++").arg("-print-file-name=libasan.so").output().unwrap();
    let library = String::from_utf8(found.stdout).unwrap();
    if !library.trim().starts_with('/') {
        println!("skipped: g++ has no address sanitizer");
        return;
    }
    // Fibers change stacks behind the sanitizer's back.
    let options = "detect_leaks=0:detect_stack_use_after_return=0";
    let environment = [("LD_PRELOAD", library.trim()), ("ASAN_OPTIONS", options)];
    for tests in ["equal::every_size", "equal::many_groups", "equal::crowded"] {
        emulator.pass(&format!("cuda_cases::{tests}"), &environment);
    }
    emulator.pass("cuda_permutation_cases::equal::", &environment);
    emulator.pass("cuda_neighbour_cases::equal::", &environment);
}
