"""A zoo at a glance. Its figure: nothing is cut off, and its signs are explained."""

import contextlib
import json

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.figure import Figure

from rnnzoo.zoo_builder.errors import RnnzooError
from rnnzoo.zoo_builder.explorer.data import read_page_data
from rnnzoo.zoo_builder.overview import draw_overview, summarize
from rnnzoo.zoo_builder.storage.manifest import encode_manifest
from rnnzoo.zoo_builder.tasks.drawing import draw_sequences
from rnnzoo.zoo_builder.tasks.pictures import Example


def sticks_out(figure: Figure) -> float:
    """By how much what is drawn goes beyond the figure, in inches."""
    figure.draw_without_rendering()
    drawn, whole = figure.get_tightbbox(), figure.bbox_inches
    return max(whole.x0 - drawn.x0, drawn.x1 - whole.x1, whole.y0 - drawn.y0, drawn.y1 - whole.y1)


@pytest.mark.parametrize("zoo", ["language_zoo", "digits_zoo"])
def test_nothing_is_cut_off(zoo, request):
    figure = draw_overview(request.getfixturevalue(zoo))
    assert sticks_out(figure) < 0.01
    words = [text.get_text() for text in figure.findobj(plt.Text)]
    assert "Euclidean norm of all weights" in words
    assert ("✓ in the language, ✗ not in it; $ is END, ^ is BEGIN within a string" in words) == (
        zoo == "language_zoo"
    )
    assert figure.axes[0].get_ylim() == (-0.02, 1.02)
    plt.close(figure)


@pytest.mark.parametrize("length", [10, 60, 70, 100, 1000])
def test_long_sequences_stay_in_their_column(length):
    figure = plt.figure(figsize=(13, 10), layout="constrained")
    row = {"task_id": "t" * 20, "run_id": "run-000001", "step": 0, "accuracy": 0.0}
    example = Example(row, np.zeros((2, length), np.uint8), None, lambda items: np.zeros(0, np.float32))
    runs = [[example, example]] * 3
    draw_sequences(figure, figure.add_gridspec(1, 1)[0, 0], runs, lambda sequence: "m" * len(sequence))
    assert sticks_out(figure) < 0.01
    ends = [max(text.get_window_extent().x1 for text in axes.texts) for axes in figure.axes]
    assert all(end <= after.bbox.x0 for end, after in zip(ends, figure.axes[1:], strict=False))
    shown = figure.axes[0].texts[1].get_text()
    assert shown.strip() == "m" * length or (shown.endswith("…") and len(shown) > 70)
    plt.close(figure)


def without_one(values):
    """A manifest's values without each of them in turn, and without each of those within its specification."""
    for name, value in values.items():
        yield (name,), {other: values[other] for other in values if other != name}
        for inner in value if name == "spec" else ():
            yield (name, inner), values | {name: {other: value[other] for other in value if other != inner}}


def test_a_manifest_without_any_one_entry_is_refused_or_summarized(copied):
    values = json.loads((copied / "zoo.json").read_text())
    whole, summarized = summarize(copied), {}
    shown = read_page_data(copied, "weights/").values["spec"]
    for place, less in without_one(values):
        (copied / "zoo.json").write_bytes(encode_manifest(less))
        with contextlib.suppress(RnnzooError):
            summarized[place] = summarize(copied)
            assert place[0] != "spec" or read_page_data(copied, "weights/").values["spec"] == shown
    assert summarized["spec", "cell"] == summarized["spec", "num_layers"] == whole
    assert ("spec", "hidden_size") not in summarized
