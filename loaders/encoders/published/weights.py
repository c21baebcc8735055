"""Weights that the published program saved, loaded into modules of the same form."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from torch import Tensor, nn

from rnnzoo.zoo_builder.errors import RnnzooError


def load_published_weights(module: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Load weights of Herrmann et al.'s (2024) program, by their names there, into one of our modules.

    The module's `published_names()` maps beginnings of published names to beginnings of ours; other names are the
    same in both. A beginning ends at a dot, or is a whole name.

    Args:
        module: An encoder of the published form, or an `Emulator`; loaded in place.
        state: What `state_dict()` of the published module gives: name -> tensor.

    Raises:
        RnnzooError: The module has no published form, or a name or a shape is not that of this module.
    """
    names: Callable[[], dict[str, str]] | None = getattr(module, "published_names", None)
    if names is None:
        raise RnnzooError(
            f"published weights: found {type(module).__name__}, expected an encoder of form 'published', or an "
            "Emulator"
        )
    beginnings = names()
    expected = module.state_dict()
    found: dict[str, Tensor] = {}
    for name, tensor in state.items():
        ours = _renamed(name, beginnings)
        if ours not in expected:
            raise RnnzooError(f"published weights: found {name!r}, which {type(module).__name__} does not have")
        if tensor.shape != expected[ours].shape:
            raise RnnzooError(
                f"published weights: {name}: found shape {list(tensor.shape)}, expected "
                f"{list(expected[ours].shape)}"
            )
        found[ours] = tensor
    missing = [name for name in expected if name not in found]
    if missing:
        raise RnnzooError(f"published weights: found nothing for {', '.join(missing)}")
    module.load_state_dict(found)


def _renamed(name: str, beginnings: Mapping[str, str]) -> str:
    """Our name for a published one."""
    for published, ours in beginnings.items():
        if name == published or name.startswith(f"{published}."):
            return ours + name.removeprefix(published)
    return name
