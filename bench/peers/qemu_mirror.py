# SPDX-License-Identifier: GPL-2.0-or-later
"""blockdev-mirror over NBD and TLS between two qemu-storage-daemons: how libvirt copies storage in a migration."""
import json
import socket
import time

from comparison.hosts import Failed
from peers.peer import Peer

PORT = 10809


class Monitor:
    """QEMU's conversation of JSON lines."""

    def __init__(self, path, process):
        deadline = time.monotonic() + 10
        self.socket = socket.socket(socket.AF_UNIX)
        while True:
            try:
                self.socket.connect(str(path))
                break
            except OSError:
                if process.popen.poll() is not None or time.monotonic() > deadline:
                    raise Failed(f"qemu-storage-daemon: {process.last_words()}") from None
                time.sleep(0.002)
        self.lines = self.socket.makefile("r", encoding="utf-8")
        self.command("qmp_capabilities")

    def command(self, name, **arguments):
        self.socket.sendall(json.dumps({"execute": name, "arguments": arguments}).encode())
        self.wait_for(lambda answer: "return" in answer)

    def wait_for_event(self, name):
        self.wait_for(lambda answer: answer.get("event") == name)

    def wait_for(self, is_wanted):
        for line in self.lines:
            answer = json.loads(line)
            data = answer.get("data", {})
            if "error" in answer or answer.get("event") == "BLOCK_JOB_ERROR" or "error" in data:
                raise Failed(f"qemu-storage-daemon: {answer}")
            if is_wanted(answer):
                return
        raise Failed("qemu-storage-daemon: ended early")


def credentials(pair, host, endpoint):
    return f"tls-creds-x509,id=tls,endpoint={endpoint},verify-peer=on,dir={pair.keys / host}"


def start_destination(pair):
    with open(pair.copy, "wb") as copy:
        copy.truncate(pair.source.stat().st_size)
    destination = pair.beta.start(
        "qemu-storage-daemon", "--object", credentials(pair, "beta", "server"),
        "--blockdev", f"file,node-name=disk,filename={pair.copy},discard=unmap",
        "--nbd-server", f"addr.type=inet,addr.host={pair.beta.address},addr.port={PORT},tls-creds=tls",
        "--export", "nbd,id=export,node-name=disk,name=disk,writable=on")
    destination.wait_until_listening(PORT)


def start_source(pair, monitor):
    return pair.alpha.start(
        "qemu-storage-daemon", "--object", credentials(pair, "alpha", "client"),
        "--blockdev", f"file,node-name=source,filename={pair.source},read-only=on",
        "--blockdev", f"nbd,node-name=target,server.type=inet,server.host={pair.beta.address},server.port={PORT},"
                      "export=disk,tls-creds=tls",
        "--chardev", f"socket,id=monitor,path={monitor},server=on,wait=off", "--monitor", "chardev=monitor")


def copy(pair):
    path = pair.directory / "monitor"
    path.unlink(missing_ok=True)
    start_destination(pair)
    source = start_source(pair, path)
    monitor = Monitor(path, source)
    monitor.command("blockdev-mirror", **{"job-id": "copy", "device": "source", "target": "target", "sync": "full"})
    monitor.wait_for_event("BLOCK_JOB_READY")
    monitor.command("block-job-complete", device="copy")
    monitor.wait_for_event("BLOCK_JOB_COMPLETED")
    monitor.command("quit")
    source.wait()


PEERS = [Peer("qemu-mirror", "blockdev-mirror over NBD and TLS, as libvirt", copy, ("qemu-system-common",))]
