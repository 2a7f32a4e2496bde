#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Real faults in the lab: whatever dies, exactly one side runs the container, nothing is lost, nothing is left.

    faults.py --vmigrate PATH [WORDS...]              every failpoint once; with words, those whose name holds them all
    faults.py --vmigrate PATH --random N [--seed S]   N faults at random times
    faults.py --list

One redis container under the load of a client that remembers every acknowledged write, on one TCP connection that is
never renewed, goes to and fro between alpha and beta. Every migration meets one fault; then whoever died is started
again, and within five seconds the container must run on one side, with nothing left on the other. A sampler looks every
10 ms whether two run.
"""
import argparse
import contextlib
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "e2e"))
import e2e  # pylint: disable=wrong-import-position
from e2e import HOSTS, Lab, wait_until  # pylint: disable=wrong-import-position
from ledger import Ledger  # pylint: disable=wrong-import-position

SETTLED_WITHIN = 5.0   # seconds after the last agent is up again
FROM_SOURCE = ["Open", "BlockData", "RoundEnd", "ImageChunk", "Manifest", "Go", "Done"]
FROM_DESTINATION = ["Accept", "RoundAck", "Ready", "Running"]
RECORDS = {"given": "source", "released": "source", "prepared": "destination", "owned": "destination"}
# Those that are written only after another fault.
LATE_RECORDS = {"refused": "destination", "reclaimed": "source"}


@dataclass
class Fault:
    """What goes wrong on which side; `first` is what has to go wrong before."""
    name: str
    side: str
    wish: str

    def __str__(self):
        return self.name


def every_fault():
    faults = []
    for messages, sender, receiver in ((FROM_SOURCE, "source", "destination"), (FROM_DESTINATION, "destination", "source")):
        for message in messages:
            for side, step in ((sender, "before_send"), (sender, "after_send"), (receiver, "before_handle")):
                point = f"message.{message}.{step}"
                faults.append(Fault(f"kill -9 of the {side}'s agent at {point}", side, f"{point}=kill"))
    # The second round is the last: the file system is frozen then.
    for side, step in (("source", "before_send"), ("source", "after_send"), ("destination", "before_handle")):
        point = f"message.RoundEnd.{step}"
        faults.append(Fault(f"kill -9 of the {side}'s agent at the last {point}", side, f"{point}=kill@2"))
    for record, side in RECORDS.items():
        for step in ("before_write", "before_fsync", "after_fsync"):
            point = f"journal.{record}.{step}"
            faults.append(Fault(f"kill -9 of the {side}'s agent at {point}", side, f"{point}=kill"))
            if step != "after_fsync":
                for action in ("eio", "enospc"):
                    faults.append(Fault(f"{action.upper()} on the {side} at {point}", side, f"{point}={action}"))
    for message, side in (("Go", "source"), ("Ready", "destination"), ("Running", "destination")):
        point = f"message.{message}.before_send"
        faults.append(Fault(f"the {side}'s agent stands still for 5 s at {point}", side, f"{point}=stall:5s"))
    return faults


def every_late_fault():
    return [Fault(f"kill -9 of the {side}'s agent at journal.{record}.{step}", side, f"journal.{record}.{step}=kill")
            for record, side in LATE_RECORDS.items() for step in ("before_write", "before_fsync", "after_fsync")]


# --- oracles ----------------------------------------------------------------------------------------------------------


class Sampler(threading.Thread):
    """Looks every 10 ms where tasks of the container could execute."""

    def __init__(self, lab, redis):
        super().__init__(daemon=True)
        self.lab, self.redis = lab, redis
        self.groups = {host: self._group(host) for host in HOSTS}
        self.samples, self.moments_with_two, self.is_over = 0, [], False
        self.start()

    def _group(self, host):
        """The container's freezer on `host`, whether or not it exists there now."""
        here = next(host for host in HOSTS if self.redis.pids(host))
        lines = Path(f"/proc/{self.redis.pids(here)[0]}/cgroup").read_text().splitlines()
        v1 = [line.split(":", 2)[2] for line in lines if line.split(":")[1] == "freezer"]
        v2 = [line.split(":", 2)[2] for line in lines if line.startswith("0::")]
        mounts = Path("/proc/self/mountinfo").read_text().splitlines()
        kind = "cgroup " if v1 else "cgroup2 "
        top = next(line.split()[4] for line in mounts if f" - {kind}" in line and (not v1 or "freezer" in line.split()[-1]))
        path = (v1 or v2)[0].replace(f"{self.lab.group}-{here}", f"{self.lab.group}-{host}")
        # Where the host's namespaces begin the paths differ; what ends with the container's name is the same.
        return Path(top + path)

    @staticmethod
    def _could_run(group):
        with contextlib.suppress(OSError):
            if not (group / "cgroup.procs").read_text().strip():
                return False
            if (group / "freezer.state").exists():
                return (group / "freezer.state").read_text().strip() == "THAWED"
            return (group / "cgroup.freeze").read_text().strip() == "0"
        return False

    def _criu_is_at_it(self):
        """While CRIU restores, its tasks are thawed but not yet the container's."""
        return any("criu" in os.path.basename(words[0]) for host in HOSTS for words in self.lab.processes(host).values())

    def run(self):
        while not self.is_over:
            self.samples += 1
            if all(self._could_run(group) for group in self.groups.values()) and not self._criu_is_at_it():
                if all(self._could_run(group) for group in self.groups.values()):
                    self.moments_with_two.append(time.monotonic())
            time.sleep(0.01)

    def end(self):
        self.is_over = True
        self.join()


