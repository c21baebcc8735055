"""Encoders: from the weights of N RNNs to N vectors. One file each; a new one is a line in `ENCODERS`.

An encoder of another package is found by an entry point of the group `rnnzoo.encoders`, in its pyproject.toml:

    [project.entry-points."rnnzoo.encoders"]
    my_encoder = "my_package.my_encoder:MyEncoder"
"""

ENCODERS: dict[str, str] = {
    # Herrmann et al. (2024)
    "layer_statistics": "rnnzoo.loaders.encoders.layer_statistics:LayerStatistics",
    "flat_mlp": "rnnzoo.loaders.encoders.flat_mlp:FlatMLP",
    "parameter_transformer": "rnnzoo.loaders.encoders.parameter_transformer:ParameterTransformer",
    "neural_functional": "rnnzoo.loaders.encoders.neural_functional:NeuralFunctional",
    "noninteractive_probing": "rnnzoo.loaders.encoders.probing.noninteractive_probing:NoninteractiveProbing",
    "interactive_probing": "rnnzoo.loaders.encoders.probing.interactive_probing:InteractiveProbing",
    # beyond them
    "probe_generator": "rnnzoo.loaders.encoders.probing.probe_generator:ProbeGenerator",
    "hidden_probing": "rnnzoo.loaders.encoders.probing.hidden_probing:HiddenProbing",
    "feedback_probing": "rnnzoo.loaders.encoders.probing.feedback_probing:FeedbackProbing",
    "stepwise_probing": "rnnzoo.loaders.encoders.probing.stepwise_probing:StepwiseProbing",
    "completion_probing": "rnnzoo.loaders.encoders.probing.completion_probing:CompletionProbing",
    "graph_network": "rnnzoo.loaders.encoders.graph_network:GraphNetwork",
    "universal_functional": "rnnzoo.loaders.encoders.universal_functional:UniversalFunctional",
    # controls: nothing is learned of weights
    "constant": "rnnzoo.loaders.encoders.emulation_controls:Constant",
    "step": "rnnzoo.loaders.encoders.emulation_controls:Step",
    "oracle": "rnnzoo.loaders.encoders.emulation_controls:Oracle",
    "step_only": "rnnzoo.loaders.encoders.step_only:StepOnly",
    "weight_norm": "rnnzoo.loaders.encoders.weight_norm:WeightNorm",
    "invariant_statistics": "rnnzoo.loaders.encoders.invariant_statistics:InvariantStatistics",
    "behaviour_statistics": "rnnzoo.loaders.encoders.behaviour_statistics:BehaviourStatistics",
    "greedy_decode": "rnnzoo.loaders.encoders.greedy_decode:GreedyDecode",
}
"""Name -> module:class, imported when it is asked for."""

_PUBLISHED = "rnnzoo.loaders.encoders.published"
PUBLISHED_FORMS: dict[str, str] = {
    "layer_statistics": f"{_PUBLISHED}.layer_statistics:PublishedLayerStatistics",
    "flat_mlp": f"{_PUBLISHED}.flat_mlp:PublishedFlatMLP",
    "parameter_transformer": f"{_PUBLISHED}.parameter_transformer:PublishedParameterTransformer",
    "neural_functional": f"{_PUBLISHED}.neural_functional:PublishedNeuralFunctional",
    "noninteractive_probing": f"{_PUBLISHED}.probing:PublishedNoninteractiveProbing",
    "interactive_probing": f"{_PUBLISHED}.probing:PublishedInteractiveProbing",
}
"""Name -> module:class of the encoder as the paper's program builds it, which is `name(form="published")`."""
