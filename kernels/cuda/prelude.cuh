// What every kernel file begins with: types, macros, and the random-number contract (version 1, src/rng.rs).
//
// This text is put in front of each .cu file before it is compiled; there are no other includes. The CPU
// emulation (emu/) defines RL_EMU and gives its own meaning to the words of CUDA.
//
// Rules for kernels: no float atomics and no float sum whose order depends on scheduling; fused multiply-adds
// only where written as such; only the _sync forms of warp functions, with full masks; no return before a
// barrier; blocks of whole warps; shared memory only through RL_SHARED.

#ifndef RL_EMU
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
#define RL_KERNEL extern "C" __global__ void
#define RL_DEVICE static __device__ __forceinline__
#define RL_SHARED(type, name) __shared__ type name
#endif

#define RL_FULL_WARP 0xffffffffu

// The ten pairs of round keys of one seed, the same for a whole launch.
struct RoundKeys {
    u32 words[20];
};

// Philox4x32-10 (Salmon et al. 2011): the two 64-bit words of one block.
RL_DEVICE void random_words(u32 block, u32 resample, u32 stream, u32 purpose, const RoundKeys &keys, u64 words[2]) {
    u32 c0 = block, c1 = resample, c2 = stream, c3 = purpose;
#pragma unroll
    for (int round = 0; round < 10; ++round) {
        const u64 p0 = (u64)0xD2511F53u * c0;
        const u64 p1 = (u64)0xCD9E8D57u * c2;
        c0 = (u32)(p1 >> 32) ^ c1 ^ keys.words[2 * round];
        c1 = (u32)p1;
        c2 = (u32)(p0 >> 32) ^ c3 ^ keys.words[2 * round + 1];
        c3 = (u32)p0;
    }
    words[0] = (u64)c1 << 32 | c0;
    words[1] = (u64)c3 << 32 | c2;
}

// How many indices below n one word yields: the largest K in 1..=8 with n^K <= 2^40.
RL_DEVICE u32 indices_per_word(u32 n) {
    const u64 limit = (u64)1 << 40;
    u32 count = 1;
    u64 power = n;
    // The product fits: power is at most 2^40 / n before it.
    while (count < 8 && power <= limit / n) {
        power *= n;
        ++count;
    }
    return count;
}

// Takes one index in 0..n from a word and leaves the rest of its randomness in it.
RL_DEVICE u32 next_index(u64 &word, u32 n) {
    const u64 low = (word & 0xffffffffu) * n;
    const u64 high = (word >> 32) * n + (low >> 32);
    word = high << 32 | (low & 0xffffffffu);
    return (u32)(high >> 32);
}
