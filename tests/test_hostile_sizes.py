"""Files that claim to be large, or would grow when they are read: refused in little memory."""

import os
import resource
import struct
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rnnzoo.zoo_builder.errors import RnnzooError
from rnnzoo.zoo_builder.storage.files import read_json
from rnnzoo.zoo_builder.storage.manifest import read_manifest, read_splits
from rnnzoo.zoo_builder.storage.parquet import read_table
from rnnzoo.zoo_builder.storage.shards import read_shard
from rnnzoo.zoo_builder.tasks.sequential_images import images

ROOT = Path(__file__).parent.parent


def sparse(path, size, start=b""):
    """A file that takes no room on the disk and claims to be large."""
    path.write_bytes(start)
    os.truncate(path, size)


def test_files_of_a_terabyte_of_nothing_are_refused_unread(tmp_path, copied):
    sparse(copied / "zoo.json", 1 << 40)
    sparse(copied / "splits.json", 1 << 40)
    sparse(tmp_path / "shard", 1 << 40, struct.pack("<Q", 1 << 39))
    sparse(tmp_path / "train-images-idx3-ubyte", 1 << 40)
    (tmp_path / "train-labels-idx1-ubyte").touch()
    tracemalloc.start()
    for read in (read_manifest, read_splits, lambda zoo: read_json(zoo / "zoo.json")):
        with pytest.raises(RnnzooError, match="found 1099511627776 bytes, expected at most"):
            read(copied)
    with pytest.raises(RnnzooError, match="the header should have 549755813888 bytes"):
        read_shard(tmp_path / "shard")
    with pytest.raises(RnnzooError, match="expected md5"):
        images.mnist_from_folder(tmp_path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 100e6, peak


def compressed_text(path):
    pq.write_table(pa.table({"a": ["x" * 200_000_000]}), path, compression="zstd", use_dictionary=False)


def filler(rows):
    """A column that does not compress: the file has bytes for its rows."""
    return pa.array(np.random.default_rng(0).integers(0, 2**62, rows))


def long_entry_often(path):
    entries = pa.DictionaryArray.from_arrays(pa.array(np.zeros(100_000, np.int32)), ["x" * 1_000_000])
    options = {"compression": "zstd", "store_schema": False}
    pq.write_table(pa.table({"a": entries, "b": filler(100_000)}), path, **options)


def one_vector_often(path):
    """Numbers of a dictionary take next to no room in a page."""
    zeros = pa.FixedSizeListArray.from_arrays(pa.array(np.zeros(4096 * 5000)), 4096)
    pq.write_table(pa.table({"a": zeros, "b": filler(5000)}), path, compression="zstd")


def rows_of_nothing(path):
    pq.write_table(pa.table({"a": pa.nulls(50_000_000, pa.int64())}), path, compression="zstd")


def prefixes(path):
    texts = pa.array(["x" * 50_000] * 4000)
    options = {"use_dictionary": ["b"], "column_encoding": {"a": "DELTA_BYTE_ARRAY"}, "compression": "zstd"}
    pq.write_table(pa.table({"a": texts, "b": filler(4000)}), path, **options)


def wide_vectors(path):
    kind = pa.list_(pa.float32(), 100_000)
    pq.write_table(pa.table({"a": pa.array([None] * 300, kind)}), path, compression="zstd")


def false_statistics(path):
    """A column that has values throughout, with statistics of one that has not: no bomb, but pyarrow's
    `metadata.row_group(0).column(0)` ends the process."""
    pq.write_table(pa.table({"a": pa.array([1, None, 3])}), path, store_schema=False)
    optional, required = b"\x25\x02\x18", b"\x25\x00\x18"  # the field repetition_type, before the field name
    assert path.read_bytes().count(optional) == 1
    path.write_bytes(path.read_bytes().replace(optional, required))


BOMBS = {
    compressed_text: "its pages hold more",
    long_entry_often: "its texts would take more memory",
    one_vector_often: "its pages hold more",
    rows_of_nothing: "found 50000000 rows in",
    prefixes: "found encoding 7",
    wide_vectors: "expected texts, numbers or vectors",
    false_statistics: "not a whole Parquet file",
}
READ_ALL = """
import resource, sys
from pathlib import Path
from rnnzoo.zoo_builder.errors import RnnzooError
from rnnzoo.zoo_builder.storage.parquet import read_table
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for name in sys.argv[1:]:
    try:
        read_table(Path(name))
        print("was read")
    except RnnzooError as error:
        print(str(error)[:500].replace(chr(10), " "))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_parquet_that_would_fill_the_memory(tmp_path):
    paths = [tmp_path / make.__name__ for make in BOMBS]
    for path, make in zip(paths, BOMBS, strict=True):
        make(path)
        assert path.stat().st_size < 2_000_000
    done = subprocess.run(
        [sys.executable, "-c", READ_ALL, *map(str, paths)], capture_output=True, text=True, check=True, cwd=ROOT
    )
    *said, kilobytes = done.stdout.splitlines()
    for line, message in zip(said, BOMBS.values(), strict=True):
        assert message in line
    assert int(kilobytes) < 100_000


def test_parquet_with_texts_that_are_none(tmp_path):
    path = tmp_path / "table.parquet"
    bad = pa.Array.from_buffers(
        pa.string(), 1, [None, pa.py_buffer(np.array([0, 2], "<i4")), pa.py_buffer(b"\xff\xfe")]
    )
    pq.write_table(pa.table({"a": bad}), path)
    with pytest.raises(RnnzooError, match="not a whole Parquet file"):
        read_table(path)
    nested = [{"a": [[1]]}, {"a": {"b": 1}}, {"a": pa.array(["x"]).dictionary_encode()}]
    for columns in nested:
        table = pa.table(
            {name: values if isinstance(values, pa.Array) else [values] for name, values in columns.items()}
        )
        pq.write_table(table, path)
        with pytest.raises(RnnzooError, match="column"):
            read_table(path)


def test_idx_that_unpacks_to_much_more(tmp_path):
    import gzip

    with gzip.open(tmp_path / "train-images-idx3-ubyte.gz", "wb", compresslevel=1) as file:
        for _ in range(40):
            file.write(bytes(10_000_000))
    (tmp_path / "train-labels-idx1-ubyte").touch()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(RnnzooError, match="found 47040017 bytes"):
        images.mnist_from_folder(tmp_path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000
