"""Reading zoos, encoding their weights, and the benchmark."""

from rnnzoo.loaders.zoo import Zoo, load_zoo

__all__ = ["Zoo", "load_zoo"]
