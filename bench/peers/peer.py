# SPDX-License-Identifier: GPL-2.0-or-later
"""What the comparison has to know of a peer."""
from dataclasses import dataclass
from typing import Callable


@dataclass(frozen=True)
class Peer:
    """One way to copy pair.source on alpha to pair.copy on beta."""
    name: str
    what: str                  # for the table: what is typed, in short
    copy: Callable             # given the Pair, returns when the copy is whole; what still runs is stopped then
    packages: tuple = ()       # Debian's
    prepare: Callable = None   # the same, before the clock runs
    encrypts: bool = True
    compresses: bool = False
    is_ours: bool = False
    is_floor: bool = False
