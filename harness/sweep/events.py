"""The events of a ledger: one class per kind, with the fields of its lines.

Besides an event's own fields, each line has `sequence` (from 0, without gaps), `time` (seconds
since the epoch), `event` (the kind), `schema` and `crc32`. Events of trials begin with the trial's
key, SUBMISSION/study_K/WORKLOAD/trial_N, and the number of its attempt, from 1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar

from scoring.plain import result_from_plain, row_from_plain, to_plain
from scoring.records import EvalRow, TrialResult


@dataclass(frozen=True, kw_only=True, slots=True)
class DriverStarted:
    """A driver started to run the sweep."""

    kind: ClassVar[str] = "driver_started"
    host: str
    pid: int
    path: str = ""  # path of the results tree; "" in older ledgers
    tree: str = ""  # id of the results tree; a copy gets a new one
    options: Mapping[str, Any] | None = None  # SweepOptions as JSON; None in older ledgers


@dataclass(frozen=True, kw_only=True, slots=True)
class StudiesChosen:
    """`--studies auto` looked at the results: what they decide, and which studies are added.

    Each of `decisions` has the names `first` and `second`, the `faster` one or null, and `p`, which
    is valid at any time.
    """

    kind: ClassVar[str] = "studies_chosen"
    decisions: Sequence[Mapping[str, Any]]
    added: Sequence[Sequence[Any]]  # submission, workload and number of each study; none at the end


@dataclass(frozen=True, kw_only=True, slots=True)
class TrialEvent:
    """An event of a trial."""

    kind: ClassVar[str]
    trial: str
    attempt: int


@dataclass(frozen=True, kw_only=True, slots=True)
class AttemptStarted(TrialEvent):
    """The processes of an attempt are running."""

    kind: ClassVar[str] = "attempt_started"
    where: Mapping[str, Any] = field(
        default_factory=dict
    )  # fields of the line itself: node, host, pid, niceness, gpus


@dataclass(frozen=True, kw_only=True, slots=True)
class AttemptNotStarted(TrialEvent):
    """The processes of an attempt could not start, for example on a failing node."""

    kind: ClassVar[str] = "attempt_not_started"
    failure: str
    message: str


@dataclass(frozen=True, kw_only=True, slots=True)
class AttemptResumed(TrialEvent):
    """An attempt resumed from a checkpoint: `rows` are kept, later ones are measured again."""

    kind: ClassVar[str] = "attempt_resumed"
    submission_seconds: float
    step: int = 0
    rows: tuple[EvalRow, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class AttemptNotResumable(TrialEvent):
    """A checkpoint could not be saved."""

    kind: ClassVar[str] = "attempt_not_resumable"
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class AttemptNotRestored(TrialEvent):
    """A checkpoint could not be restored."""

    kind: ClassVar[str] = "attempt_not_restored"
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Heartbeat(TrialEvent):
    """A trial is alive; recorded at most once per minute and trial."""

    kind: ClassVar[str] = "heartbeat"
    steps: int  # made in this attempt


@dataclass(frozen=True, kw_only=True, slots=True)
class Evaluated(TrialEvent):
    """A trial was evaluated."""

    kind: ClassVar[str] = "row"
    row: EvalRow


@dataclass(frozen=True, kw_only=True, slots=True)
class AttemptLost(TrialEvent):
    """The process of an attempt died; the trial will be tried again."""

    kind: ClassVar[str] = "attempt_lost"
    failure: str
    message: str
    submission_seconds: float


@dataclass(frozen=True, kw_only=True, slots=True)
class AttemptEnded(TrialEvent):
    """A trial ended, or was interrupted."""

    kind: ClassVar[str] = "attempt_ended"
    result: TrialResult  # fields of the line itself, without rows
    rows: int | None = None  # number of rows; None in older ledgers


@dataclass(frozen=True, kw_only=True, slots=True)
class Pruned(TrialEvent):
    """A trial was skipped, as it could not change the leaderboard."""

    kind: ClassVar[str] = "pruned"


Event = DriverStarted | StudiesChosen | TrialEvent
_OF_TRIALS: list[type[TrialEvent]] = TrialEvent.__subclasses__()
_KINDS: dict[str, type[Event]] = {
    DriverStarted.kind: DriverStarted, StudiesChosen.kind: StudiesChosen,
    **{kind.kind: kind for kind in _OF_TRIALS},
}  # fmt: skip
_RESULT = {f.name for f in fields(TrialResult)} - {"rows"}


def to_record(event: Event) -> dict[str, Any]:
    """Converts an event to the fields of a line."""
    record = {"event": event.kind, **to_plain(event)}
    match event:
        case AttemptStarted():
            record |= record.pop("where")
        case AttemptEnded(rows=rows):
            record |= record.pop("result") | {"rows": rows}
    return record


def from_record(record: Mapping[str, Any]) -> Event | None:
    """Converts the fields of a line to an event; None for a kind of a later version.

    Raises:
        KeyError, TypeError, ValueError: A field is missing or invalid.
    """
    kind = _KINDS.get(record["event"])
    if kind is None:
        return None
    data = {f.name: record[f.name] for f in fields(kind) if f.name in record}
    if kind is AttemptStarted:
        common = {"sequence", "time", "event", "trial", "attempt"}
        data["where"] = {name: value for name, value in record.items() if name not in common}
    elif kind is AttemptEnded:
        known = {name: record[name] for name in _RESULT if name in record}
        data["result"] = result_from_plain(known, [])
    elif kind is AttemptResumed:
        data["rows"] = tuple(map(row_from_plain, record.get("rows", ())))
    elif kind is Evaluated:
        data["row"] = row_from_plain(record["row"])
    return kind(**data)
