// What a device can do at most, measured: the bounds that the other kernels are held against.

#define CHAINS 8

// A large copy.
RL_KERNEL copy_ceiling(const u64 *from, u64 *to, u64 count) {
    const u64 step = (u64)gridDim.x * blockDim.x;
    for (u64 i = (u64)blockIdx.x * blockDim.x + threadIdx.x; i < count; i += step) {
        to[i] = from[i];
    }
}

// Eight independent chains of fused multiply-adds of doubles a thread.
RL_KERNEL multiply_add_ceiling(double *out, u32 rounds, double factor) {
    const u32 thread = blockIdx.x * blockDim.x + threadIdx.x;
    double sums[CHAINS];
#pragma unroll
    for (u32 k = 0; k < CHAINS; ++k) {
        sums[k] = (double)(thread + k);
    }
    for (u32 round = 0; round < rounds; ++round) {
#pragma unroll
        for (u32 k = 0; k < CHAINS; ++k) {
            sums[k] = __fma_rn(sums[k], factor, 1.0);
        }
    }
    double total = 0.0;
#pragma unroll
    for (u32 k = 0; k < CHAINS; ++k) {
        total += sums[k];
    }
    out[thread] = total;
}

// The multiplications of the generator: 32 by 32 bits to 64, eight independent chains a thread.
RL_KERNEL wide_multiply_ceiling(u64 *out, u32 rounds) {
    const u32 thread = blockIdx.x * blockDim.x + threadIdx.x;
    u64 words[CHAINS];
#pragma unroll
    for (u32 k = 0; k < CHAINS; ++k) {
        words[k] = thread + k;
    }
    for (u32 round = 0; round < rounds; ++round) {
#pragma unroll
        for (u32 k = 0; k < CHAINS; ++k) {
            words[k] = (u64)0xD2511F53u * (u32)words[k] ^ words[k] >> 32;
        }
    }
    u64 total = 0;
#pragma unroll
    for (u32 k = 0; k < CHAINS; ++k) {
        total ^= words[k];
    }
    out[thread] = total;
}
