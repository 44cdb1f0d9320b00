"""For a process that runs the dispatcher, or a Celery worker, in threads of its own, as ``manage.py up`` does.

Call ``run_pass`` every ``DURABLE_OBJECTS["DISPATCH_EVERY"]``, sooner after one that failed (``pause_after``), and
``worker_started`` and ``worker_stopped`` around a worker on a broker that no other process can reach. Call
``forget_wake_ups`` and ``begin_heartbeat`` once, at the start of such a process, and ``end_heartbeat`` at its end: by
it the overview knows that it lives.
"""

from durable_objects.delivery.dispatcher import forget_wake_ups, pause_after, run_pass
from durable_objects.delivery.heartbeat import begin as begin_heartbeat
from durable_objects.delivery.heartbeat import end as end_heartbeat
from durable_objects.delivery.processes import others as other_dispatchers
from durable_objects.delivery.publisher import worker_started, worker_stopped

__all__ = [
    "begin_heartbeat",
    "end_heartbeat",
    "forget_wake_ups",
    "other_dispatchers",
    "pause_after",
    "run_pass",
    "worker_started",
    "worker_stopped",
]
