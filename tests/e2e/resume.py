#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""What was copied once is not copied again: interrupted migrations, and the way back home. See e2e.py for how to run it."""
import json
import os
import signal

import e2e
from e2e import test, wait_until
from ledger import Ledger

MIB = 1 << 20
BLOCK = 4096
FILLING = 300 * MIB
OWN_WRITES = 4 * MIB   # of a file system and a redis that nobody talks to, while they are moved
RATE = ("--bandwidth", "60M", "--compress", "none")


def fill(lab, container, host, name="filling", amount=FILLING):
    """Writes what cannot be compressed into its file system, and brings all of that to the disk."""
    place = f"/var/lib/vmigrate/containers/{container.name}/rootfs/data/{name}"
    file = lab.root(host) / place[1:]
    file.parent.mkdir(exist_ok=True)
    with open(file, "wb") as out:
        for _ in range(amount // MIB):
            out.write(os.urandom(MIB))
    lab.exec(host, "sync", "-f", place)


def allocated(path):
    return os.stat(path).st_blocks * 512


def full_redis(lab):
    """(container, bytes in its image)"""
    redis = lab.container("alpha", "redis")
    assert redis.connect().redis("SET", "key", "value") == "OK"
    fill(lab, redis, "alpha")
    return redis, allocated(redis.image_file("alpha"))


def differing_bytes(image, base):
    """What of `image` is data and not the same in `base`."""
    zeroes, count = bytes(BLOCK), 0
    with open(image, "rb") as ours, open(base, "rb") as theirs:
        while blocks := ours.read(MIB):
            others = theirs.read(MIB)
            if blocks != others:
                pairs = ((blocks[at:at + BLOCK], others[at:at + BLOCK]) for at in range(0, len(blocks), BLOCK))
                count += sum(one not in (other, zeroes) for one, other in pairs)
    return count * BLOCK


def start_and_reach(lab, redis, bytes_there, *words):
    """A migration to beta that has brought so many bytes."""
    command = lab.start_vmigrate("client", *RATE, *words, "alpha", "beta", redis.name)
    wait_until(lambda: redis.image_file("beta").exists() and allocated(redis.image_file("beta")) >= bytes_there, 60,
               "the copy to come so far")
    return command


def partial_copies(lab, redis):
    return list(lab.state("beta").glob(f"images/{redis.name}.img.partial-*"))


def the_partial_copy(lab, redis):
    """The one that is kept, once the interrupted arrival is at its end."""
    wait_until(lambda: not list(lab.state("beta").glob("waybills/*")), 40, "beta to be done with it")
    copies = partial_copies(lab, redis)
    assert len(copies) == 1, copies
    return copies[0]


def data_sent(move):
    return sum(each["data_bytes"] for each in move.report["rounds"])


def check_it_moved(redis, move, host):
    assert move.code == 0, move
    assert redis.is_where() == {host: "running"}, redis.is_where()
    assert redis.connect().redis("GET", "key") == b"value"
    assert move.report["image_digest"], move


def check_the_rest_was_sent(lab, redis, used):
    """Types it again: what had arrived does not come once more, but for 1 % of the image."""
    kept = the_partial_copy(lab, redis)
    standing = json.loads(lab.exec("beta", lab.binary, "status", "--json", check=False).out)
    assert [copy["partial"] for one in standing for copy in one.get("kept", []) if one["container"] == redis.name] == [True], standing
    rest = differing_bytes(redis.image_file("alpha"), kept)
    assert rest <= 0.25 * used, f"{rest} of {used} bytes had not arrived"
    move = lab.vmigrate("client", "alpha", "beta", redis.name)
    check_it_moved(redis, move, "beta")
    print(f"    {used / MIB:.0f} MiB, of these {rest / MIB:.1f} MiB were missing, {data_sent(move) / MIB:.1f} MiB were sent, "
          f"{move.report['wire_bytes'] / MIB:.1f} MiB on the wire with the checkpoint", flush=True)
    assert data_sent(move) <= rest + used / 100 + OWN_WRITES, move
    assert move.report["base_bytes"] >= 0.7 * used, move
    assert any(event["event"] == "remark" and event["message"].startswith("resumes from") for event in move.events), move
    assert not partial_copies(lab, redis)


def cut_by_killing(lab, host):
    redis, used = full_redis(lab)
    command = start_and_reach(lab, redis, 0.8 * used)
    lab.command("agent", host, "kill")
    assert command.wait(60).code != 0
    lab.command("agent", host, "start")
    wait_until(lambda: redis.is_where() == {"alpha": "running"}, 20, "it to run on alpha alone")
    check_the_rest_was_sent(lab, redis, used)


@test
def source_agent_is_killed(lab):
    """the source's agent is killed at 80 %: the next attempt sends the rest"""
    cut_by_killing(lab, "alpha")


@test
def destination_agent_is_killed(lab):
    """the destination's agent is killed at 80 %: the next attempt sends the rest"""
    cut_by_killing(lab, "beta")


@test
def cancelled_with_keep_partial(lab):
    """Ctrl-C at 80 % with --keep-partial: the next attempt sends the rest"""
    redis, used = full_redis(lab)
    command = start_and_reach(lab, redis, 0.8 * used, "--keep-partial")
    command.signal(signal.SIGINT)
    assert command.wait(20).code == 2
    check_the_rest_was_sent(lab, redis, used)


@test
def cancelled_without(lab):
    """Ctrl-C without --keep-partial leaves nothing of the image, and a killed attempt's copy can be purged"""
    redis, used = full_redis(lab)
    command = start_and_reach(lab, redis, 0.4 * used)
    command.signal(signal.SIGINT)
    assert command.wait(20).code == 2
    wait_until(lambda: not list(lab.state("beta").glob("waybills/*")), 10, "beta to be done with it")
    assert not list(lab.state("beta").glob(f"*/{redis.name}.*")), list(lab.state("beta").glob(f"*/{redis.name}.*"))
    command = start_and_reach(lab, redis, 0.4 * used)
    lab.command("agent", "alpha", "kill")
    command.wait(60)
    lab.command("agent", "alpha", "start")
    migration = the_partial_copy(lab, redis).name.rpartition("-")[2]
    lab.exec("beta", lab.binary, "purge", redis.name, "--copy", migration)
    assert not list(lab.state("beta").glob(f"*/{redis.name}.*")), list(lab.state("beta").glob(f"*/{redis.name}.*"))


@test
def back_home(lab):
    """there and back after light use: the way back sends what was written there, and 1 % of the image at most"""
    redis, used = full_redis(lab)
    check_it_moved(redis, lab.vmigrate("client", "alpha", "beta", redis.name), "beta")
    written = 20 * MIB
    fill(lab, redis, "beta", "written-there", written)
    move = lab.vmigrate("client", "beta", "alpha", redis.name)
    check_it_moved(redis, move, "alpha")
    print(f"    {used >> 20} MiB, {written >> 20} MiB written there, {data_sent(move) / MIB:.1f} MiB sent", flush=True)
    assert data_sent(move) <= written + used / 100 + 2 * OWN_WRITES, move
    assert move.report["base_bytes"] > FILLING, move


@test
def with_a_client(lab):
    """with a client that writes all the time both attempts are survived, and every acknowledged write is there"""
    redis, used = full_redis(lab)
    ledger = Ledger(lab, redis)
    command = start_and_reach(lab, redis, 0.8 * used)
    lab.command("agent", "beta", "kill")
    assert command.wait(60).code != 0
    lab.command("agent", "beta", "start")
    the_partial_copy(lab, redis)
    move = lab.vmigrate("client", "alpha", "beta", redis.name)
    assert move.code == 0 and redis.is_where() == {"beta": "running"}, move   # the ledger wants no other connections
    assert move.report["base_bytes"] > used / 2 and data_sent(move) < used / 2, move   # redis keeps the file system's journal busy
    assert ledger.writes_on()
    assert ledger.end() > 10


@test
def no_resume(lab):
    """--no-resume sends everything, and leaves the earlier copy alone"""
    redis, used = full_redis(lab)
    check_it_moved(redis, lab.vmigrate("client", "alpha", "beta", redis.name), "beta")
    move = lab.vmigrate("client", "--no-resume", "beta", "alpha", redis.name)
    check_it_moved(redis, move, "alpha")
    assert data_sent(move) > 0.9 * used and move.report["base_bytes"] == 0, move
    assert len(redis.kept_images("alpha")) == 1, redis.kept_images("alpha")


if __name__ == "__main__":
    e2e.main()
