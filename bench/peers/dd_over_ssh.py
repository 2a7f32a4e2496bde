# SPDX-License-Identifier: GPL-2.0-or-later
"""dd into ssh: what people type."""
from peers import ssh
from peers.peer import Peer


def over_ssh(pack="", unpack=""):
    def copy(pair):
        ssh.start_server(pair)
        write = f"{unpack}dd of={pair.copy} bs=1M iflag=fullblock conv=sparse status=none"
        pair.alpha.pipeline(f"dd if={pair.source} bs=1M status=none {pack}| "
                            f"{ssh.command(pair)} root@{pair.beta.address} '{write}'").wait()
    return copy


PEERS = [Peer("dd-ssh", "dd over ssh", over_ssh(), ssh.PACKAGES, ssh.make_keys),
         Peer("dd-lz4-ssh", "dd, lz4 -1 over ssh", over_ssh("| lz4 -1 -c ", "lz4 -d -c | "), (*ssh.PACKAGES, "lz4"),
              ssh.make_keys, compresses=True)]
