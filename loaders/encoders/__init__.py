"""Encoders: from the weights of N RNNs to N vectors. One file each; a new one is a line in `ENCODERS`."""

from collections.abc import Callable

from loaders.encoders.base import (
    EMBEDDING_SIZE,
    Encoder,
    LabelledItems,
    Population,
    RegisteredEncoder,
    check_encoder,
    declared,
    is_learned,
    load_encoder,
)
from loaders.encoders.behaviour_statistics import BehaviourStatistics
from loaders.encoders.completion_probing import CompletionProbing
from loaders.encoders.flat_mlp import FlatMLP
from loaders.encoders.graph_network import GraphNetwork
from loaders.encoders.greedy_decode import GreedyDecode
from loaders.encoders.hidden_probing import HiddenProbing
from loaders.encoders.interactive_probing import InteractiveProbing
from loaders.encoders.invariant_statistics import InvariantStatistics
from loaders.encoders.layer_statistics import LayerStatistics
from loaders.encoders.neural_functional import NeuralFunctional
from loaders.encoders.noninteractive_probing import NoninteractiveProbing
from loaders.encoders.parameter_transformer import ParameterTransformer
from loaders.encoders.probe_generator import ProbeGenerator
from loaders.encoders.step_only import StepOnly
from loaders.encoders.universal_functional import UniversalFunctional
from loaders.encoders.weight_norm import WeightNorm

__all__ = [
    "EMBEDDING_SIZE",
    "ENCODERS",
    "Encoder",
    "LabelledItems",
    "Population",
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
