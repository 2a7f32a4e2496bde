# SPDX-License-Identifier: GPL-2.0-or-later
"""What tells whether a fault did harm."""
import contextlib
import json
import os
import signal
import sys
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "e2e"))
import e2e  # pylint: disable=wrong-import-position
from e2e import HOSTS, wait_until  # pylint: disable=wrong-import-position
from ledger import Ledger, RowLedger  # pylint: disable=wrong-import-position

SETTLED_WITHIN = 5.0    # seconds after the last agent is up again: nearly all, and
HEALED_WITHIN = 10.0    # if none died: agents look for what is left every 5 s
SETTLED_AT_LAST = 20.0  # what is late by chance
PF_EXITING, PF_SIGNALED = 0x4, 0x400
HALTS = 1 << (signal.SIGKILL - 1) | 1 << (signal.SIGSTOP - 1)   # as bits of a pending set: taken before any instruction
TOOLS = ("criu", "crun", "runc")   # in the container's group for a moment, to make it or to take it away


def is_still(pid):
    """Whether a task of a thawed group executes nothing of its program: CRIU leaves what it restored stopped, until it is
    frozen; frozen tasks are killed before they are thawed, for only then they can go; and what has the name of CRIU or of
    a runtime is not the program, or not yet."""
    try:
        name, _, rest = Path(f"/proc/{pid}/stat").read_text().rpartition(")")
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return True
    if name.partition("(")[2].startswith(TOOLS):
        return True
    fields = rest.split()
    state, flags = fields[0], int(fields[6])
    pending = [int(line.split()[1], 16) for line in status.splitlines() if line.startswith(("SigPnd:", "ShdPnd:"))]
    return state in "Tt" or bool(flags & (PF_EXITING | PF_SIGNALED)) or any(mask & HALTS for mask in pending)


def tasks_of(group):
    """For people: what the tasks of a cgroup were at."""
    with contextlib.suppress(OSError):
        return [Path(f"/proc/{pid}/stat").read_text()[:60] + Path(f"/proc/{pid}/wchan").read_text()
                for pid in (group / "cgroup.procs").read_text().split()]
    return []


def could_run(group):
    """Whether a task of this cgroup could execute an instruction of its program now."""
    with contextlib.suppress(OSError):
        if (group / "freezer.state").exists():
            is_thawed = (group / "freezer.state").read_text().strip() == "THAWED"
        else:
            is_thawed = (group / "cgroup.freeze").read_text().strip() == "0"
        # The moment between taking a killed task's last signal and calling it dead is too short to be seen twice.
        return is_thawed and any(not is_still(pid) and not is_still(pid)
                                 for pid in (group / "cgroup.procs").read_text().split())
    return False


def has_records(journal):
    """One without is as none: an agent that dies before it can remove it leaves it for the next migration."""
    return journal.exists() and any(journal.read_bytes())


class Sampler(threading.Thread):
    """Looks every 10 ms where tasks of the container could execute."""

    def __init__(self, lab, container):
        super().__init__(daemon=True)
        self.lab, self.container = lab, container
        self.groups = {host: self._group(host) for host in HOSTS}
        self.samples, self.moments_with_two, self.is_over = 0, [], False
        self.start()

    def _group(self, host):
        """The container's freezer on `host`, whether or not it exists there now."""
        here = next(host for host in HOSTS if self.container.pids(host))
        lines = Path(f"/proc/{self.container.pids(here)[0]}/cgroup").read_text().splitlines()
        v1 = [line.split(":", 2)[2] for line in lines if line.split(":")[1] == "freezer"]
        v2 = [line.split(":", 2)[2] for line in lines if line.startswith("0::")]
        mounts = Path("/proc/self/mountinfo").read_text().splitlines()
        kind = "cgroup " if v1 else "cgroup2 "
        top = next(line.split()[4] for line in mounts if f" - {kind}" in line and (not v1 or "freezer" in line.split()[-1]))
        return Path(top + (v1 or v2)[0].replace(f"{self.lab.group}-{here}", f"{self.lab.group}-{host}"))

    def _two_could_run(self):
        return all(could_run(group) for group in self.groups.values())

    def _criu_is_at_it(self):
        """While CRIU restores, its tasks are thawed but not yet the container's."""
        return any("criu" in os.path.basename(words[0]) for host in HOSTS for words in self.lab.processes(host).values())

    def run(self):
        while not self.is_over:
            self.samples += 1
            if self._two_could_run() and not self._criu_is_at_it() and self._two_could_run():
                self.moments_with_two.append({host: tasks_of(group) for host, group in self.groups.items()})
            time.sleep(0.01)

    def end(self):
        self.is_over = True
        self.join()


