"""Rotated handwritten digits, read tile by tile: a task is the angle."""
