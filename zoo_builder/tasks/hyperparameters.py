"""Settings of the zoos whose runs differ in how they are trained, and not only in what they learn."""

HYPERPARAMETERS = {
    "learning_rate_scales": (0.1, 0.3, 1.0, 2.0),
    "weight_decays": (0.0, 0.1, 0.3, 1.0),
    "batch_size": 8,
    "batch_size_scales": (1, 2, 4, 8),
    "initial_scales": (0.5, 1.0, 2.0),
    "data_fractions": (0.25, 0.5, 1.0),
}
"""Each run draws one value of each field. Weight decays act: an update at a rate of 0.01 takes a thousandth of a
weight at 0.1, and a hundredth at 1; the published 0.0001 takes a millionth."""
