// Bootstrap: draws, weighted and gathered sums, moments of replicates, and the order statistics behind interval ends.
//
// Samples are ascending, centred and scaled by the host. A sum over a sample is one chain of fused multiply-adds
// over ascending ranks, or, for large samples, plain sums of 4,096 draws each, added in order. Every number has the
// same bits as on the CPU (src/cpu/).

// One sample size with its stream of draws. Weights start at `weights` (in elements), one row of `stride` resamples
// for each of the n ranks. A resample keeps the places kept_from..kept_to of its sorted values.
struct Side {
    u64 weights;
    u32 n;
    u32 stream;
    u32 kept_from;
    u32 kept_to;
};

// Up to TILE_GROUPS groups of one side. Sample and replicates of group g start at values + g * n and
// (row + g) * resamples.
struct Tile {
    u64 values;
    u32 row;
    u32 side;
    u32 groups;
    u32 reserved;
};

// What the sums of a side become: the replicate itself, or the first or second term of a difference of means.
enum Role { ALONE = 0, FIRST = 1, SECOND = 2 };

// How one group's replicates are judged.
struct Centre {
    double theta;
    double below;
    double at_or_below;
    double divisor;
    double location;
};

// What becomes known of one group's replicates.
struct Moments {
    double sum;
    double square;
    double smallest;
    double largest;
    u64 around;
    u64 kept;
};

#define THREADS 128
#define TILE_GROUPS 8
#define TILE_ROWS 32
#define DRAWS_PER_CHUNK 4096u

// Known answers of the generator: the two words of counter and key i are out[2 * i] and out[2 * i + 1].
RL_KERNEL known_answers(const u32 *counters, const RoundKeys *keys, u64 *out, u32 count) {
    const u32 i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < count) {
        const u32 *counter = counters + 4 * i;
        random_words(counter[0], counter[1], counter[2], counter[3], keys[i], out + 2 * i);
    }
}

// Sets, for one resample of each side, how much each rank of the sample counts.
template <typename Weight>
RL_DEVICE void count_draws(Weight *weights, const Side *sides, u32 purpose, u32 first, u32 stride, const RoundKeys &keys) {
    const u32 panels = stride / THREADS;
    const Side side = sides[blockIdx.x / panels];
    const u32 column = blockIdx.x % panels * THREADS + threadIdx.x;
    Weight *own = weights + side.weights + column;
    for (u32 i = 0; i < side.n; ++i) {
        own[(u64)i * stride] = 0;
    }
    const u32 per_word = indices_per_word(side.n);
    u32 left = side.n;
    for (u32 block = 0; left > 0; ++block) {
        u64 words[2];
        random_words(block, first + column, side.stream, purpose, keys, words);
#pragma unroll
        for (int half = 0; half < 2; ++half) {
            const u32 draws = left < per_word ? left : per_word;
            u64 word = words[half];
            for (u32 draw = 0; draw < draws; ++draw) {
                ++own[(u64)next_index(word, side.n) * stride];
            }
            left -= draws;
        }
    }
    if (side.kept_from > 0) {
        u32 end = 0;
        for (u32 i = 0; i < side.n; ++i) {
            const u32 start = end;
            end += own[(u64)i * stride];
            const u32 from = start > side.kept_from ? start : side.kept_from;
            const u32 to = end < side.kept_to ? end : side.kept_to;
            own[(u64)i * stride] = (Weight)(to > from ? to - from : 0);
        }
    }
}

RL_KERNEL count_draws_u16(u16 *weights, const Side *sides, u32 purpose, u32 first, u32 stride, RoundKeys keys) {
    count_draws<u16>(weights, sides, purpose, first, stride, keys);
}

RL_KERNEL count_draws_u32(u32 *weights, const Side *sides, u32 purpose, u32 first, u32 stride, RoundKeys keys) {
    count_draws<u32>(weights, sides, purpose, first, stride, keys);
}

// The sum of squared deviations behind a sum and a sum of squares, 0 when it is all rounding.
RL_DEVICE double squared_deviations(double sum, double squares, double n) {
    const double deviations = squares - sum * (sum / n);
    return deviations <= squares * (1.0 / 1099511627776.0) ? 0.0 : deviations;
}

