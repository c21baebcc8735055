"""The examples in docstrings run as they stand there."""

import doctest
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MODULES = sorted(
    "rnnzoo."
    + ".".join(path.relative_to(ROOT).with_suffix("").parts).removeprefix("rnnzoo.").removesuffix(".__init__")
    for room in ("rnnzoo", "zoo_builder", "loaders", "dataset_cards")
    for path in (ROOT / room).rglob("*.py")
    if ">>>" in path.read_text()
)


@pytest.mark.parametrize("module", MODULES)
def test_examples(module, request, tmp_path, monkeypatch):
    """In a folder where "zoo" is a zoo of formal languages, for those that open one."""
    loaded = import_module(module)
    if '("zoo"' in (loaded.__doc__ or "") + Path(loaded.__file__).read_text(encoding="utf-8"):
        (tmp_path / "zoo").symlink_to(request.getfixturevalue("language_zoo"))
    monkeypatch.chdir(tmp_path)
    said: list[str] = []
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
    for examples in doctest.DocTestFinder(exclude_empty=True).find(loaded, module):
        runner.run(examples, out=said.append)
    assert runner.tries, "no example of this module was found"
    assert not runner.failures, "".join(said)
