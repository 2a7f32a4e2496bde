# SPDX-License-Identifier: GPL-2.0-or-later
"""Ourselves: the first round of a migration through the real copier, lanes and sink; compression as the product decides
it, by measuring the link. A stream is a connection for blocks, beside the first one."""
from peers.peer import Peer

PORT = 7700


def two_ends(program, streams):
    """A peer's copy() by a program of ours that has two ends (bench/two_ends.h)."""
    def copy(pair):
        at = f"{pair.beta.address}:{PORT}"
        receiver = pair.beta.start(pair.build / "bench" / program, "receive", at, pair.keys / "beta", pair.copy,
                                   "--streams", streams, "--bytes", pair.source.stat().st_size)
        receiver.wait_until_listening(PORT)
        sender = pair.alpha.start(pair.build / "bench" / program, "send", at, pair.keys / "alpha", pair.source,
                                  "--streams", streams)
        sender.wait()
        receiver.wait()
    return copy


PEERS = [Peer(f"vmigrate-{streams}", f"vmigrate, first round, {streams} stream{'s'[:streams > 1]}",
              two_ends("copy_over_tls", streams), compresses=True, is_ours=True) for streams in (1, 2, 4)]
