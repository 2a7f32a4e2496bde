# SPDX-License-Identifier: GPL-2.0-or-later
"""A pipeline through socat, which encrypts and compresses nothing by itself."""
from peers.peer import Peer

PORT = 7701


def credentials(pair, host, role):
    keys = pair.keys / host
    return f"cert={keys}/{role}-cert.pem,key={keys}/{role}-key.pem,cafile={keys}/ca-cert.pem,verify=1"


def through_socat(pack, unpack):
    """`pack` and `unpack` are commands in a pipeline."""
    def copy(pair):
        receiver = pair.beta.pipeline(
            f"socat -b 262144 -u OPENSSL-LISTEN:{PORT},bind={pair.beta.address},{credentials(pair, 'beta', 'server')} "
            f"- | {unpack} | dd of={pair.copy} bs=1M iflag=fullblock conv=sparse status=none")
        receiver.wait_until_listening(PORT)
        pair.alpha.pipeline(
            f"{pack} <{pair.source} | socat -b 262144 -u - OPENSSL:{pair.beta.address}:{PORT},commonname=beta,"
            f"{credentials(pair, 'alpha', 'client')}").wait()
        receiver.wait()
    return copy


PEERS = [Peer("socat-lz4", "lz4 -1 through socat over TLS", through_socat("lz4 -1 -c", "lz4 -d -c"),
              ("socat", "lz4"), compresses=True),
         Peer("socat-zstd", "zstd -1, all cores, through socat over TLS",
              through_socat("zstd -q -1 -T0 -c", "zstd -q -d -c"), ("socat", "zstd"), compresses=True)]
