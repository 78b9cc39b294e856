// Permutation tests: drawn relabellings as bit masks or orders, and how often a statistic is extreme under them.
//
// Values are ascending, moved and scaled by the host (src/permutation/problem.rs). A sum of marked values is that of
// chunks of eight, each from the last value to the first, added in ascending order: so a table of the 256 sums of a
// chunk gives it with one look-up. What is counted is whole, and every comparison has the bits of the CPU.

// Relabellings of one kind: those of n values from one stream. Masks (bit i % 32 of word i / 32) or orders (element i)
// start at `place`, a row of `stride` draws for each word or element.
struct Drawer {
    u64 place;
    u32 n;
    u32 stream;
    u32 purpose;
    // How many values are marked; SIGNS when each is, or is not.
    u32 size;
};

// One comparison. For Welch's t `detail` is the number of its form, for several samples the place of the first of
// their `samples` sizes.
struct Task {
    u64 values;
    u64 place;
    u32 n;
    u32 detail;
    u32 samples;
    u32 reserved;
    // High at or above the first, low at or below the second; outside at or above the third, or at or below the
    // fourth (for t: in absolute value at or above the third).
    double limits[4];
};

// What turns the sum and the sum of squares of the first sample into t.
struct Form {
    double sum;
    double squares;
    double inverse;
    double inverse_second;
    double scale;
    double scale_second;
    double n;
    double n_second;
};

#define THREADS 128
// Draws of one thread at a time, and of a block.
#define DRAWS 8
#define PANEL (THREADS * DRAWS)
// Chunks whose tables are in shared memory at a time; a multiple of the four chunks of a word.
#define TILE 8
#define SIGNS 0xffffffffu
#define COUNTS 3

// One thread a draw: the mask of a subset by selection sampling, or of signs.
RL_KERNEL draw_masks(u32 *masks, const Drawer *drawers, u32 first, u32 stride, RoundKeys keys) {
    const u32 panels = stride / THREADS;
    const Drawer drawer = drawers[blockIdx.x / panels];
    const u32 column = blockIdx.x % panels * THREADS + threadIdx.x;
    u32 *own = masks + drawer.place + column;
    const u32 resample = first + column;
    const u32 words_of_mask = (drawer.n + 31) / 32;
    u64 pair[2];
    if (drawer.size == SIGNS) {
        for (u32 block = 0; 4 * block < words_of_mask; ++block) {
            random_words(block, resample, drawer.stream, drawer.purpose, keys, pair);
#pragma unroll
            for (u32 j = 0; j < 4; ++j) {
                const u32 word = 4 * block + j;
                if (word < words_of_mask) {
                    const u32 bits = (u32)(pair[j / 2] >> (j % 2 * 32));
                    const u32 last = drawer.n - 32 * word;
                    own[(u64)word * stride] = last < 32 ? bits & ((1u << last) - 1) : bits;
                }
            }
        }
    } else {
        u32 needed = drawer.size, bits = 0;
        for (u32 block = 0; 4 * block < drawer.n; ++block) {
            random_words(block, resample, drawer.stream, drawer.purpose, keys, pair);
#pragma unroll
            for (u32 j = 0; j < 4; ++j) {
                const u32 position = 4 * block + j;
                if (position < drawer.n) {
                    const u64 word = (u32)(pair[j / 2] >> (j % 2 * 32));
                    const u32 scaled = (u32)((word * (drawer.n - position)) >> 32);
                    const u32 taken = scaled < needed ? 1 : 0;
                    needed -= taken;
                    bits |= taken << (position % 32);
                    if (position % 32 == 31 || position + 1 == drawer.n) {
                        own[(u64)(position / 32) * stride] = bits;
                        bits = 0;
                    }
                }
            }
        }
    }
}

// One thread a draw: an order of all values (Fisher and Yates).
RL_KERNEL draw_orders(u32 *orders, const Drawer *drawers, u32 first, u32 stride, RoundKeys keys) {
    const u32 panels = stride / THREADS;
    const Drawer drawer = drawers[blockIdx.x / panels];
    const u32 column = blockIdx.x % panels * THREADS + threadIdx.x;
    u32 *own = orders + drawer.place + column;
    for (u32 i = 0; i < drawer.n; ++i) {
        own[(u64)i * stride] = i;
    }
    for (u32 block = 0; 4 * block < drawer.n; ++block) {
        u64 pair[2];
        random_words(block, first + column, drawer.stream, drawer.purpose, keys, pair);
#pragma unroll
        for (u32 j = 0; j < 4; ++j) {
            const u32 i = 4 * block + j;
            if (i < drawer.n) {
                const u64 word = (u32)(pair[j / 2] >> (j % 2 * 32));
                const u64 other = (u64)i + ((word * (drawer.n - i)) >> 32);
                const u32 kept = own[(u64)i * stride];
                own[(u64)i * stride] = own[other * stride];
                own[other * stride] = kept;
            }
        }
    }
}

