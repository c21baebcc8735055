"""Combination locks: what they answer, who names their secrets, and their zoos in every command."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from rnnzoo import Zoo, rnn
from rnnzoo.loaders.benchmark.report import make_report
from rnnzoo.loaders.benchmark.request import Request
from rnnzoo.loaders.benchmark.results.leaderboard import read_results
from rnnzoo.loaders.benchmark.run import run_benchmark
from rnnzoo.loaders.loaded_zoo import LoadedZoo
from rnnzoo.zoo_builder.errors import RnnzooError
from rnnzoo.zoo_builder.overview import draw_overview
from rnnzoo.zoo_builder.pipeline import Unwatched, build_zoo
from rnnzoo.zoo_builder.release.card import render_card
from rnnzoo.zoo_builder.tasks import ZOOS
from rnnzoo.zoo_builder.tasks.combination_locks.encoding import AnsweredTokens
from rnnzoo.zoo_builder.tasks.combination_locks.family import CombinationLocks
from rnnzoo.zoo_builder.tasks.combination_locks.interrogation import (
    SecretReader,
    chance_to_name,
    exact_locks,
    interrogate,
    learned_locks,
    log_probabilities,
    nearest,
    secrets_of,
    sequences_needed,
    spread_sequences,
)
from rnnzoo.zoo_builder.tasks.combination_locks.lock import BEGIN, WRONG, Lock, all_locks, all_sequences, answers
from rnnzoo.zoo_builder.tasks.encodings import encoding_of
from rnnzoo.zoo_builder.training.kernels import TorchKernel
from rnnzoo.zoo_builder.verify import verify_zoo
from rnnzoo.zoo_builder.zoos import resolve_config

pytestmark = pytest.mark.usefixtures("short_readouts")

STEPS = 150


def followed(lock: Lock, bits) -> int:
    """How many of these bits are the secret's, up to the first other one."""
    wrong = [bit != own for bit, own in zip(bits, lock.secret, strict=False)]
    return [*wrong, True].index(True)


class TestExactLocks:
    @pytest.mark.parametrize("depth", [2, 3, 6])
    def test_answers(self, depth):
        for lock in all_locks(depth)[::3]:
            for bits in all_sequences(depth):
                names = followed(lock, bits) + 1
                expected = [*lock.secret[:names], *[WRONG] * (depth - names)]
                assert answers(np.array(lock.secret), bits).tolist() == expected

    @pytest.mark.parametrize("depth", [2, 3, 6, 8])
    def test_ways_are_equally_frequent(self, depth):
        lock = all_locks(depth)[-2]
        ways = all_sequences(depth)[lock.ways()]
        assert [followed(lock, bits) for bits in ways] == list(range(depth)) * 2 ** (depth - 2)
        assert len(np.unique(lock.ways())) == 2 ** (depth - 1)

    @pytest.mark.parametrize("depth", range(2, 11))
    def test_one_sequence_or_exponentially_many(self, depth):
        secrets = secrets_of(depth)
        asked = []

        def machines(bits):
            asked.append(bits.shape)
            return exact_locks(secrets)(bits)

        assert np.array_equal(interrogate(machines, len(secrets), depth), secrets)
        assert asked == [(len(secrets), 1, inputs) for inputs in range(depth)]
        assert sequences_needed(depth) == 2 ** (depth - 1)

    @pytest.mark.parametrize("depth", [2, 3, 4])
    def test_no_smaller_set_tells_all_apart(self, depth):
        secrets, sequences = secrets_of(depth), all_sequences(depth)
        for count in range(len(sequences) + 1):
            told = [
                chance_to_name(exact_locks(secrets), secrets, sequences[list(chosen)]).min()
                for chosen in combinations(range(len(sequences)), count)
            ]
            assert (max(told) == 1) == (count == 2 ** (depth - 1))

    def test_spread_sequences_are_the_best_of_their_number(self):
        secrets, sequences = secrets_of(4), all_sequences(4)
        for count in range(1, 9):
            best = max(
                chance_to_name(exact_locks(secrets), secrets, sequences[list(chosen)]).mean()
                for chosen in combinations(range(8), count)
            )
            assert chance_to_name(exact_locks(secrets), secrets, spread_sequences(4, count)).mean() == best

    def test_chances(self):
        """Of 16 locks, 000 names 0000 and 0001, halves those that begin with 001, and so on."""
        secrets = np.array([(0, 0, 0, 0), (0, 0, 0, 1), (0, 0, 1, 0), (0, 1, 1, 1), (1, 0, 1, 1)])
        found = chance_to_name(exact_locks(secrets), secrets, np.zeros((1, 3), np.uint8))
        assert found.tolist() == [1, 1, 1 / 2, 1 / 4, 1 / 8]
        assert chance_to_name(exact_locks(secrets), secrets, np.zeros((0, 3), np.uint8)).tolist() == [1 / 16] * 5

    def test_a_lock_that_answers_as_another_one_is_not_named(self):
        secrets = secrets_of(3)
        others = exact_locks(secrets[::-1])
        assert chance_to_name(others, secrets, all_sequences(3)).tolist() == [0] * 8


