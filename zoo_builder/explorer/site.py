"""Where the zoo of a page lies, and the page as a folder, for any web server or a static Space of the hub."""

from __future__ import annotations

import contextlib
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from rnnzoo.zoo_builder.errors import ParameterError
from rnnzoo.zoo_builder.escaping import for_yaml
from rnnzoo.zoo_builder.explorer.data import read_page_data
from rnnzoo.zoo_builder.explorer.page import page_title, render_page
from rnnzoo.zoo_builder.hub import ON_HUB
from rnnzoo.zoo_builder.identity.reference import download
from rnnzoo.zoo_builder.overview import shards_to_draw
from rnnzoo.zoo_builder.storage import schema
from rnnzoo.zoo_builder.storage.files import file_in
from rnnzoo.zoo_builder.storage.manifest import read_manifest
from rnnzoo.zoo_builder.storage.writing import check_new, new_folder, write_file

WEIGHTS = "weights/"
"""Where a page finds the weights that stand beside it."""
CARD = """\
---
title: {title}
sdk: static
app_file: index.html
{datasets}---

{summary}

`index.html` is the whole page; it reads the weights of a network from `{weights}` by byte ranges.
Made by `zoo-builder explore`.
"""


@dataclass(frozen=True)
class ShownZoo:
    """A zoo on this machine, as far as a page shows it.

    Attributes:
        folder: The zoo, or what was downloaded of it.
        repository: "org/name" of a repository on the hub; None for a folder.
        address: The address of the repository's files, with a slash at its end; None for a folder.
    """

    folder: Path
    repository: str | None = None
    address: str | None = None


def find_zoo(text: str) -> ShownZoo:
    """The zoo in a folder, or in a dataset repository "org/name" or "org/name@revision" on the hub.

    Of a repository, metadata and the shards that a page shows are downloaded into the cache of huggingface_hub.

    Raises:
        RnnzooError: There is no such zoo, or the hub cannot be reached.
    """
    if os.path.isdir(text):
        return ShownZoo(Path(text))
    repository = ON_HUB.fullmatch(text)
    if os.path.exists(text) or repository is None:
        raise ParameterError(
            "zoo", f"found {text!r:.200}, expected a zoo's folder, or a hub repository (org/name)"
        )
    name, revision = repository[1], repository[2]
    folder = download(name, schema.MANIFEST, revision).parent
    manifest = read_manifest(folder)
    for split in manifest.splits:
        download(name, schema.metadata_file(split), folder.name)
    shards = shards_to_draw(manifest)
    for file in [*map(schema.weights_file, shards), *map(schema.rollouts_file, shards[:1])]:
        download(name, file, folder.name)  # the folder is called as the commit is
    from huggingface_hub import constants

    return ShownZoo(folder, name, f"{constants.ENDPOINT}/datasets/{name}/resolve/{folder.name}/")


def write_site(zoo: ShownZoo, out: Path) -> int:
    """Write a page with all that it needs: index.html, a README that makes a static Space of it, and weights.

    A page of a repository reads the weights from there.

    Args:
        zoo: What it shows.
        out: A new folder, or an empty one.

    Returns:
        How many bytes there are in it.

    Raises:
        RnnzooError: The zoo cannot be read, the folder holds something already, or the disk refuses.
    """
    with contextlib.suppress(OSError):
        out.rmdir()  # if it is empty
    check_new(out)
    address = WEIGHTS if zoo.address is None else zoo.address + WEIGHTS
    data = read_page_data(zoo.folder, address)
    datasets = "" if zoo.repository is None else f"datasets:\n- {zoo.repository}\n"
    named = data.family.zoos.get(data.manifest.zoo)
    summary = f"A zoo of recurrent networks to look at and to run. {named.notice if named else ''}".strip()
    card = CARD.format(
        title=for_yaml(page_title(data.manifest.zoo)), datasets=datasets, summary=summary, weights=address
    )
    with new_folder(out) as folder:
        for name in data.shards if zoo.address is None else ():
            (folder / WEIGHTS).mkdir(exist_ok=True)
            shutil.copyfile(file_in(zoo.folder, schema.weights_file(name)), folder / schema.weights_file(name))
        write_file(folder / "README.md", card.encode())
        write_file(folder / "index.html", render_page(data).encode())
        return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
