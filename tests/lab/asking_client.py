#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
#
# One TCP connection that asks a container for the next number every millisecond, and never connects again: what a
# client notices of a migration. Ends on SIGTERM or SIGINT and prints one line.
#
#   asking_client.py ADDRESS redis     INCR on port 6379: every answer must be the last one plus 1
#   asking_client.py ADDRESS probe     "get" on port 7000: no answer may be smaller than the last one
#   asking_client.py ADDRESS sqlite    rows 1, 2, 3... on port 7000: every answer must be "ok" and the row
import signal
import socket
import sys
import time


def main():
    address, kind = sys.argv[1:3]
    port = 6379 if kind == "redis" else 7000
    connection = socket.create_connection((address, port), timeout=60)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    lines = connection.makefile("rb")
    is_ending = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: is_ending.append(True))
    asked, faults, stall_ms, last = 0, 0, 0.0, None
    error = ""
    try:
        while not is_ending:
            started = time.monotonic()
            asked += 1
            question = {"redis": b"INCR asked\r\n", "probe": b"get\n", "sqlite": b"%d\n" % asked}[kind]
            connection.sendall(question)
            line = lines.readline()
            if not line:
                raise ConnectionError("closed by the container")
            value = int(line.split()[-1].lstrip(b":"))
            stall_ms = max(stall_ms, (time.monotonic() - started) * 1000)
            if kind == "redis" and last is not None and value != last + 1:
                faults += 1
            if kind == "probe" and last is not None and value < last:
                faults += 1
            if kind == "sqlite" and value != asked:
                faults += 1
            last = value
            time.sleep(0.001)
    except (OSError, ValueError) as failure:
        error = f" error={failure}"
    print(f"asked={asked} last={last} faults={faults} longest_stall_ms={stall_ms:.0f}{error}")
    return 1 if faults or error else 0


sys.exit(main())
