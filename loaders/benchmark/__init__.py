"""The benchmark: what an embedding says about its RNN, on tasks that no readout has seen.

`run.py` does what `zoo-bench run` asks for and writes results; `report` reads them. The two share no heavy
library, so each is imported by itself.
"""
