# SPDX-License-Identifier: GPL-2.0-or-later
"""End-to-end tests in the lab: tests/lab/lab gives the hosts, this gives the tests.

A file of tests:

    import e2e
    from e2e import test

    @test
    def redis_moves(lab):
        '''redis moves and nobody notices'''               # the sentence that is printed
        redis = lab.container("alpha", "redis")             # removed after the test, wherever it is then
        move = lab.vmigrate("client", "alpha", "beta", redis.name)
        assert move.code == 0, move
        assert redis.is_where() == {"beta": "running"}

    e2e.main()

`sudo python3 FILE [--vmigrate PATH] [--list] [WORD...]` runs the tests whose sentence or name holds every WORD. The binary is that of
--vmigrate or $VMIGRATE. The lab is made in a directory of its own ($VMIGRATE_LAB names another one) and goes away at the end.

After every test its containers, images and processes are removed and both agents run. What then still differs from the state before
it (processes, network namespaces, mounts, loop devices, files, pins, descriptors of the agents) is a leak, and fails the test.
"""
import argparse
import contextlib
import ctypes
import glob
import hashlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).resolve().parent
LAB = HERE.parent / "lab" / "lab"
HOSTS = ("alpha", "beta")
TOOLS = ("runc", "crun", "criu", "redis-server", "mkfs.ext4", "e2fsck", "debugfs", "busybox", "gcc", "ip", "tc",
         "losetup", "unshare", "nsenter")
CLONE_NEWNET = 0x40000000

_tests = []


class Skip(Exception):
    """Raised by a test that cannot run here; its text says why."""


def test(function):
    """Registers a test: a function of one lab."""
    _tests.append(function)
    return function


def sentence_of(function):
    return (function.__doc__ or function.__name__.replace("_", " ")).strip().splitlines()[0]


def wait_until(condition, seconds, what):
    """Polls until `condition()` is true; returns its value. Fails with `what` after `seconds`."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < deadline, f"not within {seconds} s: {what() if callable(what) else what}"
        time.sleep(0.02)


# --- results ----------------------------------------------------------------------------------------------------------


@dataclass
class Result:
    """A command that ended."""
    command: list
    code: int
    out: str
    err: str
    seconds: float

    def __str__(self):
        return f"{' '.join(map(str, self.command))}: exit {self.code}\n--- stdout\n{self.out}--- stderr\n{self.err}"

    @property
    def events(self):
        """Of `--json`: every event, the report last."""
        return [json.loads(line) for line in self.out.splitlines() if line.startswith("{")]

    @property
    def report(self):
        events = self.events
        assert events and events[-1].get("event") == "report", f"the last line is no report: {self}"
        return events[-1]


class Running:
    """A command that was started on a machine."""

    def __init__(self, lab, machine, command, **options):
        self.lab, self.machine, self.command = lab, machine, [str(word) for word in command]
        self.started = time.monotonic()
        self.process = subprocess.Popen([LAB, "exec", machine, *self.command], env=lab.environment, text=True, stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)

    def pid(self):
        """The command itself, as this machine's kernel numbers it (not the processes that brought it there)."""
        def find():
            assert self.process.poll() is None, f"ended too early: {self.wait()}"
            return [pid for pid, words in self.lab.processes(self.machine).items() if words == self.command]
        return wait_until(find, 10, f"{self.command} to start")[-1]

    def signal(self, number):
        os.kill(self.pid(), number)

    def wait(self, timeout=120):
        try:
            out, err = self.process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            self.kill()
            out, err = self.process.communicate()
            raise AssertionError(f"still running after {timeout} s: {' '.join(self.command)}\n{out}{err}") from None
        return Result(self.command, self.process.returncode, out, err, time.monotonic() - self.started)

    def kill(self):
        for pid, words in self.lab.processes(self.machine).items():
            if words == self.command:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        self.process.kill()


