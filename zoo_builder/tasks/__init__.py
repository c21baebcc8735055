"""What the RNNs of the zoos learn. A new family is one file here and one line in `TASK_FAMILIES`."""

from collections.abc import Callable
from typing import Any

from zoo_builder.tasks.base import Batch, Data, Task, TaskFamily, TileEncoding, TokenEncoding
from zoo_builder.tasks.formal_languages import FormalLanguages
from zoo_builder.tasks.images import Images, load_images
from zoo_builder.tasks.sequential_images import SequentialImages

__all__ = [
    "TASK_FAMILIES",
    "Batch",
    "Data",
    "FormalLanguages",
    "Images",
    "SequentialImages",
    "Task",
    "TaskFamily",
    "TileEncoding",
    "TokenEncoding",
    "load_images",
]

TASK_FAMILIES: dict[str, Callable[[Images | None], TaskFamily[Any]]] = {
    FormalLanguages.name: lambda images: FormalLanguages(),
    SequentialImages.name: lambda images: SequentialImages(_needed(images)),
}
"""Name -> family, made from the zoo's images where it has some."""


def _needed(images: Images | None) -> Images:
    assert images is not None, "the config of a zoo of images names their source"
    return images
