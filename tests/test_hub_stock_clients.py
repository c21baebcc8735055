"""A released zoo on a hub, read by what everybody has: `datasets`, `huggingface_hub` and the `hf` command.

The clients run in processes of their own, in which nothing of this project is imported.
"""

import hashlib
import json
import subprocess
import sys
import textwrap
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from loopback_hub import READ_TOKEN, WRITE_TOKEN, LoopbackHub

PRELUDE = """
import json
import hashlib
import numpy as np
from datasets import load_dataset

def sound(rows):
    return all(hashlib.sha256(np.float32(row["weights"]).tobytes()).hexdigest() == row["sha256"] for row in rows)
"""
SIZES = {"train": 24, "validation": 3, "test": 3, "ood": 6}


@pytest.fixture
def hub(language_release):
    with LoopbackHub() as hub:
        hub.add_folder("org/zoo", language_release, tags=["v1.0.0"])
        yield hub


def run(hub: LoopbackHub, home: Path, code: str, token: str | None = None) -> dict:
    """What `found` is after a client has run the code."""
    code = PRELUDE + textwrap.dedent(code) + "\nprint('found: ' + json.dumps(found))"
    done = subprocess.run(
        [sys.executable, "-c", code], env=hub.environment(home, token), cwd=home, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.rpartition("found: ")[2])


def test_load_dataset(hub, tmp_path, language_release):
    """Every config; the faults are those that `datasets` itself gets over."""
    hub.fault("GET /lfs/", status=429, retry_after=0)
    found = run(
        hub,
        tmp_path,
        """
        rows = load_dataset("org/zoo")
        metadata = load_dataset("org/zoo", "metadata", revision="v1.0.0")
        rollouts = load_dataset("org/zoo", "rollouts", split="test")
        found = {
            "sizes": {split: len(table) for split, table in rows.items()},
            "metadata": {split: table["checkpoint_id"][:] for split, table in metadata.items()},
            "sound": all(sound(table) for table in rows.values()),
            "rollouts": len(rollouts),
        }
        """,
    )
    assert found["sizes"] == SIZES
    assert found["sound"]
    assert found["rollouts"] > 0
    for split, names in found["metadata"].items():
        assert (
            names == pq.read_table(language_release / "metadata" / f"{split}.parquet")["checkpoint_id"].to_pylist()
        )


def test_stream_shuffle_filter(hub, tmp_path):
    hub.fault("GET /lfs/", times=2, status=503, retry_after=0)
    found = run(
        hub,
        tmp_path,
        """
        stream = load_dataset("org/zoo", split="train", streaming=True, revision="v1.0.0")
        shuffled = list(stream.shuffle(seed=1, buffer_size=7))
        last = load_dataset("org/zoo", split="train", streaming=True, filters=[("step", "==", 100)])
        last = list(last)
        found = {
            "shuffled": [row["checkpoint_id"] for row in shuffled],
            "sound": sound(shuffled) and sound(last),
            "steps": [row["step"] for row in last],
        }
        """,
    )
    assert len(set(found["shuffled"])) == len(found["shuffled"]) == 24
    assert found["shuffled"] != sorted(found["shuffled"])
    assert found["sound"]
    assert found["steps"] == [100] * 8


def hashes(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file() and ".cache" not in path.parts
    }


def test_hf_download(hub, tmp_path, language_release):
    """The command, and with a connection that is cut in the middle of a shard."""
    hub.fault("GET /lfs/", cut_after=5000)
    hf = Path(sys.executable).with_name("hf")
    command = [hf, "download", "org/zoo", "--repo-type", "dataset", "--revision", "v1.0.0", "--local-dir", "copy"]
    done = subprocess.run(command, env=hub.environment(tmp_path), cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert hashes(tmp_path / "copy") == hashes(language_release)


def test_upload_and_download(tmp_path, language_release):
    """A folder goes up in parts, over cut connections and a busy hub, and comes down the same."""
    with LoopbackHub(part_bytes=200_000) as hub:
        hub.fault("PUT /lfs/[0-9a-f]+$", cut_after=1000)
        hub.fault("PUT /lfs/[0-9a-f]+/2", status=503, retry_after=0)
        hub.fault("POST .*/preupload/", status=503, retry_after=0)
        run(
            hub,
            tmp_path,
            f"""
            from huggingface_hub import HfApi, snapshot_download
            api = HfApi()
            api.create_repo("org/new", repo_type="dataset", exist_ok=True)
            api.upload_folder(repo_id="org/new", repo_type="dataset", folder_path={str(language_release)!r})
            api.create_tag("org/new", tag="v1.0.0", repo_type="dataset")
            snapshot_download("org/new", repo_type="dataset", revision="v1.0.0", local_dir="copy")
            found = {{}}
            """,
            WRITE_TOKEN,
        )
        assert all(fault.times == 0 for fault in hub.faults)
        assert any(request.path.endswith("/complete") for request in hub.requests("POST /lfs/"))
    found = hashes(tmp_path / "copy")
    found.pop(".gitattributes", None)
    assert found == hashes(language_release)


def test_rights(hub, tmp_path):
    found = run(
        hub,
        tmp_path,
        """
        from huggingface_hub import HfApi
        from huggingface_hub.errors import HfHubHTTPError
        found = {}
        for token in (False, None, "hf_unknown"):
            try:
                HfApi().create_repo("org/new", repo_type="dataset", token=token)
            except HfHubHTTPError as error:
                found[str(token)] = error.response.status_code
        """,
        READ_TOKEN,
    )
    assert found == {"False": 401, "None": 403, "hf_unknown": 401}
