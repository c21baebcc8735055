// train.h as a host program: the threads of a block are threads of the CPU, and wait at the same places.

#define RNNZOO_ONE_LANE
#include <pthread.h>

#include <thread>
#include <vector>

#include "vectors.h"

struct Block {
    int thread, threads;
    pthread_barrier_t* barrier;
    void wait() const { pthread_barrier_wait(barrier); }
};

INLINE void add_one(int* count) { __atomic_fetch_add(count, 1, __ATOMIC_RELAXED); }

#include "../training/kernels/cuda/train.h"

extern "C" {

int64_t rnnzoo_workspace_bytes(int64_t steps, int64_t sequences) {
    return workspace_bytes(static_cast<int>(steps), static_cast<int>(sequences));
}

void rnnzoo_train(const Training* training, int64_t models, int threads, bool in_shared) {
    std::vector<char> shared(model_bytes() + 16);
    char* aligned = shared.data() + (16 - reinterpret_cast<uintptr_t>(shared.data()) % 16) % 16;
    for (int64_t model = 0; model < models; model++) {
        pthread_barrier_t barrier;
        pthread_barrier_init(&barrier, nullptr, threads);
        std::vector<std::thread> block;
        for (int thread = 0; thread < threads; thread++)
            block.emplace_back([=, &barrier] {
                train_model({thread, threads, &barrier}, *training, model, in_shared ? aligned : nullptr);
            });
        for (std::thread& thread : block) thread.join();
        pthread_barrier_destroy(&barrier);
    }
}

}
