#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Real faults in the lab: whatever dies, exactly one side runs the container, nothing is lost, nothing is left.

    faults.py --vmigrate PATH [WORDS...]              every failpoint and harm once; with words, those named by them all
    faults.py --vmigrate PATH --random N [--seed S] [--minutes M]
                                                      N faults at random times, or as many as that time allows
    faults.py --list

A container under the load of a client that remembers every acknowledged write, on one TCP connection that is never
renewed, goes to and fro between alpha and beta. Every migration meets one fault; then whoever died is started again,
and within five seconds the container must run on one side, with nothing left on the other. A sampler looks every 10 ms
whether two run. --labs N plays N such labs at once, each with its share of the faults and a container of its own kind.
"""
import argparse
import contextlib
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from oracles import HEALED_WITHIN, HOSTS, SETTLED_WITHIN, ClientLost, Stage, e2e, wait_until

FROM_SOURCE = ["Open", "Join", "BlockData", "RoundEnd", "ImageChunk", "Manifest", "Go", "Done"]
FROM_DESTINATION = ["Accept", "Join", "RoundAck", "Ready", "Running"]
RECORDS = {"given": "source", "released": "source", "prepared": "destination", "owned": "destination"}
# Those that are written only after another fault.
LATE_RECORDS = {"refused": "destination", "reclaimed": "source"}
STREAMS = 2   # connections for blocks
KINDS = [("redis", "runc"), ("sqlite", "runc"), ("redis", "crun")]   # of containers, one after the other for each lab
EXIT_CODES = (0, 2, 3, 4, 5, 6, 7, 8, 21, 22, 30, 70)
FREEZE_TIMED_OUT = 44   # of a container that was held up while it stood still
HOLDS_UP = ("stall", "silence")
LATE_MAX = 0.02         # of all faults: what is not settled in time by chance, on a busy machine


@dataclass
class Fault:
    """What goes wrong, where and when. The action is the failpoint's own; after `stop` the harm is ours."""
    name: str
    side: str
    point: str
    action: str
    harm: str = ""
    nth: int = 1

    @property
    def wish(self):
        return f"{self.point}={self.action}@{self.nth}"


def points():
    """(side, point, nth) of everything that every migration reaches."""
    for messages, sender, receiver in ((FROM_SOURCE, "source", "destination"), (FROM_DESTINATION, "destination", "source")):
        for message in messages:
            for side, step in ((sender, "before_send"), (sender, "after_send"), (receiver, "before_handle")):
                yield side, f"message.{message}.{step}", 1
    # The second round is the last: the file system is frozen then. Its end is said on each connection, first on those
    # for blocks.
    for side, step in (("source", "before_send"), ("source", "after_send"), ("destination", "before_handle")):
        yield side, f"message.RoundEnd.{step}", STREAMS + 2
        yield side, f"message.RoundEnd.{step}", 2 * (STREAMS + 1)
    for record, side in RECORDS.items():
        for step in ("before_write", "before_fsync", "after_fsync"):
            yield side, f"journal.{record}.{step}", 1


def every_fault():
    faults = []
    for side, point, nth in points():
        last = f"the last round's {nth - STREAMS - 1}. " if nth > 1 else ""
        faults.append(Fault(f"kill -9 of the {side}'s agent at {last}{point}", side, point, "kill", nth=nth))
        for harm, sentence in HARMS.items():
            faults.append(Fault(f"{sentence.format(side=side)} at {last}{point}", side, point, "stop", harm, nth))
        if point.endswith(("before_write", "before_fsync")):
            for action in ("eio", "enospc"):
                faults.append(Fault(f"{action.upper()} on the {side} at {point}", side, point, action))
    return faults


def every_late_fault():
    return [Fault(f"kill -9 of the {side}'s agent at journal.{record}.{step}", side, f"journal.{record}.{step}", "kill")
            for record, side in LATE_RECORDS.items() for step in ("before_write", "before_fsync", "after_fsync")]


def every_fault_of_criu():
    return [Fault(f"kill -9 of CRIU on the {side} after {delay_ms} ms", side, "", "", str(delay_ms))
            for side in ("source", "destination") for delay_ms in (5, 20, 40)]