RL_DEVICE void store_replicate(double *replicates, u64 place, double sum, u32 n, u32 role) {
    if (role == ALONE) {
        replicates[place] = sum;
    } else if (role == FIRST) {
        replicates[place] = sum / (double)n;
    } else {
        replicates[place] = replicates[place] - sum / (double)n;
    }
}

RL_DEVICE void store_variance(double *variances, u64 place, double sum, double squares, u32 n, u32 role) {
    const double count = (double)n;
    const double variance = squared_deviations(sum, squares, count) / (count * (count - 1.0));
    variances[place] = role == SECOND ? variances[place] + variance : variance;
}

template <u32 GROUPS>
struct ValueTile {
    double values[TILE_ROWS][GROUPS];
};

// The exact double of a weight, by its bits: a conversion would run at a quarter of the rate.
RL_DEVICE double widened(u32 weight) {
    return __hiloint2double(0x43300000, (int)weight) - 4503599627370496.0;
}

RL_DEVICE void load_pair(const u16 *weights, u32 pair[2]) {
    const u32 both = *(const u32 *)weights;
    pair[0] = both & 0xffffu;
    pair[1] = both >> 16;
}

RL_DEVICE void load_pair(const u32 *weights, u32 pair[2]) {
    const u64 both = *(const u64 *)weights;
    pair[0] = (u32)both;
    pair[1] = (u32)(both >> 32);
}

// Weights times samples: each thread keeps two resamples of all groups of a tile in registers.
template <typename Weight, u32 GROUPS, bool SQUARES>
RL_DEVICE void weighted_sums(const Weight *weights, const Side *sides, const Tile *tiles, const double *values,
                             double *replicates, double *variances, u32 role, u32 first, u32 count, u32 stride,
                             u32 resamples) {
    RL_SHARED(ValueTile<GROUPS>, shared);
    const u32 panels = stride / (2 * THREADS);
    const Tile tile = tiles[blockIdx.x / panels];
    const Side side = sides[tile.side];
    const u32 column = 2 * (blockIdx.x % panels * THREADS + threadIdx.x);
    const Weight *own = weights + side.weights + column;
    double sums[GROUPS][2];
    double squares[SQUARES ? GROUPS : 1][2];
#pragma unroll
    for (u32 g = 0; g < GROUPS; ++g) {
        sums[g][0] = sums[g][1] = 0.0;
        if (SQUARES) {
            squares[g][0] = squares[g][1] = 0.0;
        }
    }
    for (u32 base = 0; base < side.n; base += TILE_ROWS) {
        __syncthreads();
        for (u32 e = threadIdx.x; e < TILE_ROWS * GROUPS; e += THREADS) {
            const u32 g = e / TILE_ROWS, row = e % TILE_ROWS;
            const bool there = g < tile.groups && base + row < side.n;
            shared.values[row][g] = there ? values[tile.values + (u64)g * side.n + base + row] : 0.0;
        }
        __syncthreads();
        const u32 rows = side.n - base < TILE_ROWS ? side.n - base : TILE_ROWS;
        // Unrolled, so that the weights of four rows are on their way together.
#pragma unroll 4
        for (u32 row = 0; row < rows; ++row) {
            u32 pair[2];
            load_pair(own + (u64)(base + row) * stride, pair);
            const double weight[2] = {widened(pair[0]), widened(pair[1])};
#pragma unroll
            for (u32 g = 0; g < GROUPS; ++g) {
                const double value = shared.values[row][g];
                const double square = value * value;
#pragma unroll
                for (u32 k = 0; k < 2; ++k) {
                    sums[g][k] = __fma_rn(weight[k], value, sums[g][k]);
                    if (SQUARES) {
                        squares[g][k] = __fma_rn(weight[k], square, squares[g][k]);
                    }
                }
            }
        }
    }
#pragma unroll
    for (u32 g = 0; g < GROUPS; ++g) {
#pragma unroll
        for (u32 k = 0; k < 2; ++k) {
            if (g < tile.groups && column + k < count) {
                const u64 place = (u64)(tile.row + g) * resamples + first + column + k;
                store_replicate(replicates, place, sums[g][k], side.n, role);
                if (SQUARES) {
                    store_variance(variances, place, sums[g][k], squares[g][k], side.n, role);
                }
            }
        }
    }
}

