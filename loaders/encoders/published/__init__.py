"""The paper's encoders as its published program builds them: `form="published"`, one file an encoder.

Sizes agree to the parameter, functions to rounding, and its saved weights can be loaded (`weights.py`). What our
own forms do in another way, and why, is a table in docs/encoders.md.
"""