ENDED = "ended while CRIU wrote it down"


class Ended(Exception):
    """CRIU was killed inside of the container: it is no more, or its client is not; new ones take their place."""


# --- harm -------------------------------------------------------------------------------------------------------------

HARMS = {
    "kill both": "kill -9 of both agents while the {side}'s stands",
    "kill the other": "kill -9 of the other agent while the {side}'s stands",
    "reset": "a reset connection while the {side}'s agent stands",
    "silence": "3 s of silence on the wire while the {side}'s agent stands",
    "stall": "5 s of standing still of the {side}'s agent",
}


def kill_agent(lab, host):
    lab.command("agent", host, "kill")


def reset(lab):
    """Both ends of whatever the two hosts say to each other."""
    for one in HOSTS:
        for other in HOSTS:
            if one != other:
                lab.exec(one, "ss", "--kill", "--tcp", "dst", ADDRESSES[other], "( sport = :7700 or dport = :7700 )")


def reset_one(lab, dice):
    """One connection between the two hosts, such as one of those for blocks."""
    peers = "dst {} and ( sport = :7700 or dport = :7700 )".format(ADDRESSES["beta"])
    lines = lab.exec("alpha", "ss", "-Htn", *peers.split()).out.splitlines()
    if lines:
        port = dice.choice(lines).split()[3].rpartition(":")[2]
        lab.exec("alpha", "ss", "--kill", "--tcp", *f"{peers} and sport = :{port}".split())


ADDRESSES = {"alpha": "10.77.0.1", "beta": "10.77.0.2"}


def set_wire(lab, host, state):
    """The wire of a host, at the switch: while it is down what is sent is lost without a word."""
    switch = str(lab.init_of("switch"))
    subprocess.run(["nsenter", "--target", switch, "--net", "ip", "link", "set", f"to-{host}", state], check=True)


@contextlib.contextmanager
def silence(lab, host):
    set_wire(lab, host, "down")
    try:
        yield
    finally:
        set_wire(lab, host, "up")


def processes_of_criu(lab, hosts=HOSTS):
    return [pid for host in hosts for pid, words in lab.processes(host).items() if os.path.basename(words[0]) == "criu"]


def kill_criu(lab, hosts=HOSTS):
    pids = processes_of_criu(lab, hosts)
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return pids


# --- one fault --------------------------------------------------------------------------------------------------------


def meet(stage, fault):
    """One migration that meets the fault. Returns (outcome, seconds to be settled)."""
    lab, hosts = stage.lab, stage.sides()
    victim = hosts[fault.side]
    stage.agent(victim, fault.wish)
    move = lab.start_vmigrate("client", f"--streams={STREAMS}", hosts["source"], hosts["destination"],
                              stage.container.name)
    if fault.action == "kill":
        wait_until(lambda: lab.agent_pid(victim) is None, 30, f"the agent of {victim} to die at {fault.wish}")
    else:
        if fault.action == "stop":
            do_harm(stage, fault.harm, victim, move)
        result = move.wait(90)   # also in doubt the command ends once the two have spoken
        assert result.code in EXIT_CODES or (fault.harm in HOLDS_UP and result.code == FREEZE_TIMED_OUT), result
        assert fault.action == "stop" or f"name={fault.point}" in lab.agent_log(victim), f"{fault.wish} was never reached"
    stage.revive()
    result = outcome(stage, hosts)
    move.kill()
    return result


def outcome(stage, hosts):
    """What became of it, and the seconds until that was so."""
    seconds = stage.check()
    return ("moved" if hosts["destination"] in stage.container.is_where() else "stayed"), seconds


def do_harm(stage, harm, victim, move):
    lab = stage.lab
    other = next(host for host in HOSTS if host != victim)
    with e2e.standing(lab, victim, move):
        if harm.startswith("kill"):
            kill_agent(lab, other)
        if harm == "kill the other":
            stage.agent(other)
        elif harm == "kill both":
            os.kill(lab.agent_pid(victim), signal.SIGKILL)
            wait_until(lambda: lab.agent_pid(victim) is None, 5, f"the agent of {victim} to die")
        elif harm == "reset":
            reset(lab)
        elif harm == "stall":
            time.sleep(5)
    if harm == "silence":
        set_wire(lab, victim, "down")
        time.sleep(3)
        set_wire(lab, victim, "up")


