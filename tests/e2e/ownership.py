#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Who may run it, when nobody is there to say so: status, journal, recover, resolve. See e2e.py for how to run it."""
import json
import os
import signal

import e2e
from e2e import HOSTS, test, wait_until
from ledger import Ledger

STATE = "/var/lib/vmigrate"
EXIT_RESTORE_FAILED = 7


def agent(lab, host, wish=""):
    if lab.agent_pid(host):
        lab.command("agent", host, "stop")
    if wish:
        lab.environment["VMIGRATE_FAILPOINTS"] = wish
    try:
        lab.command("agent", host, "start")
    finally:
        lab.environment.pop("VMIGRATE_FAILPOINTS", None)


def status(lab, host, name):
    """(exit code, what it says of this container)"""
    result = lab.exec(host, lab.binary, "status", "--json", name, check=False)
    assert result.code in (0, 3), result
    return result.code, json.loads(result.out)[0]


def given_and_both_dead(lab, source_wish, destination_wish):
    """Redis on alpha under load; a migration to beta that ends with both agents dead. Returns (redis, ledger)."""
    redis = lab.container("alpha", "redis", size="256M")
    ledger = Ledger(lab, redis)
    agent(lab, "alpha", source_wish)
    agent(lab, "beta", destination_wish)
    lab.start_vmigrate("client", "alpha", "beta", redis.name)
    dying = "alpha" if source_wish else "beta"
    wait_until(lambda: lab.agent_pid(dying) is None, 30, f"the agent of {dying} to die")
    for host in HOSTS:
        if lab.agent_pid(host):
            lab.command("agent", host, "kill")
    return redis, ledger


def peers_journal(lab, host, name):
    """A copy of the other host's journal, as an operator would bring it."""
    copy = lab.directory / f"{name}.journal"
    copy.write_bytes((lab.state(host) / "journal" / name).read_bytes())
    return copy


def restart_agents(lab):
    for host in HOSTS:
        if lab.agent_pid(host) is None:
            lab.command("agent", host, "start")


def settles_on(lab, redis, ledger, host):
    wait_until(lambda: redis.is_where() == {host: "running"}, 10, lambda: f"it to run on {host} alone: {redis.is_where()}")
    wait_until(lambda: not [path for each in HOSTS for path in lab.state(each).glob("waybills/*")], 10, "the waybills to go")
    assert ledger.writes_on()
    assert ledger.end() > 10
    for each in HOSTS:
        code, standing = status(lab, each, redis.name)
        assert code == 0 and not standing["in_doubt"], standing
        assert ("this host" == standing["may_run"]) == (each == host), standing


@test
def status_tells_the_truth(lab):
    """after the gift, with both agents dead, status says on both sides that nobody may run it; then they heal it"""
    redis, ledger = given_and_both_dead(lab, "journal.given.after_fsync=kill", "")
    code, standing = status(lab, "alpha", redis.name)
    assert code == 3 and standing["record"]["type"] == "GIVEN" and standing["may_run"].startswith("nobody"), standing
    code, standing = status(lab, "beta", redis.name)
    assert code == 3 and standing["record"]["type"] == "PREPARED" and standing["may_run"].startswith("not this host"), standing
    text = lab.exec("alpha", lab.binary, "status", check=False)
    assert text.code == 3 and redis.name in text.out and "GIVEN" in text.out, text
    restart_agents(lab)
    settles_on(lab, redis, ledger, "beta")


@test
def a_release_that_died(lab):
    """a source's agent that died between killing the container's processes and forgetting it ends that the next time"""
    redis, ledger = given_and_both_dead(lab, "message.Running.before_handle=kill", "")
    for pid in redis.pids("alpha"):
        os.kill(pid, signal.SIGKILL)
    lab.exec("alpha", redis.runtime, "resume", redis.name, check=False)
    wait_until(lambda: not redis.pids("alpha"), 5, "its processes on alpha to go")
    assert redis.is_where()["alpha"] == "stopped"
    restart_agents(lab)
    settles_on(lab, redis, ledger, "beta")


def killed_while_held(lab, redis, point):
    """A migration to beta, whose processes are killed there at a failpoint of beta's agent. Returns how it ended."""
    agent(lab, "beta", f"{point}=stop")
    move = lab.start_vmigrate("client", "alpha", "beta", redis.name)
    with e2e.standing(lab, "beta", move):
        lab.exec("beta", redis.runtime, "delete", "--force", redis.name)
    return move.wait(60)


@test
def killed_before_it_is_taken(lab):
    """a container whose processes were killed while the destination held them goes on at the source, as it was"""
    redis = lab.container("alpha", "redis", size="256M")
    ledger = Ledger(lab, redis)
    done = killed_while_held(lab, redis, "message.Go.before_handle")
    assert done.code == EXIT_RESTORE_FAILED and done.report["error"]["code"] == "restore_failed", done
    settles_on(lab, redis, ledger, "alpha")


