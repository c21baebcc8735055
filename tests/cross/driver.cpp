// Trains, scores and samples on a machine without Python: fused.cpp, with what it computes on in a file.
//
//   driver input output
//
// Both files are made and read by builds.py, one array after the other, little endian. The input begins with the
// counts and the numbers of `Header`; arrays that are missing have a count of 0. The output has weights, moments and
// losses of training, then losses and answers of scoring, then strings.

#include <cstdio>
#include <cstdlib>
#include <vector>

#include "fused.cpp"

namespace {

// Mirrors `HEADER` in builds.py.
struct Header {
    int64_t models, parameters, train_steps, sequences, steps_before;  // N, P, S, B
    int64_t items, item_bytes, labels, view_bytes, steps;              // I, F, I or 0, F' or 0, T
    int64_t scored, strings, string_steps, begin, threads;             // M, strings and their T (0 without tokens)
    float scale, shift;
};

void check(bool holds, const char* what) {
    if (holds) return;
    std::fprintf(stderr, "driver: %s\n", what);
    std::exit(1);
}

template <class Value>
std::vector<Value> read(std::FILE* file, int64_t count) {
    std::vector<Value> values(count);
    check(std::fread(values.data(), sizeof(Value), count, file) == values.size(), "the input is too short");
    return values;
}

template <class Value>
void write(std::FILE* file, const std::vector<Value>& values) {
    check(std::fwrite(values.data(), sizeof(Value), values.size(), file) == values.size(), "cannot write");
}

template <class Value>
const Value* or_null(const std::vector<Value>& values) {
    return values.empty() ? nullptr : values.data();
}

}  // namespace

int main(int count, char** words) {
    check(count == 3, "expected an input and an output");
    std::FILE* input = std::fopen(words[1], "rb");
    check(input != nullptr, "cannot open the input");
    const Header h = read<Header>(input, 1)[0];
    check(h.parameters == rnnzoo_parameters(), "compiled for another shape");

    auto weights = read<float>(input, h.models * h.parameters);
    auto first_moments = read<float>(input, h.models * h.parameters);
    auto second_moments = read<float>(input, h.models * h.parameters);
    const auto items = read<uint8_t>(input, h.items * h.item_bytes);
    const auto labels = read<uint8_t>(input, h.labels);
    const auto views = read<int16_t>(input, h.models * h.view_bytes);
    const auto item_ids = read<int32_t>(input, h.models * h.train_steps * h.sequences);
    const auto learning_rates = read<float>(input, h.models * h.train_steps);
    const auto weight_decays = read<float>(input, h.models);
    const auto scored_ids = read<int32_t>(input, h.models * h.scored);
    const auto uniforms = read<float>(input, h.models * h.strings * h.string_steps);
    std::fclose(input);

    const int threads = static_cast<int>(h.threads);
    const Data data{items.data(),     or_null(labels), or_null(views), h.item_bytes,
                    h.view_bytes ? h.view_bytes : h.item_bytes, h.steps, h.scale, h.shift};
    std::vector<float> losses(h.models * h.train_steps), scores(h.models * h.scored);
    std::vector<uint8_t> correct(h.models * h.scored), strings(h.models * h.strings * (h.string_steps + 1));
    check(rnnzoo_train(&data, weights.data(), first_moments.data(), second_moments.data(), item_ids.data(),
                       learning_rates.data(), weight_decays.data(), losses.data(), h.models, h.train_steps,
                       h.sequences, h.steps_before, threads) == 0, "training ran out of memory");
    check(rnnzoo_score(&data, weights.data(), scored_ids.data(), scores.data(), correct.data(), h.models, h.scored,
                       threads) == 0, "scoring ran out of memory");
    if (h.strings > 0)
        check(rnnzoo_sample(weights.data(), static_cast<int>(h.begin), uniforms.data(), strings.data(), h.models,
                            h.strings, h.string_steps, threads) == 0, "sampling ran out of memory");

    std::FILE* output = std::fopen(words[2], "wb");
    check(output != nullptr, "cannot open the output");
    write(output, weights);
    write(output, first_moments);
    write(output, second_moments);
    write(output, losses);
    write(output, scores);
    write(output, correct);
    write(output, strings);
    check(std::fclose(output) == 0, "cannot write");
}
