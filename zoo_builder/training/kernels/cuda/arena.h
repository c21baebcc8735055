#pragma once

// Hands out memory, in whole 16 bytes; of no base it counts.
struct Arena {
    char* base;
    int64_t used = 0;

    template <class T>
    T* take(int64_t count) {
        T* taken = reinterpret_cast<T*>(base + used);
        used += (count * static_cast<int64_t>(sizeof(T)) + 15) / 16 * 16;
        return taken;
    }
};
