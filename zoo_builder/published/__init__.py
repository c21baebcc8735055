"""The arrays of the original release (Herrmann et al. 2024): into a zoo, and a zoo into such arrays.

`arrays.py` knows the layout, `importer.py` reads it, `exporter.py` writes it.
"""

from rnnzoo.zoo_builder.published.exporter import export_zoo
from rnnzoo.zoo_builder.published.importer import import_published

__all__ = ["export_zoo", "import_published"]