RL_KERNEL weighted_sums_u16(const u16 *weights, const Side *sides, const Tile *tiles, const double *values,
                            double *replicates, u32 role, u32 first, u32 count, u32 stride, u32 resamples) {
    weighted_sums<u16, TILE_GROUPS, false>(weights, sides, tiles, values, replicates, replicates, role, first, count,
                                           stride, resamples);
}

RL_KERNEL weighted_sums_u32(const u32 *weights, const Side *sides, const Tile *tiles, const double *values,
                            double *replicates, u32 role, u32 first, u32 count, u32 stride, u32 resamples) {
    weighted_sums<u32, TILE_GROUPS, false>(weights, sides, tiles, values, replicates, replicates, role, first, count,
                                           stride, resamples);
}

// As weighted_sums_u16, with the squared standard error of each resample's mean.
RL_KERNEL weighted_sums_and_squares(const u16 *weights, const Side *sides, const Tile *tiles, const double *values,
                                    double *replicates, double *variances, u32 role, u32 first, u32 count, u32 stride,
                                    u32 resamples) {
    weighted_sums<u16, TILE_GROUPS, true>(weights, sides, tiles, values, replicates, variances, role, first, count,
                                          stride, resamples);
}

// Sums of 4,096 draws each of one large sample: one thread a chunk and resample.
// partial[(chunk * 2 + s) * stride + column] holds sums (s = 0) and, if asked for, sums of squares (s = 1).
RL_KERNEL gathered_sums(const double *values, double *partial, u32 n, u32 stream, u32 purpose, u32 first, u32 stride,
                        u32 squares, RoundKeys keys) {
    const u32 panels = stride / THREADS;
    const u32 chunk = blockIdx.x / panels;
    const u32 column = blockIdx.x % panels * THREADS + threadIdx.x;
    const u32 per_word = indices_per_word(n);
    const u32 start = chunk * DRAWS_PER_CHUNK;
    u32 left = n - start < DRAWS_PER_CHUNK ? n - start : DRAWS_PER_CHUNK;
    u32 skipped = start % per_word;
    u32 half = start / per_word % 2;
    double sum = 0.0, square = 0.0;
    for (u32 block = start / per_word / 2; left > 0; ++block) {
        u64 words[2];
        random_words(block, first + column, stream, purpose, keys, words);
        for (; half < 2; ++half) {
            u64 word = half == 0 ? words[0] : words[1];
            for (u32 draw = 0; draw < per_word && left > 0; ++draw) {
                const u32 index = next_index(word, n);
                if (draw >= skipped) {
                    const double value = values[index];
                    sum += value;
                    square += value * value;
                    --left;
                }
            }
            skipped = 0;
        }
        half = 0;
    }
    partial[(u64)(2 * chunk) * stride + column] = sum;
    if (squares) {
        partial[(u64)(2 * chunk + 1) * stride + column] = square;
    }
}

// Adds the sums of all chunks in order and stores the replicates of one group, which start at `row * resamples`.
RL_KERNEL gathered_replicates(const double *partial, double *replicates, double *variances, u32 n, u32 row, u32 role,
                              u32 first, u32 count, u32 stride, u32 resamples, u32 squares) {
    const u32 column = blockIdx.x * THREADS + threadIdx.x;
    const u32 chunks = n / DRAWS_PER_CHUNK + (n % DRAWS_PER_CHUNK > 0 ? 1 : 0);
    if (column < count) {
        double sum = 0.0, square = 0.0;
        for (u32 chunk = 0; chunk < chunks; ++chunk) {
            sum += partial[(u64)(2 * chunk) * stride + column];
            if (squares) {
                square += partial[(u64)(2 * chunk + 1) * stride + column];
            }
        }
        const u64 place = (u64)row * resamples + first + column;
        store_replicate(replicates, place, sum, n, role);
        if (squares) {
            store_variance(variances, place, sum, square, n, role);
        }
    }
}