def stat(pid):
    """(state, parent)"""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return fields[0], int(fields[1])


@contextlib.contextmanager
def standing(lab, host, move):
    """While the agent of a host stands still, or once it does; afterwards it goes on."""
    pid = lab.agent_pid(host)
    family = [pid, stat(pid)[1]]   # what brought it into the host stops with it
    try:
        wait_until(lambda: all(stat(one)[0] == "T" for one in family), 30,
                   lambda: f"the agent of {host} to stand still: {family} {[stat(one) for one in family]} {told_by(move)}")
        yield
    finally:
        for one in family:
            with contextlib.suppress(ProcessLookupError):
                os.kill(one, signal.SIGCONT)


def told_by(move):
    """What the command has said, if it has ended."""
    return move.wait() if move.process.poll() is not None else "the command goes on"


# --- containers -------------------------------------------------------------------------------------------------------


@dataclass
class Container:
    lab: "Lab"
    name: str
    image: str
    runtime: str
    address: str

    def is_where(self):
        """{host: status} by the runtimes' account, over all hosts and both runtimes."""
        found = {}
        for host in HOSTS:
            for runtime in ("runc", "crun"):
                state = self.lab.exec(host, runtime, "state", self.name, check=False)
                if state.code == 0:
                    assert host not in found, f"runc and crun both know {self.name} on {host}"
                    found[host] = json.loads(state.out)["status"]
        return found

    def pids(self, host):
        """The processes of this container on `host`: those in a network namespace that is not the host's."""
        init = self.lab.init_of(host)
        own = os.readlink(f"/proc/{init}/ns/pid")
        pids = []
        for pid in self.lab.processes(host):
            with contextlib.suppress(OSError):
                if os.readlink(f"/proc/{pid}/ns/pid") != own and f"/{self.name}" in Path(f"/proc/{pid}/cgroup").read_text():
                    pids.append(pid)
        return pids

    def connect(self, timeout=30):
        """A TCP connection from the client to the container's port."""
        return Connection(self.lab.connect("client", self.address, 6379 if self.image == "redis" else 7000, timeout))

    def image_file(self, host):
        return self.lab.state(host) / "images" / f"{self.name}.img"

    def kept_images(self, host):
        return sorted(self.lab.state(host).glob(f"images/{self.name}.img.*"))

    def stop(self, host):
        """Kills it and unmounts its file system, so that the image file is at rest."""
        mount = f"/var/lib/vmigrate/containers/{self.name}/rootfs"
        self.lab.exec(host, self.runtime, "delete", "--force", self.name)
        self.lab.exec(host, "umount", mount)
        wait_until(lambda: not self.lab.loops_of([inode_of(self.image_file(host))]), 5, "the loop device to go")


class Connection:
    """One TCP connection; lines for ct_probe, RESP for redis."""

    def __init__(self, connection):
        self.socket = connection
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.stream = connection.makefile("rb")

    def ask(self, line):
        self.socket.sendall(line.encode() + b"\n")
        answer = self.stream.readline()
        assert answer, f"the container closed the connection after {line!r}"
        return answer.decode().strip()

    def redis(self, *words):
        words = [word if isinstance(word, bytes) else str(word).encode() for word in words]
        self.socket.sendall(b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words))
        return self._answer()

    def _answer(self):
        line = self.stream.readline()
        assert line, "redis closed the connection"
        kind, rest = line[:1], line[1:-2]
        if kind == b":":
            return int(rest)
        if kind == b"$":
            return None if int(rest) < 0 else self.stream.read(int(rest) + 2)[:-2]
        if kind == b"*":
            return [self._answer() for _ in range(int(rest))]
        assert kind == b"+", line
        return rest.decode()

    def close(self):
        self.stream.close()
        self.socket.close()


def inode_of(path):
    return os.stat(path).st_ino