def meet_late(stage, fault):
    """The processes that the destination holds are lost while they are given: REFUSED, then RECLAIMED is recorded."""
    lab, hosts = stage.lab, stage.sides()
    source, destination = hosts["source"], hosts["destination"]
    stage.agent(destination, "message.Go.before_handle=kill")
    if fault.side == "source":
        stage.agent(source, fault.wish)
    move = lab.start_vmigrate("client", source, destination, stage.container.name)
    wait_until(lambda: lab.agent_pid(destination) is None, 30, "the destination's agent to die")
    lab.exec(destination, stage.container.runtime, "delete", "--force", stage.container.name)
    with contextlib.suppress(AssertionError):   # it may die before it can be seen to live
        stage.agent(destination, fault.wish if fault.side == "destination" else "")
    victim = hosts[fault.side]
    wait_until(lambda: lab.agent_pid(victim) is None, 30, f"the agent of {victim} to die at {fault.wish}")
    stage.revive()
    result = outcome(stage, hosts)
    move.kill()
    assert result[0] == "stayed", result
    return result


@contextlib.contextmanager
def short_lived_criu(lab, host, milliseconds):
    """On `host` every CRIU that dumps or restores is killed so long after its start."""
    criu = Path(shutil.which("criu")).resolve()
    real, wrapper = lab.directory / "criu", lab.directory / "short-lived-criu"
    shutil.copy2(criu, real)
    wrapper.write_text(f'#!/bin/sh\n[ "$1" != swrk ] || exec timeout --foreground --signal=KILL {milliseconds / 1000} {real} "$@"\n'
                       f'exec {real} "$@"\n')
    wrapper.chmod(0o755)
    lab.exec(host, "mount", "--bind", str(wrapper), str(criu))
    try:
        yield
    finally:
        lab.exec(host, "umount", str(criu))


def meet_without_criu(stage, fault):
    """On the destination only what it made is lost. On the source it may leave its parasite in a task, which dies of it
    (then the sentence says so, and as after a power cut the disk is what is left), or a socket in repair."""
    lab, hosts = stage.lab, stage.sides()
    with short_lived_criu(lab, hosts[fault.side], int(fault.harm)):
        result = lab.vmigrate("client", hosts["source"], hosts["destination"], stage.container.name)
        assert result.code in (0, 7, 8), result   # 0: CRIU came to its end before that
    if fault.side == "destination":
        return outcome(stage, hosts)
    if ENDED in result.err:
        where = stage.container.is_where()
        assert where in ({hosts["source"]: "stopped"}, {}), where
        raise Ended("it ended, as the command said")
    try:
        return outcome(stage, hosts)
    except ClientLost:
        assert not stage.unsettled(), stage.unsettled()
        raise Ended("it stayed, its connection did not") from None


# --- faults at random times -------------------------------------------------------------------------------------------

STRIKES = ["kill source", "kill destination", "kill both", "kill criu", "reset", "reset one", "silence",
           "stall source", "stall destination", "kill command"]


def strike(stage, dice, hosts, move):
    """Does one harm and says what."""
    lab = stage.lab
    kind = dice.choice(STRIKES)
    side = kind.split()[-1]
    if kind == "kill both":
        for host in HOSTS:
            kill_agent(lab, host)
    elif kind == "kill criu":
        kill_criu(lab)
    elif kind == "kill command":
        move.kill()
    elif kind == "reset":
        reset(lab)
    elif kind == "reset one":
        reset_one(lab, dice)
    elif kind == "silence":
        with silence(lab, dice.choice(HOSTS)):
            time.sleep(dice.uniform(0.2, 3))
    elif kind.startswith("kill"):
        kill_agent(lab, hosts[side])
    elif (pid := lab.agent_pid(hosts[side])) is not None:
        os.kill(pid, signal.SIGSTOP)
        with e2e.standing(lab, hosts[side], move):
            time.sleep(dice.uniform(0.2, 3))
    return kind


