# SPDX-License-Identifier: GPL-2.0-or-later
"""rsync of the whole file, written sparse and in place: the fastest flags, since a delta reads both sides first."""
from peers import ssh
from peers.peer import Peer

FLAGS = ("--sparse", "--whole-file", "--inplace")
DAEMON = """use chroot = no
uid = root
gid = root
[copy]
path = {directory}
read only = no
"""


def to_daemon(pair):
    settings = pair.directory / "rsyncd.conf"
    settings.write_text(DAEMON.format(directory=pair.copy.parent), encoding="utf-8")
    server = pair.beta.start("rsync", "--daemon", "--no-detach", f"--address={pair.beta.address}",
                             f"--config={settings}")
    server.wait_until_listening(873)
    pair.alpha.start("rsync", *FLAGS, pair.source, f"rsync://{pair.beta.address}/copy/{pair.copy.name}").wait()


def over_ssh(*more):
    def copy(pair):
        ssh.start_server(pair)
        pair.alpha.start("rsync", *FLAGS, *more, "-e", ssh.command(pair), pair.source,
                         f"root@{pair.beta.address}:{pair.copy}").wait()
    return copy


PEERS = [Peer("rsync-daemon", "rsync daemon, in clear", to_daemon, ("rsync",), encrypts=False),
         Peer("rsync-ssh", "rsync over ssh", over_ssh(), ("rsync", *ssh.PACKAGES), ssh.make_keys),
         Peer("rsync-ssh-zstd", "rsync over ssh, zstd -1", over_ssh("-z", "--zc=zstd", "--zl=1"),
              ("rsync", *ssh.PACKAGES), ssh.make_keys, compresses=True)]
