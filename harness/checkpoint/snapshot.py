"""The state of a process as it is saved: everything it needs to resume, or the weights alone."""

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
_MAX_NAMED = 3  # places in a message


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The live state of a process, not a copy.

    Attributes:
        state: Objects to save, by name.
        known: Objects that a resumed process recreates.
        model: The model as it is evaluated, without wrappers.
        model_state: The workload's model state.
        module_globals: The submission's module variables after initialisation.
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
        """Reads the state back onto the CPU and compares it with what is in memory.

        Raises:
            UnsavableError: It cannot be read, or differs; the message says where.
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
            raise UnsavableError(f"it differs when it is read back: {_named(found)}")
        if outside:
            raise UnsavableError(f"it does not include variables of modules: {_named(outside)}")

    def write_weights(self, file: IO[bytes]) -> None:
        """Writes parameters, buffers and model state, which can be read without unpickling."""
        parameters = {name: p.data for name, p in self.model.named_parameters()}
        buffers = dict(self.model.named_buffers())
        torch.save({"parameters": parameters, "buffers": buffers, "state": self.model_state}, file)


@dataclass(frozen=True, slots=True)
class Weights:
    """The weights of a trained model.

    Attributes:
        parameters: Parameters by name.
        buffers: Buffers by name.
        model_state: The workload's model state.
    """

    parameters: Tensors
    buffers: Tensors
    model_state: Any

    def put_into(self, model: nn.Module) -> None:
        """Copies the weights into a model.

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
                raise ValueError(f"the model has different {what}: {', '.join(names)}")
        with torch.no_grad():
            for ours, theirs, _ in held:
                for name, tensor in theirs.items():
                    tensor.copy_(ours[name])


def read_weights(place: Place, part: str = "final", device: str = "cpu") -> Weights | None:
    """Reads the weights in a place without unpickling; None if there are none that verify.

    Args:
        place: Place of a trial.
        part: "final" for the weights at the evaluation that reached the goal.
        device: Device of the tensors.
    """

    def read(file: IO[bytes]) -> Weights:
        found = torch.load(file, map_location=device, weights_only=True)
        return Weights(found["parameters"], found["buffers"], found["state"])

    return Store(place).load(part, read)


def _named(places: list[str]) -> str:
    more = f" and {len(places) - _MAX_NAMED} more" if len(places) > _MAX_NAMED else ""
    return ", ".join(places[:_MAX_NAMED]) + more


def _shapes(tensors: Tensors) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in tensors.items()}
