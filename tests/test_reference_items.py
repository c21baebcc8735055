"""What encoders may know of a zoo is of tasks that train, under every protocol."""

import numpy as np
import pytest

from rnnzoo.loaders.benchmark.protocol import PROTOCOLS, partition
from rnnzoo.loaders.loaded_zoo import LoadedZoo


@pytest.fixture(params=["language_zoo", "digits_zoo"])
def asked(request, monkeypatch):
    """A zoo, and the tasks whose items its population was made of."""
    loaded, tasks = LoadedZoo(request.getfixturevalue(request.param)), []
    whole = loaded.tasks
    monkeypatch.setattr(loaded, "tasks", lambda rows: tasks.extend(loaded.column("task_id")[rows]) or whole(rows))
    assert loaded.population.reference is not None
    return loaded, set(tasks)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_reference_items_are_of_training_tasks(asked, protocol):
    loaded, tasks = asked
    training = partition(loaded, protocol).train
    assert tasks
    assert tasks <= set(loaded.column("task_id")[training])
    held = np.setdiff1d(np.arange(len(loaded)), training)
    assert not tasks & set(loaded.column("task_id")[held])
