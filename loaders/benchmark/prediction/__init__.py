"""What is predicted, by which readout or head, and how a prediction is scored."""
