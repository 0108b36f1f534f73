"""What runs in the process of one attempt on a cluster: the trial, and its events to the driver.

Imports no torch: the process sets its threads and devices first.
"""

from __future__ import annotations

import os
import queue
import threading
import traceback
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from harness.checkpoint.authentication import Place
from harness.checkpoint.store import Store
from harness.trial.attempt import Attempt, Event, prepare_process, run_attempt, time_steps
from harness.trial.process_group import Meeting
from scoring.records import TrialResult, TrialSpec

if TYPE_CHECKING:  # torch is imported only once the process is set up for it
    from harness.spec import LoadWorkload

BEAT_SECONDS = 5.0  # between signs of life
HANG_TIMEOUT = 3600.0  # without any, after which an attempt is ended


class TrialProcess:
    """The actor of one rank of an attempt. Ray gives it a process that nothing has run in before.

    Args:
        rank: Its number among the processes that train together.
        node_id: Gives the name of the node that it runs on.
    """

    def __init__(self, rank: int, node_id: Callable[[], str]) -> None:
        self._rank, self._node_id = rank, node_id
        self._control = Attempt()

    def gpus(self) -> str:
        """The GPUs that it was given."""
        return os.environ.get("CUDA_VISIBLE_DEVICES", "")

    def meet(self, spec: TrialSpec, *gpus: str) -> Meeting:
        """Says where the ranks meet, given everyone's GPUs; for rank 0, before any of them runs."""
        prepare_process(spec)
        return Meeting.called(list(gpus))

    def run(
        self,
        load_workload: LoadWorkload,
        spec: TrialSpec,
        code: bytes,
        checkpoints: Place,
        deadline: float,
        meeting: Meeting | None = None,
    ) -> Iterator[Event]:
        """Streams the attempt's events, and a ("beat", steps) while there is nothing else to tell.

        Args:
            load_workload: Gives the workload of a name, data directory and device.
            spec: The trial.
            code: The submission's packed folder.
            checkpoints: Where those of the trial are.
            deadline: Past this second of its clock the trial matters no more.
            meeting: Where the ranks meet; None for a trial of one process.

        Training runs in a thread of its own and goes on from an event once the driver has taken
        it: what happens to this process afterwards can lose no row. A process that the driver has
        given up is listened to no more, so it stops at its next event and saves no checkpoint.
        """
        prepare_process(spec, meeting)
        from harness.submission.shipping import delivered

        events: queue.Queue[Event] = queue.Queue()

        def send(kind: str, payload: Any) -> None:
            events.put((kind, payload))
            events.join()

        self._control = control = Attempt(send, checkpoints)
        control.deadline = deadline

        def train() -> None:
            try:
                here = delivered(spec, code)
                result = run_attempt(load_workload, here, control, self._rank, meeting)
                events.put(("ended", result))
            except BaseException:  # noqa: BLE001 - a thread's exception would vanish
                events.put(("broken", traceback.format_exc()))

        where = {"node": self._node_id(), "host": os.uname().nodename, "pid": os.getpid()}
        where |= {"niceness": os.nice(0)}
        yield ("started", where | {"gpus": meeting.devices if meeting else self.gpus()})
        threading.Thread(target=train, daemon=True).start()
        kind, steps = "", -1
        while kind not in ("ended", "broken"):
            try:
                kind, payload = events.get(timeout=BEAT_SECONDS)
            except queue.Empty:
                if steps != control.steps:
                    steps = control.steps
                    yield ("beat", steps)
                continue
            yield (kind, payload)
            events.task_done()

    def follow(
        self,
        load_workload: LoadWorkload,
        spec: TrialSpec,
        code: bytes,
        checkpoints: Place,
        meeting: Meeting,
    ) -> TrialResult:
        """Trains beside rank 0, which reports for all, and keeps its own checkpoints."""
        prepare_process(spec, meeting)
        from harness.submission.shipping import delivered

        control = Attempt(checkpoints=checkpoints.of_rank(self._rank))
        here = delivered(spec, code)
        return run_attempt(load_workload, here, control, self._rank, meeting)

    def set_deadline(self, deadline: float) -> None:
        """Past this second of its clock the trial matters no more."""
        self._control.deadline = deadline

    def forget(self, checkpoints: Place) -> None:
        """Removes the checkpoints of a trial whose end is on record; its final weights stay."""
        Store(checkpoints).forget()

    def time_steps(
        self, load_workload: LoadWorkload, spec: TrialSpec, meeting: Meeting | None = None
    ) -> tuple[str, float]:
        """As `harness.trial.attempt.time_steps`."""
        return time_steps(load_workload, spec, self._rank, meeting)