class Stage:
    """The container, its client and its watchman; made anew after a failure."""

    def __init__(self, lab):
        self.lab = lab
        self.clean_hosts = {host: lab.belongings(host) for host in HOSTS}
        self.redis = lab.container("alpha", "redis", size="256M")
        self.ledger = Ledger(lab, self.redis)
        self.sampler = Sampler(lab, self.redis)

    def where(self):
        return self.redis.is_where()

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

    def unsettled(self):
        """Why it is not yet as after a migration or without one; '' if it is."""
        where = self.where()
        if list(where.values()) != ["running"]:
            return f"the runtimes say {where}"
        here = next(iter(where))
        there = next(host for host in HOSTS if host != here)
        if waybills := [str(path) for host in HOSTS for path in self.lab.state(host).glob("waybills/*")]:
            return f"waybills: {waybills}"
        left = e2e.differences({there: self.clean_hosts[there]}, {there: self.lab.belongings(there)})
        left = [line for line in left if "gone: " not in line]
        if left:
            return "; ".join(left)
        if not Sampler._could_run(self.sampler.groups[here]):
            return f"it stands still on {here}"
        return ""

    def check(self):
        started = time.monotonic()
        wait_until(lambda: not self.unsettled(), SETTLED_WITHIN, lambda: f"to be settled: {self.unsettled()}")
        seconds = time.monotonic() - started
        assert self.ledger.writes_on(), "the client's connection is dead"
        assert not self.sampler.moments_with_two, f"two ran, {len(self.sampler.moments_with_two)} samples"
        self.forget_kept_copies()
        return seconds

    def forget_kept_copies(self):
        for host in HOSTS:
            for kept in self.lab.state(host).glob(f"images/{self.redis.name}.img.*"):
                kept.unlink()
            self.lab.exec(host, "sh", "-c", f"rm -rf --one-file-system /var/lib/vmigrate/containers/{self.redis.name}.*")

    def end(self):
        self.sampler.end()
        return self.ledger.end(), self.sampler.samples


# --- one fault --------------------------------------------------------------------------------------------------------


def sides(stage):
    source = next(iter(stage.where()))
    return {"source": source, "destination": next(host for host in HOSTS if host != source)}


def meet(stage, fault):
    """One migration that meets the fault. Returns (outcome, seconds to be settled)."""
    lab, hosts = stage.lab, sides(stage)
    victim = hosts[fault.side]
    stage.agent(victim, fault.wish)
    move = lab.start_vmigrate("client", hosts["source"], hosts["destination"], stage.redis.name)
    if "=kill" in fault.wish:
        try:
            wait_until(lambda: lab.agent_pid(victim) is None, 30, f"the agent of {victim} to die")
        except AssertionError:
            raise AssertionError(f"{fault.wish} was never reached: {move.wait(30)}") from None
    else:
        result = move.wait(90)   # also in doubt the command ends once the two have spoken
        assert result.code in (0, 2, 3, 4, 5, 6, 7, 8, 21, 22, 30, 70), result
    stage.agent(victim)
    seconds = stage.check()
    move.kill()
    return ("moved" if hosts["destination"] in stage.where() else "stayed"), seconds


def meet_late(stage, fault):
    """The processes that the destination holds are lost while they are given: REFUSED, then RECLAIMED is recorded."""
    lab, hosts = stage.lab, sides(stage)
    source, destination = hosts["source"], hosts["destination"]
    stage.agent(destination, "message.Go.before_handle=kill")
    if fault.side == "source":
        stage.agent(source, fault.wish)
    move = lab.start_vmigrate("client", source, destination, stage.redis.name)
    wait_until(lambda: lab.agent_pid(destination) is None, 30, "the destination's agent to die")
    lab.exec(destination, stage.redis.runtime, "delete", "--force", stage.redis.name)
    with contextlib.suppress(AssertionError):   # it may die before it can be seen to live
        stage.agent(destination, fault.wish if fault.side == "destination" else "")
    victim = hosts[fault.side]
    wait_until(lambda: lab.agent_pid(victim) is None, 30, f"the agent of {victim} to die at {fault.wish}")
    stage.agent(victim)
    seconds = stage.check()
    move.kill()
    assert source in stage.where(), stage.where()
    return "stayed", seconds


# --- faults at random times -------------------------------------------------------------------------------------------


def processes_of_criu(lab):
    return [pid for host in HOSTS for pid, words in lab.processes(host).items() if os.path.basename(words[0]) == "criu"]


