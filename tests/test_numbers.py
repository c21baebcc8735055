"""A score that stands in a text says on which zoo it was measured."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
TEXTS = [
    path.relative_to(ROOT).as_posix()
    for pattern in ("README.md", "docs/**/*.md", "dataset_cards/**/*.md", "zoo_builder/**/*.md")
    for path in sorted(ROOT.glob(pattern))
]
FENCED = re.compile(r"^( *```.*?^ *```\n?)", re.MULTILINE | re.DOTALL)
SCORE = re.compile(r"(?<![\w.])-?0?\.\d{2,}(?!\w|\.\d)")
"""A number below 1 with two digits or more after the point."""
DIGEST = re.compile(r"\b[a-z]\w*-\d+-[0-9a-f]{8}-[0-9a-f]{16}\b")
OLDER = re.compile(r"before\szoos\shad\sdigests|not recorded \(built before fma-1\)")
"""What stands beside scores of zoos that are older than digests."""
NOT_SCORES = {
    ("docs/arithmetic.md", "AdamW"): "constants of an optimiser",
    ("docs/encoders.md", "Where our own forms depart, and why"): "the range of a pixel",
    ("docs/encoders.md", "Speed"): "ratios of times",
    ("docs/how_to/build.md", "Settings"): "learning rates",
    ("docs/speed.md", "On a CPU"): "p values of many zoos",
    ("docs/speed.md", "On a GPU"): "times",
    ("zoo_builder/tasks/sequential_images/card.md", "{{ title }}"): "mean and deviation of a pixel",
}
"""File and heading of sections whose numbers were not measured on a zoo."""


def sections(text: str) -> dict[str, str]:
    """Heading of any level -> the text below it, without code."""
    parts = re.split(r"^#+ (.*)\n", FENCED.sub("", text), flags=re.MULTILINE)
    return {"": parts[0]} | dict(zip(parts[1::2], parts[2::2], strict=True))


def unnamed(text: str) -> list[str]:
    """The headings of sections with scores that name no zoo."""
    return [
        heading
        for heading, part in sections(text).items()
        if SCORE.search(part) and not DIGEST.search(part) and not OLDER.search(part)
    ]


@pytest.mark.parametrize("name", TEXTS)
def test_scores_name_their_zoo(name):
    found = {(name, heading) for heading in unnamed((ROOT / name).read_text(encoding="utf-8"))}
    assert found == {place for place in NOT_SCORES if place[0] == name}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("## A\n\nIt names .93 of them.\n", ["A"]),
        ("## A\n\nIt names .93 of `fma-1-2f4c632c-c4d158271840050e`.\n### B\n\n| 0.12 / -0.05 |\n", ["B"]),
        ("loss .015, measured before zoos had digests\n", []),
        ("## A\n\n`fma-1-2f4c632c-c4d158271840050e`\n\n## B\n\n.5 of 0.1.0 and 1.25 and v0.15.0\n", []),
        ("## A\n\n```sh\n--set learning_rate=0.015\n```\n", []),
    ],
)
def test_what_counts_as_a_score(text, found):
    assert unnamed(text) == found