// One warp a group: sum and sum of squares of the differences from theta (lane l adds the replicates l, l + 32, ...
// in order, then the lanes are added in order), how many lie below and around it, and the range. When studentized,
// replicates become t statistics, NaN where the resample has no spread, and the range is that of the others.
RL_KERNEL replicate_moments(double *replicates, const double *variances, const Centre *centres, Moments *moments,
                            u32 groups, u32 resamples, u32 studentized) {
    const u32 group = blockIdx.x * (THREADS / 32) + threadIdx.x / 32;
    const u32 lane = threadIdx.x % 32;
    // The same for all lanes of a warp.
    if (group < groups) {
        const Centre centre = centres[group];
        const u64 start = (u64)group * resamples;
        double sum = 0.0, square = 0.0;
        double smallest = __longlong_as_double(0x7ff0000000000000ll);
        double largest = -smallest;
        u64 around = 0, kept = 0;
        for (u32 b = lane; b < resamples; b += 32) {
            double value = replicates[start + b];
            const double difference = value - centre.theta;
            sum += difference;
            square += difference * difference;
            around += (value < centre.below ? 1 : 0) + (value <= centre.at_or_below ? 1 : 0);
            bool there = true;
            if (studentized) {
                const double variance = variances[start + b];
                there = variance > 0.0;
                value = there ? (value / centre.divisor - centre.location) / __dsqrt_rn(variance)
                              : __longlong_as_double(0x7ff8000000000000ll);
                replicates[start + b] = value;
            }
            if (there) {
                ++kept;
                smallest = value < smallest ? value : smallest;
                largest = value > largest ? value : largest;
            }
        }
        double total = 0.0, total_square = 0.0;
        for (int other = 0; other < 32; ++other) {
            total += __shfl_sync(RL_FULL_WARP, sum, other);
            total_square += __shfl_sync(RL_FULL_WARP, square, other);
        }
        for (int distance = 16; distance > 0; distance /= 2) {
            around += __shfl_xor_sync(RL_FULL_WARP, around, distance);
            kept += __shfl_xor_sync(RL_FULL_WARP, kept, distance);
            const double other_smallest = __shfl_xor_sync(RL_FULL_WARP, smallest, distance);
            const double other_largest = __shfl_xor_sync(RL_FULL_WARP, largest, distance);
            smallest = other_smallest < smallest ? other_smallest : smallest;
            largest = other_largest > largest ? other_largest : largest;
        }
        if (lane == 0) {
            Moments out = {total, total_square, smallest, largest, around, kept};
            moments[group] = out;
        }
    }
}

#define SELECT_THREADS 256
#define BINS 2048
#define WANTED 4
#define MEMBERS 512

struct SelectionShared {
    double members[WANTED][MEMBERS];
    u32 histogram[BINS];
    u32 ends[SELECT_THREADS];
    u32 count[WANTED];
    // For each rank, and for one more while a crowded bin is split: its bin, the replicates in bins before, and those
    // in it.
    u32 rank[WANTED + 1];
    u32 bin[WANTED + 1];
    u32 below[WANTED + 1];
    u32 size[WANTED + 1];
};

// A key that orders doubles as their total order does.
RL_DEVICE u64 ordered_key(double value) {
    const u64 bits = (u64)__double_as_longlong(value);
    return bits >> 63 ? ~bits : bits | (u64)1 << 63;
}

RL_DEVICE double from_ordered_key(u64 key) {
    return __longlong_as_double((long long)(key >> 63 ? key & ~((u64)1 << 63) : ~key));
}

// A bin that does not fall when the value rises.
RL_DEVICE u32 linear_bin(double value, double smallest, double scale) {
    const double place = (value - smallest) * scale;
    return place >= (double)(BINS - 1) ? BINS - 1 : place > 0.0 ? (u32)place : 0;
}

// Finds the bins that hold the ranks from..to, by a running sum over the histogram.
RL_DEVICE void locate(SelectionShared &shared, u32 from, u32 to) {
    const u32 thread = threadIdx.x;
    const u32 own = BINS / SELECT_THREADS;
    u32 total = 0;
    for (u32 bin = thread * own; bin < (thread + 1) * own; ++bin) {
        total += shared.histogram[bin];
    }
    shared.ends[thread] = total;
    __syncthreads();
    for (u32 distance = 1; distance < SELECT_THREADS; distance *= 2) {
        const u32 before = thread >= distance ? shared.ends[thread - distance] : 0;
        __syncthreads();
        shared.ends[thread] += before;
        __syncthreads();
    }
    const u32 start = shared.ends[thread] - total;
    for (u32 k = from; k < to; ++k) {
        const u32 rank = shared.rank[k];
        if (start <= rank && rank < start + total) {
            u32 below = start, bin = thread * own;
            while (below + shared.histogram[bin] <= rank) {
                below += shared.histogram[bin];
                ++bin;
            }
            shared.bin[k] = bin;
            shared.below[k] = below;
            shared.size[k] = shared.histogram[bin];
        }
    }
    __syncthreads();
}

