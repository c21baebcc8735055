"""Work on a Ray cluster: `connection.py` reaches one, `tasks.py` runs tasks there, `option.py` has the options.

Ray is an extra (`pip install rnnzoo[ray]`), and imported only when it is asked for.
"""

from rnnzoo.zoo_builder.cluster.connection import DEATHS, Cluster, connect
from rnnzoo.zoo_builder.cluster.option import ClusterCommand, GpusOption, RayOption
from rnnzoo.zoo_builder.cluster.tasks import Resources, TaskEnvironment, as_finished, check_shared

__all__ = [
    "DEATHS",
    "Cluster",
    "ClusterCommand",
    "GpusOption",
    "RayOption",
    "Resources",
    "TaskEnvironment",
    "as_finished",
    "check_shared",
    "connect",
]
