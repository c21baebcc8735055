// Several threads at one piece of work.

#pragma once

#include <cstdint>
#include <system_error>
#include <thread>
#include <vector>

// Calls work() from `threads` threads at once, this one among them, and returns when all are done. Where the system
// grants fewer, those there are do all the work: work() must take its share from what is left.
template <class Work>
void on_threads(int64_t threads, Work work) {
    std::vector<std::thread> helpers;
    try {
        for (int64_t i = 1; i < threads; i++) helpers.emplace_back(work);
    } catch (const std::system_error&) {
    }
    work();
    for (std::thread& helper : helpers) helper.join();
}