class TestFamily:
    @pytest.mark.parametrize("zoo", ["combination_locks_4", "combination_locks_6", "combination_locks_8"])
    def test_items_are_the_locks_own(self, zoo):
        family = CombinationLocks.load(ZOOS[zoo][1].source)
        depth = int(zoo[-1])
        assert len(family.items) == 2**depth * 2 ** (depth - 1)
        tasks = family.tasks(2**depth + 3, seed=4)
        assert len(set(tasks)) == 2**depth
        for task in tasks[-3:]:
            items = family.items[family.training_items(task)]
            assert (items[:, 0] == BEGIN).all()
            assert np.array_equal(answers(np.array(task.secret), items[:, 1:depth]), items[:, depth:])
        assert CombinationLocks.columns(str(depth)).field("secret").type.list_size == depth

    def test_ood_has_the_most_ones(self):
        locks = all_locks(6)
        ood = CombinationLocks.out_of_distribution(locks)
        assert sorted(sum(lock.secret) for lock in ood) == [5] * 6 + [6]

    def test_a_depth_without_a_zoo(self):
        with pytest.raises(
            RnnzooError, match=r"source: found '5', expected the depth of a named zoo: \[4, 6, 8\]"
        ):
            CombinationLocks.load("5")

    def test_the_encoding_comes_back_from_a_manifest(self):
        assert encoding_of(AnsweredTokens(3).to_dict()) == AnsweredTokens(3)
        for vocabulary in (0, 257, True, "3"):
            with pytest.raises(RnnzooError, match="expected a vocabulary of 1 to 256"):
                encoding_of({"kind": "answered_tokens", "vocabulary": vocabulary})

    @pytest.mark.parametrize(
        ("items", "message"),
        [
            ([[0, 1, 2]], "found 3 bytes, expected as many tokens"),
            ([[0, 1, 2, 3]], "found token 3, expected 0 to 2"),
        ],
    )
    def test_items_that_it_cannot_read(self, items, message):
        with pytest.raises(RnnzooError, match=message):
            AnsweredTokens(3).check_items(np.array(items, np.uint8))


@pytest.fixture(scope="module")
def lock_zoo(shared):
    """All 16 locks of 4 bits, two RNNs each, untrained and trained."""
    fields = {"runs": 32, "steps": STEPS, "checkpoints": (0, STEPS), "batch_size": 8, "num_layers": 1}
    fields |= {"hidden_size": 32, "runs_per_shard": 8}
    config = resolve_config("combination_locks_4", "smoke", fields)
    return shared("locks", lambda folder: build_zoo(config, folder, TorchKernel(), Unwatched()))


