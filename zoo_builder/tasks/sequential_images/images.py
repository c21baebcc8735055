"""Handwritten digits, 28 x 28 pixels: MNIST from a folder of IDX files or from the hub, or the bundled digits.

MNIST is the work of LeCun, Cortes and Burges (CC BY-SA 3.0). scikit-learn bundles 1797 digits of the UCI
"Optical Recognition of Handwritten Digits" set, 8 x 8 pixels; they are scaled up here.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import re
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray
from PIL import Image

from rnnzoo.zoo_builder.errors import RnnzooError
from rnnzoo.zoo_builder.tasks.data import Bytes

SIDE = 28
MEAN, STD = 0.1307, 0.3081
"""Of MNIST's training pixels, scaled to [0, 1]."""
MNIST_VARIABLE = "RNNZOO_MNIST_DIR"
MNIST_HUB = "ylecun/mnist"
MNIST_HUB_FILE = "mnist/train-00000-of-00001.parquet"
MNIST_FILES = {
    "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
    "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
}
"""md5 of the decompressed bytes. Only the training set is used: the zoo splits it 80/20 itself."""
MNIST_NAMES = re.compile(r".*ubyte(\.gz)?", re.IGNORECASE)
"""Files of a folder that may be MNIST's: it goes round under several names, as `train-images.idx3-ubyte`."""


@dataclass(frozen=True)
class Images:
    """pixels: uint8 [I, 28, 28]; labels: uint8 [I]; source: "mnist" or "digits"."""

    pixels: Bytes
    labels: Bytes
    source: str


def load_images(source: str, mnist_folder: Path | None = None) -> Images:
    """The images called `source`: "digits", or "mnist" from `mnist_folder`, else $RNNZOO_MNIST_DIR, else the hub.

    Raises RnnzooError when MNIST is out of reach; the two sources never stand in for one another.
    """
    if source == "digits":
        return bundled_digits()
    if source != "mnist":
        raise RnnzooError(f"image source: found {source!r}, expected 'mnist' or 'digits'")
    folder = mnist_folder or find_mnist_folder()
    return mnist_from_folder(folder) if folder is not None else mnist_from_hub()


def find_mnist_folder() -> Path | None:
    """The folder named by $RNNZOO_MNIST_DIR, if it is set."""
    named = os.environ.get(MNIST_VARIABLE)
    return Path(named) if named else None


def bundled_digits() -> Images:
    """scikit-learn's digits, scaled bilinearly from 8 x 8 to 28 x 28 and from 0..16 to 0..255."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    small = (digits.images.astype(np.int64) * 255 + 8) // 16
    return Images(enlarged(small), digits.target.astype(np.uint8), "digits")


def enlarged(images: NDArray[np.int64]) -> Bytes:
    """Images [I, S, S] of 0 to 255, scaled to uint8 [I, 28, 28] as Pillow's `Image.resize` does it bilinearly.

    S is at most 28. Everything is in whole numbers: weights are multiples of 2^-22, rounded like pixels to the
    nearest, and pixels are rounded after each axis, x first.
    """
    small = images.shape[1]
    # In units of 1 / (2 * SIDE) small pixels: distances of the centres of pixels, and weights that fall to 0 at 1.
    centres = 2 * SIDE * np.arange(small) + SIDE
    distances = abs(centres - small * (2 * np.arange(SIDE)[:, None] + 1))
    weights = np.maximum(2 * SIDE - distances, 0)
    total = weights.sum(axis=1, keepdims=True)
    weights = (weights * 2**23 + total) // (2 * total)
    wide = (images @ weights.T + 2**21) >> 22
    return ((weights @ wide + 2**21) >> 22).astype(np.uint8)


def mnist_from_folder(folder: Path) -> Images:
    """MNIST's training set from a folder of IDX files, plain or gzip-compressed, md5 checked."""
    images, labels = (_read_idx(folder, name) for name in MNIST_FILES)
    return Images(images, labels, "mnist")


