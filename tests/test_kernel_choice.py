"""Which kernel a build gets, and what it says when it cannot get the fast one."""

from dataclasses import replace

import pytest
import torch

from rnnzoo.zoo_builder.compiled.compiler import HEADERS, KernelUnavailable
from rnnzoo.zoo_builder.errors import RnnzooError
from rnnzoo.zoo_builder.pipeline.local.workers import _kernel_for
from rnnzoo.zoo_builder.rnn import CELLS, RNNSpec
from rnnzoo.zoo_builder.tasks.encodings import TokenEncoding
from rnnzoo.zoo_builder.tasks.formal_languages.family import FormalLanguages
from rnnzoo.zoo_builder.training.kernels import TorchKernel, choice, choose_kernel, runs_that_fit

SPEC, ENCODING = RNNSpec(6, 32, 6), FormalLanguages.encoding


@pytest.fixture
def no_compiler(monkeypatch):
    class Unavailable(choice.FusedCpuKernel):
        def prepare(self, spec, encoding):
            raise KernelUnavailable("no C++ compiler was found")

    monkeypatch.setattr(choice, "FusedCpuKernel", Unavailable)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


def test_without_a_compiler_torch_serves_and_says_so(no_compiler, caplog):
    assert choose_kernel(SPEC, ENCODING).name == "torch-cpu"
    assert [record.message for record in caplog.records] == [
        "training with torch, several times slower: no C++ compiler was found"
    ]


def test_asking_for_what_cannot_be_had_is_an_error(no_compiler):
    with pytest.raises(RnnzooError, match="kernel: found 'fused', which cannot be had: no C"):
        choose_kernel(SPEC, ENCODING, kernel="fused")
    with pytest.raises(RnnzooError, match="device: found 'cuda', but torch sees no GPU"):
        choose_kernel(SPEC, ENCODING, device="cuda")
    with pytest.raises(RnnzooError, match="kernel: found 'magic', expected one of auto, fused, torch"):
        choose_kernel(SPEC, ENCODING, kernel="magic")


def test_what_no_compiled_kernel_knows_goes_to_torch(monkeypatch, caplog):
    class Backwards(TokenEncoding):
        def compiled_form(self):
            return None

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setitem(CELLS, "liquid", replace(CELLS["tanh"], name="liquid"))
    assert choose_kernel(SPEC, Backwards(6, 0)).name == "torch-cpu"
    assert choose_kernel(replace(SPEC, cell="liquid"), ENCODING).name == "torch-cpu"
    encoding, cell = (record.message for record in caplog.records)
    assert "encoding: found 'tokens', which has no compiled form" in encoding
    written = ", ".join(sorted(path.stem for path in (HEADERS / "cells").glob("*.h")))
    assert f"cell: found 'liquid', expected one that is written in C++: {written}" in cell


def test_torch_is_taken_where_it_is_asked_for():
    assert choose_kernel(SPEC, ENCODING, device="cpu", kernel="torch").name == "torch-cpu"


class TestFusedOnGpu:
    """It is the default where there is a GPU."""

    @pytest.fixture(autouse=True)
    def gpu(self, monkeypatch):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(choice.FusedCudaKernel, "prepare", lambda self, spec, encoding: None)

    @pytest.mark.parametrize(
        ("device", "kernel", "name"),
        [
            ("auto", "auto", "fused-cuda"),
            ("auto", "fused", "fused-cuda"),
            ("cuda", "auto", "fused-cuda"),
            ("cuda", "torch", "torch-cuda"),
            ("auto", "torch", "torch-cuda"),
        ],
    )
    def test_who_gets_it(self, device, kernel, name):
        chosen = choose_kernel(SPEC, ENCODING, device, kernel)
        assert chosen.name == name
        assert (chosen.arithmetic == "fma-1") == (name == "fused-cuda")

    def test_where_it_cannot_be_had(self, monkeypatch, caplog):
        def fail(self, spec, encoding):
            raise KernelUnavailable("NVRTC: found no libnvrtc")

        monkeypatch.setattr(choice.FusedCudaKernel, "prepare", fail)
        with pytest.raises(
            RnnzooError, match="kernel: found 'fused', which cannot be had: NVRTC: found no libnvrtc"
        ):
            choose_kernel(SPEC, ENCODING, device="cuda", kernel="fused")
        assert choose_kernel(SPEC, ENCODING).name == "torch-cuda"
        assert "several times slower: NVRTC: found no libnvrtc" in caplog.text

    def test_workers_have_a_gpu_each(self):
        chosen = _kernel_for(choose_kernel(SPEC, ENCODING, "cuda", "fused"), gpu=1, threads=3)
        assert (str(chosen.device), chosen.on_cpu.threads) == ("cuda:1", 3)


def test_a_gpu_takes_as_many_runs_as_fit(monkeypatch):
    free = {"bytes": 80e9}
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (int(free["bytes"]), int(80e9)))
    kernel = TorchKernel("cuda")
    everything = runs_that_fit(kernel, SPEC, steps=41, batch_size=32)
    free["bytes"] = 8e9
    a_tenth = runs_that_fit(kernel, SPEC, steps=41, batch_size=32)
    assert everything > 1000  # a whole zoo of the paper on a data-centre GPU
    assert a_tenth == pytest.approx(everything / 10, rel=0.01)
    free["bytes"] = 0
    assert runs_that_fit(kernel, SPEC, steps=41, batch_size=32) == 1
