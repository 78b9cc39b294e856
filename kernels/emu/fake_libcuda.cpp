// A libcuda.so whose device is the emulator: the driver entry points that the CUDA backend uses.
//
// RL_EMU_MEMORY   bytes of device memory (1 GiB by default).
// RL_EMU_ORDER    0: every operation runs at once; 1 and 2: operations of a stream wait until somebody needs them, so
//                 that a forgotten wait shows.
// RL_EMU_FAIL     "call:count:code": from the count-th call of that entry point on it answers with this code. Codes
//                 from 700 on are sticky, as on a device: every later call fails too.
// RL_EMU_DRIVER   the version that the driver says it has (12000 by default).
// RL_EMU_CAPABILITY  compute capability times ten (90 by default).
// RL_EMU_DEVICES  the number of devices (1 by default).
// RL_EMU_WRONG    if set, the generator's known answers come out wrong.

#include "rl_emu_runtime.h"

#include <cstdio>
#include <cstdlib>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <vector>

namespace {

using Result = int;
constexpr Result SUCCESS = 0, INVALID_VALUE = 1, OUT_OF_MEMORY = 2, NOT_INITIALIZED = 3, INVALID_DEVICE = 101,
                 INVALID_CONTEXT = 201, NOT_FOUND = 500, ILLEGAL_ADDRESS = 700;

long setting(const char *name, long otherwise) {
    const char *text = std::getenv(name);
    return text && *text ? std::atol(text) : otherwise;
}

std::recursive_mutex &lock() {
    static std::recursive_mutex mutex;
    return mutex;
}

// Counts the calls of every entry point and answers for those that are told to fail.
Result failure(const char *call) {
    static std::map<std::string, long> calls;
    static Result sticky = SUCCESS;
    static const std::string told = std::getenv("RL_EMU_FAIL") ? std::getenv("RL_EMU_FAIL") : "";
    const long count = ++calls[call];
    if (sticky != SUCCESS) return sticky;
    const size_t first = told.find(':');
    if (first == std::string::npos || told.compare(0, first, call) != 0) return SUCCESS;
    const size_t second = told.find(':', first + 1);
    if (count < std::atol(told.c_str() + first + 1)) return SUCCESS;
    const Result code = std::atoi(told.c_str() + second + 1);
    if (code >= 700) sticky = code;
    return code;
}

#define BEGIN(call)                                               \
    std::lock_guard<std::recursive_mutex> held(lock());           \
    if (Result failed = failure(call); failed != SUCCESS) return failed; \
    if (!initialized) return NOT_INITIALIZED

bool initialized = false;

// Device memory is memory of this process between two strips of marks.
constexpr size_t STRIP = 256;
constexpr unsigned char MARK = 0xC5;
struct Allocation {
    std::unique_ptr<unsigned char[]> memory;
    size_t bytes;
};
std::map<u64, Allocation> allocations;
size_t used = 0;

size_t capacity() {
    static const size_t bytes = static_cast<size_t>(setting("RL_EMU_MEMORY", 1L << 30));
    return bytes;
}

void check_strips() {
    for (auto &[start, allocation] : allocations) {
        for (size_t i = 0; i < STRIP; ++i) {
            if (allocation.memory[i] != MARK || allocation.memory[STRIP + allocation.bytes + i] != MARK) {
                rl_emu::mistake("a write beside device memory of " + std::to_string(allocation.bytes) + " bytes");
            }
        }
    }
}

bool inside(u64 address, size_t bytes) {
    auto after = allocations.upper_bound(address);
    if (after == allocations.begin()) return false;
    auto &[start, allocation] = *--after;
    return address + bytes <= start + allocation.bytes;
}

// Work of a stream that has still to be done.
struct Stream {
    std::deque<std::function<void()>> waiting;
};
std::set<Stream *> streams;

void drain(Stream *stream) {
    while (!stream->waiting.empty()) {
        auto operation = std::move(stream->waiting.front());
        stream->waiting.pop_front();
        operation();
    }
}

void drain_all() {
    for (Stream *stream : streams) drain(stream);
    check_strips();
}

void submit(Stream *stream, std::function<void()> operation) {
    if (stream == nullptr) {
        drain_all();
        operation();
    } else if (rl_emu::order() == 0) {
        operation();
    } else {
        stream->waiting.push_back(std::move(operation));
    }
}

struct Event {
    // Whose operations have to be done before the event has happened.
    Stream *stream = nullptr;
    std::shared_ptr<bool> happened = std::make_shared<bool>(true);
};

void reach(Stream *stream, const std::shared_ptr<bool> &happened) {
    while (!*happened && stream && !stream->waiting.empty()) {
        auto operation = std::move(stream->waiting.front());
        stream->waiting.pop_front();
        operation();
    }
}

struct Function {
    std::string name;
    rl_emu::Invoke invoke;
};
struct Module {
    std::map<std::string, std::unique_ptr<Function>> functions;
};

// The number of parameters and their sizes, from the text of a PTX entry.
std::vector<size_t> parameter_sizes(const std::string &entry) {
    std::vector<size_t> sizes;
    for (size_t at = 0; (at = entry.find(".param", at)) != std::string::npos; at += 6) {
        const size_t end = entry.find_first_of(",)\n", at);
        const std::string one = entry.substr(at, end - at);
        const size_t bracket = one.find('[');
        if (bracket != std::string::npos) {
            sizes.push_back(static_cast<size_t>(std::atol(one.c_str() + bracket + 1)));
        } else {
            sizes.push_back(one.find("64") != std::string::npos && one.find("64") < one.rfind(' ') ? 8 : 4);
        }
    }
    return sizes;
}

std::map<std::string, std::vector<size_t>> parameters;

int context_stands_for_itself;
thread_local void *current = nullptr;

}  // namespace

