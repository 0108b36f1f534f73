"""What runs in the process of one attempt on a cluster: the trial, and its events to the driver.

Imports no torch: the process sets its threads and devices first.
"""

from __future__ import annotations

import os
import queue
import threading
import traceback
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from harness.checkpoint.authentication import Place
from harness.checkpoint.store import Store
from harness.trial.attempt import Attempt, prepare_process, run_attempt, time_steps
from harness.trial.messages import Beat, Broken, Ended, Message, Started
from harness.trial.process_group import Rendezvous
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

    def meet(self, spec: TrialSpec, *gpus: str) -> Rendezvous:
        """Says where the ranks meet, given everyone's GPUs; for rank 0, before any of them runs."""
        prepare_process(spec)
        return Rendezvous.opened(list(gpus))

    def run(
        self,
        load_workload: LoadWorkload,
        spec: TrialSpec,
        code: bytes,
        checkpoints: Place,
        deadline: float,
        rendezvous: Rendezvous | None = None,
    ) -> Iterator[Message]:
        """Streams the attempt's messages, and a `Beat` while there is nothing else to say.

        Args:
            load_workload: Gives the workload of a name, data directory and device.
            spec: The trial.
            code: The submission's packed folder.
            checkpoints: Where those of the trial are.
            deadline: Past this second of its clock the trial matters no more.
            rendezvous: Where the ranks meet; None for a trial of one process.

        Training runs in a thread of its own and goes on from an event once the driver has taken
        it: what happens to this process afterwards can lose no row. A process that the driver has
        given up is listened to no more, so it stops at its next event and saves no checkpoint.
        """
        prepare_process(spec, rendezvous)
        from harness.submission.shipping import unpack

        messages: queue.Queue[Message] = queue.Queue()

        def send(message: Message) -> None:
            messages.put(message)
            messages.join()

        self._control = control = Attempt(send, checkpoints)
        control.deadline = deadline

        def train() -> None:
            try:
                here = unpack(spec, code)
                result = run_attempt(load_workload, here, control, self._rank, rendezvous)
                messages.put(Ended(result))
            except BaseException:  # noqa: BLE001 - a thread's exception would vanish
                messages.put(Broken(traceback.format_exc()))

        where = {"node": self._node_id(), "host": os.uname().nodename, "pid": os.getpid()}
        where |= {"niceness": os.nice(0)}
        yield Started(where | {"gpus": rendezvous.devices if rendezvous else self.gpus()})
        threading.Thread(target=train, daemon=True).start()
        message: Message | None = None
        steps = -1
        while not isinstance(message, Ended | Broken):
            try:
                message = messages.get(timeout=BEAT_SECONDS)
            except queue.Empty:
                if steps != control.steps:
                    steps = control.steps
                    yield Beat(steps)
                continue
            yield message
            messages.task_done()

    def follow(
        self,
        load_workload: LoadWorkload,
        spec: TrialSpec,
        code: bytes,
        checkpoints: Place,
        rendezvous: Rendezvous,
    ) -> TrialResult:
        """Trains beside rank 0, which reports for all, and keeps its own checkpoints."""
        prepare_process(spec, rendezvous)
        from harness.submission.shipping import unpack

        control = Attempt(checkpoints=checkpoints.of_rank(self._rank))
        here = unpack(spec, code)
        return run_attempt(load_workload, here, control, self._rank, rendezvous)

    def set_deadline(self, deadline: float) -> None:
        """Past this second of its clock the trial matters no more."""
        self._control.deadline = deadline

    def forget(self, checkpoints: Place) -> None:
        """Removes the checkpoints of a trial whose end is on record; its final weights stay."""
        Store(checkpoints).forget()

    def time_steps(
        self, load_workload: LoadWorkload, spec: TrialSpec, rendezvous: Rendezvous | None = None
    ) -> tuple[str, float]:
        """As `harness.trial.attempt.time_steps`."""
        return time_steps(load_workload, spec, self._rank, rendezvous)