template <u32 TABLES>
struct Tables {
    double sums[TABLES][TILE][256];
};

struct Tallies {
    u32 counts[THREADS / 32][COUNTS];
};

// Adds the counts of all threads of a block to those of its place; `afresh` when there are none yet.
RL_DEVICE void store_counts(u32 *counts, u64 place, u32 high, u32 low, u32 outside, u32 afresh) {
    RL_SHARED(Tallies, tallies);
    for (int distance = 16; distance > 0; distance /= 2) {
        high += __shfl_xor_sync(RL_FULL_WARP, high, distance);
        low += __shfl_xor_sync(RL_FULL_WARP, low, distance);
        outside += __shfl_xor_sync(RL_FULL_WARP, outside, distance);
    }
    if (threadIdx.x % 32 == 0) {
        u32 *own = tallies.counts[threadIdx.x / 32];
        own[0] = high;
        own[1] = low;
        own[2] = outside;
    }
    __syncthreads();
    if (threadIdx.x < COUNTS) {
        u32 total = afresh ? 0 : counts[COUNTS * place + threadIdx.x];
        for (u32 warp = 0; warp < THREADS / 32; ++warp) {
            total += tallies.counts[warp][threadIdx.x];
        }
        counts[COUNTS * place + threadIdx.x] = total;
    }
}

// Welch's t of the marked values against the others, in two passes.
RL_DEVICE double welch_of_values(const double *values, const u32 *mask, u32 n, u32 stride, const Form &form) {
    double sum = 0.0, sum_second = 0.0;
    for (u32 i = 0; i < n; ++i) {
        const bool marked = mask[(u64)(i / 32) * stride] >> (i % 32) & 1;
        if (marked) {
            sum += values[i];
        } else {
            sum_second += values[i];
        }
    }
    const double mean = sum / form.n, mean_second = sum_second / form.n_second;
    double within = 0.0, within_second = 0.0;
    for (u32 i = 0; i < n; ++i) {
        const bool marked = mask[(u64)(i / 32) * stride] >> (i % 32) & 1;
        const double deviation = values[i] - (marked ? mean : mean_second);
        if (marked) {
            within += deviation * deviation;
        } else {
            within_second += deviation * deviation;
        }
    }
    const double difference = mean - mean_second;
    const double error = within / (form.n * (form.n - 1.0)) + within_second / (form.n_second * (form.n_second - 1.0));
    const double size = difference < 0.0 ? -difference : difference;
    if (error > 1e-30) {
        return difference / __dsqrt_rn(error);
    }
    if (size < 1e-15) {
        return 0.0;
    }
    const double infinite = __longlong_as_double(0x7ff0000000000000ll);
    return difference < 0.0 ? -infinite : infinite;
}

