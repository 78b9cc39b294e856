// The emulator: blocks on threads of the operating system, CUDA threads as fibers.

#include "rl_emu_runtime.h"

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <memory>
#include <thread>
#include <vector>

#if !defined(__x86_64__) && !defined(RL_EMU_UCONTEXT)
#define RL_EMU_UCONTEXT
#endif
#ifdef RL_EMU_UCONTEXT
#include <ucontext.h>
#endif

namespace rl_emu {

namespace {

constexpr size_t STACK_BYTES = 128 << 10;
constexpr size_t SHARED_BYTES = 48 << 10;
constexpr u32 LANES = 32;

enum class State { READY, BARRIER, WARP, DONE };

std::map<std::string, Invoke> &registry() {
    static std::map<std::string, Invoke> kernels;
    return kernels;
}

#ifdef RL_EMU_UCONTEXT
struct Context {
    ucontext_t context;
};
void swap(Context &from, Context &to) { swapcontext(&from.context, &to.context); }
void prepare(Context &context, char *stack, void (*start)()) {
    getcontext(&context.context);
    context.context.uc_stack.ss_sp = stack;
    context.context.uc_stack.ss_size = STACK_BYTES;
    context.context.uc_link = nullptr;
    makecontext(&context.context, start, 0);
}
#else
struct Context {
    void *stack;
};
// Saves the registers that a call must keep, changes stacks, and takes them back.
extern "C" void rl_emu_swap(void **from, void *to);
asm(R"(
.text
.globl rl_emu_swap
.hidden rl_emu_swap
.type rl_emu_swap,@function
rl_emu_swap:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
.size rl_emu_swap,.-rl_emu_swap
)");
void swap(Context &from, Context &to) { rl_emu_swap(&from.stack, to.stack); }
void prepare(Context &context, char *stack, void (*start)()) {
    // On entry a function expects the stack 8 bytes off a multiple of 16.
    auto top = reinterpret_cast<uintptr_t>(stack + STACK_BYTES) & ~static_cast<uintptr_t>(15);
    auto *frame = reinterpret_cast<void **>(top) - 8;
    std::memset(frame, 0, 8 * sizeof(void *));
    frame[6] = reinterpret_cast<void *>(start);
    context.stack = frame;
}
#endif

struct Fiber {
    Context context;
    std::unique_ptr<char[]> stack;
    Position position;
    State state;
    const char *file;
    int line;
    u32 number;
    u32 source;
    u32 exchanges;
};

struct Warp {
    u64 values[2][LANES];
};

u64 mixed(u64 &state) {
    state += 0x9E3779B97F4A7C15ull;
    u64 z = state;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9ull;
    z = (z ^ z >> 27) * 0x94D049BB133111EBull;
    return z ^ z >> 31;
}

// Runs one block after the other with the same fibers.
struct Worker {
    std::vector<Fiber> fibers;
    std::vector<Warp> warps;
    std::unique_ptr<char[]> shared_memory{new char[SHARED_BYTES]};
    std::map<std::pair<std::string, int>, size_t> places;
    size_t shared_used = 0;
    Context scheduler;
    Fiber *running = nullptr;
    Invoke kernel = nullptr;
    void **arguments = nullptr;
    const char *name = nullptr;
    u64 random = 1;

