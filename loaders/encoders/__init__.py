"""Encoders: from the weights of N RNNs to N vectors. One file each; a new one is a line in `ENCODERS`."""

from collections.abc import Callable

from rnnzoo.loaders.encoders.base import (
    EMBEDDING_SIZE,
    Encoder,
    RegisteredEncoder,
    check_encoder,
    declared,
    is_learned,
    load_encoder,
)
from rnnzoo.loaders.encoders.behaviour_statistics import BehaviourStatistics
from rnnzoo.loaders.encoders.flat_mlp import FlatMLP
from rnnzoo.loaders.encoders.graph_network import GraphNetwork
from rnnzoo.loaders.encoders.greedy_decode import GreedyDecode
from rnnzoo.loaders.encoders.invariant_statistics import InvariantStatistics
from rnnzoo.loaders.encoders.layer_statistics import LayerStatistics
from rnnzoo.loaders.encoders.neural_functional import NeuralFunctional
from rnnzoo.loaders.encoders.parameter_transformer import ParameterTransformer
from rnnzoo.loaders.encoders.probing.completion_probing import CompletionProbing
from rnnzoo.loaders.encoders.probing.hidden_probing import HiddenProbing
from rnnzoo.loaders.encoders.probing.interactive_probing import InteractiveProbing
from rnnzoo.loaders.encoders.probing.noninteractive_probing import NoninteractiveProbing
from rnnzoo.loaders.encoders.probing.probe_generator import ProbeGenerator
from rnnzoo.loaders.encoders.step_only import StepOnly
from rnnzoo.loaders.encoders.universal_functional import UniversalFunctional
from rnnzoo.loaders.encoders.weight_norm import WeightNorm

__all__ = [
    "EMBEDDING_SIZE",
    "ENCODERS",
    "Encoder",
    "RegisteredEncoder",
    "check_encoder",
    "declared",
    "is_learned",
    "load_encoder",
]

ENCODERS: dict[str, Callable[..., Encoder]] = {
    # Herrmann et al. (2024)
    "layer_statistics": LayerStatistics,
    "flat_mlp": FlatMLP,
    "parameter_transformer": ParameterTransformer,
    "neural_functional": NeuralFunctional,
    "noninteractive_probing": NoninteractiveProbing,
    "interactive_probing": InteractiveProbing,
    # beyond them
    "probe_generator": ProbeGenerator,
    "hidden_probing": HiddenProbing,
    "completion_probing": CompletionProbing,
    "graph_network": GraphNetwork,
    "universal_functional": UniversalFunctional,
    # controls: nothing is learned of weights
    "step_only": StepOnly,
    "weight_norm": WeightNorm,
    "invariant_statistics": InvariantStatistics,
    "behaviour_statistics": BehaviourStatistics,
    "greedy_decode": GreedyDecode,
}
