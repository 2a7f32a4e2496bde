# SPDX-License-Identifier: GPL-2.0-or-later
"""The client that remembers every acknowledged write."""
import re
import threading
import time

import e2e

# TCP doubles its waits: after a stall of 5 s it may be as long again until the client's kernel asks once more.
ALIVE_WITHIN = 15

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

    def writes_on(self, within=ALIVE_WITHIN):
        """That the connection is alive: new writes are acknowledged."""
        def has_written():
            time.sleep(0.1)
            return int(re.search(r"writes=(\d+)", self.tell("mark now")).group(1)) > 0
        self.tell("mark now")
        return e2e.wait_until(has_written, within, "the client's next write to be acknowledged")

    def end(self):
        """Compares everything. Returns how many writes were acknowledged."""
        self.running.process.stdin.close()
        self.running.process.stdin = None
        done = self.running.wait()
        assert done.code == 0 and "missing=0 different=0 out_of_order=0 faults=0 reconnects=0" in done.out, done
        return int(re.search(r"acknowledged=(\d+)", done.out).group(1))


class RowLedger:
    """Rows 1, 2, 3... of a sqlite container (synchronous=FULL), each written when the one before is acknowledged."""

    def __init__(self, _lab, container):
        self.connection, self.rows, self.trouble = container.connect(timeout=120), 0, None
        self.is_ending = threading.Event()
        self.writer = threading.Thread(target=self._write, daemon=True)
        self.writer.start()

    def _write(self):
        try:
            while not self.is_ending.is_set():
                answer = self.connection.ask(str(self.rows + 1))
                assert answer == f"ok {self.rows + 1}", answer
                self.rows += 1
        except Exception as failure:  # pylint: disable=broad-except
            self.trouble = failure

    def writes_on(self, within=ALIVE_WITHIN):
        """That the connection is alive: new rows are acknowledged."""
        before = self.rows
        return e2e.wait_until(lambda: self.rows > before, within, lambda: f"the next row to be acknowledged ({self.trouble})")

    def end(self):
        """Counts. Returns how many rows were acknowledged."""
        self.is_ending.set()
        self.writer.join(120)
        assert self.trouble is None, self.trouble
        answer = self.connection.ask("count")
        assert answer == f"{self.rows} {self.rows}", f"{answer}, acknowledged {self.rows}"
        return self.rows
