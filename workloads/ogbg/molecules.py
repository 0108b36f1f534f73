"""ogbg_mini's data: random molecules, labelled by properties of their graphs.

All molecules are made at once, in dense arrays of N molecules and V places for atoms each.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Bools = NDArray[np.bool_]
Integers = NDArray[np.int64]

RECIPE = "molecules 2"
PLACES = 18  # the most atoms of a molecule
KINDS = {
    "C": (5, 4, 0.55),
    "N": (6, 3, 0.15),
    "O": (7, 2, 0.16),
    "S": (15, 2, 0.05),
    "F": (8, 1, 0.09),
}
NUMBERS, VALENCES, SHARES = (np.array(column) for column in zip(*KINDS.values(), strict=True))
MISSING = 1 / 3  # of the labels


@dataclass(frozen=True)
class Dense:
    """N molecules in dense arrays of V places.

    Attributes:
        exists: [N, V], whether there is an atom.
        order: [N, V, V], 0 without a bond, 1 single, 2 double.
        kind: [N, V], number of the atom's kind in `KINDS`.
        ring: [N, V], in how many rings the atom was put.
        rings: [N, 3], sizes of the rings, 0 for none.
        distance: [N, V, V], bonds between two atoms, V where no path leads.
    """

    exists: Bools
    order: Integers
    kind: Integers
    ring: Integers
    rings: Integers
    distance: Integers


def make(count: int, seed: int) -> dict[str, np.ndarray]:
    """The arrays that `workloads.ogbg.batches.Graphs` takes, of random molecules.

    Trees of 8 to 18 atoms with up to three rings of 4 to 7; kinds of atoms and bonds keep to the
    valences. Features are in OGB's order. A third of the labels is missing.

    Args:
        count: The number of molecules.
        seed: The seed of all that is random.
    """
    rng = np.random.default_rng(seed)
    dense = _dense(count, rng)
    labels = np.stack([property_(dense) for property_ in TASKS.values()], axis=1).astype(np.int8)
    labels[rng.random(labels.shape) < MISSING] = -1
    of_bond, first, second = np.nonzero(np.triu(dense.order))
    return {
        "n_node": dense.exists.sum(axis=1),
        "nodes": _atom_features(dense, rng)[dense.exists],
        "n_bond": np.bincount(of_bond, minlength=count),
        "bonds": np.stack([first, second], axis=1).astype(np.int32),
        "bond_features": _bond_features(dense, rng)[of_bond, first, second],
        "labels": labels,
    }


def _dense(count: int, rng: np.random.Generator) -> Dense:
    exists = np.arange(PLACES) < rng.integers(8, PLACES + 1, count)[:, None]
    order = _trees(exists, rng)
    ring, rings = np.zeros(exists.shape, int), np.zeros((count, 3), int)
    for number in range(3):
        rings[:, number] = _close_rings(order, ring, rng)
    kind = _kinds(order.sum(axis=2), rng)
    free = VALENCES[kind] - order.sum(axis=2)
    for first in range(PLACES):
        for second in range(first):
            double = (order[:, first, second] > 0) & (free[:, first] > 0) & (free[:, second] > 0)
            double &= rng.random(count) < 0.5
            order[:, first, second] += double
            order[:, second, first] += double
            free[:, first] -= double
            free[:, second] -= double
    return Dense(exists, order, kind, ring, rings, distances(order > 0))


def _trees(exists: Bools, rng: np.random.Generator) -> Integers:
    """Bonds [N, V, V] that grow trees: each atom is bonded to an earlier one, a late one rather."""
    everyone = np.arange(len(exists))
    order = np.zeros((*exists.shape, exists.shape[1]), int)
    for atom in range(1, exists.shape[1]):
        wish = rng.random((len(exists), atom)) + 0.1 * np.arange(atom)
        wish[order[:, :atom].sum(axis=2) >= 3] = -1.0
        earlier = wish.argmax(axis=1)
        order[everyone, atom, earlier] = order[everyone, earlier, atom] = exists[:, atom]
    return order


def _close_rings(order: Integers, ring: Integers, rng: np.random.Generator) -> Integers:
    """Adds a ring to about half of the molecules, in place; its size [N], 0 for none."""
    everyone = np.arange(len(order))
    distance = distances(order > 0)
    wish = rng.random(distance.shape) * ((distance >= 3) & (distance <= 6))
    full = order.sum(axis=2) >= 3
    wish[full[:, :, None] | full[:, None, :]] = 0.0
    first, second = np.divmod(wish.reshape(len(order), -1).argmax(axis=1), order.shape[1])
    closed = (wish[everyone, first, second] > 0) & (rng.random(len(order)) < 0.5)
    length = distance[everyone, first, second]
    between = distance[everyone, first] + distance[everyone, second] == length[:, None]
    ring += between & closed[:, None]
    order[everyone, first, second] += closed
    order[everyone, second, first] += closed
    return (length + 1) * closed


def _kinds(degree: Integers, rng: np.random.Generator) -> Integers:
    """A kind [N, V] for every atom, of a valence that its degree allows."""
    chances = SHARES * (degree[:, :, None] <= VALENCES)
    ends = chances.cumsum(axis=2) / chances.sum(axis=2, keepdims=True)
    kind: Integers = (rng.random((*degree.shape, 1)) > ends).sum(axis=2)
    return kind


def distances(bonded: Bools) -> Integers:
    """The length [N, V, V] of the shortest path between atoms, V for none (Floyd, Warshall)."""
    places = bonded.shape[1]
    length = np.where(bonded, 1, places)
    length[:, np.arange(places), np.arange(places)] = 0
    for via in range(places):
        length = np.minimum(length, length[:, :, via, None] + length[:, None, via])
    return np.minimum(length, places)


def _atom_features(dense: Dense, rng: np.random.Generator) -> np.ndarray:
    """[N, V, 9]: number, chirality, degree, charge, hydrogens, radicals, hybrid, aromatic, ring."""
    degree, double = _degree(dense), (dense.order == 2).sum(axis=2)
    noise = rng.random((3, *dense.kind.shape))
    columns = [
        NUMBERS[dense.kind],
        (noise[0] * 3).astype(int),
        degree,
        1 + (noise[1] > 0.97) - (noise[1] < 0.03),
        VALENCES[dense.kind] - dense.order.sum(axis=2),
        noise[2] > 0.98,
        2 - np.minimum(double, 2),
        (dense.ring > 0) & (double > 0),
        dense.ring > 0,
    ]
    return np.stack(columns, axis=2).astype(np.uint8)


def _bond_features(dense: Dense, rng: np.random.Generator) -> np.ndarray:
    """[N, V, V, 3]: type, stereo, conjugated."""
    double = (dense.order == 2).any(axis=2)
    conjugated = double[:, :, None] & double[:, None, :]
    stereo = (rng.random(dense.order.shape) * 4).astype(int)
    return np.stack([dense.order - (dense.order > 0), stereo, conjugated], axis=3).astype(np.uint8)


def _is(dense: Dense, kinds: str) -> Bools:
    """[N, V], whether there is an atom of one of these kinds."""
    return dense.exists & np.isin(dense.kind, [list(KINDS).index(kind) for kind in kinds])


def _near(dense: Dense, atoms: Bools, order: int | None = None) -> Integers:
    """[N, V], how many of `atoms` [N, V] each is bonded to, by any bond or one of this order."""
    bonded = dense.order > 0 if order is None else dense.order == order
    count: Integers = (bonded & atoms[:, None, :]).sum(axis=2)
    return count


def _pair(dense: Dense, kinds: str, bonds: int) -> Bools:
    """[N], whether two atoms of these kinds are so many bonds apart."""
    atoms = _is(dense, kinds)
    both = atoms[:, :, None] & atoms[:, None, :]
    found: Bools = (both & (dense.distance == bonds)).any(axis=(1, 2))
    return found


def _carbonyl(dense: Dense) -> Bools:
    """[N, V], whether a carbon has a double bond to an oxygen."""
    return _is(dense, "C") & (_near(dense, _is(dense, "O"), order=2) > 0)


def _degree(dense: Dense) -> Integers:
    degree: Integers = (dense.order > 0).sum(axis=2)
    return degree


def _length(dense: Dense) -> Integers:
    """[N], bonds between the two atoms that are farthest apart."""
    longest: Integers = np.where(dense.distance < PLACES, dense.distance, 0).max(axis=(1, 2))
    return longest


TASKS: dict[str, Callable[[Dense], Any]] = {
    "carbonyl": lambda d: _carbonyl(d).any(axis=1),
    "amide": lambda d: (_carbonyl(d) & (_near(d, _is(d, "N")) > 0)).any(axis=1),
    "acetal": lambda d: (_is(d, "C") & (_near(d, _is(d, "O")) >= 2)).any(axis=1),
    "bonded heteroatoms": lambda d: _pair(d, "NO", 1),
    "heteroatoms two bonds apart": lambda d: _pair(d, "NS", 2),
    "heteroatoms three bonds apart": lambda d: _pair(d, "NS", 3),
    "ring of five": lambda d: (d.rings == 5).any(axis=1),
    "ring of six": lambda d: (d.rings == 6).any(axis=1),
    "two rings": lambda d: (d.rings > 0).sum(axis=1) >= 2,
    "fused rings": lambda d: (d.ring >= 2).any(axis=1),
    "oxygen in a ring": lambda d: ((d.ring > 0) & _is(d, "O")).any(axis=1),
    "halogen on a ring": lambda d: (_is(d, "F") & (_near(d, d.ring > 0) > 0)).any(axis=1),
    "branched": lambda d: (_degree(d) >= 3).sum(axis=1) >= 5,
    "many ends": lambda d: (_degree(d) == 1).sum(axis=1) >= 6,
    "long": lambda d: _length(d) >= 9,
    "more nitrogen than oxygen": lambda d: _is(d, "N").sum(axis=1) > _is(d, "O").sum(axis=1),
}
