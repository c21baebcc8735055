"""What a job does on each track, from an encoder to predictions."""
