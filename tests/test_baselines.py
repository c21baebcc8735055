"""`python -m benchmarks.baselines`: which commands it gives for which zoo and track."""

import pytest

from benchmarks import baselines
from rnnzoo.loaders.loaded_zoo import LoadedZoo

RATE = "learning_rate=0.005"


@pytest.fixture
def commands(monkeypatch, language_zoo, digits_zoo):
    """A function: the commands that some options come to, without running them."""

    def given(*options):
        zoos = {"formal_languages-small": language_zoo, "sequential_mnist-small": digits_zoo}
        found = []
        monkeypatch.setattr(baselines, "LoadedZoo", lambda folder: LoadedZoo(zoos[folder.name]))
        monkeypatch.setattr(baselines, "command", lambda *words: found.append(words))
        baselines.main(["--out", "somewhere", *options])
        return found

    return given


def test_every_encoder_is_run_on_every_track_that_it_fits(commands):
    found = commands("--zoo", "formal_languages", "--first-seed", "2")
    assert found[0][:3] == ("zoo-builder", "build", "formal_languages")
    assert all(words[-2:] == ("--first-seed", "2") for words in found[1:])
    assert all(RATE not in words for words in found)
    tracks = {}
    for words in found[1:]:
        tracks.setdefault(words[words.index("--track") + 1], []).append(words[words.index("--encoder") + 1])
    assert list(tracks) == ["features", "frozen", "supervised"]
    assert "greedy_decode" in tracks["features"]
    assert set(tracks["frozen"]) - set(tracks["supervised"]) == {"constant", "step", "oracle"}
    assert not set(tracks["features"]) & set(tracks["frozen"])


@pytest.mark.parametrize(
    ("options", "expected"),
    [((), {"frozen"}), (("--set", "steps=5"), set()), (("--set=steps=5",), set()), (("--preset", "paper"), set())],
)
def test_emulators_of_images_learn_faster_where_nothing_else_is_asked(commands, options, expected):
    found = commands("--zoo", "sequential_mnist", *options)
    assert {words[words.index("--track") + 1] for words in found if RATE in words} == expected
    assert all((RATE in words) == bool(expected) for words in found if "frozen" in words)