def mnist_from_hub() -> Images:
    """MNIST's training set from the hub dataset `ylecun/mnist`, checked against the same md5 sums."""
    try:
        rows = pq.read_table(_hub_file(), columns=["image", "label"])
        encoded = rows["image"].combine_chunks().field("bytes").to_pylist()
        pixels = np.stack([_decoded(image) for image in encoded])
    except Exception as error:  # the clients raise many kinds: offline, not found, proxy, cache
        raise RnnzooError(
            f"MNIST is out of reach. Name a folder with {' and '.join(f'{n}.gz' for n in MNIST_FILES)} "
            f"(by the environment variable {MNIST_VARIABLE}, for example), or make the hub dataset "
            f"{MNIST_HUB} reachable (it answered: {type(error).__name__}). "
            "The zoo sequential_digits needs no download."
        ) from error
    labels = rows["label"].to_numpy().astype(np.uint8)
    for name, array in zip(MNIST_FILES, (pixels, labels), strict=True):
        _check_md5(f"{MNIST_HUB} as {name}", _idx_header(array) + array.tobytes(), MNIST_FILES[name])
    return Images(pixels, labels, "mnist")


def _decoded(image: bytes) -> Bytes:
    """uint8 [28, 28]. Raises ValueError, before it is decoded, for an image of another size."""
    opened = Image.open(io.BytesIO(image))
    if opened.size != (SIDE, SIDE):
        raise ValueError(f"found an image of {opened.size} pixels, expected {SIDE} x {SIDE}")
    return np.asarray(opened)


def _hub_file() -> str:
    """The hub's Parquet file of MNIST's training set, in the local cache."""
    from huggingface_hub import HfApi, hf_hub_download

    try:
        HfApi().dataset_info(MNIST_HUB, timeout=10)
        reachable = True
    except Exception:  # any failure means the same: without this look, a download retries for half a minute
        reachable = False
    return hf_hub_download(MNIST_HUB, MNIST_HUB_FILE, repo_type="dataset", local_files_only=not reachable)


def _idx_header(array: Bytes) -> bytes:
    """IDX: two zero bytes, type 8 (uint8), number of dimensions, then each length, big-endian."""
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)


def _read_idx(folder: Path, name: str) -> Bytes:
    if not folder.is_dir():
        raise RnnzooError(f"MNIST folder: {folder} is not a folder")
    path = next((path for path in (folder / name, folder / f"{name}.gz") if path.is_file()), None)
    content = _find_by_content(folder, name) if path is None else _read_content(path)
    _check_md5(str(path), content, MNIST_FILES[name])
    dimensions = content[3]
    shape = struct.unpack(f">{dimensions}I", content[4 : 4 + 4 * dimensions])
    return np.frombuffer(content, np.uint8, offset=4 + 4 * dimensions).reshape(shape).copy()


def _read_content(path: Path, most: int = 60_000 * SIDE * SIDE + 16) -> bytes:
    """The bytes of a file, decompressed: at most one more than the right file has, whatever is in this one."""
    try:
        with gzip.open(path) if path.suffix == ".gz" else open(path, "rb") as file:
            return file.read(most + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise RnnzooError(f"{path}: cannot be read or decompressed: {error}") from error


def _find_by_content(folder: Path, name: str) -> bytes:
    """The content of the file that is MNIST's `name`, whatever its own name is."""
    for path in sorted(folder.iterdir()):
        if MNIST_NAMES.fullmatch(path.name) and path.is_file():
            content = _read_content(path)
            if hashlib.md5(content, usedforsecurity=False).hexdigest() == MNIST_FILES[name]:
                return content
    raise RnnzooError(
        f"MNIST folder: {folder} holds neither {name} nor {name}.gz, nor its content by another name"
    )


def _check_md5(what: str, content: bytes, expected: str) -> None:
    found = hashlib.md5(content, usedforsecurity=False).hexdigest()
    if found != expected:
        raise RnnzooError(
            f"{what}: found {len(content)} bytes with md5 {found}, expected md5 {expected} (the original MNIST)"
        )
