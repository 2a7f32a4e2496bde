# SPDX-License-Identifier: GPL-2.0-or-later
"""The least that a copy over TLS can be: bench/tls_floor.cc says what it does, and what it leaves out."""
from peers.peer import Peer
from peers.vmigrate import two_ends

PEERS = [Peer(f"floor-{streams}", f"bare TLS, {streams} stream{'s'[:streams > 1]} (floor)",
              two_ends("tls_floor", streams), is_floor=True) for streams in (1, 2, 4)]
