"""What users import is typed: their own scripts can be checked."""

import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import rnnzoo
from rnnzoo import rnn

ROOT = Path(__file__).parent.parent
SCRIPT = """
import torch
from rnnzoo import Zoo, evaluate, load_zoo, rnn

zoo = Zoo("zoo")
best = zoo.metadata.to_pandas().nlargest(8, "accuracy")
model = zoo.model(best.iloc[0], device="cpu")
weights = zoo.batch(best["checkpoint_id"])
inputs, log_probabilities = zoo.rollouts([0, "run"], device=torch.device("cpu"))
aligned = rnn.align(zoo.spec, weights, weights)
path = rnn.interpolate(aligned, weights, torch.linspace(0, 1, 8))
reveal_type(zoo[0])
reveal_type(model)
reveal_type(weights)
reveal_type(log_probabilities)
reveal_type(zoo.generate(best, strings=3))
reveal_type(zoo.evaluate(best, weights=path))
reveal_type(path)

def norms(weights: rnn.Weights) -> torch.Tensor:
    return weights["head.weight"].flatten(1)

class Mine(torch.nn.Module):
    def __init__(self, population: object = None) -> None:
        super().__init__()

    def forward(self, weights: rnn.Weights) -> torch.Tensor:
        return norms(weights)

evaluate(Mine, zoo)
evaluate(Mine(), zoo)
evaluate(lambda population: Mine(), zoo, seeds=1)
found = evaluate(norms, zoo, targets="accuracy", workers=2)
reveal_type(found.table)
reveal_type(found.report())
evaluate("flat_mlp", "zoo", tracks=["frozen"], settings={"steps": 3}, device="cpu")
evaluate(norms, zoo, speed=3)
load_zoo("zoo", splits="train")
"""
TYPES = (
    "dict[str, Any]",
    "RNNModule",
    "dict[str, Tensor]",
    "Tensor",
    "Tensor",
    "DataFrame",
    "dict[str, Tensor]",
    "DataFrame",
    "Report",
)


@pytest.mark.slow
def test_the_script_of_a_user_is_checked(tmp_path):
    path = tmp_path / "script.py"
    path.write_text(SCRIPT)
    words = ["--config-file", str(ROOT / "pyproject.toml"), "--strict", "--follow-imports", "silent", str(path)]
    done = subprocess.run([sys.executable, "-m", "mypy", *words], capture_output=True, text=True, cwd=ROOT)
    lines = done.stdout.replace("torch._tensor.", "").replace("builtins.", "").replace("typing.", "").splitlines()
    notes = [line.partition("Revealed type is ")[2].strip('"') for line in lines if "Revealed type" in line]
    assert [note.removeprefix("rnnzoo.").rpartition("[")[0] or note.rpartition(".")[2] for note in notes] == [
        one.rpartition("[")[0] or one for one in TYPES
    ], done.stdout
    errors = [line.partition(": error: ")[2] for line in lines if ": error: " in line]
    assert len(errors) == 2, done.stdout
    assert "speed" in errors[0]
    assert "splits" in errors[1]


def test_all_that_is_public_says_its_types():
    public = [getattr(rnnzoo, name) for name in ("Zoo", "evaluate", "load_zoo")]
    public += [getattr(rnn, name) for name in rnn.__all__ if inspect.isfunction(getattr(rnn, name))]
    public += [value for name, value in vars(rnnzoo.Zoo).items() if inspect.isfunction(value) and name[0] != "_"]
    for value in public:
        signature = inspect.signature(value)
        assert signature.return_annotation is not signature.empty, value
        for parameter in signature.parameters.values():
            assert parameter.name == "self" or parameter.annotation is not parameter.empty, (value, parameter)
    assert (Path(rnnzoo.__file__).parent / "py.typed").exists()