@test
def killed_after_it_was_taken(lab):
    """a container whose processes were killed when the destination had taken it is started there from its disk"""
    redis = lab.container("alpha", "redis", size="256M")
    assert redis.connect().redis("SET", "key", "value") == "OK"
    done = killed_while_held(lab, redis, "journal.owned.after_fsync")
    assert done.code == 0 and redis.is_where() == {"beta": "running"}, f"{redis.is_where()} {done}"
    assert "event=starting_from_disk" in lab.agent_log("beta")
    assert redis.connect().redis("GET", "key") == b"value"


@test
def accept_for_a_lost_source(lab):
    """--accept runs what a lost source has given, on the word of its journal; when the source is back it releases"""
    redis, ledger = given_and_both_dead(lab, "journal.given.after_fsync=kill", "")
    without = lab.exec("beta", lab.binary, "resolve", redis.name, "--accept", check=False)
    assert without.code == 1 and "does not prove" in without.err, without
    proof = peers_journal(lab, "alpha", redis.name)
    done = lab.exec("beta", lab.binary, "resolve", redis.name, "--accept", "--peer-journal", proof, check=False)
    assert done.code == 0 and "this host" in done.out, done
    restart_agents(lab)
    settles_on(lab, redis, ledger, "beta")


@test
def take_back_from_a_lost_destination(lab):
    """--take-back runs it at the source, on the word of the destination's journal; when that is back it discards"""
    redis, ledger = given_and_both_dead(lab, "", "message.Go.before_handle=kill")
    wrong = lab.exec("alpha", lab.binary, "resolve", redis.name, "--take-back", "--peer-journal",
                     peers_journal(lab, "alpha", redis.name), check=False)
    assert wrong.code == 1 and "GIVEN" in wrong.err, wrong
    proof = peers_journal(lab, "beta", redis.name)
    done = lab.exec("alpha", lab.binary, "resolve", redis.name, "--take-back", "--peer-journal", proof, check=False)
    assert done.code == 0 and "this host" in done.out, done
    restart_agents(lab)
    settles_on(lab, redis, ledger, "alpha")


@test
def discard_mine(lab):
    """--discard-mine refuses what is held, and the source takes it back as soon as it hears of it"""
    redis, ledger = given_and_both_dead(lab, "journal.given.after_fsync=kill", "")
    done = lab.exec("beta", lab.binary, "resolve", redis.name, "--discard-mine", check=False)
    assert done.code == 0, done
    restart_agents(lab)
    settles_on(lab, redis, ledger, "alpha")


@test
def a_command_that_died(lab):
    """`vmigrate recover` ends what a killed `vmigrate localhost beta` left on a host without agent"""
    redis = lab.container("alpha", "redis", size="256M")
    ledger = Ledger(lab, redis)
    lab.command("agent", "alpha", "stop")
    lab.environment["VMIGRATE_FAILPOINTS"] = "message.Manifest.after_send=kill"
    try:
        died = lab.exec("alpha", lab.binary, "--json", "localhost", "beta", redis.name, check=False)
    finally:
        lab.environment.pop("VMIGRATE_FAILPOINTS")
    assert died.code not in (0, 2), died
    done = lab.exec("alpha", lab.binary, "recover", check=False)
    assert done.code == 0, done
    lab.command("agent", "alpha", "start")
    wait_until(lambda: redis.is_where() == {"alpha": "running"}, 10, "it to run on alpha alone")
    wait_until(lambda: not list(lab.state("beta").glob("waybills/*")), 10, "beta to hear of it")
    assert ledger.writes_on()
    assert ledger.end() > 10


@test
def a_damaged_journal(lab):
    """a damaged journal is named by status and verify, and nothing is moved because of it"""
    redis = lab.container("alpha", "redis", size="256M")
    moved = lab.vmigrate("client", "alpha", "beta", redis.name)
    assert moved.code == 0, moved
    shown = lab.exec("beta", lab.binary, "journal", "show", f"{STATE}/journal/{redis.name}")
    assert "PREPARED" in shown.out and "OWNED" in shown.out, shown
    assert lab.exec("beta", lab.binary, "journal", "verify", f"{STATE}/journal/{redis.name}").code == 0
    file = lab.state("beta") / "journal" / redis.name
    content = bytearray(file.read_bytes())
    content[40] ^= 1
    file.write_bytes(content)
    verified = lab.exec("beta", lab.binary, "journal", "verify", f"{STATE}/journal/{redis.name}", check=False)
    assert verified.code == 70 and "damaged" in verified.err, verified
    code, standing = status(lab, "beta", redis.name)
    assert code == 3 and "damage" in standing, standing
    refused = lab.vmigrate("client", "beta", "alpha", redis.name)
    assert refused.code == 70 and "damaged" in refused.err, refused
    assert redis.is_where() == {"beta": "running"}


if __name__ == "__main__":
    e2e.main()
