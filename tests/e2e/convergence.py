#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""A container that writes twice as fast as the link carries: what the tool does about it. See e2e.py for how to run it."""
import json
from pathlib import Path

import e2e
from e2e import test, wait_until

MIB = 1 << 20
LINK = 8 * MIB
LOAD_BYTES = 16 * MIB   # two seconds of the link
SLOW_LINK = ("--bandwidth", LINK, "--compress", "none", "--on-stall", "abort")


def busy_container(lab):
    """One that writes new content to all of a file in each second, and a connection to it."""
    container = lab.container("alpha", "counter", size="256M")
    probe = container.connect()
    assert probe.ask(f"load {2 * LINK} {LOAD_BYTES}") == "ok"
    file = lab.root("alpha") / f"var/lib/vmigrate/containers/{container.name}/rootfs/data/load"
    wait_until(lambda: file.exists() and file.stat().st_size == LOAD_BYTES, 10, "the file to have its size")
    return container, probe


def cpu_limit(container, host):
    """What the kernel says of its CPU time, by either version of cgroups."""
    lines = [line.split(":", 2) for line in Path(f"/proc/{container.pids(host)[0]}/cgroup").read_text().splitlines()]
    for _, controllers, path in lines:
        if "cpu" in controllers.split(","):
            for name in ("cpu", "cpu,cpuacct"):
                group = Path(f"/sys/fs/cgroup/{name}{path}")
                if group.exists():
                    return (group / "cpu.cfs_quota_us").read_text().split() + (group / "cpu.cfs_period_us").read_text().split()
    return Path(f"/sys/fs/cgroup{lines[-1][2]}/cpu.max").read_text().split()


def throttled(move):
    return [event["percent"] for event in move.events if event["event"] == "throttle"]


def check_it_stayed(container, probe, move, reason):
    assert move.code == 43 and move.report["result"] == "aborted", move
    assert move.report["error"]["code"] == "not_converging" and reason in move.report["error"]["message"], move
    assert container.is_where() == {"alpha": "running"}, container.is_where()
    assert int(probe.ask("get")) > 0


@test
def without_help(lab):
    """a writer of twice the link's rate: without --auto-converge it ends by its rule, and says why"""
    container, probe = busy_container(lab)
    move = lab.vmigrate("client", *SLOW_LINK, "alpha", "beta", container.name)
    check_it_stayed(container, probe, move, "the dirty set does not shrink any more")
    assert not throttled(move) and move.report["throttle_percent"] == 0, move


@test
def with_auto_converge(lab):
    """a writer of twice the link's rate: with --auto-converge it moves, and is not throttled there"""
    container, probe = busy_container(lab)
    before = cpu_limit(container, "alpha")
    move = lab.vmigrate("client", *SLOW_LINK, "--auto-converge", "alpha", "beta", container.name)
    assert move.code == 0 and container.is_where() == {"beta": "running"}, move
    steps, rounds = throttled(move), move.report["rounds"]
    assert steps and steps == sorted(set(steps)) and move.report["throttle_percent"] == steps[-1], move
    assert rounds[0]["throttle_percent"] == 0 and rounds[-2]["throttle_percent"] == steps[-1], rounds
    # It would not have been frozen otherwise: nothing but the estimate may freeze it here.
    assert rounds[-2]["left_bytes"] < LOAD_BYTES / 2, rounds
    assert cpu_limit(container, "beta") == before, cpu_limit(container, "beta")
    assert int(probe.ask("get")) > 0


@test
def an_agent_that_dies(lab):
    """an agent that is killed while it throttles: the next one gives the container its CPU time back"""
    container, probe = busy_container(lab)
    before = cpu_limit(container, "alpha")
    lab.start_vmigrate("client", *SLOW_LINK, "--auto-converge", "--max-downtime", "301", "alpha", "beta", container.name)
    wait_until(lambda: cpu_limit(container, "alpha") != before, 30, "it to be throttled")
    lab.command("agent", "alpha", "kill")
    assert cpu_limit(container, "alpha") != before, "who put it back?"
    note = json.loads((lab.state("alpha") / "waybills" / container.name).read_text())
    assert note["cpu_limit"]["quota"].split()[0] == before[0], note["cpu_limit"]
    lab.command("agent", "alpha", "start")
    wait_until(lambda: cpu_limit(container, "alpha") == before, 10, lambda: f"{before}, not {cpu_limit(container, 'alpha')}")
    wait_until(lambda: not e2e.listing(lab.state("alpha") / "waybills"), 10, "the waybill to go")
    assert container.is_where() == {"alpha": "running"} and int(probe.ask("get")) > 0


@test
def a_timeout_that_freezes(lab):
    """a writer of twice the link's rate: with --timeout-action=freeze it is frozen in time, and moves"""
    container, probe = busy_container(lab)
    move = lab.vmigrate("client", *SLOW_LINK, "--timeout", 2, "--timeout-action", "freeze", "alpha", "beta", container.name)
    assert move.code == 0 and container.is_where() == {"beta": "running"}, move
    frozen_after = move.report["total_seconds"] - move.report["downtime"]["total_ms"] / 1000
    assert 2 <= frozen_after < 5 and move.report["total_seconds"] < 2 + 10, move.report
    assert any("--timeout (2.00 s) passed" in event["message"] for event in move.events if event["event"] == "remark"), move
    # The last round before that was not finished, and what it left over came while the container stood still.
    *_, live, last = move.report["rounds"]
    assert live["data_bytes"] + live["zero_bytes"] < live["dirty_blocks"] * 4096 and live["left_bytes"] > 4 * MIB, live
    assert last["data_bytes"] > 4 * MIB and last["left_bytes"] == 0, last
    assert int(probe.ask("get")) > 0


@test
def a_timeout_that_cancels(lab):
    """a writer of twice the link's rate: with --timeout alone it ends in time, and stays"""
    container, probe = busy_container(lab)
    move = lab.vmigrate("client", *SLOW_LINK, "--timeout", 2, "alpha", "beta", container.name)
    check_it_stayed(container, probe, move, "--timeout (2.00 s) passed")
    assert 2 <= move.report["total_seconds"] < 5, move.report


if __name__ == "__main__":
    e2e.main()
