# SPDX-License-Identifier: GPL-2.0-or-later
"""One copy by one peer, and what it cost."""
import os
import statistics
import subprocess
import time
from dataclasses import dataclass, field

from comparison.hosts import Failed, MemoryWatch


@dataclass
class Figure:
    """One run. Pairs are alpha's and beta's."""
    seconds: float
    cpu_seconds: tuple
    peak_bytes: tuple
    wire_bytes: int   # both directions, as the interfaces count them: with headers down to Ethernet's


@dataclass
class Row:
    """All runs of one peer at one rate."""
    peer: object
    figures: list = field(default_factory=list)
    why_not: str = ""

    def median(self, what):
        return statistics.median(what(figure) for figure in self.figures)

    @property
    def seconds(self):
        return self.median(lambda figure: figure.seconds)

    @property
    def cpu_seconds(self):
        return self.median(lambda figure: sum(figure.cpu_seconds))


def measure(peer, pair, rate):
    """Throws Failed, also when the copy is not identical."""
    pair.copy.unlink(missing_ok=True)
    pair.connect(rate)
    if peer.prepare:
        peer.prepare(pair)
    cpu = [host.cpu_seconds() for host in pair.hosts]
    sent = [host.sent_bytes() for host in pair.hosts]
    try:
        with MemoryWatch(pair.hosts) as memory:
            started = time.monotonic()
            peer.copy(pair)
            flush(pair.copy)
            seconds = time.monotonic() - started
    finally:
        for host in pair.hosts:
            host.stop_all()
    figure = Figure(seconds, tuple(host.cpu_seconds() - before for host, before in zip(pair.hosts, cpu)),
                    tuple(memory.peaks),
                    sum(host.sent_bytes() - before for host, before in zip(pair.hosts, sent)))
    if subprocess.run(["cmp", pair.source, pair.copy], check=False, capture_output=True).returncode != 0:
        raise Failed("the copy differs from the source")
    pair.copy.unlink()
    return figure


def flush(path):
    """Some peers end with a flush and some do not; on a tmpfs it costs nothing."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        raise Failed("it made no copy") from None
    os.fsync(descriptor)
    os.close(descriptor)
