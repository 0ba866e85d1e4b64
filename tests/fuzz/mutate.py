"""Inputs from seeds: bytes are flipped, cut, doubled, spliced and overwritten with numbers that decoders trip over.

An input follows from its number alone, so that a finding is made again by naming it.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Sequence

#: Lengths, counts and offsets at which sums overflow and buffers end.
INTERESTING = [0, 1, 2, 7, 8, 15, 16, 31, 32, 63, 64, 127, 128, 255, 256, 32767, 32768, 65535, 65536, 2**31 - 1, 2**31,
               2**32 - 1, 2**32, 2**53, 2**63 - 1, 2**64 - 1]  # fmt: skip
WORDS = [
    b"NaN", b"Infinity", b"-1", b"1e999", b"99999999999999999999", b"null", b"true", b"[]", b"{}", b'""', b"0",
    b"1e-320", b"[" * 200, b"{\"a\":" * 60, b"&a [*a]", b"\x00", b"\xff\xfe", b"\\u0000", b"../", b"!!python/object:x",
    b"- ", b"? ", b"\n", b"2021-99-99", b"0x", b"\xed\xa0\x80", b"%", b"'", b"A" * 300,
]  # fmt: skip


def mutated(seeds: Sequence[bytes], rng: random.Random, longest: int) -> bytes:
    """One to eight changes to a seed."""
    data = bytearray(rng.choice(seeds))
    for _ in range(min(8, 1 + int(rng.expovariate(0.6)))):
        kind, at = rng.randrange(9), rng.randrange(len(data) + 1)
        length = min(len(data) - at, 1 + int(rng.expovariate(0.05)))
        if kind == 0 and data:
            data[at % len(data)] ^= 1 << rng.randrange(8)
        elif kind == 1 and data:
            data[at % len(data)] = rng.randrange(256)
        elif kind == 2:
            del data[at : at + length]
        elif kind == 3:
            data[at:at] = data[at : at + length]
        elif kind == 4:
            data[at:at] = rng.randbytes(length)
        elif kind == 5:
            size, order = rng.choice([(1, ">B"), (2, ">H"), (2, "<H"), (4, ">I"), (4, "<I"), (8, "<Q"), (8, ">Q")])
            data[at : at + size] = struct.pack(order, rng.choice(INTERESTING) % (1 << 8 * size))
        elif kind == 6:
            data[at : at + rng.choice([0, length])] = rng.choice(WORDS)
        elif kind == 7:
            other = rng.choice(seeds)
            first = rng.randrange(len(other) + 1)
            data[at : at + length] = other[first : first + 1 + int(rng.expovariate(0.02))]
        else:
            del data[at:]
    return bytes(data[:longest])