class TestLearnedLocks:
    @pytest.fixture
    def trained(self, lock_zoo):
        """Weights and secrets of the trained checkpoints, the runs of seed one before those of seed two."""
        loaded = LoadedZoo(lock_zoo)
        order = np.lexsort((loaded.column("run_id"),))
        rows = order[loaded.column("step")[order] == STEPS]
        return loaded.weights(rows), loaded.column("secret")[rows]

    def test_accuracy_is_of_all_answers(self, lock_zoo, trained):
        weights, secrets = trained
        zoo = Zoo(lock_zoo)
        found = zoo.metadata.sort_by("run_id")
        accuracy = found.filter(found["step"].to_numpy() == STEPS)["accuracy"].to_numpy()
        hard = learned_locks(weights)
        for n, secret in enumerate(secrets):
            bits = all_sequences(4)[Lock(tuple(secret)).ways()]
            right = hard(np.broadcast_to(bits, (len(secrets), *bits.shape)))[n] == answers(secret, bits)
            assert accuracy[n] == pytest.approx(right.all(axis=1).mean())
        assert accuracy.mean() > 0.95

    def test_one_sequence_names_what_a_fixed_one_does_not(self, trained):
        weights, secrets = trained
        named = interrogate(learned_locks(weights), len(secrets), 4)
        assert (named == secrets).all(axis=1).mean() > 0.95
        assert torch.equal(SecretReader(4)(weights), torch.from_numpy(named).float())
        for count, share in ((1, 5 / 16), (2, 8 / 16), (4, 12 / 16), (8, 1)):
            chances = chance_to_name(learned_locks(weights), secrets, spread_sequences(4, count))
            assert chances.mean() == pytest.approx(share, abs=0.1)

    @pytest.mark.cuda
    @pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
    def test_interrogators_of_a_gpu_name_those_of_the_cpu(self, trained):
        weights, secrets = trained
        on_gpu = {name: tensor.cuda() for name, tensor in weights.items()}
        assert torch.equal(SecretReader(4)(on_gpu).cpu(), SecretReader(4)(weights))
        known = torch.from_numpy(secrets).float()
        assert np.array_equal(nearest(known.cuda(), secrets, known.cuda()), secrets)

    def test_soft_answers_tell_more(self, trained):
        """Read beside those of the other seed: more than the 5 of 16 that hard answers to one sequence name."""
        weights, secrets = trained
        inputs = torch.nn.functional.one_hot(torch.tensor([[BEGIN, 0, 0, 0]]), 3).float()
        soft = log_probabilities(weights, inputs).flatten(1)
        named = nearest(soft[:16], secrets[:16], soft[16:])
        assert sorted(map(tuple, secrets[:16])) == sorted(map(tuple, secrets[16:]))
        assert (named == secrets[16:]).all(axis=1).mean() > 5 / 16


class TestZoos:
    def test_rnns_of_one_lock_are_connected_once_they_are_aligned(self, lock_zoo):
        """Halfway between the two RNNs of each lock."""
        zoo = Zoo(lock_zoo)
        trained = zoo.metadata.to_pandas().query(f"step == {STEPS}").sort_values(["task_id", "run_id"])
        first, second = zoo.batch(trained[::2]), zoo.batch(trained[1::2])
        halfway = torch.full((16,), 0.5)
        losses = [
            zoo.evaluate(trained[::2], weights=rnn.interpolate(first, end, halfway), kernel="torch")["eval_loss"]
            for end in (second, rnn.align(zoo.spec, second, first))
        ]
        assert losses[1].mean() < 0.25 * losses[0].mean()

    def test_its_rnns_answer_to_bits(self, lock_zoo):
        zoo = Zoo(lock_zoo)
        trained = [row for row in zoo if row["step"] == STEPS and row["accuracy"] == 1]
        assert len(trained) > 5
        found = zoo.classify(trained, ["000", "011"])
        for row, of_row in zip(trained, found.tolist(), strict=True):
            assert ["".join("01x"[answer] for answer in said) for said in of_row] == [
                Lock(tuple(row["secret"])).answer(bits) for bits in ("000", "011")
            ]

    def test_verified_and_drawn(self, lock_zoo):
        assert all(check.passed for check in verify_zoo(lock_zoo, TorchKernel(), sample=5))
        assert not any(check.left_out for check in verify_zoo(lock_zoo, TorchKernel(), sample=5))
        texts = [text.get_text() for axes in draw_overview(lock_zoo).axes for text in axes.texts]
        assert any(text.strip().count(": ") == 1 and set(text.strip()) <= set("01x: ") for text in texts)
        row = pq.read_table(lock_zoo / "metadata" / "train.parquet").to_pylist()[0]
        assert row["lock"] == "".join(map(str, row["secret"]))
        assert row["depth"] == "4"
        assert CombinationLocks.task_of(row).task_id == row["task_id"]

    def test_card(self, lock_zoo):
        card = render_card(lock_zoo)
        assert "16 of the 16 locks" in card
        assert "has to have all 8:" in card
        assert "| `secret` | list<int8, 4> |" in card

    @pytest.mark.slow
    def test_every_track(self, lock_zoo, tmp_path):
        short = (("steps", 4), ("validate_every", 2), ("models", 4), ("emulator_hidden", 4))
        for encoder, track, settings in (
            ("greedy_decode", "features", ()),
            ("behaviour_statistics", "features", ()),
            ("noninteractive_probing(probes=1)", "frozen", short),
        ):
            run_benchmark(Request(str(lock_zoo), encoder, tmp_path, tracks=(track,), seeds=1, overrides=settings))
        (board,) = read_results(tmp_path)
        named = {result.encoder: result.scores for result in board.results if result.target == "secret"}
        assert len(named) == 3
        assert min(scores["exact task"] for scores in named["greedy_decode"].values()) > 0.9
        assert "secret" in make_report(tmp_path, tmp_path)
