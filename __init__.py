"""What Python finds as `rnnzoo` in the folder that holds a clone of this name: it hands on what is installed.

Without this file the clone would be a namespace package there, without modules, and hide an editable installation,
which Python asks last. The file itself is not installed.
"""

if __name__ == "rnnzoo":
    import sys
    from importlib.util import module_from_spec
    from pathlib import Path

    elsewhere = [entry for entry in sys.path if not Path(entry, "rnnzoo", "rnnzoo", "__init__.py").is_file()]
    specs = [finder.find_spec(__name__, elsewhere) for finder in sys.meta_path]
    spec = next((spec for spec in specs if spec is not None and spec.has_location), None)
    if spec is None or spec.loader is None:
        clone = Path(__file__).parent
        problem = f"found the clone {clone} and no installed package, expected `pip install -e {clone}` before"
        raise ModuleNotFoundError(problem, name=__name__)
    module = sys.modules[__name__] = module_from_spec(spec)
    spec.loader.exec_module(module)