// Blocks_per_task blocks share the draws of one comparison. With tables of the values, and for Welch's t of their
// squares, a thread sums eight draws at a time in registers.
template <bool WELCH>
RL_DEVICE void count_masks(const u32 *masks, const Task *tasks, const Form *forms, const double *values, u32 *counts,
                           u32 count, u32 stride, u32 blocks_per_task, u32 afresh) {
    RL_SHARED(Tables<(WELCH ? 2 : 1)>, tables);
    const Task task = tasks[blockIdx.x / blocks_per_task];
    const double *own = values + task.values;
    const u32 chunks = (task.n + 7) / 8;
    const u32 tiles = (chunks + TILE - 1) / TILE;
    const u32 first_panel = blockIdx.x % blocks_per_task;
    u32 high = 0, low = 0, outside = 0;
    for (u32 panel = first_panel; panel * PANEL < count; panel += blocks_per_task) {
        const u32 column = panel * PANEL + threadIdx.x;
        const u32 *mask = masks + task.place + column;
        double sums[DRAWS], squares[WELCH ? DRAWS : 1];
#pragma unroll
        for (u32 k = 0; k < DRAWS; ++k) {
            sums[k] = 0.0;
            if (WELCH) {
                squares[k] = 0.0;
            }
        }
        for (u32 tile = 0; tile < tiles; ++tile) {
            // The tables of a single tile stay.
            if (tiles > 1 || panel == first_panel) {
                __syncthreads();
                for (u32 e = threadIdx.x; e < TILE * 256; e += THREADS) {
                    const u32 start = 8 * (tile * TILE + e / 256), bits = e % 256;
                    double sum = 0.0, square = 0.0;
                    for (int bit = 7; bit >= 0; --bit) {
                        if (bits >> bit & 1 && start + bit < task.n) {
                            const double value = own[start + bit];
                            sum += value;
                            square += value * value;
                        }
                    }
                    tables.sums[0][e / 256][bits] = sum;
                    if (WELCH) {
                        tables.sums[WELCH ? 1 : 0][e / 256][bits] = square;
                    }
                }
                __syncthreads();
            }
            for (u32 word = tile * TILE / 4; word < (tile + 1) * TILE / 4 && 4 * word < chunks; ++word) {
                const u32 base = 4 * word - tile * TILE;
                const u32 there = chunks - 4 * word < 4 ? chunks - 4 * word : 4;
#pragma unroll
                for (u32 k = 0; k < DRAWS; ++k) {
                    u32 bits = mask[(u64)word * stride + k * THREADS];
                    for (u32 chunk = 0; chunk < there; ++chunk) {
                        sums[k] += tables.sums[0][base + chunk][bits & 255];
                        if (WELCH) {
                            squares[k] += tables.sums[WELCH ? 1 : 0][base + chunk][bits & 255];
                        }
                        bits >>= 8;
                    }
                }
            }
        }
        if (WELCH) {
            const Form form = forms[task.detail];
            u32 narrow = 0;
#pragma unroll
            for (u32 k = 0; k < DRAWS; ++k) {
                const double sum = sums[k], square = squares[WELCH ? k : 0];
                const double rest = form.sum - sum;
                const double mean = sum * form.inverse, mean_second = rest * form.inverse_second;
                const double within = square - sum * mean;
                const double within_second = (form.squares - square) - rest * mean_second;
                const bool there = column + k * THREADS < count;
                if (there && (within < square * (1.0 / 4096.0) || within_second < form.squares * (1.0 / 4096.0))) {
                    narrow |= 1u << k;
                } else if (there) {
                    const double error = within * form.scale + within_second * form.scale_second;
                    const double t = (mean - mean_second) / __dsqrt_rn(error);
                    high += t >= task.limits[0] ? 1 : 0;
                    low += t <= task.limits[1] ? 1 : 0;
                    outside += (t < 0.0 ? -t : t) >= task.limits[2] ? 1 : 0;
                }
            }
            // The sums of these do not hold enough digits.
            for (u32 k = 0; k < DRAWS; ++k) {
                if (narrow >> k & 1) {
                    const double t = welch_of_values(own, mask + k * THREADS, task.n, stride, form);
                    high += t >= task.limits[0] ? 1 : 0;
                    low += t <= task.limits[1] ? 1 : 0;
                    outside += (t < 0.0 ? -t : t) >= task.limits[2] ? 1 : 0;
                }
            }
        } else {
#pragma unroll
            for (u32 k = 0; k < DRAWS; ++k) {
                if (column + k * THREADS < count) {
                    high += sums[k] >= task.limits[0] ? 1 : 0;
                    low += sums[k] <= task.limits[1] ? 1 : 0;
                    outside += sums[k] >= task.limits[2] || sums[k] <= task.limits[3] ? 1 : 0;
                }
            }
        }
    }
    store_counts(counts, blockIdx.x, high, low, outside, afresh);
}

RL_KERNEL count_sums(const u32 *masks, const Task *tasks, const Form *forms, const double *values, u32 *counts,
                     u32 count, u32 stride, u32 blocks_per_task, u32 afresh) {
    count_masks<false>(masks, tasks, forms, values, counts, count, stride, blocks_per_task, afresh);
}

RL_KERNEL count_welch(const u32 *masks, const Task *tasks, const Form *forms, const double *values, u32 *counts,
                      u32 count, u32 stride, u32 blocks_per_task, u32 afresh) {
    count_masks<true>(masks, tasks, forms, values, counts, count, stride, blocks_per_task, afresh);
}

// Sums of squares between several samples, which take the values in a drawn order.
RL_KERNEL count_between(const u32 *orders, const Task *tasks, const u32 *sizes, const double *values, u32 *counts,
                        u32 count, u32 stride, u32 blocks_per_task, u32 afresh) {
    const Task task = tasks[blockIdx.x / blocks_per_task];
    const double *own = values + task.values;
    u32 high = 0, low = 0;
    for (u32 panel = blockIdx.x % blocks_per_task; panel * PANEL < count; panel += blocks_per_task) {
        for (u32 k = 0; k < DRAWS; ++k) {
            const u32 column = panel * PANEL + k * THREADS + threadIdx.x;
            if (column < count) {
                const u32 *order = orders + task.place + column;
                double between = 0.0;
                for (u32 sample = 0; sample < task.samples; ++sample) {
                    const u32 size = sizes[task.detail + sample];
                    double sum = 0.0;
                    for (u32 member = 0; member < size; ++member) {
                        sum += own[*order];
                        order += stride;
                    }
                    between += sum * sum / (double)size;
                }
                high += between >= task.limits[0] ? 1 : 0;
                low += between <= task.limits[1] ? 1 : 0;
            }
        }
    }
    store_counts(counts, blockIdx.x, high, low, 0, afresh);
}
