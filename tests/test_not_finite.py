"""One rule for networks that are not finite, and for batches without a sequence, in every kernel of CPUs."""

import pytest
import torch
from compilers import needs_compiler

from rnnzoo.zoo_builder.errors import RnnzooError
from rnnzoo.zoo_builder.tasks.data import Data
from rnnzoo.zoo_builder.training.kernels import TorchKernel, TrainState
from rnnzoo.zoo_builder.training.kernels.fused_cpu import FusedCpuKernel
from rnnzoo.zoo_builder.zoos import resolve_config

CONFIG = resolve_config("formal_languages", "smoke")
KERNELS = [TorchKernel, pytest.param(FusedCpuKernel, marks=needs_compiler)]


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize(("value", "where"), [("nan", ...), ("inf", ...), ("-inf", 5), ("nan", -1)])
def test_what_is_not_finite_writes_its_opening_and_is_never_right(kernel, value, where):
    family = CONFIG.make_family()
    weights = TrainState.initial(CONFIG.spec, [1, 2]).weights
    weights[1, where] = float(value)
    data, ids = Data(family.encoding, torch.from_numpy(family.items)), torch.arange(8, dtype=torch.int32)
    ids = ids.expand(2, 8).contiguous()
    losses, correct = kernel().score_items(CONFIG.spec, weights, data, ids)
    opening = family.encoding.opening
    written = kernel().sample_strings(CONFIG.spec, weights, opening, torch.rand(2, 4, 12))
    assert losses[0].isfinite().all()
    assert not losses[1].isfinite().any()
    assert not correct[1].any()
    assert (written[1] == opening).all()
    assert not (written[0] == opening).all()


@pytest.mark.parametrize("kernel", KERNELS)
def test_batches_without_a_sequence(kernel):
    family, state = CONFIG.make_family(), TrainState.initial(CONFIG.spec, [1])
    data = Data(family.encoding, torch.from_numpy(family.items))
    nothing = torch.zeros(1, 2, 0, dtype=torch.int32)
    with pytest.raises(RnnzooError, match="item_ids: found batches of 0 items, expected at least 1"):
        kernel().train_steps(state, data, nothing, torch.zeros(1, 2), torch.zeros(1))
