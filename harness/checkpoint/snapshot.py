"""What a process hands over to be kept: its state, and the model's weights alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import IO, Any

import torch
from torch import nn

from harness.checkpoint.authentication import Place
from harness.checkpoint.module_globals import ModuleGlobals
from harness.checkpoint.pickling import Known, UnsavableError, dump, load
from harness.checkpoint.store import Store
from harness.checkpoint.walking import differences
from scoring.escaping import error_message

Tensors = Mapping[str, torch.Tensor]
_MOST_NAMED = 3  # of the places that differ


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A process's state at this moment; changes with it.

    Attributes:
        state: By name, what is saved.
        known: What a resumed process has again.
        model: The model as it is evaluated, without wrappers.
        model_state: The workload's.
        module_globals: Those of the submission, as they are without this state.
    """

    state: Mapping[str, Any]
    known: Known
    model: nn.Module
    model_state: Any
    module_globals: ModuleGlobals | None = None

    def write(self, file: IO[bytes]) -> None:
        """Writes the state; raises UnsavableError."""
        dump(self.state, file, self.known)

    def compare(self, file: IO[bytes]) -> None:
        """Reads the state back, onto the CPU.

        Raises:
            UnsavableError: It cannot be read, or is not what is in memory; the message says where.
        """
        try:
            back = load(file, self.known, device="cpu")
            here = {**self.state, **self.known.contents()}
            there = {**back["state"], **back["contents"]}
            found = differences(here, there, self.known.names)
            outside = self.module_globals.changed() if self.module_globals else []
        except Exception as error:
            raise UnsavableError(f"it cannot be read back: {error_message(error)}") from error
        if found:
            raise UnsavableError(f"it is not the same when it is read back: {_named(found)}")
        if outside:
            raise UnsavableError(f"it leaves out variables of modules: {_named(outside)}")

    def write_weights(self, file: IO[bytes]) -> None:
        """Writes parameters, buffers and model state, which are read without unpickling."""
        parameters = {name: p.data for name, p in self.model.named_parameters()}
        buffers = dict(self.model.named_buffers())
        torch.save({"parameters": parameters, "buffers": buffers, "state": self.model_state}, file)


@dataclass(frozen=True, slots=True)
class Weights:
    """A trained model without code.

    Attributes:
        parameters: By name.
        buffers: By name.
        model_state: The workload's.
    """

    parameters: Tensors
    buffers: Tensors
    model_state: Any

    def put_into(self, model: nn.Module) -> None:
        """Fills a freshly made model.

        Raises:
            ValueError: Its parameters or buffers have other names or shapes.
        """
        held: list[tuple[Tensors, Tensors, str]] = [
            (self.parameters, dict(model.named_parameters()), "parameters"),
            (self.buffers, dict(model.named_buffers()), "buffers"),
        ]
        for ours, theirs, what in held:
            if _shapes(ours) != _shapes(theirs):
                names = sorted(dict(_shapes(ours).items() ^ _shapes(theirs).items()))
                raise ValueError(f"the model has other {what}: {', '.join(names)}")
        with torch.no_grad():
            for ours, theirs, _ in held:
                for name, tensor in theirs.items():
                    tensor.copy_(ours[name])


def read_weights(place: Place, part: str = "final", device: str = "cpu") -> Weights | None:
    """The weights in a place; None where there are none that verify.

    Runs no code of the file.

    Args:
        place: Of a trial.
        part: "final": at the evaluation that reached the goal.
        device: Where the tensors are put.
    """

    def read(file: IO[bytes]) -> Weights:
        found = torch.load(file, map_location=device, weights_only=True)
        return Weights(found["parameters"], found["buffers"], found["state"])

    return Store(place).load(part, read)


def _named(places: list[str]) -> str:
    more = f" and {len(places) - _MOST_NAMED} more" if len(places) > _MOST_NAMED else ""
    return ", ".join(places[:_MOST_NAMED]) + more


def _shapes(tensors: Tensors) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in tensors.items()}
