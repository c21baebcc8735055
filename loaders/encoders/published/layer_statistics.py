"""Layer-wise statistics as published: what its configuration asks for is not what its program builds."""

from __future__ import annotations

from rnnzoo.loaders.encoders.layer_statistics import LayerStatistics
from rnnzoo.loaders.population import Population


class PublishedLayerStatistics(LayerStatistics):
    """Mean, variance and quantiles of each tensor, then an MLP of 1 x 128.

    From the program of Herrmann et al. (2024). Its configuration asks for 3 x 768, under names that the program
    does not read: `hidden=(768, 768, 768)` is what was meant.

    Args:
        population: What it is made from.
        hidden: Widths of the MLP's hidden layers.
    """

    def __init__(self, population: Population, hidden: tuple[int, ...] = (128,)) -> None:
        super().__init__(population, hidden)

    def published_names(self) -> dict[str, str]:
        """See `load_published_weights`."""
        return {"mlp_model": "head.layers"}
