# SPDX-License-Identifier: GPL-2.0-or-later
"""The client that remembers every acknowledged write."""
import re
import time

import e2e

LEDGER_CLIENT = e2e.LAB.parent / "ledger_client.py"


class Ledger:
    """tests/lab/ledger_client.py on the client: writes until it is told to stop."""

    def __init__(self, lab, container, load=0, payload=256):
        self.running = lab.start("client", "python3", LEDGER_CLIENT, container.address, "--load", load, "--payload", payload)
        assert self._read().startswith("ready:")

    def _read(self):
        line = self.running.process.stdout.readline()
        assert line, f"the ledger client ended: {self.running.wait()}"
        return line.strip()

    def tell(self, words):
        self.running.process.stdin.write(words + "\n")
        self.running.process.stdin.flush()
        return self._read()

    def longest_stall_ms(self):
        """Since it was last asked."""
        return int(self.tell("mark now").split("longest_stall_ms=")[1])

    def writes_on(self):
        """That the connection is alive right now: new writes are acknowledged."""
        self.tell("mark before")
        time.sleep(0.3)
        return int(re.search(r"writes=(\d+)", self.tell("mark after")).group(1)) > 0

    def end(self):
        """Compares everything. Returns how many writes were acknowledged."""
        self.running.process.stdin.close()
        self.running.process.stdin = None
        done = self.running.wait()
        assert done.code == 0 and "missing=0 different=0 out_of_order=0 faults=0 reconnects=0" in done.out, done
        return int(re.search(r"acknowledged=(\d+)", done.out).group(1))