extern "C" {

Result cuInit(unsigned) {
    std::lock_guard<std::recursive_mutex> held(lock());
    if (Result failed = failure("cuInit"); failed != SUCCESS) return failed;
    initialized = true;
    return SUCCESS;
}

Result cuDriverGetVersion(int *version) {
    *version = static_cast<int>(setting("RL_EMU_DRIVER", 12000));
    return SUCCESS;
}

Result cuDeviceGetCount(int *count) {
    BEGIN("cuDeviceGetCount");
    *count = static_cast<int>(setting("RL_EMU_DEVICES", 1));
    return SUCCESS;
}

Result cuDeviceGet(int *device, int ordinal) {
    BEGIN("cuDeviceGet");
    if (ordinal < 0 || ordinal >= setting("RL_EMU_DEVICES", 1)) return INVALID_DEVICE;
    *device = ordinal;
    return SUCCESS;
}

Result cuDeviceGetName(char *name, int length, int) {
    BEGIN("cuDeviceGetName");
    std::snprintf(name, static_cast<size_t>(length), "CPU emulation");
    return SUCCESS;
}

Result cuDeviceGetAttribute(int *value, int attribute, int) {
    BEGIN("cuDeviceGetAttribute");
    const int capability = static_cast<int>(setting("RL_EMU_CAPABILITY", 90));
    switch (attribute) {
        case 75: *value = capability / 10; break;
        case 76: *value = capability % 10; break;
        case 16: *value = 2; break;         // multiprocessors
        case 13: *value = 1000000; break;   // clock in kHz
        default: *value = 0;
    }
    return SUCCESS;
}

Result cuDeviceTotalMem_v2(size_t *bytes, int) {
    BEGIN("cuDeviceTotalMem_v2");
    *bytes = capacity();
    return SUCCESS;
}

Result cuDevicePrimaryCtxRetain(void **context, int) {
    BEGIN("cuDevicePrimaryCtxRetain");
    *context = &context_stands_for_itself;
    return SUCCESS;
}

Result cuDevicePrimaryCtxRelease_v2(int) {
    BEGIN("cuDevicePrimaryCtxRelease_v2");
    return SUCCESS;
}

Result cuCtxSetCurrent(void *context) {
    BEGIN("cuCtxSetCurrent");
    current = context;
    return SUCCESS;
}

Result cuCtxGetCurrent(void **context) {
    BEGIN("cuCtxGetCurrent");
    *context = current;
    return SUCCESS;
}

// A call that needs a context on this thread.
#define BEGIN_IN_CONTEXT(call) \
    BEGIN(call);               \
    if (!current) return INVALID_CONTEXT

Result cuCtxSynchronize() {
    BEGIN_IN_CONTEXT("cuCtxSynchronize");
    drain_all();
    return SUCCESS;
}

Result cuMemAlloc_v2(u64 *address, size_t bytes) {
    BEGIN_IN_CONTEXT("cuMemAlloc_v2");
    if (bytes == 0) return INVALID_VALUE;
    if (used + bytes > capacity()) return OUT_OF_MEMORY;
    used += bytes;
    Allocation allocation{std::unique_ptr<unsigned char[]>(new unsigned char[bytes + 2 * STRIP]), bytes};
    std::memset(allocation.memory.get(), MARK, bytes + 2 * STRIP);
    // Poison: NaN as a double, huge as a number.
    std::memset(allocation.memory.get() + STRIP, 0xff, bytes);
    const u64 start = reinterpret_cast<u64>(allocation.memory.get() + STRIP);
    allocations.emplace(start, std::move(allocation));
    *address = start;
    return SUCCESS;
}

Result cuMemFree_v2(u64 address) {
    BEGIN_IN_CONTEXT("cuMemFree_v2");
    drain_all();
    auto found = allocations.find(address);
    if (found == allocations.end()) return INVALID_VALUE;
    used -= found->second.bytes;
    allocations.erase(found);
    return SUCCESS;
}

Result cuMemAllocAsync(u64 *address, size_t bytes, Stream *) { return cuMemAlloc_v2(address, bytes); }

Result cuMemFreeAsync(u64 address, Stream *) { return cuMemFree_v2(address); }

Result cuMemGetInfo_v2(size_t *free_bytes, size_t *total) {
    BEGIN_IN_CONTEXT("cuMemGetInfo_v2");
    *free_bytes = capacity() - used;
    *total = capacity();
    return SUCCESS;
}

Result cuMemcpyHtoDAsync_v2(u64 to, const void *from, size_t bytes, Stream *stream) {
    BEGIN_IN_CONTEXT("cuMemcpyHtoDAsync_v2");
    if (!inside(to, bytes)) return ILLEGAL_ADDRESS;
    // As for pageable memory: the source has been read when the call returns.
    auto staged = std::make_shared<std::vector<char>>(static_cast<const char *>(from), static_cast<const char *>(from) + bytes);
    submit(stream, [=] { std::memcpy(reinterpret_cast<void *>(to), staged->data(), staged->size()); });
    return SUCCESS;
}

Result cuMemcpyDtoHAsync_v2(void *to, u64 from, size_t bytes, Stream *stream) {
    BEGIN_IN_CONTEXT("cuMemcpyDtoHAsync_v2");
    if (!inside(from, bytes)) return ILLEGAL_ADDRESS;
    submit(stream, [=] { std::memcpy(to, reinterpret_cast<const void *>(from), bytes); });
    return SUCCESS;
}

Result cuMemcpyDtoDAsync_v2(u64 to, u64 from, size_t bytes, Stream *stream) {
    BEGIN_IN_CONTEXT("cuMemcpyDtoDAsync_v2");
    if (!inside(to, bytes) || !inside(from, bytes)) return ILLEGAL_ADDRESS;
    submit(stream, [=] { std::memmove(reinterpret_cast<void *>(to), reinterpret_cast<const void *>(from), bytes); });
    return SUCCESS;
}

Result cuMemsetD8Async(u64 to, unsigned char value, size_t bytes, Stream *stream) {
    BEGIN_IN_CONTEXT("cuMemsetD8Async");
    if (!inside(to, bytes)) return ILLEGAL_ADDRESS;
    submit(stream, [=] { std::memset(reinterpret_cast<void *>(to), value, bytes); });
    return SUCCESS;
}

// The image is PTX text; every entry in it must be known to the emulator under the same name.
Result cuModuleLoadData(Module **module, const char *image) {
    BEGIN_IN_CONTEXT("cuModuleLoadData");
    const std::string text = image;
    auto loaded = std::make_unique<Module>();
    const std::string word = ".entry ";
    for (size_t at = 0; (at = text.find(word, at)) != std::string::npos;) {
        at += word.size();
        const size_t end = text.find('(', at);
        const std::string name = text.substr(at, end - at);
        const rl_emu::Invoke invoke = rl_emu::find(name);
        if (!invoke) rl_emu::mistake("the emulator has no kernel " + name);
        loaded->functions[name] = std::make_unique<Function>(Function{name, invoke});
        parameters[name] = parameter_sizes(text.substr(end, text.find(')', end) - end + 1));
    }
    if (loaded->functions.empty()) return INVALID_VALUE;
    *module = loaded.release();
    return SUCCESS;
}

Result cuModuleUnload(Module *module) {
    BEGIN_IN_CONTEXT("cuModuleUnload");
    delete module;
    return SUCCESS;
}

Result cuModuleGetFunction(Function **function, Module *module, const char *name) {
    BEGIN_IN_CONTEXT("cuModuleGetFunction");
    auto found = module->functions.find(name);
    if (found == module->functions.end()) return NOT_FOUND;
    *function = found->second.get();
    return SUCCESS;
}

Result cuFuncSetAttribute(Function *, int, int) {
    BEGIN_IN_CONTEXT("cuFuncSetAttribute");
    return SUCCESS;
}

Result cuFuncGetAttribute(int *value, int, Function *) {
    BEGIN_IN_CONTEXT("cuFuncGetAttribute");
    *value = 1024;
    return SUCCESS;
}

Result cuLaunchKernel(Function *function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz,
                      unsigned shared_bytes, Stream *stream, void **arguments, void **) {
    BEGIN_IN_CONTEXT("cuLaunchKernel");
    if (gx == 0 || gy == 0 || gz == 0 || gy > 65535 || gz > 65535 || gx > 2147483647u || shared_bytes > 0) {
        return INVALID_VALUE;
    }
    // Arguments are read during the call, and only as many bytes as the PTX says.
    auto copies = std::make_shared<std::vector<std::vector<char>>>();
    for (size_t i = 0; i < parameters[function->name].size(); ++i) {
        const char *from = static_cast<const char *>(arguments[i]);
        copies->emplace_back(from, from + parameters[function->name][i]);
    }
    submit(stream, [=] {
        std::vector<void *> places;
        for (auto &copy : *copies) places.push_back(copy.data());
        rl_emu::run(function->invoke, function->name.c_str(), {gx, gy, gz}, {bx, by, bz}, places.data());
        if (function->name == "known_answers" && std::getenv("RL_EMU_WRONG")) {
            **reinterpret_cast<u64 **>(places[2]) ^= 1;
        }
    });
    return SUCCESS;
}

Result cuStreamCreate(Stream **stream, unsigned) {
    BEGIN_IN_CONTEXT("cuStreamCreate");
    *stream = new Stream;
    streams.insert(*stream);
    return SUCCESS;
}

Result cuStreamSynchronize(Stream *stream) {
    BEGIN_IN_CONTEXT("cuStreamSynchronize");
    if (stream) {
        drain(stream);
        check_strips();
    } else {
        drain_all();
    }
    return SUCCESS;
}

Result cuStreamDestroy_v2(Stream *stream) {
    BEGIN_IN_CONTEXT("cuStreamDestroy_v2");
    drain(stream);
    streams.erase(stream);
    delete stream;
    return SUCCESS;
}

Result cuEventCreate(Event **event, unsigned) {
    BEGIN_IN_CONTEXT("cuEventCreate");
    *event = new Event;
    return SUCCESS;
}

Result cuEventDestroy_v2(Event *event) {
    BEGIN_IN_CONTEXT("cuEventDestroy_v2");
    delete event;
    return SUCCESS;
}

Result cuEventRecord(Event *event, Stream *stream) {
    BEGIN_IN_CONTEXT("cuEventRecord");
    event->stream = stream;
    event->happened = std::make_shared<bool>(false);
    submit(stream, [happened = event->happened] { *happened = true; });
    return SUCCESS;
}

Result cuStreamWaitEvent(Stream *stream, Event *event, unsigned) {
    BEGIN_IN_CONTEXT("cuStreamWaitEvent");
    submit(stream, [other = event->stream, happened = event->happened] { reach(other, happened); });
    return SUCCESS;
}

Result cuEventSynchronize(Event *event) {
    BEGIN_IN_CONTEXT("cuEventSynchronize");
    reach(event->stream, event->happened);
    check_strips();
    return SUCCESS;
}

Result cuEventQuery(Event *event) {
    BEGIN_IN_CONTEXT("cuEventQuery");
    reach(event->stream, event->happened);
    return SUCCESS;
}

Result cuEventElapsedTime(float *milliseconds, Event *, Event *) {
    BEGIN_IN_CONTEXT("cuEventElapsedTime");
    *milliseconds = 0.0f;
    return SUCCESS;
}

Result cuGetErrorName(Result code, const char **name) {
    switch (code) {
        case 0: *name = "CUDA_SUCCESS"; break;
        case 1: *name = "CUDA_ERROR_INVALID_VALUE"; break;
        case 2: *name = "CUDA_ERROR_OUT_OF_MEMORY"; break;
        case 34: *name = "CUDA_ERROR_STUB_LIBRARY"; break;
        case 100: *name = "CUDA_ERROR_NO_DEVICE"; break;
        case 700: *name = "CUDA_ERROR_ILLEGAL_ADDRESS"; break;
        case 719: *name = "CUDA_ERROR_LAUNCH_FAILED"; break;
        case 803: *name = "CUDA_ERROR_SYSTEM_DRIVER_MISMATCH"; break;
        case 999: *name = "CUDA_ERROR_UNKNOWN"; break;
        default: *name = "CUDA_ERROR"; break;
    }
    return SUCCESS;
}

Result cuGetErrorString(Result code, const char **text) { return cuGetErrorName(code, text); }

}  // extern "C"
