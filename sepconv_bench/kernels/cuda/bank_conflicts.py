"""In how many passes the banks of shared memory serve one instruction of a warp."""

from __future__ import annotations

from collections.abc import Sequence

BANKS, BANK_BYTES = 32, 4


def passes(addresses: Sequence[int], size: int) -> int:
    """Of reads or writes of `size` bytes (4, 8 or 16) at 32 addresses in bytes, one a lane, each a multiple of its size.

    A pass gives every bank's one word, to all lanes that ask for it. A warp that moves 8 bytes a lane takes turns by
    halves, one
    that moves 16 by quarters, as ldmatrix.x4 does, a matrix of 8 rows each (CUDA C++ Best Practices Guide, Shared Memory);
    the fewest passes are therefore 1, 2 and 4.
    """
    together = BANKS * BANK_BYTES // size
    return sum(_of_a_turn(addresses[begin : begin + together], size) for begin in range(0, len(addresses), together))


def _of_a_turn(addresses: Sequence[int], size: int) -> int:
    words: dict[int, set[int]] = {}
    for address in addresses:
        for word in range(address // BANK_BYTES, (address + size) // BANK_BYTES):
            words.setdefault(word % BANKS, set()).add(word)
    return max((len(asked) for asked in words.values()), default=0)
