"""Builds model zoos of recurrent networks: trains many runs at once, checkpoints them, stores them.

Rooms, from the inside out: `rnn` (the networks), `tasks` (what they learn), `storage` (the files), `training`
(many runs at once), `rollouts` (sampling and scoring), `pipeline` (a zoo from start to finish).
"""
