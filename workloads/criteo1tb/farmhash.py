"""FarmHash's Fingerprint64 (Google, 2014; its namespace farmhashna), for many strings at once.

TensorFlow's `to_hash_bucket_fast`, which the official input pipeline calls, is this hash modulo the
number of buckets. All arithmetic is modulo 2**64, on little-endian words.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

_K0, _K1, _K2 = map(np.uint64, (0xC3A5C85C97CB3127, 0xB492B66FBE98F273, 0x9AE16A3B2F90404F))
_SEED = np.uint64(81)
Words = npt.NDArray[np.uint64]  # [N]


def fingerprint64(strings: np.ndarray) -> Words:
    """The hashes, uint64 [N], of the rows of `strings`, uint8 [N, length]."""
    length = strings.shape[1]
    with np.errstate(over="ignore"):
        if length <= 16:
            return _up_to_16(strings, length)
        if length <= 32:
            return _up_to_32(strings, length)
        if length <= 64:
            return _up_to_64(strings, length)
        return _longer(strings, length)


def _fetch(strings: np.ndarray, start: int, kind: str = "<u8") -> Words:
    """The word that begins at byte `start` of every string."""
    size = np.dtype(kind).itemsize
    words = np.ascontiguousarray(strings[:, start : start + size]).view(kind)
    return words[:, 0].astype(np.uint64)


def _rotate(words: Words, right: int) -> Words:
    return (words >> np.uint64(right)) | (words << np.uint64(64 - right))


def _shift_mix(words: Words) -> Words:
    return words ^ (words >> np.uint64(47))


def _mix(u: Words, v: Words, multiplier: Words | np.uint64) -> Words:
    """Two words to one: the original's HashLen16."""
    a = _shift_mix((u ^ v) * multiplier)
    return _shift_mix((v ^ a) * multiplier) * multiplier


def _up_to_16(strings: np.ndarray, length: int) -> Words:
    multiplier = _K2 + np.uint64(2 * length)
    if length >= 8:
        a = _fetch(strings, 0) + _K2
        b = _fetch(strings, length - 8)
        c = _rotate(b, 37) * multiplier + a
        d = (_rotate(a, 25) + b) * multiplier
        return _mix(c, d, multiplier)
    if length >= 4:
        a = _fetch(strings, 0, "<u4") << np.uint64(3)
        return _mix(a + np.uint64(length), _fetch(strings, length - 4, "<u4"), multiplier)
    if length > 0:
        first, middle, last = (strings[:, at] for at in (0, length // 2, length - 1))
        y = first.astype(np.uint64) + (middle.astype(np.uint64) << np.uint64(8))
        z = (last.astype(np.uint64) << np.uint64(2)) + np.uint64(length)
        return _shift_mix(y * _K2 ^ z * _K0) * _K2
    return np.full(len(strings), _K2)


def _up_to_32(strings: np.ndarray, length: int) -> Words:
    multiplier = _K2 + np.uint64(2 * length)
    a = _fetch(strings, 0) * _K1
    b = _fetch(strings, 8)
    c = _fetch(strings, length - 8) * multiplier
    d = _fetch(strings, length - 16) * _K2
    u = _rotate(a + b, 43) + _rotate(c, 30) + d
    return _mix(u, a + _rotate(b + _K2, 18) + c, multiplier)


def _up_to_64(strings: np.ndarray, length: int) -> Words:
    multiplier = _K2 + np.uint64(2 * length)
    a = _fetch(strings, 0) * _K2
    b = _fetch(strings, 8)
    c = _fetch(strings, length - 8) * multiplier
    d = _fetch(strings, length - 16) * _K2
    y = _rotate(a + b, 43) + _rotate(c, 30) + d
    z = _mix(y, a + _rotate(b + _K2, 18) + c, multiplier)
    e = _fetch(strings, 16) * multiplier
    f = _fetch(strings, 24)
    g = (y + _fetch(strings, length - 32)) * multiplier
    h = (z + _fetch(strings, length - 24)) * multiplier
    u = _rotate(e + f, 43) + _rotate(g, 30) + h
    return _mix(u, e + _rotate(f + a, 18) + g, multiplier)


def _longer(strings: np.ndarray, length: int) -> Words:
    """Blocks of 64 bytes are stirred into seven words; the last one may overlap the one before."""
    x = _SEED * _K2 + _fetch(strings, 0)
    y = np.full(len(strings), _SEED * _K1 + np.uint64(113))
    z = _shift_mix(y * _K2 + np.uint64(113)) * _K2
    v = w = (np.zeros_like(x), np.zeros_like(x))
    for start in range(0, (length - 1) // 64 * 64, 64):
        x, y, z, v, w = _stir(strings, start, x, y, z, v, w, _K1, np.uint64(1))
    multiplier = _K1 + ((z & np.uint64(0xFF)) << np.uint64(1))
    w = (w[0] + np.uint64((length - 1) % 64), w[1])
    v = (v[0] + w[0], v[1])
    w = (w[0] + v[0], w[1])
    x, y, z, v, w = _stir(strings, length - 64, x, y, z, v, w, multiplier, np.uint64(9))
    u = _mix(v[0], w[0], multiplier) + _shift_mix(y) * _K0 + z
    return _mix(u, _mix(v[1], w[1], multiplier) + x, multiplier)


def _stir(
    strings: np.ndarray,
    start: int,
    x: Words,
    y: Words,
    z: Words,
    v: tuple[Words, Words],
    w: tuple[Words, Words],
    multiplier: Words | np.uint64,
    weight: np.uint64,
) -> tuple[Words, Words, Words, tuple[Words, Words], tuple[Words, Words]]:
    """One block of 64 bytes; `weight` is 9 for the last one, else 1."""
    x = _rotate(x + y + v[0] + _fetch(strings, start + 8), 37) * multiplier
    y = _rotate(y + v[1] + _fetch(strings, start + 48), 42) * multiplier
    x = x ^ w[1] * weight
    y = y + v[0] * weight + _fetch(strings, start + 40)
    z = _rotate(z + w[0], 33) * multiplier
    v = _weak_hash(strings, start, v[1] * multiplier, x + w[0])
    w = _weak_hash(strings, start + 32, z + w[1], y + _fetch(strings, start + 16))
    return z, y, x, v, w


def _weak_hash(strings: np.ndarray, start: int, a: Words, b: Words) -> tuple[Words, Words]:
    """32 bytes and two seeds to two words."""
    first, second, third, last = (_fetch(strings, start + at) for at in (0, 8, 16, 24))
    a = a + first
    b = _rotate(b + a + last, 21)
    before = a
    a = a + second + third
    b = b + _rotate(a, 44)
    return a + last, b + before
