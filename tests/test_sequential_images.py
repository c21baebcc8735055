"""Rotated images against Pillow itself; MNIST's files, sound and broken."""

import gzip
import os
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from rnnzoo.zoo_builder.errors import RnnzooError
from rnnzoo.zoo_builder.tasks.sequential_images import images
from rnnzoo.zoo_builder.tasks.sequential_images.family import SequentialImages
from rnnzoo.zoo_builder.tasks.sequential_images.images import load_images
from rnnzoo.zoo_builder.tasks.sequential_images.rotation import Rotation, rotation_map, tiles, untile
from rnnzoo.zoo_builder.training.loop import run_data

DIGITS = images.bundled_digits()
FAMILY = SequentialImages(DIGITS)


def rotated_by_pillow(image, degrees):
    return np.asarray(Image.fromarray(image).rotate(degrees, resample=Image.Resampling.NEAREST))


@settings(max_examples=300, deadline=None)
@given(st.floats(0, 360, exclude_max=True), st.integers(0, len(DIGITS.pixels) - 1))
def test_rotation_is_pillows_pixel_for_pixel(degrees, number):
    image = DIGITS.pixels[number]
    source = rotation_map(degrees)
    ours = np.where(source >= 0, image.reshape(-1)[source], 0)
    assert np.array_equal(ours, rotated_by_pillow(image, degrees))


@pytest.mark.parametrize("degrees", [0, 45, 90, 135, 180, 270, 359.999999])
def test_rotation_at_special_angles(degrees):
    noise = np.random.default_rng(0).integers(0, 256, (28, 28), dtype=np.uint8)
    source = rotation_map(degrees)
    assert np.array_equal(np.where(source >= 0, noise.reshape(-1)[source], 0), rotated_by_pillow(noise, degrees))


def test_tiles_are_read_in_rows():
    numbers = np.arange(784).reshape(28, 28)
    flat = tiles(numbers)
    assert flat[:16].tolist() == numbers[:4, :4].reshape(-1).tolist()
    assert flat[16:32].tolist() == numbers[:4, 4:8].reshape(-1).tolist()
    assert np.array_equal(untile(flat), numbers)


def test_a_batch_is_what_the_paper_describes():
    tasks = [Rotation(30.0), Rotation(200.5)]
    data = run_data(FAMILY, tasks)
    ids = torch.tensor([[3, 5, 9], [0, 3, 7]])
    batch = data.batch(ids)
    assert batch.inputs.shape == (2, 3, 50, 16)
    assert batch.targets.shape == (2, 3, 50)
    assert (batch.inputs[:, :, 0] == 0).all()  # the BEGIN step
    for n, task in enumerate(tasks):
        for b in range(3):
            turned = rotated_by_pillow(DIGITS.pixels[ids[n, b]], task.degrees) / 255
            expected = tiles((turned - 0.1307) / 0.3081).reshape(49, 16)
            np.testing.assert_allclose(batch.inputs[n, b, 1:], expected, atol=1e-5)
            assert (batch.targets[n, b] == int(DIGITS.labels[ids[n, b]])).all()


def test_one_image_in_five_is_kept_for_evaluation():
    task = Rotation(0.0)
    training, evaluation = FAMILY.training_items(task), FAMILY.evaluation_items(task)
    assert not set(training) & set(evaluation)
    assert len(training) + len(evaluation) == 1797
    assert len(evaluation) / 1797 == pytest.approx(0.2, abs=0.03)


def test_angles_fill_the_circle_and_do_not_depend_on_the_number_of_runs():
    angles = np.array([task.degrees for task in FAMILY.tasks(1000, seed=1)])
    assert ((angles >= 0) & (angles < 360)).all()
    assert np.histogram(angles, bins=6, range=(0, 360))[0].min() > 120
    assert [task.degrees for task in FAMILY.tasks(10, seed=1)] == angles[:10].tolist()
    assert all(task.task_id == f"rotation-{task.degrees:010.6f}" for task in FAMILY.tasks(50, seed=2))


def test_ood_is_the_arc_of_the_largest_angles():
    tasks = FAMILY.tasks(1000, seed=0)
    ood = FAMILY.out_of_distribution(tasks)
    assert len(ood) == 150
    assert min(task.degrees for task in ood) > max(task.degrees for task in set(tasks) - set(ood))
    assert min(task.degrees for task in ood) == pytest.approx(306, abs=10)


def test_digits_are_real_and_scaled():
    assert DIGITS.pixels.shape == (1797, 28, 28)
    assert DIGITS.pixels.dtype == np.uint8
    assert DIGITS.pixels.max() > 240
    assert sorted(set(DIGITS.labels.tolist())) == list(range(10))


# MNIST's files


@pytest.fixture
def small_mnist(tmp_path, monkeypatch):
    """A folder in the layout of MNIST with 12 digits, and the md5 sums that go with it."""
    import hashlib

    pixels, labels = DIGITS.pixels[:12], DIGITS.labels[:12]
    contents = {
        "train-images-idx3-ubyte": struct.pack(">HBBIII", 0, 8, 3, 12, 28, 28) + pixels.tobytes(),
        "train-labels-idx1-ubyte": struct.pack(">HBBI", 0, 8, 1, 12) + labels.tobytes(),
    }
    for name, content in contents.items():
        (tmp_path / f"{name}.gz").write_bytes(gzip.compress(content))
    sums = {name: hashlib.md5(content, usedforsecurity=False).hexdigest() for name, content in contents.items()}
    monkeypatch.setattr(images, "MNIST_FILES", sums)
    return tmp_path


