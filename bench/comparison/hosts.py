# SPDX-License-Identifier: GPL-2.0-or-later
"""Two hosts on one machine, joined by one wire, each with its own count of CPU time, memory and bytes.

        alpha 10.78.0.1 ── eth0 ════ veth ════ eth0 ── beta 10.78.0.2        (TBF on both ends when a rate is asked for)

A host is a network namespace and a cgroup. The namespaces stand in a mount namespace of their own and go with it; the
cgroups are made and removed by whoever started us (see isolation.py).
"""
import contextlib
import json
import os
import subprocess
import threading
import time
from pathlib import Path

# About 2 ms of traffic, but never less than a packet of 64 KiB, which is the largest that leaves a host.
BURSTS = {"10gbit": "2500kb", "1gbit": "256kb", "100mbit": "128kb"}
LONGEST_COPY_SECONDS = 900
JOIN = 'echo $$ >"$1/cgroup.procs"; exec nsenter --net="/run/netns/$2" -- "${@:3}"'


class Failed(Exception):
    """A peer could not copy; the text says why."""


def run(*command):
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


class Process:
    """A command on a host; what it says goes into a file."""

    def __init__(self, host, command, environment):
        self.name = Path(command[0]).name if command[0] != "bash" else command[-1]
        self.said = host.directory / f"{host.name}.{time.monotonic_ns()}.log"
        with open(self.said, "wb") as output:
            self.popen = subprocess.Popen(
                ["bash", "-c", JOIN, "join", str(host.cgroup), host.name, *command], stdin=subprocess.DEVNULL,
                stdout=output, stderr=output, start_new_session=True, env={**os.environ, **environment})

    def wait(self):
        """Until it ends; throws unless it says that all went well."""
        try:
            code = self.popen.wait(LONGEST_COPY_SECONDS)
        except subprocess.TimeoutExpired:
            raise Failed(f"{self.name}: still running after {LONGEST_COPY_SECONDS} s") from None
        if code != 0:
            raise Failed(f"{self.name}: exit {code}: {self.last_words()}")

    def wait_until_listening(self, port):
        """Looks without connecting: some servers serve one connection only."""
        deadline = time.monotonic() + 10
        while not self.is_listening(port):
            if self.popen.poll() is not None:
                raise Failed(f"{self.name}: {self.last_words()}")
            if time.monotonic() > deadline:
                raise Failed(f"{self.name}: does not listen on port {port}")
            time.sleep(0.002)

    def is_listening(self, port):
        proc = Path(f"/proc/{self.popen.pid}")
        try:
            # Before it has entered the host's network it is still in ours, where others listen.
            is_there = os.readlink(proc / "ns/net") != os.readlink("/proc/self/ns/net")
            lines = (proc / "net/tcp").read_text(encoding="ascii").splitlines()[1:]
        except OSError:   # it has just ended
            return False
        return is_there and any(one[1].endswith(f":{port:04X}") and one[3] == "0A" for one in map(str.split, lines))

    def last_words(self):
        lines = self.said.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return lines[-1] if lines else "(said nothing)"

    def stop(self):
        if self.popen.poll() is None:
            self.popen.terminate()
            try:
                self.popen.wait(5)
            except subprocess.TimeoutExpired:
                self.popen.kill()
                self.popen.wait()


class Host:
    """One side: starts commands and counts what they cost."""

    def __init__(self, name, address, cgroup, directory, environment):
        self.name, self.address, self.cgroup, self.directory = name, address, cgroup, directory
        self.environment = environment
        self.processes = []

    def start(self, *command):
        process = Process(self, [str(word) for word in command], self.environment)
        self.processes.append(process)
        return process

    def pipeline(self, words):
        """A shell's pipeline that fails if any part of it fails."""
        return self.start("bash", "-o", "pipefail", "-c", words)

    def stop_all(self):
        for process in self.processes:
            process.stop()
        self.processes.clear()
        (self.cgroup / "cgroup.kill").write_text("1", encoding="ascii")
        while self.pids():
            time.sleep(0.002)

    def pids(self):
        return (self.cgroup / "cgroup.procs").read_text(encoding="ascii").split()

    def cpu_seconds(self):
        fields = dict(line.split() for line in (self.cgroup / "cpu.stat").read_text(encoding="ascii").splitlines())
        return int(fields["usage_usec"]) * 1e-6

    def resident_bytes(self):
        """The peaks of all processes that run now, added up."""
        return sum(peak_of(pid) for pid in self.pids())

    def sent_bytes(self):
        shown = subprocess.run(["ip", "-n", self.name, "-j", "-s", "link", "show", "eth0"], check=True,
                               capture_output=True).stdout
        return json.loads(shown)[0]["stats64"]["tx"]["bytes"]


def peak_of(pid):
    with contextlib.suppress(OSError):   # it may have ended meanwhile
        for line in Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return 0


class MemoryWatch:
    """The most memory that each host held at a time, looked at every 50 ms."""

    def __init__(self, hosts):
        self.hosts = hosts
        self.peaks = [0 for _ in hosts]
        self.is_over = threading.Event()
        self.thread = threading.Thread(target=self.watch, daemon=True)

    def watch(self):
        while not self.is_over.wait(0.05):
            self.peaks = [max(peak, host.resident_bytes()) for peak, host in zip(self.peaks, self.hosts)]

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.is_over.set()
        self.thread.join()


class Pair:
    """Both hosts, the wire, and where the image comes from and goes to: all that a peer is told."""

    def __init__(self, cgroups, directory, build, environment):
        self.directory, self.build = directory, build
        self.source = self.copy = None   # set before the first copy
        self.keys = directory / "keys"
        self.alpha, self.beta = (Host(name, address, cgroups[name], directory, environment)
                                 for name, address in (("alpha", "10.78.0.1"), ("beta", "10.78.0.2")))
        self.hosts = (self.alpha, self.beta)

    def connect(self, rate):
        """Makes network and wire, anew if they were there: what TCP remembers of one copy is not for the next."""
        for host in self.hosts:
            if Path("/run/netns", host.name).exists():
                run("ip", "netns", "delete", host.name)
            run("ip", "netns", "add", host.name)
        run("ip", "link", "add", "eth0", "netns", "alpha", "type", "veth", "peer", "name", "eth0", "netns", "beta")
        for host in self.hosts:
            run("ip", "-n", host.name, "link", "set", "lo", "up")
            run("ip", "-n", host.name, "address", "add", f"{host.address}/24", "dev", "eth0")
            run("ip", "-n", host.name, "link", "set", "eth0", "up")
            if rate != "full":
                run("tc", "-n", host.name, "qdisc", "add", "dev", "eth0", "root", "tbf", "rate", rate,
                    "burst", BURSTS[rate], "latency", "20ms")
