# SPDX-License-Identifier: GPL-2.0-or-later
"""An sshd on beta for one copy, and what alpha types to reach it."""
import subprocess

PACKAGES = ("openssh-server", "openssh-client")
CIPHER = "aes128-gcm@openssh.com"
SERVER = """ListenAddress {address}
HostKey {keys}/host
AuthorizedKeysFile {keys}/user.pub
PermitRootLogin prohibit-password
PasswordAuthentication no
StrictModes no
UsePAM no
PidFile none
Ciphers {cipher}
"""


def make_keys(pair):
    """Once for all copies of a comparison."""
    keys = pair.keys / "ssh"
    if keys.exists():
        return
    keys.mkdir()
    for name in ("host", "user"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", keys / name], check=True)
    public = (keys / "host.pub").read_text(encoding="ascii")
    (keys / "known").write_text(f"{pair.beta.address} {public}", encoding="ascii")
    (keys / "sshd").write_text(SERVER.format(address=pair.beta.address, keys=keys, cipher=CIPHER), encoding="ascii")


def start_server(pair):
    server = pair.beta.start("/usr/sbin/sshd", "-D", "-e", "-f", pair.keys / "ssh/sshd")
    server.wait_until_listening(22)


def command(pair):
    keys = pair.keys / "ssh"
    return f"ssh -F none -c {CIPHER} -i {keys}/user -o UserKnownHostsFile={keys}/known -o BatchMode=yes"