def meet_random(stage, dice):
    """One or two harms while it moves, pushed or pulled."""
    lab, hosts = stage.lab, stage.sides()
    words = ["--pull"] if dice.random() < 0.25 else []
    words.append(f"--streams={dice.choice([1, 2, 4])}")
    move = lab.start_vmigrate("client", *words, hosts["source"], hosts["destination"], stage.container.name)
    told = words
    for _ in range(2 if dice.random() < 0.3 else 1):
        delay = dice.uniform(0, 1.8)
        time.sleep(delay)
        told.append(f"{strike(stage, dice, hosts, move)} after {delay:.2f} s,")
    stage.revive()
    try:
        return end_of_random(stage, hosts, move, told)
    except AssertionError as failure:
        raise AssertionError(f"{' '.join(told)} {failure}") from failure


def end_of_random(stage, hosts, move, told):
    with contextlib.suppress(AssertionError):
        if ENDED in move.wait(60).err:
            raise Ended("it ended, as the command said")
    if any("kill command" in one for one in told):   # the agents go on without it
        wait_until(lambda: not stage.waybills(), 60, "the migration to end")
    what, seconds = outcome(stage, hosts)
    return f"{' '.join(told)} {what}", seconds


# --- runner -----------------------------------------------------------------------------------------------------------


@dataclass
class Tally:
    passed: int = 0
    failed: int = 0
    acknowledged: int = 0
    samples: int = 0
    outcomes: Counter = field(default_factory=Counter)
    settling: list = field(default_factory=list)

    def add(self, other):
        self.passed, self.failed = self.passed + other.passed, self.failed + other.failed
        self.acknowledged, self.samples = self.acknowledged + other.acknowledged, self.samples + other.samples
        self.outcomes += other.outcomes
        self.settling += other.settling


class Run:
    """One lab and what is played in it."""

    def __init__(self, lab, kind, is_quiet):
        self.lab, self.kind, self.is_quiet, self.stage, self.tally = lab, kind, is_quiet, None, Tally()
        self.late = []   # (name, play, within) of what was not settled in time

    def play(self, name, play, within=SETTLED_WITHIN):
        """In this lab; after harm nothing of it is trusted any more."""
        started = time.monotonic()
        try:
            self.stage = self.stage or Stage(self.lab, *self.kind)
            what, seconds = play(self.stage)
        except Ended as words:
            self.tally.passed += 1
            self.tally.outcomes["ended"] += 1
            self.tell_success(f"{name}: {words} ({time.monotonic() - started:.1f} s)")
            return self.start_anew()
        except Exception as failure:  # pylint: disable=broad-except
            self.tally.failed += 1
            self.tell_failure(name, failure, time.monotonic() - started)
            return self.start_anew()
        self.tally.passed += 1
        self.tally.outcomes[what.split()[-1]] += 1
        self.tally.settling.append(seconds)
        if seconds > within:
            print(f"late: {name}, settled in {seconds:.1f} s", flush=True)
            self.late.append((name, play, within))
        self.tell_success(f"{name}: {what}, settled in {seconds:.1f} s ({time.monotonic() - started:.1f} s)")

    def tell_success(self, text):
        if not self.is_quiet:
            print(f"ok {text}", flush=True)

    def tell_failure(self, name, failure, seconds):
        text = f"FAILED {name} ({' with '.join(self.kind)}, {seconds:.1f} s)\n{failure}\n{self.lab.ends_of_logs(25)}"
        print(text.rstrip().replace("\n", "\n    "), flush=True)

    def play_late_ones_again(self):
        """What is late by chance is not late twice."""
        late, self.late = self.late, []
        for name, play, within in late:
            self.play(name, play, within)
        for name, _, within in self.late:
            self.tally.failed += 1
            print(f"FAILED {name}: not settled within {within} s, twice", flush=True)

    def start_anew(self):
        if self.stage is not None:
            self.stage.sampler.end()
            self.stage = None
        self.lab.down()
        self.lab.up()

    def end(self):
        if self.stage is not None:
            self.tally.acknowledged, self.tally.samples = self.stage.end()


