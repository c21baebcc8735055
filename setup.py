"""Where the packages are: the folders at the top of the repository are the rooms of one package, `rnnzoo`.

Everything else about the distribution stands in pyproject.toml, and which files are left out in MANIFEST.in; this
mapping cannot be said there. Every folder within counts, with `__init__.py` or without, so that none is forgotten.
"""

from setuptools import find_namespace_packages, setup

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
        for name in (
            package,
            *(f"{package}.{inner}" for inner in find_namespace_packages(folder, exclude=["*__pycache__*"])),
        )
    ],
)
