// The kernels of cuda/ceiling.cu, for the emulator.

#include "rl_emu.h"

#include "../cuda/prelude.cuh"

#include "../cuda/ceiling.cu"

RL_EMU_ENTRY(copy_ceiling);
RL_EMU_ENTRY(multiply_add_ceiling);
RL_EMU_ENTRY(wide_multiply_ceiling);
