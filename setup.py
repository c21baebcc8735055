"""Where the packages are: the folders at the top of the repository are the rooms of one package, `rnnzoo`.

Everything else about the distribution stands in pyproject.toml; this mapping cannot be said there.
"""

from setuptools import find_packages, setup

FOLDERS = {
    "rnnzoo": "rnnzoo",
    "rnnzoo.zoo_builder": "zoo_builder",
    "rnnzoo.loaders": "loaders",
    "rnnzoo.dataset_cards": "dataset_cards",
}

setup(
    package_dir=FOLDERS,
    packages=[
        name
        for package, folder in FOLDERS.items()
        for name in (package, *(f"{package}.{inner}" for inner in find_packages(folder)))
    ],
    package_data={
        "rnnzoo": ["py.typed"],
        "rnnzoo.dataset_cards": ["*.md", "*.jinja", "*/*.md", "**/*.json"],
        "*": ["*.cpp", "*.h", "*.jinja"],
    },
)
