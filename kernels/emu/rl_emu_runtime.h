// What the fake driver asks of the emulator.

#pragma once
#include "rl_emu.h"

#include <string>

namespace rl_emu {

// The kernel of that name, null when the emulator does not know it.
Invoke find(const std::string &name);
// Runs all blocks of a launch. A mistake of the kernel (a barrier that not all threads reach, lanes that do not meet,
// too much shared memory) ends the process with a message.
void run(Invoke kernel, const char *name, Index grid, Index block, void **arguments);
// RL_EMU_ORDER: 0 ascending, 1 descending, 2 random.
int order();
[[noreturn]] void mistake(const std::string &message);

}  // namespace rl_emu
