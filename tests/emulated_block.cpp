// train.h as a host program, which computes a block's threads in turn, each as far as it can go without the others. With
// RNNZOO_REAL_THREADS they are threads of the CPU, for ThreadSanitizer to watch.

#define RNNZOO_ONE_LANE
#include <pthread.h>
#include <ucontext.h>

#include <cstdlib>
#include <functional>
#include <memory>
#include <thread>
#include <vector>

#include "vectors.h"

#ifdef RNNZOO_REAL_THREADS
typedef pthread_barrier_t Threads;
#else
typedef std::vector<ucontext_t> Threads;
#endif

struct Block {
    int thread, threads;
    Threads* all;
    void wait() const {
#ifdef RNNZOO_REAL_THREADS
        pthread_barrier_wait(all);
#else
        // All wait at the same places: when the first one goes on, the last one has come.
        swapcontext(&(*all)[thread], &(*all)[(thread + 1) % threads]);
#endif
    }
};

INLINE void add_one(int* count) { __atomic_fetch_add(count, 1, __ATOMIC_RELAXED); }

#include "../training/kernels/cuda/score.h"
#include "../training/kernels/cuda/train.h"

typedef std::function<void(const Block&)> Work;

#ifdef RNNZOO_REAL_THREADS
static void run_block(int threads, const Work& work) {
    pthread_barrier_t barrier;
    pthread_barrier_init(&barrier, nullptr, threads);
    std::vector<std::thread> block;
    for (int thread = 0; thread < threads; thread++)
        block.emplace_back([&, thread] { work({thread, threads, &barrier}); });
    for (std::thread& thread : block) thread.join();
    pthread_barrier_destroy(&barrier);
}
#else
static const Work* work_of_block;
static Threads* threads_of_block;

static void run_thread(int thread) {
    (*work_of_block)({thread, static_cast<int>(threads_of_block->size()), threads_of_block});
}

static void run_block(int threads, const Work& work) {
    constexpr size_t kStack = 1 << 18;
    Threads contexts(threads);
    std::vector<std::unique_ptr<char[]>> stacks;
    ucontext_t caller;
    work_of_block = &work;
    threads_of_block = &contexts;
    for (int thread = 0; thread < threads; thread++) {
        ucontext_t& context = contexts[thread];
        getcontext(&context);
        stacks.emplace_back(new char[kStack]);
        context.uc_stack.ss_sp = stacks.back().get();
        context.uc_stack.ss_size = kStack;
        context.uc_link = thread + 1 < threads ? &contexts[thread + 1] : &caller;
        makecontext(&context, reinterpret_cast<void (*)()>(run_thread), 1, thread);
    }
    swapcontext(&caller, &contexts[0]);
}
#endif

// Calls work(memory) with memory as a GPU would give it: shared, where nothing was written, or none.
template <class Use>
static void with_shared(int64_t bytes, bool in_shared, Use use) {
    std::vector<char> shared(bytes + 16, -1);
    use(in_shared ? shared.data() + (16 - reinterpret_cast<uintptr_t>(shared.data()) % 16) % 16 : nullptr);
}

extern "C" {

void rnnzoo_sizes(int64_t* sizes, int64_t steps, int64_t sequences, int64_t width) {
    Arena counted{nullptr};
    Scorer(Block{0, 1, nullptr}, counted);
    if (counted.used != scoring_bytes()) std::abort();
    sizes[0] = workspace_bytes(static_cast<int>(steps), static_cast<int>(sequences), width);
    sizes[1] = model_bytes(true);
    sizes[2] = sizes[3] = scoring_bytes();
}

void rnnzoo_train(const Training* training, int64_t models, int threads, bool in_shared) {
    with_shared(model_bytes(true), in_shared, [&](char* shared) {
        for (int64_t model = 0; model < models; model++)
            run_block(threads, [&](const Block& block) { train_model(block, *training, model, shared); });
    });
}

void rnnzoo_score(const Scoring* scoring, int64_t blocks, int threads, bool in_shared) {
    with_shared(scoring_bytes(), in_shared, [&](char* shared) {
        for (int64_t number = 0; number < blocks; number++) {
            char* own = shared == nullptr ? scoring->workspace + number * scoring_bytes() : shared;
            run_block(threads, [&](const Block& block) { score_pieces(block, *scoring, number, own); });
        }
    });
}

}  // extern "C"
