#!/usr/bin/env bash
# Everything that is worth doing with the kernels on a machine with an NVIDIA GPU.
#
#   kernels/gpu-check.sh build DIR   where Rust is: programs and scripts into DIR, to be carried to the other machine
#   kernels/gpu-check.sh run DIR     where the GPU is (no Rust needed): tests, benchmarks, peers; a table last
#   kernels/gpu-check.sh             both, in a temporary folder
set -euo pipefail
here="$(cd "$(dirname "$0")" && pwd)"

build() {
    local out="$1" target test
    mkdir -p "$out"
    target="${CARGO_TARGET_DIR:-$here/../target}"
    cargo build --release --locked -p kernels --example gpu_check
    test="$(cargo test --release --locked -p kernels --test it --no-run --message-format=json |
        grep -o '"executable":"[^"]*"' | tail -1 | cut -d'"' -f4)"
    cp "$target/release/examples/gpu_check" "$out/gpu_check"
    cp "$test" "$out/kernel_tests"
    strip "$out/gpu_check" "$out/kernel_tests" || true
    cp "$here/../benches/peers/gpu_bootstrap.py" "$here/gpu-check.sh" "$out/"
    echo "built into $out: carry it to the machine with the GPU and call $out/gpu-check.sh run $out"
}

run() {
    local dir failed=0
    dir="$(cd "$1" && pwd)"
    mkdir -p "$dir/results"
    step() {
        printf '\n== %s\n' "$*"
        "$@" || { echo "== FAILED: $*"; failed=1; }
    }
    step nvidia-smi --query-gpu=name,driver_version,clocks.sm,clocks.mem,memory.free --format=csv
    export RL_EMU_CHILD=1
    step "$dir/kernel_tests" --include-ignored cuda_cases::equal::
    step "$dir/kernel_tests" --include-ignored cuda_permutation_cases::equal::
    step "$dir/kernel_tests" --include-ignored cuda_neighbour_cases::equal::
    RUNLAKE_DEVICE=cuda step "$dir/kernel_tests" edges::
    RUNLAKE_DEVICE=cuda step "$dir/kernel_tests" coverage::
    if command -v compute-sanitizer >/dev/null; then
        for tool in memcheck racecheck synccheck; do
            for tests in cuda_cases::equal::crowded cuda_permutation_cases::equal::what_is_exact \
                cuda_neighbour_cases::equal::pieces; do
                step compute-sanitizer --tool "$tool" --error-exitcode 1 "$dir/kernel_tests" --include-ignored "$tests"
            done
        done
    else
        echo "skipped: no compute-sanitizer"
    fi
    if python3 -c 'import numpy' 2>/dev/null; then
        step python3 "$dir/gpu_bootstrap.py"
    else
        echo "skipped: the Python peers (no numpy)"
    fi
    if command -v ncu >/dev/null; then
        step ncu --clock-control none --csv --log-file "$dir/results/ncu.csv" "$dir/gpu_check" --quick
    else
        echo "skipped: no ncu"
    fi
    step "$dir/gpu_check" --json "$dir/results/gpu_check.json"
    return "$failed"
}

case "${1:-}" in
build) build "${2:?where to?}" ;;
run) run "${2:?from where?}" ;;
"")
    folder="$(mktemp -d)"
    build "$folder"
    run "$folder"
    ;;
*)
    grep '^#   ' "$0"
    exit 2
    ;;
esac