def strike(stage, dice, hosts):
    """Does one harm and says what."""
    lab = stage.lab
    kind = dice.choice(["kill source", "kill destination", "kill both", "kill criu", "cut", "blackhole"])
    if kind.startswith("kill ") and kind != "kill criu":
        for host in (hosts.values() if kind == "kill both" else [hosts[kind.split()[1]]]):
            lab.command("agent", host, "kill")
    elif kind == "kill criu":
        for pid in processes_of_criu(lab):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    elif kind == "cut":
        lab.exec(hosts["source"], "ss", "-K", "dport", "=", ":7700", check=False)
        lab.exec(hosts["source"], "ss", "-K", "sport", "=", ":7700", check=False)
    else:
        link(lab, hosts["destination"], "down")
        time.sleep(dice.uniform(0.2, 3))
        link(lab, hosts["destination"], "up")
    return kind


def link(lab, host, state):
    """The wire of a host, at the switch: what is sent is lost without a word."""
    switch = str(lab.init_of("switch"))
    subprocess.run(["nsenter", "--target", switch, "--net", "ip", "link", "set", f"to-{host}", state], check=True)


def meet_random(stage, dice):
    lab, hosts = stage.lab, sides(stage)
    move = lab.start_vmigrate("client", hosts["source"], hosts["destination"], stage.redis.name)
    delay = dice.uniform(0, 2.2)
    time.sleep(delay)
    kind = strike(stage, dice, hosts)
    for host in HOSTS:
        if lab.agent_pid(host) is None:
            lab.command("agent", host, "start")
    with contextlib.suppress(AssertionError):
        move.wait(60)
    seconds = stage.check()
    return f"{kind} after {delay:.2f} s: {'moved' if hosts['destination'] in stage.where() else 'stayed'}", seconds


# --- runner -----------------------------------------------------------------------------------------------------------


class Run:
    def __init__(self, lab):
        self.lab, self.stage = lab, None
        self.passed = self.failed = self.acknowledged = self.samples = 0
        self.settling = []

    def play(self, name, play):
        started = time.monotonic()
        try:
            self.stage = self.stage or Stage(self.lab)
            outcome, seconds = play(self.stage)
        except Exception as failure:  # pylint: disable=broad-except
            self.failed += 1
            print(f"FAILED {name} ({time.monotonic() - started:.1f} s)", flush=True)
            logs = "".join(f"--- the end of {host}'s log\n" + "\n".join(self.lab.agent_log(host).splitlines()[-25:]) + "\n"
                           for host in HOSTS)
            print("    " + f"{failure}\n{logs}".rstrip().replace("\n", "\n    "), flush=True)
            self.start_anew()
            return
        self.passed += 1
        self.settling.append(seconds)
        print(f"ok {name}: {outcome}, settled in {seconds:.1f} s ({time.monotonic() - started:.1f} s)", flush=True)

    def start_anew(self):
        """After harm nothing of the lab is trusted any more."""
        self.stage.sampler.end()
        self.stage = None
        self.lab.down()
        self.lab.up()

    def end(self):
        if self.stage is not None:
            self.acknowledged, self.samples = self.stage.end()


def rule_of_three(n):
    return f"at 95 % confidence a fault does harm in less than {300 / n:.2f} % of cases (3/n)" if n else ""


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("words", nargs="*")
    parser.add_argument("--vmigrate", default=os.environ.get("VMIGRATE"))
    parser.add_argument("--random", type=int, default=0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--list", action="store_true")
    options = parser.parse_args()
    faults = [(fault, meet) for fault in every_fault()] + [(fault, meet_late) for fault in every_late_fault()]
    faults = [(fault, play) for fault, play in faults if all(word in fault.name for word in options.words)]
    if options.list:
        print("\n".join(fault.name for fault, _ in faults))
        return
    if reason := e2e.why_not_here(options.vmigrate):
        print(f"SKIPPED: {reason}")
        sys.exit(77)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    directory = os.environ.get("VMIGRATE_LAB") or tempfile.mkdtemp(prefix="vmigrate-faults-", dir="/var/tmp")
    lab = Lab(directory, Path(options.vmigrate).resolve())
    run = Run(lab)
    try:
        lab.up()
        if options.random:
            dice = random.Random(options.seed)
            print(f"seed {options.seed}")
            for number in range(1, options.random + 1):
                run.play(f"random fault {number}", lambda stage: meet_random(stage, dice))
        else:
            for fault, play in faults:
                run.play(fault.name, lambda stage, fault=fault, play=play: play(stage, fault))
        run.end()
    finally:
        lab.down()
    if run.settling:
        ordered = sorted(run.settling)
        print(f"{run.acknowledged} writes acknowledged on the last connection, 0 lost; {run.samples} samples, none with two running; "
              f"settled within {ordered[len(ordered) // 2]:.1f} s (median), {ordered[-1]:.1f} s (longest)")
    print(rule_of_three(run.passed) if not run.failed else f"{run.failed} faults did harm")
    print(f"{run.passed} passed, {run.failed} failed, 0 skipped")
    sys.exit(1 if run.failed else 0)


if __name__ == "__main__":
    main()
