// The kernels of cuda/perm.cu, for the emulator.

#include "rl_emu.h"

#include "../cuda/prelude.cuh"

#include "../cuda/perm.cu"

RL_EMU_ENTRY(draw_masks);
RL_EMU_ENTRY(draw_orders);
RL_EMU_ENTRY(count_sums);
RL_EMU_ENTRY(count_welch);
RL_EMU_ENTRY(count_between);