RL_DEVICE void clear_histogram(SelectionShared &shared) {
    __syncthreads();
    for (u32 bin = threadIdx.x; bin < BINS; bin += SELECT_THREADS) {
        shared.histogram[bin] = 0;
    }
    __syncthreads();
}

// One block for each selection: the replicates of four ranks of one group (from 0, NaN not counted), exactly. Each
// rank must be below the number of replicates kept. Linear bins find the neighbourhood of each rank, which is ordered
// in shared memory; where too many replicates share a bin, their keys are split eleven bits at a time.
RL_KERNEL select_ranks(const double *replicates, const Moments *moments, const u32 *groups, const u32 *wanted,
                       double *out, u32 resamples) {
    RL_SHARED(SelectionShared, shared);
    const u32 group = groups[blockIdx.x];
    const double *own = replicates + (u64)group * resamples;
    const double smallest = moments[group].smallest;
    const double width = moments[group].largest - smallest;
    double scale = (double)(BINS - 1) / width;
    // Also false for NaN: then all are in the first bin.
    if (!(scale > 0.0 && scale <= 1e300 && width <= 1e300)) {
        scale = 0.0;
    }
    if (threadIdx.x < WANTED) {
        shared.rank[threadIdx.x] = wanted[WANTED * blockIdx.x + threadIdx.x];
        shared.count[threadIdx.x] = 0;
    }
    clear_histogram(shared);
    for (u32 b = threadIdx.x; b < resamples; b += SELECT_THREADS) {
        const double value = own[b];
        if (value == value) {
            atomicAdd(&shared.histogram[linear_bin(value, smallest, scale)], 1u);
        }
    }
    __syncthreads();
    locate(shared, 0, WANTED);
    for (u32 b = threadIdx.x; b < resamples; b += SELECT_THREADS) {
        const double value = own[b];
        if (value == value) {
            const u32 bin = linear_bin(value, smallest, scale);
            for (u32 k = 0; k < WANTED; ++k) {
                if (bin == shared.bin[k] && shared.size[k] <= MEMBERS) {
                    shared.members[k][atomicAdd(&shared.count[k], 1u)] = value;
                }
            }
        }
    }
    __syncthreads();
    for (u32 k = 0; k < WANTED; ++k) {
        const u32 size = shared.size[k], rank = shared.rank[k];
        // The same for all threads of a block.
        if (size <= MEMBERS) {
            for (u32 m = threadIdx.x; m < size; m += SELECT_THREADS) {
                const u64 key = ordered_key(shared.members[k][m]);
                u32 position = shared.below[k];
                for (u32 other = 0; other < size; ++other) {
                    const u64 other_key = ordered_key(shared.members[k][other]);
                    position += other_key < key || (other_key == key && other < m) ? 1 : 0;
                }
                if (position == rank) {
                    out[WANTED * blockIdx.x + k] = shared.members[k][m];
                }
            }
        } else {
            // The keys low..=low + span hold the rank; `under` replicates of smaller key or bin lie below it.
            u64 low = 0;
            u32 under = shared.below[k];
            for (int shift = 53; shift > -11; shift -= 11) {
                const int step = shift > 0 ? shift : 0;
                const u64 span = shift == 53 ? ~(u64)0 : ((u64)1 << (shift + 11)) - 1;
                clear_histogram(shared);
                for (u32 b = threadIdx.x; b < resamples; b += SELECT_THREADS) {
                    const double value = own[b];
                    if (value == value && linear_bin(value, smallest, scale) == shared.bin[k]) {
                        const u64 key = ordered_key(value);
                        if (key >= low && key - low <= span) {
                            atomicAdd(&shared.histogram[(u32)((key - low) >> step)], 1u);
                        }
                    }
                }
                if (threadIdx.x == 0) {
                    shared.rank[WANTED] = rank - under;
                }
                __syncthreads();
                locate(shared, WANTED, WANTED + 1);
                low += (u64)shared.bin[WANTED] << step;
                under += shared.below[WANTED];
            }
            if (threadIdx.x == 0) {
                out[WANTED * blockIdx.x + k] = from_ordered_key(low);
            }
        }
    }
}