def test_a_folder_of_idx_files_is_read_plain_or_compressed(small_mnist):
    compressed = load_images("mnist", small_mnist)
    for path in small_mnist.glob("*.gz"):
        path.with_suffix("").write_bytes(gzip.decompress(path.read_bytes()))
        path.unlink()
    plain = load_images("mnist", small_mnist)
    for read in (compressed, plain):
        assert read.source == "mnist"
        assert np.array_equal(read.pixels, DIGITS.pixels[:12])
        assert np.array_equal(read.labels, DIGITS.labels[:12])


@pytest.mark.parametrize("ending", ["", ".gz"])
def test_files_of_other_names_are_found_by_their_content(small_mnist, ending):
    """As MNIST goes round: `train-images.idx3-ubyte`, beside the test set and notes."""
    expected = images.mnist_from_folder(small_mnist)
    for name in list(images.MNIST_FILES):
        path = next(path for path in (small_mnist / name, small_mnist / f"{name}.gz") if path.exists())
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        path.unlink()
        renamed = small_mnist / (name.replace("-idx", ".idx") + ending)
        renamed.write_bytes(gzip.compress(content) if ending else content)
    (small_mnist / "t10k-labels.idx1-ubyte").write_bytes(b"others")
    found = images.mnist_from_folder(small_mnist)
    assert (found.pixels == expected.pixels).all()
    assert (found.labels == expected.labels).all()


def test_the_environment_variable_names_the_folder(small_mnist, monkeypatch):
    monkeypatch.setenv(images.MNIST_VARIABLE, str(small_mnist))
    assert len(load_images("mnist").pixels) == 12


@pytest.mark.parametrize("damage", ["flip", "truncate", "empty", "not gzip", "longer"])
def test_broken_files_are_named(small_mnist, damage):
    path = small_mnist / "train-images-idx3-ubyte.gz"
    content = bytearray(gzip.decompress(path.read_bytes()))
    if damage == "flip":
        content[500] ^= 1
        path.write_bytes(gzip.compress(content))
    elif damage == "longer":
        path.write_bytes(gzip.compress(bytes(content) + b"x"))
    else:
        broken = {"truncate": path.read_bytes()[:200], "empty": b"", "not gzip": b"hello"}
        path.write_bytes(broken[damage])
    with pytest.raises(RnnzooError, match=r"train-images-idx3-ubyte\.gz"):
        load_images("mnist", small_mnist)


def test_missing_folder_and_missing_file(tmp_path):
    with pytest.raises(RnnzooError, match="is not a folder"):
        load_images("mnist", tmp_path / "nowhere")
    with pytest.raises(RnnzooError, match="holds neither train-images-idx3-ubyte nor"):
        load_images("mnist", tmp_path)


def test_mnist_out_of_reach_says_both_ways(monkeypatch):
    monkeypatch.delenv(images.MNIST_VARIABLE, raising=False)

    def nowhere():
        raise ConnectionError("no network")

    monkeypatch.setattr(images, "_hub_file", nowhere)
    with pytest.raises(RnnzooError, match=r"Name a folder.*RNNZOO_MNIST_DIR.*ylecun/mnist"):
        load_images("mnist")


def test_the_hubs_parquet_file_gives_the_same_images(small_mnist, tmp_path, monkeypatch):
    import io

    import pyarrow as pa
    import pyarrow.parquet as pq

    def png(image):
        buffer = io.BytesIO()
        Image.fromarray(image).save(buffer, "png")
        return {"bytes": buffer.getvalue(), "path": None}

    columns = {"image": [png(image) for image in DIGITS.pixels[:12]], "label": DIGITS.labels[:12].astype(np.int64)}
    pq.write_table(pa.table(columns), tmp_path / "train.parquet")
    monkeypatch.setattr(images, "_hub_file", lambda: str(tmp_path / "train.parquet"))
    read = images.mnist_from_hub()
    assert np.array_equal(read.pixels, load_images("mnist", small_mnist).pixels)
    monkeypatch.setattr(images, "MNIST_FILES", dict.fromkeys(images.MNIST_FILES, "0" * 32))
    with pytest.raises(RnnzooError, match="md5"):
        images.mnist_from_hub()


def test_unknown_source():
    with pytest.raises(RnnzooError, match="image source: found 'cifar'"):
        load_images("cifar")


@pytest.mark.mnist
@pytest.mark.skipif(not os.environ.get(images.MNIST_VARIABLE), reason=f"needs {images.MNIST_VARIABLE}")
def test_the_real_mnist():
    read = load_images("mnist", Path(os.environ[images.MNIST_VARIABLE]))
    assert read.pixels.shape == (60_000, 28, 28)
    family = SequentialImages(read)
    assert len(family.evaluation_items(Rotation(0.0))) == pytest.approx(12_000, abs=300)
    assert np.bincount(read.labels).min() > 5_000
