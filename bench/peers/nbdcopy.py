# SPDX-License-Identifier: GPL-2.0-or-later
"""The image served read-only by alpha over NBD with TLS on both sides; beta fetches its data extents, four requests at
a time on each of four connections."""
from peers.peer import Peer

PORT = 10809


def fetch(pair, server):
    server.wait_until_listening(PORT)
    pair.beta.start("nbdcopy", "--connections=4", "--destination-is-zero",
                    f"nbds://{pair.alpha.address}:{PORT}/?tls-certificates={pair.keys / 'beta'}", pair.copy).wait()


def from_nbdkit(pair):
    fetch(pair, pair.alpha.start("nbdkit", "--foreground", "--readonly", f"--ipaddr={pair.alpha.address}",
                                 f"--port={PORT}", "--tls=require", f"--tls-certificates={pair.keys / 'alpha'}",
                                 "--tls-verify-peer", "file", pair.source))


def from_qemu_nbd(pair):
    credentials = f"tls-creds-x509,id=tls,endpoint=server,verify-peer=on,dir={pair.keys / 'alpha'}"
    fetch(pair, pair.alpha.start("qemu-nbd", "--object", credentials, "--tls-creds=tls", "--format=raw", "--read-only",
                                 f"--bind={pair.alpha.address}", f"--port={PORT}", "--shared=4", "--persistent",
                                 pair.source))


PEERS = [Peer("nbdkit-nbdcopy", "nbdkit over TLS, nbdcopy, 4 connections", from_nbdkit, ("nbdkit", "libnbd-bin")),
         Peer("qemu-nbd-nbdcopy", "qemu-nbd over TLS, nbdcopy, 4 connections", from_qemu_nbd,
              ("qemu-utils", "libnbd-bin"))]
