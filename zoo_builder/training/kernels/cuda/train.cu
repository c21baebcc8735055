// The kernel: one model a block. RNNZOO_SHARED_BYTES is what this GPU's blocks may have of shared memory.

#define RNNZOO_ONE_LANE
#include "vectors.h"

struct Block {
    int thread, threads;
    void wait() const { __syncthreads(); }
};

INLINE void add_one(int* count) { atomicAdd(count, 1); }

#include "train.h"

constexpr bool kInShared = model_bytes() <= RNNZOO_SHARED_BYTES;

extern "C" __global__ void __launch_bounds__(RNNZOO_THREADS, 2) rnnzoo_train(Training training) {
    extern __shared__ __align__(16) char shared[];
    const Block block{static_cast<int>(threadIdx.x), static_cast<int>(blockDim.x)};
    train_model(block, training, blockIdx.x, kInShared ? shared : nullptr);
}

// Bytes that a launch needs: of a model's workspace, and of shared memory.
extern "C" __global__ void rnnzoo_sizes(int64_t* sizes, int64_t steps, int64_t sequences) {
    sizes[0] = workspace_bytes(static_cast<int>(steps), static_cast<int>(sequences));
    sizes[1] = kInShared ? model_bytes() : 0;
}