class ClientLost(AssertionError):
    pass


class Stage:
    """The container, its client and its watchman; made anew after a failure."""

    def __init__(self, lab, image, runtime):
        self.lab = lab
        self.clean_hosts = {host: lab.belongings(host) for host in HOSTS}
        self.container = lab.container("alpha", image, size="256M", runtime=runtime)
        self.ledger = (Ledger if image == "redis" else RowLedger)(lab, self.container)
        self.sampler = Sampler(lab, self.container)
        self.descriptors = {}   # by agent

    def sides(self):
        source = next(iter(self.container.is_where()))
        return {"source": source, "destination": next(host for host in HOSTS if host != source)}

    def agent(self, host, wish=""):
        """Starts the agent of a host anew, with failpoints or without."""
        if self.lab.agent_pid(host):
            self.lab.command("agent", host, "stop")
        if wish:
            self.lab.environment["VMIGRATE_FAILPOINTS"] = wish
        try:
            self.lab.command("agent", host, "start")
        finally:
            self.lab.environment.pop("VMIGRATE_FAILPOINTS", None)

    def revive(self):
        """Starts the agents that are dead."""
        for host in HOSTS:
            if self.lab.agent_pid(host) is None:
                self.agent(host)

    def waybills(self):
        return [str(path) for host in HOSTS for path in self.lab.state(host).glob("waybills/*")]

    def unsettled(self):
        """Why it is not yet as after a migration or without one; '' if it is."""
        where = self.container.is_where()
        if list(where.values()) != ["running"]:
            return f"the runtimes say {where}"
        here = next(iter(where))
        there = next(host for host in HOSTS if host != here)
        if waybills := self.waybills():
            return f"waybills: {waybills}"
        left = e2e.differences({there: self.clean_hosts[there]}, {there: self.lab.belongings(there)})
        left = [line for line in left if "gone: " not in line] + self._more_descriptors()
        if left:
            return "; ".join(left)
        if not could_run(self.sampler.groups[here]):
            return f"it stands still on {here}"
        return ""

    def _more_descriptors(self):
        """What an agent has open that it had not when it was first seen at rest."""
        more = []
        for host in HOSTS:
            at_rest = self.descriptors.get(self._agent(host))
            if at_rest is not None:
                more += [f"{host}'s agent has {name} open" for name in set(self.lab.descriptors(host)) - set(at_rest)]
        return more

    def _agent(self, host):
        """Its process, by more than a number that comes again after some thousand others."""
        pid = self.lab.agent_pid(host)
        return pid and (pid, e2e.started_at(pid))

    def check(self):
        """Returns the seconds until everything was settled."""
        started = time.monotonic()
        wait_until(lambda: not self.unsettled(), SETTLED_AT_LAST, lambda: f"to be settled: {self.unsettled()}")
        seconds = time.monotonic() - started
        try:
            self.ledger.writes_on()
        except (OSError, AssertionError) as failure:
            raise ClientLost(f"the client's connection is dead: {failure}") from failure
        moments = self.sampler.moments_with_two
        assert not moments, f"two ran, {len(moments)} samples: {moments[:3]}"
        self._check_gate()
        for host in HOSTS:
            self.descriptors.setdefault(self._agent(host), self.lab.descriptors(host))
        self._purge_kept_copies()
        return seconds

    def _check_gate(self):
        """The records say what is so: it may be started on the one host, and must not be on the other."""
        where, name = self.container.is_where(), self.container.name
        for host in HOSTS:
            gate = self.lab.exec(host, self.lab.binary, "may-run", name, check=False)
            has_record = has_records(self.lab.state(host) / "journal" / name)
            assert gate.code == (0 if host in where or not has_record else 12), f"{where}, but {host} says: {gate}"

    def _purge_kept_copies(self):
        for host in HOSTS:
            standing = json.loads(self.lab.exec(host, self.lab.binary, "status", "--json", check=False).out)
            for copy in (copy for one in standing for copy in one.get("kept", [])):
                self.lab.exec(host, self.lab.binary, "purge", copy["container"], "--copy", copy["migration"])
            left = [*self.lab.state(host).glob("kept/*"), *self.lab.state(host).glob("*/*.migrated-*"),
                    *self.lab.state(host).glob("*/*.partial-*")]
            assert not left, f"purge left {left}"

    def end(self):
        self.sampler.end()
        return self.ledger.end(), self.sampler.samples