def play_in_a_lab(number, options, tallies):
    """One lab's share, in a process of its own."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    directory = tempfile.mkdtemp(prefix=f"vmigrate-faults-{number}-", dir="/var/tmp")
    lab = e2e.Lab(directory, Path(options.vmigrate).resolve())
    run = Run(lab, KINDS[number % len(KINDS)], options.quiet)
    try:
        lab.up()
        if options.random:
            dice = random.Random(f"{options.seed}.{number}")
            deadline = time.monotonic() + 60 * options.minutes
            for turn in range(number + 1, options.random + 1, options.labs):
                if time.monotonic() > deadline:
                    break
                run.play(f"random fault {turn}", lambda stage: meet_random(stage, dice))
        else:
            for fault, play in shuffled(faults_of(options))[number::options.labs]:
                within = HEALED_WITHIN if fault.action in ("eio", "enospc") else SETTLED_WITHIN
                run.play(fault.name, lambda stage, fault=fault, play=play: play(stage, fault), within)
            run.play_late_ones_again()
        run.end()
    except Exception as failure:  # pylint: disable=broad-except
        run.tally.failed += 1
        run.tell_failure("in the end", failure, 0)
    finally:
        lab.down()
        tallies.put(run.tally)


def shuffled(faults):
    """Always the same way: so that every kind of container meets every kind of harm."""
    faults = list(faults)
    random.Random(1).shuffle(faults)
    return faults


def faults_of(options):
    everything = [(every_fault(), meet), (every_late_fault(), meet_late), (every_fault_of_criu(), meet_without_criu)]
    return [(fault, play) for faults, play in everything for fault in faults if all(word in fault.name for word in options.words)]


def is_late_too_often(tally):
    late = sum(seconds > SETTLED_WITHIN for seconds in tally.settling)
    if late > max(2, LATE_MAX * len(tally.settling)):
        print(f"FAILED {late} of {len(tally.settling)} faults were not settled within {SETTLED_WITHIN} s")
        return True
    return False


def summarize(tally, seconds):
    tally.failed += is_late_too_often(tally)
    if tally.settling:
        ordered = sorted(tally.settling)
        print(f"{dict(tally.outcomes)}; {tally.acknowledged} writes acknowledged on connections that lived to the end, 0 lost; "
              f"{tally.samples} samples; settled within {ordered[len(ordered) // 2]:.1f} s (median), {ordered[-1]:.1f} s (longest)")
    if tally.passed and not tally.failed:
        print(f"at 95 % confidence a fault does harm in less than {300 / tally.passed:.2f} % of cases (3/n)")
    print(f"in {seconds:.0f} s")
    print(f"{tally.passed} passed, {tally.failed} failed, 0 skipped")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("words", nargs="*")
    parser.add_argument("--vmigrate", default=os.environ.get("VMIGRATE"))
    parser.add_argument("--random", type=int, default=0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=float("inf"))
    parser.add_argument("--labs", type=int, default=3)
    parser.add_argument("--quiet", action="store_true", help="tell only what failed, and the sum")
    parser.add_argument("--list", action="store_true")
    options = parser.parse_args()
    if options.list:
        print("\n".join(fault.name for fault, _ in faults_of(options)))
        return
    if reason := e2e.why_not_here(options.vmigrate):
        print(f"SKIPPED: {reason}")
        sys.exit(77)
    if options.random:
        print(f"seed {options.seed}")
    started = time.monotonic()
    tallies = multiprocessing.Queue()
    players = [multiprocessing.Process(target=play_in_a_lab, args=(number, options, tallies)) for number in range(options.labs)]
    for player in players:
        player.start()

    def end_all(*_):
        for player in players:
            player.terminate()
        sys.exit(1)
    signal.signal(signal.SIGTERM, end_all)
    total = Tally()
    for _ in players:
        total.add(tallies.get())
    for player in players:
        player.join()
    summarize(total, time.monotonic() - started)
    sys.exit(1 if total.failed or any(player.exitcode for player in players) else 0)


if __name__ == "__main__":
    main()
