"""Builds model zoos of recurrent networks: trains many runs at once, checkpoints them, stores them.

Rooms, from the inside out: `rnn` (the networks), `tasks` (what they learn), `training` (many runs at
once), `rollouts` (sampling and scoring), `storage` (the files), `pipeline` (a zoo from start to finish).
"""
