"""A zoo as one page: a map of its checkpoints, and each of its RNNs run in the browser."""

from rnnzoo.zoo_builder.explorer.server import ExplorerServer
from rnnzoo.zoo_builder.explorer.site import find_zoo, write_site

__all__ = ["ExplorerServer", "find_zoo", "write_site"]
