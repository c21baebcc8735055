"""A benchmarked encoder as a model repository of the hub, whose scores the zoo's leaderboard there gathers.

`subject.py` says which results are published, `contents.py` what the repository holds, `push.py` uploads it.
"""

from rnnzoo.loaders.model_repository.push import push_results

__all__ = ["push_results"]
