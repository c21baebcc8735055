"""`python -m benchmarks.paper_table`: losses beside the paper's, and what was done otherwise."""

import pytest
from synthetic_results import make_emulation, make_rows, write_results

from benchmarks import paper_table
from rnnzoo.loaders.training_config import PRESETS

PAPER = PRESETS["frozen"]["paper"].to_dict()
FORM = 'noninteractive_probing(form="published")'


@pytest.fixture
def rows():
    """Of a zoo as large as the paper's."""
    made = make_rows("formal_languages")
    return made.model_copy(update={"zoo_config": {**made.zoo_config, **paper_table.ZOO}, "protocol": "paper"})


def emulation(rows, name, seed=0, **training):
    made = make_emulation(rows, name.partition("(form")[0], seed)
    return made.model_copy(update={"encoder": name, "training": {**PAPER, **training}})


def test_a_loss_stands_beside_that_of_the_same_encoder(rows):
    seeds = [emulation(rows, FORM, seed) for seed in range(3)]
    losses = [one.losses["validation"] for one in seeds]
    mine = emulation(rows, "my_encoder:Mine")
    lines = paper_table.table(rows, [mine, *seeds]).splitlines()
    shown = [line.split(" | ") for line in lines if line.startswith("| `")]
    assert [cells[:2] for cells in shown] == [[f"| `{FORM}`", ".023 (.019–.029)"], ["| `my_encoder:Mine`", ""]]
    assert float(shown[0][2]) == pytest.approx(sum(losses) / 3, abs=1e-4)
    assert shown[0][3:5] == [f"{min(losses):.4f} to {max(losses):.4f}", "3"]
    assert rows.zoo_digest in lines[0]
    assert "- seeds: 1 or 3 of an encoder, in the paper 15" in lines
    others = [name for name in paper_table.ENCODERS if name != "noninteractive_probing"]
    assert lines[-5:] == [f"- not trained here: `{name}`" for name in others]


@pytest.mark.parametrize(
    ("zoo", "encoder", "training", "found"),
    [
        ({}, FORM, {}, []),
        ({"runs": 256}, FORM, {}, ["- zoo: runs is 256, in the paper 1000"]),
        ({}, FORM, {"steps": 9}, ["- training: steps is 9, in the paper 100000"]),
        ({}, "noninteractive_probing", {}, ["- form: `noninteractive_probing` is our form"]),
    ],
)
def test_every_difference_is_named(rows, zoo, encoder, training, found):
    rows = rows.model_copy(update={"zoo_config": {**rows.zoo_config, **zoo}})
    lines = paper_table.differences(rows, [emulation(rows, encoder, **training)] * 2)
    assert [line for line in lines if "not trained" not in line] == found


def test_a_difference_of_some_names_them(rows):
    some = [emulation(rows, FORM, steps=9), emulation(rows, "my_encoder:Mine")]
    assert f"- training: steps is 9, in the paper 100000 (`{FORM}`)" in paper_table.differences(rows, some)


def test_other_protocols_have_no_such_table(tmp_path):
    write_results(tmp_path, "formal_languages", seeds=1, encoders=("flat_mlp",))
    with pytest.raises(SystemExit, match="no training by emulation under the protocol paper"):
        paper_table.main([str(tmp_path)])
