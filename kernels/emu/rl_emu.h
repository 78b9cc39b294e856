// The words of CUDA for a CPU: kernels compiled with this header run under the emulator (rl_emu.cpp).
//
// Each CUDA thread is a fiber; a block runs on one thread of the operating system. Barriers and warp exchanges check
// that all threads meet at the same place of the source. Shared memory is filled with ones before a block sees it.

#pragma once
#include <cmath>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <utility>

#define RL_EMU 1

typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;

namespace rl_emu {

struct Index {
    u32 x, y, z;
};

struct Position {
    Index thread, block, block_size, grid_size;
};

// Where the running fiber stands.
const Position &position();
void barrier(const char *file, int line);
// Gives `value` to the warp and returns that of the lane `source`.
u64 exchange(u64 value, u32 mask, u32 source, const char *file, int line);
u32 lane();
void *shared(const char *file, int line, size_t bytes);

using Invoke = void (*)(void **arguments);

struct Registration {
    Registration(const char *name, Invoke invoke);
};

template <typename... Parameters, size_t... I>
void call(void (*kernel)(Parameters...), void **arguments, std::index_sequence<I...>) {
    kernel(*static_cast<std::remove_reference_t<Parameters> *>(arguments[I])...);
}

template <typename... Parameters>
void call(void (*kernel)(Parameters...), void **arguments) {
    call(kernel, arguments, std::index_sequence_for<Parameters...>{});
}

template <typename T>
T exchange_as(T value, u32 mask, u32 source, const char *file, int line) {
    static_assert(sizeof(T) <= 8, "a lane holds eight bytes");
    u64 bits = 0;
    std::memcpy(&bits, &value, sizeof(T));
    bits = exchange(bits, mask, source, file, line);
    std::memcpy(&value, &bits, sizeof(T));
    return value;
}

}  // namespace rl_emu

#define RL_KERNEL extern "C" void
#define RL_DEVICE [[maybe_unused]] static inline
#define RL_SHARED(type, name) type &name = *static_cast<type *>(rl_emu::shared(__FILE__, __LINE__, sizeof(type)))
#define RL_EMU_ENTRY(name) \
    static rl_emu::Registration rl_emu_entry_##name(#name, [](void **arguments) { rl_emu::call(name, arguments); })

#define threadIdx (rl_emu::position().thread)
#define blockIdx (rl_emu::position().block)
#define blockDim (rl_emu::position().block_size)
#define gridDim (rl_emu::position().grid_size)
#if defined(RL_EMU_FORGET_BARRIERS)
// For the test of the emulator: kernels without barriers.
#define __syncthreads() ((void)0)
#elif defined(RL_EMU_DIVERGE)
// Likewise: barriers that one thread does not reach.
#define __syncthreads() (threadIdx.x == 0 ? (void)0 : rl_emu::barrier(__FILE__, __LINE__))
#else
#define __syncthreads() rl_emu::barrier(__FILE__, __LINE__)
#endif
#define __syncwarp(mask) ((void)rl_emu::exchange(0, mask, rl_emu::lane(), __FILE__, __LINE__))
#define __shfl_sync(mask, value, source) rl_emu::exchange_as(value, mask, (u32)(source) % 32, __FILE__, __LINE__)
#define __shfl_xor_sync(mask, value, distance) \
    rl_emu::exchange_as(value, mask, rl_emu::lane() ^ (u32)(distance), __FILE__, __LINE__)

static inline u32 atomicAdd(u32 *place, u32 value) { return __atomic_fetch_add(place, value, __ATOMIC_RELAXED); }
static inline double __fma_rn(double a, double b, double c) { return std::fma(a, b, c); }
static inline double __dsqrt_rn(double value) { return std::sqrt(value); }
static inline long long __double_as_longlong(double value) {
    long long bits;
    std::memcpy(&bits, &value, 8);
    return bits;
}
static inline double __longlong_as_double(long long bits) {
    double value;
    std::memcpy(&value, &bits, 8);
    return value;
}
static inline double __hiloint2double(int high, int low) {
    return __longlong_as_double((long long)((u64)(u32)high << 32 | (u32)low));
}
