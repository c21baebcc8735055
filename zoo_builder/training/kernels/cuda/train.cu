// The kernels: a model a block to train, pieces of models' sequences to score. RNNZOO_SHARED_BYTES is what this GPU's blocks may
// have of shared memory.

#define RNNZOO_ONE_LANE
#include "vectors.h"

struct Block {
    int thread, threads;
    void wait() const { __syncthreads(); }
};

INLINE void add_one(int* count) { atomicAdd(count, 1); }

#include "score.h"
#include "train.h"

INLINE Block this_block() { return {static_cast<int>(threadIdx.x), static_cast<int>(blockDim.x)}; }

// Shared memory for so many bytes; 0 where they do not fit, and workspace is used.
constexpr int64_t in_shared(int64_t bytes) { return bytes <= RNNZOO_SHARED_BYTES ? bytes : 0; }

extern __shared__ __align__(16) char shared[];

extern "C" __global__ void __launch_bounds__(RNNZOO_THREADS, 2) rnnzoo_train(Training training) {
    train_model(this_block(), training, blockIdx.x, in_shared(model_bytes(true)) ? shared : nullptr);
}

extern "C" __global__ void __launch_bounds__(RNNZOO_THREADS, 2) rnnzoo_score(Scoring scoring) {
    char* own = scoring.workspace + blockIdx.x * scoring_bytes();
    score_pieces(this_block(), scoring, blockIdx.x, in_shared(scoring_bytes()) ? shared : own);
}

// Bytes that launches need, of workspace and of shared memory: a model's that is trained, and a block's that scores.
extern "C" __global__ void rnnzoo_sizes(int64_t* sizes, int64_t steps, int64_t sequences, int64_t width) {
    sizes[0] = workspace_bytes(static_cast<int>(steps), static_cast<int>(sequences), width);
    sizes[1] = in_shared(model_bytes(true));
    sizes[2] = scoring_bytes();
    sizes[3] = in_shared(scoring_bytes());
}
