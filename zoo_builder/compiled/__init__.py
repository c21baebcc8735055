"""C++ that is compiled on first use: the compiler, vectors of floats, the cells, and layers of frozen RNNs."""
