#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
#
# One TCP connection that writes to a redis container as fast as it is acknowledged, remembers every acknowledged write
# and compares them all in the end. It never connects again.
#
#   ledger_client.py ADDRESS [--load MIB] [--payload BYTES] [--pause SECONDS]
#   ledger_client.py ADDRESS --compare WRITES [--load MIB] [--payload BYTES]   another's writes, after a restart
#
# First it stores --load MiB of random values. Then, for N = 1, 2, 3...: it appends N to a list (redis answers with the
# list's length, which must be N) and stores a payload under a key of its own. Each line on stdin is a question:
#
#   mark NAME     "NAME: writes=… longest_stall_ms=…" since the last mark
#   verify        reads everything back: "acknowledged=… missing=0 different=0 out_of_order=0 …", exit code 1 if not so
#
# The end of stdin, SIGTERM and SIGINT mean: verify and end. reconnects is not a promise but redis' own count of the
# connections that it has accepted since this one.
import argparse
import os
import random
import select
import signal
import socket
import sys
import time

PORT = 6379
LOAD_BYTES = 64 * 1024
READ_KEYS = 64


class Redis:
    def __init__(self, address):
        self.socket = socket.create_connection((address, PORT), timeout=60)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.stream = self.socket.makefile("rb", buffering=1 << 20)

    def send(self, *words):
        words = [word if isinstance(word, bytes) else str(word).encode() for word in words]
        self.socket.sendall(b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words))

    def answer(self):
        line = self.stream.readline()
        if not line.endswith(b"\r\n"):
            raise ConnectionError("closed by the container")
        kind, rest = line[:1], line[1:-2]
        if kind == b":":
            return int(rest)
        if kind == b"$":
            return None if int(rest) < 0 else self.stream.read(int(rest) + 2)[:-2]
        if kind == b"*":
            return [self.answer() for _ in range(int(rest))]
        if kind == b"+":
            return rest.decode()
        raise ValueError(f"redis says {line.decode(errors='replace').strip()}")

    def ask(self, *words):
        self.send(*words)
        return self.answer()

    def info(self, field):
        text = self.ask("INFO").decode()
        return int(next(line.split(":")[1] for line in text.splitlines() if line.startswith(field + ":")))


class Ledger:
    def __init__(self, options):
        self.payload_bytes = options.payload
        self.redis = Redis(options.address)
        self.loaded = options.load * (1 << 20) // LOAD_BYTES
        self.acknowledged = self.marked = self.faults = 0
        self.stall_ms = self.longest_stall_ms = 0.0
        self.connection = self.redis.ask("CLIENT", "ID")
        self.accepted = self.redis.info("total_connections_received")

    def load(self):
        for start in range(0, self.loaded, 8):
            numbers = range(start, min(start + 8, self.loaded))
            for number in numbers:
                self.redis.send("SET", f"load:{number}", random.Random(number).randbytes(LOAD_BYTES))
            for number in numbers:
                self.expect(self.redis.answer(), "OK")

    def expect(self, answer, wanted):
        if answer != wanted:
            self.faults += 1
            print(f"answer {answer!r} where {wanted!r} was due", file=sys.stderr, flush=True)

    def payload(self, number):
        return b"%d:" % number + random.Random(-number).randbytes(self.payload_bytes)

    def write_one(self):
        number = self.acknowledged + 1
        started = time.monotonic()
        self.redis.send("RPUSH", "ledger", number)
        self.redis.send("SET", f"entry:{number}", self.payload(number))
        self.expect(self.redis.answer(), number)
        self.expect(self.redis.answer(), "OK")
        self.stall_ms = max(self.stall_ms, (time.monotonic() - started) * 1000)
        self.acknowledged = number

    def mark(self, name):
        print(f"{name}: writes={self.acknowledged - self.marked} longest_stall_ms={self.stall_ms:.0f}", flush=True)
        self.longest_stall_ms = max(self.longest_stall_ms, self.stall_ms)
        self.marked, self.stall_ms = self.acknowledged, 0.0

    def compare(self, keys_and_values):
        """(missing, different) of what redis has under these keys."""
        missing = different = 0
        found = self.redis.ask("MGET", *(key for key, _ in keys_and_values))
        for (_, wanted), value in zip(keys_and_values, found):
            missing += value is None
            different += value is not None and value != wanted
        return missing, different

    def verify(self):
        entries = [int(number) for number in self.redis.ask("LRANGE", "ledger", 0, -1)]
        missing = len(set(range(1, self.acknowledged + 1)) - set(entries))
        out_of_order = sum(number != place for place, number in enumerate(entries, 1))
        different = 0
        for prefix, first, count, value_of in (
                ("entry", 1, self.acknowledged, self.payload),
                ("load", 0, self.loaded, lambda number: random.Random(number).randbytes(LOAD_BYTES))):
            for start in range(first, first + count, READ_KEYS):
                numbers = range(start, min(start + READ_KEYS, first + count))
                absent, other = self.compare([(f"{prefix}:{number}", value_of(number)) for number in numbers])
                missing, different = missing + absent, different + other
        reconnects = self.redis.info("total_connections_received") - self.accepted
        self.expect(self.redis.ask("CLIENT", "ID"), self.connection)
        self.longest_stall_ms = max(self.longest_stall_ms, self.stall_ms)
        print(f"acknowledged={self.acknowledged} loaded={self.loaded} missing={missing} different={different} "
              f"out_of_order={out_of_order} faults={self.faults} reconnects={reconnects} "
              f"memory_mib={self.redis.info('used_memory') >> 20} longest_stall_ms={self.longest_stall_ms:.0f}",
              flush=True)
        return not (missing or different or out_of_order or self.faults or reconnects)


class Questions:
    """Lines on stdin, without waiting for them."""

    def __init__(self):
        self.rest, self.has_ended = b"", False

    def now(self):
        """The words of every whole line that has come."""
        if not self.has_ended and select.select([0], [], [], 0)[0]:
            got = os.read(0, 4096)
            self.has_ended = not got
            self.rest += got
        *lines, self.rest = self.rest.split(b"\n")
        return [line.decode().split() for line in lines]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("address")
    parser.add_argument("--load", type=int, default=0)
    parser.add_argument("--payload", type=int, default=256)
    parser.add_argument("--pause", type=float, default=0.0005)
    parser.add_argument("--compare", type=int)
    options = parser.parse_args()
    is_ending = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: is_ending.append(True))
    is_good = True
    try:
        ledger = Ledger(options)
        if options.compare is not None:
            ledger.acknowledged = options.compare
            return 0 if ledger.verify() else 1
        ledger.load()
        print(f"ready: loaded={ledger.loaded * LOAD_BYTES >> 20} MiB in {ledger.loaded} values", flush=True)
        questions = Questions()
        while not is_ending and not questions.has_ended:
            for words in questions.now():
                if words[:1] == ["mark"]:
                    ledger.mark(" ".join(words[1:]))
                elif words == ["verify"]:
                    is_good = ledger.verify() and is_good
            ledger.write_one()
            time.sleep(options.pause)
        is_good = ledger.verify() and is_good
    except (OSError, ValueError) as failure:
        print(f"error={failure}", flush=True)
        return 1
    return 0 if is_good else 1


sys.exit(main())
