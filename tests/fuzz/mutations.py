"""Sound files made hostile: by their bytes, and by what their format says.

Every function takes a `random.Random`, so that hypothesis may steer it, or a seed.
"""

from __future__ import annotations

import ast
import contextlib
import gzip
import io
import json
import struct
import zipfile
from collections.abc import Callable
from random import Random
from typing import Any

Mutation = Callable[[Random, bytes], bytes]

NASTY: list[Any] = [
    *(None, True, False, -1, 0, 1, 2, 255, 2**15, 2**31, 2**62, 2**63, -(2**63), 10**30, 10**300, 1e308, 1.5),
    *(
        float("nan"),
        float("inf"),
        "",
        "a" * 300,
        "../../secret",
        "/etc/passwd",
        "\0",
        "\ud800",
        "F32",
        "U8",
        "lstm",
    ),
    *([], {}, [0], [[]], {"": 0}, [-1, 2**62], [True, 4], [2**40, 2**40], [0] * 70),
]


def mutate_bytes(random: Random, content: bytes) -> bytes:
    """Some bytes changed, cut out, doubled or put in; often near the ends, where formats keep what matters."""
    changed = bytearray(content)
    for _ in range(random.choice((1, 1, 2, 4, 16))):
        reach = random.choice((16, 200, 4096, max(1, len(changed))))
        place = min(random.randrange(reach), len(changed))
        place = random.choice((place, len(changed) - place))
        kind = random.randrange(6)
        if kind < 3 and place < len(changed):
            changed[place] = random.choice((0, 1, 127, 128, 255, random.randrange(256), changed[place] ^ 1))
        elif kind == 3:
            del changed[place : place + random.choice((1, 8, 100, len(changed)))]
        elif kind == 4:
            changed[place:place] = changed[place : place + random.choice((1, 8, 100))]
        else:
            changed[place:place] = random.choice((b"\0", b"\xff" * 8, b"[" * 50, b"PAR1", bytes(1000)))
    return bytes(changed)


def mutate_value(random: Random, value: Any) -> Any:
    """A JSON value with one place in it changed."""
    if not isinstance(value, dict | list) or not value or random.random() < 0.1:
        nasty = random.choice(NASTY)
        return [value] * random.randrange(3) if random.random() < 0.1 else nasty
    changed: Any = value.copy()
    key = random.choice(list(value)) if isinstance(value, dict) else random.randrange(len(value))
    kind = random.randrange(10)
    if kind == 0:
        del changed[key]
    elif kind == 1 and isinstance(value, dict):
        changed[random.choice(("x", "../x", "__metadata__", "weights/../../x", f"{key} "))] = changed[key]
    elif kind == 2:
        other = random.choice(list(value.values() if isinstance(value, dict) else value))
        changed[key] = other
    else:
        changed[key] = mutate_value(random, value[key])
    return changed


def mutate_json(random: Random, content: bytes) -> bytes:
    """A JSON file, changed in one to three places, or as text."""
    kind = random.randrange(12)
    if kind == 0:
        return mutate_bytes(random, content)
    if kind == 1:
        return b"[" * 100_000 if random.random() < 0.5 else b'{"a":' * 500 + b"1" + b"}" * 500
    if kind == 2:
        return content.replace(b'"', b'"format": "rnnzoo", "', 1)
    value = json.loads(content)
    for _ in range(random.randrange(1, 4)):
        value = mutate_value(random, value)
    return json.dumps(value).encode()


def mutate_safetensors(random: Random, content: bytes) -> bytes:
    """A safetensors file with another header, or the length of one."""
    (length,) = struct.unpack("<Q", content[:8])
    kind = random.randrange(8)
    if kind == 0:
        claimed = random.choice((0, 1, length - 1, length + 1, len(content), 2**40, 2**63, 2**64 - 1))
        return struct.pack("<Q", claimed) + content[8:]
    if kind == 1:
        return mutate_bytes(random, content)
    header = json.loads(content[8 : 8 + length])
    for _ in range(random.randrange(1, 4)):
        header = mutate_value(random, header)
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + content[8 + length :]


def mutate_npy(random: Random, content: bytes) -> bytes:
    """A .npy file with another header."""
    (length,) = struct.unpack("<H", content[8:10])
    if random.random() < 0.3:
        return mutate_bytes(random, content)
    header = ast.literal_eval(content[10 : 10 + length].decode())
    descr = [
        header["descr"],
        "|O",
        ">f4",
        "<f8",
        "<i8",
        "<u8",
        "<c8",
        "|V8",
        "<U5",
        "<M8[s]",
        "<f4,<f4",
        "(99,)f4",
    ]
    shape = [*header["shape"]]
    shape[random.randrange(len(shape))] = random.choice((0, 1, -1, 2**31, 2**62, 2**64, True))
    shapes = [tuple(header["shape"]), tuple(shape), (), (2**32, 2**32), (-1, -1), (10**18,), tuple(shape[:-1])]
    changed = {
        "descr": random.choice(descr),
        "fortran_order": random.choice((False, True, 0, "")),
        "shape": random.choice(shapes),
    }
    text = random.choice((str(changed), f"{changed}#" + "(" * 100, "(" * 5000, "__import__('os')"))
    return content[:8] + struct.pack("<H", len(text)) + text.encode() + content[10 + length :]


def mutate_gzip(random: Random, content: bytes) -> bytes:
    """A compressed file: changed, or with other content, such as very much of it."""
    if random.random() < 0.5:
        return mutate_bytes(random, content)
    inner = gzip.decompress(content)
    return gzip.compress(random.choice((mutate_bytes(random, inner), inner + bytes(100_000_000))), compresslevel=1)


def mutate_zip(random: Random, content: bytes) -> bytes:
    """A zip archive, as torch writes, with one entry changed or compressed."""
    if random.random() < 0.3:
        return mutate_bytes(random, content)
    written = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as archive, zipfile.ZipFile(written, "w") as changed:
        victim = random.choice(archive.namelist())
        for name in archive.namelist():
            inner = archive.read(name)
            if name == victim or (name.endswith("data.pkl") and random.random() < 0.5):
                inner = random.choice((mutate_bytes(random, inner), inner * 2, b""))
            kind = random.choice((zipfile.ZIP_STORED, zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))
            with contextlib.suppress(UserWarning):
                changed.writestr(name, inner, kind)
    return written.getvalue()


def mutate_parquet(random: Random, content: bytes) -> bytes:
    """A Parquet file: mostly its footer and the headers of its pages."""
    if random.random() < 0.4:
        return mutate_bytes(random, content)
    changed = bytearray(content)
    (length,) = struct.unpack("<I", content[-8:-4])
    footer = len(content) - 8 - length
    for _ in range(random.randrange(1, 6)):
        place = random.choice((random.randrange(max(0, footer), len(content)), random.randrange(len(content))))
        changed[place] = random.choice((0, 1, 2, 21, 22, 24, 25, 44, 127, 128, 255, random.randrange(256)))
    return bytes(changed)
