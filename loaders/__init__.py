"""Reading zoos, encoding their weights, and the benchmark."""
