#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Connections that want nothing hold up nobody and cost little: see e2e.py for how to run it.

hostile_client.py keeps 1,000 of them at each agent, while a container moves there and back. Printed are the agents'
largest resident sets and the time of a migration, without and with the crowd.
"""
import contextlib
import os
import statistics
import subprocess
import time

import e2e
from e2e import HOSTS, test, wait_until

CROWD = e2e.HERE / "hostile_client.py"
CROWD_SIZE = 1000
MEMORY_MAX_MIB = 64
RATIO_MAX, SLACK_S = 2, 1.5
# So many that each stays below what one address may have unfinished.
ADDRESSES = [f"10.77.0.{number}" for number in range(101, 251)]
MOVES = 2
MIB = 1 << 20
FILL_MIB = 256


def certify_stranger(lab):
    """A host of the lab's CA that no rule knows."""
    directory = lab.directory / "mallory"
    if not directory.exists():
        subprocess.run([lab.binary, "pki", "issue", "mallory", "--ca-dir", lab.directory / "pki", "--tls-dir", directory],
                       check=True, capture_output=True)
    return directory


@contextlib.contextmanager
def more_addresses(lab):
    """The client has ADDRESSES as well."""
    def change(verb):
        lab.exec("client", "ip", "-batch", "-", stdin="".join(f"address {verb} {each}/24 dev eth0\n" for each in ADDRESSES))
    change("add")
    try:
        yield
    finally:
        change("del")


class Crowd:
    def __init__(self, lab, kind, host):
        address = {"alpha": "10.77.0.1", "beta": "10.77.0.2"}[host]
        self.running = lab.start("client", "python3", CROWD, kind, CROWD_SIZE, f"{address}:7700", certify_stranger(lab),
                                 *ADDRESSES)
        self.open, self.made = 0, 0

    def look(self):
        """One more line of what it says."""
        line = self.running.process.stdout.readline()
        assert line, self.running.wait()
        self.open, self.made = map(int, line.split())

    def wait_for_all(self):
        deadline = time.monotonic() + 60
        while self.made < CROWD_SIZE:
            assert time.monotonic() < deadline, f"only {self.made} connections were made"
            self.look()

    def leave(self):
        """Returns how many connections were made."""
        out, _ = self.running.process.communicate(timeout=30)
        return int(out.split()[-1]) if out.split() else self.made


def move(lab, container, source, destination):
    """Seconds. Both agents take part; the operator is a third."""
    started = time.monotonic()
    moved = lab.vmigrate("client", source, destination, container.name)
    seconds = time.monotonic() - started
    assert moved.code == 0 and container.is_where() == {destination: "running"}, moved
    return seconds


def move_to_and_fro(lab, container):
    times = []
    for _ in range(MOVES):
        times.append(move(lab, container, "alpha", "beta"))
        times.append(move(lab, container, "beta", "alpha"))
        for host in HOSTS:
            for kept in container.kept_images(host):
                kept.unlink()
    return statistics.median(times)


def reset_memory_peaks(lab):
    for host in HOSTS:
        lab.reset_memory_peak(host)


def memory_peaks_mib(lab):
    return {host: lab.memory_peak_kib(host) / 1024 for host in HOSTS}


def fill(lab, container):
    rootfs = lab.root("alpha") / "var/lib/vmigrate/containers" / container.name / "rootfs"
    with open(rootfs / "fill", "wb") as file:
        for _ in range(FILL_MIB):
            file.write(os.urandom(MIB))
        os.fsync(file.fileno())


def check_crowd(lab, kind):
    container = lab.container("alpha", "redis", size="512M")
    fill(lab, container)
    connection = container.connect()
    connection.redis("SET", "key", "value")
    reset_memory_peaks(lab)
    alone = move_to_and_fro(lab, container)
    peaks_alone = memory_peaks_mib(lab)
    with more_addresses(lab):
        crowds = [Crowd(lab, kind, host) for host in HOSTS]
        for crowd in crowds:
            crowd.wait_for_all()
        reset_memory_peaks(lab)
        crowded = move_to_and_fro(lab, container)
        peaks = memory_peaks_mib(lab)
        made = [crowd.leave() for crowd in crowds]
    assert connection.redis("GET", "key") == b"value"
    print(f"    {kind}: {CROWD_SIZE} connections at each agent, {sum(made)} made in all; "
          f"migration {alone:.2f} s alone, {crowded:.2f} s among them; agents at most "
          f"{max(peaks_alone.values()):.0f} MiB alone, {max(peaks.values()):.0f} MiB among them", flush=True)
    assert max(peaks.values()) <= MEMORY_MAX_MIB, peaks
    assert crowded <= RATIO_MAX * alone + SLACK_S, f"{alone} s became {crowded} s"


@test
def idle_crowd(lab):
    """1,000 connections that say nothing cost at most 64 MiB, and a migration gets through"""
    check_crowd(lab, "idle")


@test
def trickling_crowd(lab):
    """so do 1,000 handshakes of one byte per second"""
    check_crowd(lab, "trickle")


@test
def silent_crowd(lab):
    """so do 1,000 peers with a valid certificate that shake hands and then say nothing"""
    check_crowd(lab, "silent")


@test
def mumbling_crowd(lab):
    """so do 1,000 peers with a valid certificate whose first message comes one byte per second"""
    check_crowd(lab, "mumble")


e2e.main()
