// The kernels of cuda/dist.cu, for the emulator.

#include "rl_emu.h"

#include "../cuda/prelude.cuh"

#include "../cuda/dist.cu"

RL_EMU_ENTRY(nearest_points);
