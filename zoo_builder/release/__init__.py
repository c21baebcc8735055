"""A zoo as a dataset repository of the Hugging Face hub: its folder, its card, and the way there.

`parquet.py` writes what stock clients read, `card.py` the README, `figures.py`, `croissant.py` and
`leaderboard.py` what goes with it, `folder.py` puts a release together and checks one, `push.py` uploads it.
"""

from rnnzoo.zoo_builder.release.card import render_card
from rnnzoo.zoo_builder.release.folder import check_release, release_zoo
from rnnzoo.zoo_builder.release.push import push_release

__all__ = ["check_release", "push_release", "release_zoo", "render_card"]
