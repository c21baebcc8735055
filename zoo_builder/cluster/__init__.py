"""Work on a Ray cluster: `connection.py` reaches one, `tasks.py` runs tasks there.

Ray is an extra (`pip install rnnzoo[ray]`), and imported only when it is asked for.
"""

from rnnzoo.zoo_builder.cluster.connection import DEATHS, LOCAL, Cluster, connect, import_ray
from rnnzoo.zoo_builder.cluster.tasks import Resources, TaskEnvironment, as_finished, check_shared

__all__ = [
    "DEATHS",
    "LOCAL",
    "Cluster",
    "Resources",
    "TaskEnvironment",
    "as_finished",
    "check_shared",
    "connect",
    "import_ray",
]
