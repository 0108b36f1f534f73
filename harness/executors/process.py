"""The process of one attempt on a cluster: runs the trial and streams messages to the driver.

Does not import torch: the process must set its threads and devices first.
"""

from __future__ import annotations

import os
import queue
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from harness.checkpoint.authentication import Place
from harness.checkpoint.store import Store
from harness.environment import scratch
from harness.system import debug_log
from harness.trial.attempt import Attempt, prepare_process, run_attempt, time_steps
from harness.trial.messages import Beat, Broken, Ended, Message, Printed, Started
from harness.trial.output import Output, recorded
from harness.trial.process_group import Rendezvous
from scoring.records import TrialResult, TrialSpec

if TYPE_CHECKING:  # torch must not be imported before the process sets its threads
    from harness.spec import LoadWorkload

_log = debug_log.logger("worker")
BEAT_SECONDS = 5.0  # between heartbeats
HANG_TIMEOUT = 3600.0  # without a heartbeat, after which an attempt is stopped


class TrialProcess:
    """The actor of one rank of an attempt. Ray runs it in a fresh process.

    Args:
        rank: Rank among the processes that train together.
        node_id: Returns the id of the node that this process runs on.
        log: File for the debug log of rank 0, beside those of the others; None to write none.
    """

    def __init__(self, rank: int, node_id: Callable[[], str], log: Path | None = None) -> None:
        self._rank, self._node_id = rank, node_id
        self._control = Attempt()
        if log is not None:
            with suppress(OSError):
                debug_log.write_to(_on_this_node(log, rank))

    def gpus(self) -> str:
        """Returns the GPUs that are assigned to this process."""
        return os.environ.get("CUDA_VISIBLE_DEVICES", "")

    def open_rendezvous(self, spec: TrialSpec, *gpus: str) -> Rendezvous:
        """Opens the rendezvous of all ranks, given their GPUs; called on rank 0, before `run`."""
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
        """Streams the attempt's messages and what it prints, and a `Beat` if there is nothing else.

        Args:
            load_workload: Returns the workload of a name, data directory and device.
            spec: Trial.
            code: The submission's packed folder.
            checkpoints: Where the trial's checkpoints are.
            deadline: Second of the trial's clock after which it is stopped.
            rendezvous: Rendezvous of the ranks; None for a trial with one process.

        Training runs in a separate thread and waits at each message until the driver has taken it,
        so that no row is lost if this process dies. If the driver has given up this process, it
        waits forever at its next message and saves no checkpoint.
        """
        prepare_process(spec, rendezvous)
        from harness.submission.shipping import unpack

        messages: queue.Queue[Message] = queue.Queue()
        output = Output()

        def send(message: Message) -> None:
            messages.put(message)
            messages.join()

        self._control = control = Attempt(send, checkpoints)
        control.deadline = deadline

        def train() -> None:
            try:
                with recorded(output):
                    here = unpack(spec, code)
                    result = run_attempt(load_workload, here, control, self._rank, rendezvous)
                messages.put(Ended(result))
            except BaseException:  # noqa: BLE001 - a thread's exception would be lost
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
                message = None
            if text := output.take():
                yield Printed(text)
            if message is not None:
                yield message
                messages.task_done()
            elif steps != control.steps:
                steps = control.steps
                yield Beat(steps)

    def follow(
        self,
        load_workload: LoadWorkload,
        spec: TrialSpec,
        code: bytes,
        checkpoints: Place,
        rendezvous: Rendezvous,
    ) -> TrialResult:
        """Trains a rank other than 0, which sends no messages but saves its own checkpoints."""
        prepare_process(spec, rendezvous)
        from harness.submission.shipping import unpack

        control = Attempt(checkpoints=checkpoints.of_rank(self._rank))
        here = unpack(spec, code)
        return run_attempt(load_workload, here, control, self._rank, rendezvous)

    def set_deadline(self, deadline: float) -> None:
        """Sets the second of the trial's clock after which it is stopped."""
        _log.debug("deadline: %g s", deadline)
        self._control.deadline = deadline

    def forget(self, checkpoints: Place) -> None:
        """Deletes the checkpoints of a trial whose end is recorded, except its final weights."""
        Store(checkpoints).forget()

    def time_steps(
        self, load_workload: LoadWorkload, spec: TrialSpec, rendezvous: Rendezvous | None = None
    ) -> tuple[str, float]:
        """Calls `harness.trial.attempt.time_steps`."""
        return time_steps(load_workload, spec, self._rank, rendezvous)


def _on_this_node(log: Path, rank: int) -> Path:
    """Returns the log of a rank: in the tree, or in a node's temporary folder if it has no tree."""
    file = log.with_suffix(f".rank_{rank}.log") if rank else log
    tree = log.parents[4]  # of OUT/logs/SUBMISSION/study_K/WORKLOAD/FILE
    return file if tree.is_dir() else scratch() / file.relative_to(tree)