def digest_of(path):
    """SHA-256 of what is not a hole: images are large and mostly empty."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        end = 0
        with contextlib.suppress(OSError):  # ENXIO: no data after `end`
            while True:
                start = os.lseek(file.fileno(), end, os.SEEK_DATA)
                end = os.lseek(file.fileno(), start, os.SEEK_HOLE)
                file.seek(start)
                while start < end:
                    piece = file.read(min(1 << 20, end - start))
                    # A block of zeroes can turn from a hole into data by being read.
                    if piece.strip(b"\0"):
                        digest.update(start.to_bytes(8) + piece)
                    start += len(piece)
    return digest.hexdigest()


# --- the lab ----------------------------------------------------------------------------------------------------------


class Lab:
    def __init__(self, directory, vmigrate):
        self.directory, self.binary = Path(directory), str(vmigrate)
        self.environment = {**os.environ, "VMIGRATE_LAB": str(directory), "VMIGRATE": self.binary}
        self.containers, self.running, self.connections = [], [], []
        self.inodes = set()   # of images, to know their loop devices by
        self.group = ""       # cgroups of this lab's machines begin like this
        self.made = 0

    # Setting up.

    def up(self, rate=None):
        self.command("up", *(["--rate", rate] if rate else []))
        self.group = re.search(r"/(vmigrate-lab-[^/\n]+)-alpha", Path(f"/proc/{self.init_of('alpha')}/cgroup").read_text()).group(1)

    def down(self):
        self.command("down")

    def remains(self):
        """What is left of the lab although it is down."""
        lines = [f"process {pid} {' '.join(words)}" for pid, words in processes_below(self.group).items()]
        lines += [f"loop device {name} {file}" for name, file in self.loops_of(self.inodes).items() if "(deleted)" in file]
        lines += [f"cgroup {path}" for top in ("/sys/fs/cgroup", "/sys/fs/cgroup/*") for path in glob.glob(f"{top}/{self.group}*")]
        return lines + ([str(self.directory)] if self.directory.exists() else [])

    def command(self, *words, check=True, timeout=120):
        """`lab WORDS...`"""
        started = time.monotonic()
        done = subprocess.run([LAB, *map(str, words)], env=self.environment, text=True, capture_output=True, timeout=timeout,
                              stdin=subprocess.DEVNULL)
        result = Result(["lab", *words], done.returncode, done.stdout, done.stderr, time.monotonic() - started)
        assert not check or result.code == 0, result
        return result

    def container(self, host, image, size="1G", runtime="runc", name=None):
        """A new container that runs, with a name and an address of its own."""
        self.made += 1
        name = name or f"{image[:7]}{self.made}"
        made = Container(self, name, image, runtime, f"10.77.0.{9 + self.made}")
        self.containers.append(made)
        self.command("ct", host, name, "--image", image, "--size", size, "--runtime", runtime, "--ip", made.address)
        wait_until(lambda: self._answers(made), 10, f"{name} to answer on {made.address}")
        return made

    def _answers(self, container):
        try:
            self.connect("client", container.address, 6379 if container.image == "redis" else 7000, 1).close()
            return True
        except OSError:
            return False

    # Doing things on machines.

    def exec(self, machine, *words, check=True, timeout=120, stdin=""):
        running = Running(self, machine, words)
        try:
            out, err = running.process.communicate(stdin, timeout=timeout)
        except subprocess.TimeoutExpired:
            running.kill()
            out, err = running.process.communicate()
            raise AssertionError(f"still running after {timeout} s: {words}\n{out}{err}") from None
        result = Result(running.command, running.process.returncode, out, err, time.monotonic() - running.started)
        assert not check or result.code == 0, result
        return result

    def start(self, machine, *words):
        """Starts a command and does not wait for it; it is killed after the test if need be."""
        running = Running(self, machine, words)
        self.running.append(running)
        return running

    def vmigrate(self, machine, *words, is_json=True, timeout=120):
        """`vmigrate --json WORDS...` on a machine; the exit code is the caller's to look at."""
        return self.exec(machine, self.binary, *(["--json"] if is_json else []), *words, check=False, timeout=timeout)

    def start_vmigrate(self, machine, *words):
        return self.start(machine, self.binary, "--json", *words)

    def connect(self, machine, address, port, timeout=30):
        """A TCP socket of the machine's network, for use right here. Closed after the test."""
        made = []

        def work():
            # A thread of its own enters the network and ends; the socket stays what it is.
            try:
                with open(f"/proc/{self.init_of(machine)}/ns/net") as network:
                    if ctypes.CDLL(None, use_errno=True).setns(network.fileno(), CLONE_NEWNET) != 0:
                        raise OSError(ctypes.get_errno(), "setns")
                made.append(socket.create_connection((address, port), timeout))
            except BaseException as failure:  # pylint: disable=broad-except
                made.append(failure)
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        if isinstance(made[0], BaseException):
            raise made[0]
        self.connections.append(made[0])
        return made[0]

    # Looking at machines, from outside.

    def init_of(self, machine):
        return int((self.directory / machine / "init").read_text().split()[0])

    def root(self, machine):
        """The machine's file system as it sees it."""
        return Path(f"/proc/{self.init_of(machine)}/root")

    def state(self, host):
        """The host's /var/lib/vmigrate."""
        return self.root(host) / "var/lib/vmigrate"

    def processes(self, machine):
        """{pid: argv} of everything on the machine, its containers included."""
        return processes_below(f"{self.group}-{machine}")

    def agent_pid(self, host):
        pids = [pid for pid, words in self.processes(host).items() if words[:2] == [self.binary, "serve"]]
        # What it forks looks the same until it becomes another program.
        return min(pids, key=started_at, default=None)

    def agent_log(self, host):
        return (self.directory / host / "agent.log").read_text(errors="replace")

    def ends_of_logs(self, lines):
        """What the agents said last, to be told with a failure."""
        logs = {host: self.directory / host / "agent.log" for host in HOSTS}
        return "".join(f"--- the end of {host}'s log\n" + "\n".join(self.agent_log(host).splitlines()[-lines:]) + "\n"
                       for host, log in logs.items() if log.exists())

    def memory_peak_kib(self, host):
        """The agent's largest resident set since reset_memory_peak()."""
        return int(re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{self.agent_pid(host)}/status").read_text()).group(1))

    def reset_memory_peak(self, host):
        Path(f"/proc/{self.agent_pid(host)}/clear_refs").write_text("5")

    def loops_of(self, inodes):
        """{loop device: backing file} of those whose backing file is one of the inodes."""
        listing = subprocess.run(["losetup", "--json", "--list", "--output", "NAME,BACK-INO,BACK-FILE"], capture_output=True, text=True,
                                 check=True).stdout
        devices = json.loads(listing)["loopdevices"] if listing.strip() else []
        return {device["name"]: device["back-file"] for device in devices if int(device["back-ino"] or 0) in inodes}

    def files(self, host, has_digests=True):
        """{path: what can be seen of it} below the host's state directory; not what is mounted there."""
        top = self.state(host)
        device, found = os.stat(top).st_dev, {}
        # Looking into a container's file system would change it: directories remember when they were read.
        for directory, below, names in os.walk(top):
            below[:] = [name for name in below if os.lstat(os.path.join(directory, name)).st_dev == device]
            for path in [Path(directory), *(Path(directory, name) for name in names)]:
                with contextlib.suppress(FileNotFoundError):
                    status = path.lstat()
                    seen = (oct(status.st_mode), status.st_size, status.st_blocks, status.st_mtime_ns, status.st_ino)
                    if has_digests and path.is_file() and not path.is_symlink():
                        seen += (digest_of(path),)
                    found[str(path.relative_to(top))] = seen
        return found

    def belongings(self, host):
        """What a host has, apart from files, as {kind: sorted list}; without what only looking adds."""
        root, init = self.root(host), self.init_of(host)
        mounts = [line.split()[4] for line in Path(f"/proc/{init}/mountinfo").read_text().splitlines()]
        links = self.exec(host, "ip", "-o", "link").out.splitlines()
        return {
            "network namespaces": listing(root / "run/netns"),
            "links": sorted(re.sub(r"^\d+: ([^:@]+).*", r"\1", line) for line in links),
            # `ip netns add` mounts this directory onto itself the first time, for good.
            "mounts": sorted(mount for mount in mounts if mount != "/run/netns"),
            "state/tmp": listing(root / "var/lib/vmigrate/tmp"),
            "BPF pins": listing(root / "sys/fs/bpf/vmigrate"),
            "runtime state": listing(root / "run/runc") + listing(root / "run/crun"),
            "processes": sorted(" ".join(words) for words in self.processes(host).values() if words[-1] != "3600"),
        }

    def descriptors(self, host):
        """What the agent has open, without numbers."""
        found = []
        for fd in Path(f"/proc/{self.agent_pid(host)}/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):
                found.append(re.sub(r"\[\d+\]", "", os.readlink(fd)))
        return sorted(found)

    # Between tests.

    def snapshot(self):
        """What must be the same before and after a test that has cleaned up."""
        seen = {}
        for host in HOSTS:
            seen[host] = self.belongings(host)
            seen[host]["files"] = sorted(name for name in self.files(host, has_digests=False) if not name.startswith("journal/"))
            seen[host]["descriptors of the agent"] = self.descriptors(host)
        # Of a removed image only the inode number is left, and another lab may have got it since.
        seen["both"] = {"loop devices": [f"{name} {file}" for name, file in self.loops_of(self.inodes).items() if "(deleted)" in file]}
        return seen

    def clean(self):
        """Takes away everything that the test made; starts agents that it ended."""
        for connection in self.connections:
            connection.close()
        for running in self.running:
            if running.process.poll() is None:
                running.kill()
            running.process.communicate()
        for host in HOSTS:
            for image in self.state(host).glob("images/*"):
                self.inodes.add(inode_of(image))
        for container in self.containers:
            for host in HOSTS:
                self.command("rm", host, container.name)
                for kept in self.state(host).glob(f"images/{container.name}.img*"):
                    kept.unlink()
                for kept in self.state(host).glob(f"containers/{container.name}.*"):
                    shutil.rmtree(kept)
                for note in self.state(host).glob(f"kept/{container.name}.*"):
                    note.unlink()
        for host in HOSTS:
            if self.agent_pid(host) is None:
                self.command("agent", host, "start")
        self.connections, self.running, self.containers = [], [], []


def started_at(pid):
    """In clock ticks since boot; of a process that is gone: never."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
    except OSError:
        return float("inf")


def processes_below(group):
    """{pid: argv} of those in a cgroup whose name begins with `group`."""
    found = {}
    for entry in os.scandir("/proc"):
        if not entry.name.isdigit():
            continue
        with contextlib.suppress(OSError):
            if f"/{group}" in Path(f"/proc/{entry.name}/cgroup").read_text():
                words = Path(f"/proc/{entry.name}/cmdline").read_bytes().decode(errors="replace").split("\0")[:-1]
                if words:
                    found[int(entry.name)] = words
    return found


def listing(path):
    try:
        return sorted(os.listdir(path))
    except FileNotFoundError:
        return []


def differences(before, after):
    """One line per thing that came or went."""
    lines = []
    for where, kinds in before.items():
        for kind, old in kinds.items():
            new = after[where][kind]
            missing, extra = list(old), list(new)
            for thing in new:
                if thing in missing:
                    missing.remove(thing)
                    extra.remove(thing)
            lines += [f"{where}: {kind}: left over: {thing}" for thing in extra]
            lines += [f"{where}: {kind}: gone: {thing}" for thing in missing]
    return lines


# --- runner -----------------------------------------------------------------------------------------------------------


@dataclass
class Tally:
    passed: int = 0
    failed: int = 0
    skipped: int = 0
    reasons: set = field(default_factory=set)


def why_not_here(vmigrate):
    if os.geteuid() != 0:
        return "needs root"
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    if missing:
        return f"missing: {', '.join(missing)} (scripts/setup installs them)"
    if not vmigrate:
        return "no vmigrate: give --vmigrate PATH or $VMIGRATE"
    return None


def run_one(lab, function):
    """'' or what went wrong."""
    before = lab.snapshot()
    trouble = ""
    try:
        function(lab)
    except Skip:
        lab.clean()
        raise
    except Exception as failure:  # pylint: disable=broad-except
        trouble = "".join(traceback.format_exception(failure))
        trouble += lab.ends_of_logs(12)
    try:
        lab.clean()
        # An agent has its last word with the other side after the command ended.
        wait_until(lambda: not differences(before, lab.snapshot()), 5 if not trouble else 2,
                   lambda: "everything to be as it was before the test:\n  " + "\n  ".join(differences(before, lab.snapshot())))
    except Exception as failure:  # pylint: disable=broad-except
        trouble += f"{'' if trouble else 'the test itself passed; '}{failure}\n"
    return trouble


def run_all(lab, tests):
    tally = Tally()
    for function in tests:
        started = time.monotonic()
        try:
            trouble = run_one(lab, function)
        except Skip as reason:
            tally.skipped += 1
            tally.reasons.add(str(reason))
            print(f"SKIPPED {sentence_of(function)}: {reason}", flush=True)
            continue
        print(f"{'FAILED' if trouble else 'ok'} {sentence_of(function)} ({time.monotonic() - started:.1f} s)", flush=True)
        if trouble:
            tally.failed += 1
            print("    " + trouble.rstrip().replace("\n", "\n    "), flush=True)
        else:
            tally.passed += 1
    return tally


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("words", nargs="*", help="only tests whose sentence or name holds all of these")
    parser.add_argument("--vmigrate", default=os.environ.get("VMIGRATE"), help="the binary (default: $VMIGRATE)")
    parser.add_argument("--rate", help="limit every link of the lab, for example 1gbit")
    parser.add_argument("--keep", action="store_true", help="leave the lab up")
    parser.add_argument("--list", action="store_true")
    options = parser.parse_args()
    tests = [function for function in _tests if all(word in sentence_of(function) + function.__name__ for word in options.words)]
    if options.list:
        print("\n".join(f"{function.__name__}: {sentence_of(function)}" for function in tests))
        sys.exit(0)
    reason = why_not_here(options.vmigrate)
    if reason:
        print(f"SKIPPED: {reason}")
        sys.exit(77)
    # SIGTERM is how ctest ends a test that takes too long: the lab must still go.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    directory = os.environ.get("VMIGRATE_LAB") or tempfile.mkdtemp(prefix="vmigrate-e2e-", dir="/var/tmp")
    lab = Lab(directory, Path(options.vmigrate).resolve())
    try:
        lab.up(options.rate)
        tally = run_all(lab, tests)
    finally:
        if not options.keep:
            lab.down()
    if not options.keep:
        try:
            wait_until(lambda: not lab.remains(), 5, lambda: ", ".join(lab.remains()))
        except AssertionError as left_over:
            tally.failed += 1
            print(f"FAILED nothing is left of the lab: {left_over}")
    print(f"{tally.passed} passed, {tally.failed} failed, {tally.skipped} skipped")
    if tally.skipped and not tally.passed and not tally.failed:
        print(f"SKIPPED: {'; '.join(sorted(tally.reasons))}")
        sys.exit(77)
    sys.exit(1 if tally.failed else 0)
