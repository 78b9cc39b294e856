// The kernels of cuda/boot.cu, for the emulator.

#include "rl_emu.h"

#include "../cuda/prelude.cuh"

#include "../cuda/boot.cu"

RL_EMU_ENTRY(known_answers);
RL_EMU_ENTRY(count_draws_u16);
RL_EMU_ENTRY(count_draws_u32);
RL_EMU_ENTRY(weighted_sums_u16);
RL_EMU_ENTRY(weighted_sums_u32);
RL_EMU_ENTRY(weighted_sums_and_squares);
RL_EMU_ENTRY(gathered_sums);
RL_EMU_ENTRY(gathered_replicates);
RL_EMU_ENTRY(replicate_moments);
RL_EMU_ENTRY(select_ranks);
