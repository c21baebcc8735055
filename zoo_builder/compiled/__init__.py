"""C++ that is compiled on first use: the compiler, vectors of floats, and what an LSTM step does elementwise."""
