"""The lowest versions that pyproject.toml allows, as constraints for pip: `python tests/lowest_versions.py`."""

import re
import tomllib
from pathlib import Path

TEST_TOOLS = {"pytest", "pytest-timeout", "hypothesis"}


def lowest_versions() -> dict[str, str]:
    """What the package and its tests need -> the lowest version of it."""
    project = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text())["project"]
    tools = [each for each in project["optional-dependencies"]["dev"] if re.split("[>=]", each)[0] in TEST_TOOLS]
    bounds = [re.fullmatch(r"([\w-]+)>=([\d.]+)(,<[\d.]+)?", each) for each in project["dependencies"] + tools]
    return {bound[1]: bound[2] for bound in bounds}


if __name__ == "__main__":
    for name, version in lowest_versions().items():
        print(f"{name}=={version}")
