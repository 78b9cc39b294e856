// Distances between rows of features: the nearest rows of rows.
//
// Squared distances are sums of doubles in the order of the CPU (src/cpu/distances.rs): eight sums over every eighth
// feature, added by halves. So they have its bits, and so do the lists.

#define THREADS 128
// Points that a thread looks at together.
#define TOGETHER 4
// Coordinates of points in shared memory; there are at most TILE / TOGETHER features.
#define TILE 4096
#define LANES 8

struct PointTile {
    double coordinates[TILE];
};

// One thread a query. Coordinates of queries are columns (queries[feature * stride + query]), those of points rows of
// `features`, which is a multiple of eight. Points are numbered from `first`. Lists are columns too: the k nearest points
// so far, in order, of which counts[query] are there. Points come with ascending numbers, so that of equally near ones
// the lowest stay. A point with the number own[query] is the query itself.
RL_KERNEL nearest_points(const float *queries, const u32 *own, const float *points, double *squared, u32 *numbers,
                         u32 *counts, u32 query_count, u32 stride, u32 features, u32 first, u32 count, u32 k,
                         u32 afresh) {
    RL_SHARED(PointTile, tile);
    const u32 query = blockIdx.x * THREADS + threadIdx.x;
    const bool there = query < query_count;
    const float *column = queries + query;
    double *list = squared + query;
    u32 *names = numbers + query;
    const u32 name = there ? own[query] : 0;
    u32 filled = there && !afresh ? counts[query] : 0;
    double farthest = __longlong_as_double(0x7ff0000000000000ll);
    if (there && filled == k) {
        farthest = list[(u64)(k - 1) * stride];
    }
    const u32 points_per_tile = TILE / features / TOGETHER * TOGETHER;
    for (u32 base = 0; base < count; base += points_per_tile) {
        __syncthreads();
        for (u32 e = threadIdx.x; e < points_per_tile * features; e += THREADS) {
            const u64 place = (u64)base * features + e;
            tile.coordinates[e] = place < (u64)count * features ? (double)points[place] : 0.0;
        }
        __syncthreads();
        const u32 in_tile = count - base < points_per_tile ? count - base : points_per_tile;
        for (u32 start = 0; start < in_tile; start += TOGETHER) {
            double sums[TOGETHER][LANES];
#pragma unroll
            for (u32 p = 0; p < TOGETHER; ++p) {
#pragma unroll
                for (u32 lane = 0; lane < LANES; ++lane) {
                    sums[p][lane] = 0.0;
                }
            }
            const double *coordinates = tile.coordinates + start * features;
            for (u32 feature = 0; feature < features; feature += LANES) {
#pragma unroll
                for (u32 lane = 0; lane < LANES; ++lane) {
                    const double value = (double)column[(u64)(feature + lane) * stride];
#pragma unroll
                    for (u32 p = 0; p < TOGETHER; ++p) {
                        const double difference = value - coordinates[p * features + feature + lane];
                        sums[p][lane] += difference * difference;
                    }
                }
            }
#pragma unroll
            for (u32 p = 0; p < TOGETHER; ++p) {
                const double *s = sums[p];
                const double sum = ((s[0] + s[4]) + (s[2] + s[6])) + ((s[1] + s[5]) + (s[3] + s[7]));
                const u32 number = first + base + start + p;
                if (there && start + p < in_tile && number != name && (filled < k || sum < farthest)) {
                    u32 place = filled < k ? filled : k - 1;
                    while (place > 0 && list[(u64)(place - 1) * stride] > sum) {
                        list[(u64)place * stride] = list[(u64)(place - 1) * stride];
                        names[(u64)place * stride] = names[(u64)(place - 1) * stride];
                        --place;
                    }
                    list[(u64)place * stride] = sum;
                    names[(u64)place * stride] = number;
                    filled += filled < k ? 1 : 0;
                    if (filled == k) {
                        farthest = list[(u64)(k - 1) * stride];
                    }
                }
            }
        }
    }
    if (there) {
        counts[query] = filled;
    }
}
