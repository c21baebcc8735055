"""What the RNNs of the zoos learn. A new family is one file here and one line in `TASK_FAMILIES`."""

from typing import Any

from rnnzoo.zoo_builder.tasks.base import Batch, Data, Task, TaskFamily, TileEncoding, TokenEncoding
from rnnzoo.zoo_builder.tasks.formal_languages import FormalLanguages
from rnnzoo.zoo_builder.tasks.images import Images, load_images
from rnnzoo.zoo_builder.tasks.sequential_images import SequentialImages

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

TASK_FAMILIES: dict[str, type[TaskFamily[Any]]] = {
    FormalLanguages.name: FormalLanguages,
    SequentialImages.name: SequentialImages,
}
"""Name -> class; a family of images is made from its `Images`, any other from nothing."""