    void run_block(Index block);
    void resume(Fiber &fiber);
    bool release();
};

thread_local Worker *worker = nullptr;

std::string place_of(const Fiber &fiber) {
    return std::string(fiber.file ? fiber.file : "?") + ":" + std::to_string(fiber.line);
}

void fiber_main() {
    worker->kernel(worker->arguments);
    worker->running->state = State::DONE;
    Worker *own = worker;
    swap(own->running->context, own->scheduler);
    mistake("a finished fiber was resumed");
}

void yield(State state, const char *file, int line) {
    Worker *own = worker;
    Fiber &fiber = *own->running;
    fiber.state = state;
    fiber.file = file;
    fiber.line = line;
    swap(fiber.context, own->scheduler);
}

void Worker::resume(Fiber &fiber) {
    running = &fiber;
    swap(scheduler, fiber.context);
    running = nullptr;
}

// When nobody can run: lets complete warps and complete barriers go on. False when all threads are done.
bool Worker::release() {
    bool released = false, all_done = true, any_done = false;
    for (size_t first = 0; first < fibers.size(); first += LANES) {
        size_t waiting = 0;
        for (size_t i = first; i < first + LANES; ++i) {
            waiting += fibers[i].state == State::WARP ? 1 : 0;
        }
        if (waiting == 0) continue;
        for (size_t i = first; i < first + LANES; ++i) {
            if (fibers[i].state != State::WARP || fibers[i].line != fibers[first].line ||
                std::strcmp(fibers[i].file, fibers[first].file) != 0) {
                mistake(std::string("kernel ") + name + ": the lanes of a warp do not meet at " + place_of(fibers[first]) +
                        " (lane " + std::to_string(i - first) + " is elsewhere)");
            }
        }
        for (size_t i = first; i < first + LANES; ++i) fibers[i].state = State::READY;
        released = true;
    }
    if (released) return true;
    const Fiber *waiting = nullptr;
    for (const Fiber &fiber : fibers) {
        all_done = all_done && fiber.state == State::DONE;
        any_done = any_done || fiber.state == State::DONE;
        if (fiber.state == State::BARRIER) waiting = &fiber;
    }
    if (all_done) return false;
    for (const Fiber &fiber : fibers) {
        if (any_done || fiber.line != waiting->line || std::strcmp(fiber.file, waiting->file) != 0) {
            mistake(std::string("kernel ") + name + ": not all threads reach the barrier at " + place_of(*waiting) +
                    (fiber.state == State::DONE ? " (one has ended)" : " (one waits at " + place_of(fiber) + ")"));
        }
    }
    for (Fiber &fiber : fibers) fiber.state = State::READY;
    return true;
}

void Worker::run_block(Index block) {
    places.clear();
    shared_used = 0;
    for (Fiber &fiber : fibers) {
        fiber.position.block = block;
        fiber.state = State::READY;
        fiber.exchanges = 0;
        prepare(fiber.context, fiber.stack.get(), fiber_main);
    }
    std::vector<size_t> turns(fibers.size());
    for (size_t i = 0; i < turns.size(); ++i) turns[i] = order() == 1 ? turns.size() - 1 - i : i;
    do {
        if (order() == 2) {
            for (size_t i = turns.size(); i > 1; --i) std::swap(turns[i - 1], turns[mixed(random) % i]);
        }
        for (size_t turn : turns) {
            if (fibers[turn].state == State::READY) resume(fibers[turn]);
        }
    } while (release());
}

}  // namespace

void mistake(const std::string &message) {
    std::fprintf(stderr, "rl_emu: %s\n", message.c_str());
    std::abort();
}

int order() {
    static const int chosen = [] {
        const char *text = std::getenv("RL_EMU_ORDER");
        return text ? std::atoi(text) : 0;
    }();
    return chosen;
}

Registration::Registration(const char *name, Invoke invoke) { registry()[name] = invoke; }

Invoke find(const std::string &name) {
    auto found = registry().find(name);
    return found == registry().end() ? nullptr : found->second;
}

const Position &position() { return worker->running->position; }

u32 lane() { return worker->running->number % LANES; }

void barrier(const char *file, int line) { yield(State::BARRIER, file, line); }

u64 exchange(u64 value, u32 mask, u32 source, const char *file, int line) {
    if (mask != 0xffffffffu) mistake("a warp function with a mask that is not full, at " + std::string(file));
    Fiber &fiber = *worker->running;
    Warp &warp = worker->warps[fiber.number / LANES];
    // Two sets of values: nobody gets two exchanges ahead of a lane that has still to read.
    u64 *values = warp.values[fiber.exchanges % 2];
    ++fiber.exchanges;
    values[fiber.number % LANES] = value;
    yield(State::WARP, file, line);
    return values[source % LANES];
}

void *shared(const char *file, int line, size_t bytes) {
    Worker &own = *worker;
    auto key = std::make_pair(std::string(file), line);
    auto found = own.places.find(key);
    if (found != own.places.end()) return own.shared_memory.get() + found->second;
    const size_t start = (own.shared_used + 15) / 16 * 16;
    if (start + bytes > SHARED_BYTES) mistake(std::string("kernel ") + own.name + " uses too much shared memory");
    own.shared_used = start + bytes;
    own.places.emplace(key, start);
    std::memset(own.shared_memory.get() + start, 0xff, bytes);
    return own.shared_memory.get() + start;
}

void run(Invoke kernel, const char *name, Index grid, Index block, void **arguments) {
    const size_t threads = static_cast<size_t>(block.x) * block.y * block.z;
    if (threads == 0 || threads % LANES != 0 || threads > 1024) {
        mistake(std::string("kernel ") + name + ": a block of " + std::to_string(threads) + " threads");
    }
    const u64 blocks = static_cast<u64>(grid.x) * grid.y * grid.z;
    std::atomic<u64> next{0};
    auto work = [&](u64 seed) {
        Worker own;
        worker = &own;
        own.kernel = kernel;
        own.arguments = arguments;
        own.name = name;
        own.random = seed;
        own.warps.resize(threads / LANES);
        own.fibers.resize(threads);
        for (size_t i = 0; i < threads; ++i) {
            Fiber &fiber = own.fibers[i];
            fiber.stack.reset(new char[STACK_BYTES]);
            fiber.number = static_cast<u32>(i);
            const u32 number = fiber.number;
            fiber.position.thread = {number % block.x, number / block.x % block.y, number / block.x / block.y};
            fiber.position.block_size = block;
            fiber.position.grid_size = grid;
        }
        for (u64 turn; (turn = next.fetch_add(1)) < blocks;) {
            const u64 at = order() == 1 ? blocks - 1 - turn : turn;
            own.run_block({static_cast<u32>(at % grid.x), static_cast<u32>(at / grid.x % grid.y),
                           static_cast<u32>(at / grid.x / grid.y)});
        }
        worker = nullptr;
    };
    if (blocks < 8) {
        work(1);
        return;
    }
    std::vector<std::thread> pool;
    for (unsigned i = 0; i < std::max(1u, std::thread::hardware_concurrency()); ++i) pool.emplace_back(work, i + 1);
    for (std::thread &thread : pool) thread.join();
}

}  // namespace rl_emu
