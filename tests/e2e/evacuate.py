#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""`vmigrate --all`: a host is emptied, as far as that goes. See e2e.py for how to run it."""
import contextlib
import os
import signal

import e2e
from e2e import test, wait_until
from ledger import Ledger

BUNDLES = "/var/lib/vmigrate/containers"
MIB = 1 << 20


# --- setting the scene ------------------------------------------------------------------------------------------------


def counters(lab, count, runtime="runc"):
    """Containers with one open connection each."""
    made = [lab.container("alpha", "counter", size="64M", runtime=runtime) for _ in range(count)]
    return {container.name: (container, container.connect()) for container in made}


def put_into_plain_directory(lab, container):
    """Its root file system is no block device any more."""
    lab.exec("alpha", "sh", "-c",
             f"cd {BUNDLES}/{container.name} && runc delete --force {container.name} && cp -a rootfs plain && umount rootfs && "
             f"rmdir rootfs && mv plain rootfs && runc run -d -b . {container.name} </dev/null >/dev/null 2>&1")
    wait_until(lambda: container.is_where() == {"alpha": "running"}, 10, f"{container.name} to run again")


@contextlib.contextmanager
def in_the_way(lab, container):
    """beta has a file where its image would go."""
    image = container.image_file("beta")
    image.parent.mkdir(exist_ok=True)
    image.write_text("not yours")
    try:
        yield
    finally:
        image.unlink()


@contextlib.contextmanager
def rules_of_alpha(lab, text):
    file = lab.directory / "alpha/etc/tls/rules"
    before = file.read_text()
    file.write_text(text)
    try:
        yield
    finally:
        file.write_text(before)


# --- looking at the end -----------------------------------------------------------------------------------------------


def summary_of(done):
    assert done.events and done.events[-1]["event"] == "summary", done
    return done.events[-1]


def results_of(done):
    return {row["container"]: row["result"] for row in summary_of(done)["containers"]}


def goes_on(connection, counted=0):
    """The counter still counts, on the same connection."""
    wait_until(lambda: int(connection.ask("get")) > counted, 5, "the counter to go on")


def in_order_of_appearance(events):
    return list(dict.fromkeys(event["container"] for event in events[:-1]))


def most_under_way(events):
    """How many containers were under way at once, by the order of their events."""
    under_way, most = set(), 0
    for event in events[:-1]:
        (under_way.discard if event["event"] == "report" else under_way.add)(event["container"])
        most = max(most, len(under_way))
    return most


@test
def all_that_can_go(lab):
    """three at once, all go but the one that cannot and the one that fails; nothing acknowledged is lost"""
    redis = lab.container("alpha", "redis", size="256M")
    ledger = Ledger(lab, redis, load=16)
    crowd = {**counters(lab, 3), **counters(lab, 1, runtime="crun")}
    plain = lab.container("alpha", "counter", size="64M")
    put_into_plain_directory(lab, plain)
    blocked = lab.container("alpha", "counter", size="64M")
    connection = blocked.connect()
    with in_the_way(lab, blocked):
        done = lab.vmigrate("client", "--all", "--first", redis.name, "--parallel", "3", "alpha", "beta")
    assert done.code == 16, done
    assert results_of(done) == {**{name: "migrated" for name in (redis.name, *crowd)}, plain.name: "skipped",
                                blocked.name: "aborted"}, done
    rows = {row["container"]: row for row in summary_of(done)["containers"]}
    assert rows[plain.name]["error"]["code"] == "rootfs_not_on_device", rows
    assert "vmigrate image create" in rows[plain.name]["error"]["message"], rows
    assert rows[blocked.name]["error"]["code"] == "already_exists", rows
    assert summary_of(done)["moved"] == 5 and summary_of(done)["hidden"] == 0, summary_of(done)
    assert redis.name in in_order_of_appearance(done.events)[:3], done   # by its name it would be the last
    assert most_under_way(done.events) == 3, done
    for container, its_connection in crowd.values():
        assert container.is_where() == {"beta": "running"}, container
        goes_on(its_connection)
    for container in (plain, blocked):
        assert container.is_where() == {"alpha": "running"}, container
    goes_on(connection)
    assert redis.is_where() == {"beta": "running"} and ledger.writes_on()
    assert ledger.end() > 0


@test
def from_the_host_itself(lab):
    """localhost as source needs no agent to be asked; a dry run says what would be, and then it goes as it said"""
    crowd = counters(lab, 2)
    dry = lab.vmigrate("alpha", "--all", "--dry-run", "--sample", "1", "localhost", "beta")
    assert dry.code == 0 and summary_of(dry)["result"] == "predicted", dry
    assert results_of(dry) == {name: "predicted" for name in crowd}, dry
    assert all(container.is_where() == {"alpha": "running"} for container, _ in crowd.values())
    done = lab.vmigrate("alpha", "--all", "localhost", "beta", is_json=False)
    assert done.code == 0 and "2 of 2 containers moved from localhost to beta" in done.out, done
    for container, connection in crowd.values():
        assert container.is_where() == {"beta": "running"}, container
        goes_on(connection)
    back = lab.vmigrate("client", "--all", "--pull", "beta", "alpha")
    assert back.code == 0 and summary_of(back)["moved"] == 2, back
    assert all(container.is_where() == {"alpha": "running"} for container, _ in crowd.values())


@test
def a_change_of_mind(lab):
    """Ctrl-C cancels those under way and starts no more: all run on where they were, with their connections"""
    crowd = counters(lab, 3)
    for container, _ in crowd.values():
        lab.exec("alpha", "dd", "if=/dev/urandom", f"of={BUNDLES}/{container.name}/rootfs/data/much", "bs=1M", "count=30",
                 "status=none", "conv=fsync")
    command = lab.start_vmigrate("client", "--all", "--parallel", "2", "--bandwidth", "4M", "--compress", "none", "alpha", "beta")
    def is_under_way():
        images = [container.image_file("beta") for container, _ in crowd.values()]
        return sum(os.stat(image).st_blocks * 512 > MIB for image in images if image.exists()) >= 2
    wait_until(is_under_way, 20, "two copies to be under way")
    command.signal(signal.SIGINT)
    done = command.wait(20)
    assert done.code == 2 and summary_of(done)["result"] == "cancelled", done
    assert sorted(results_of(done).values()) == ["aborted", "aborted", "not_started"], done
    for container, connection in crowd.values():
        assert container.is_where() == {"alpha": "running"}, container
        wait_until(lambda image=container.image_file("beta"): not image.exists(), 5, "nothing to be left on beta")
        goes_on(connection)


@test
def what_the_rules_show(lab):
    """only what the operator may start is listed and moved; that there is more is told"""
    crowd = counters(lab, 2)
    mine, other = crowd
    send = "allow send * to beta\nallow receive * from beta\n"
    with rules_of_alpha(lab, send + f"allow start {mine} by client\n"):
        done = lab.vmigrate("client", "--all", "alpha", "beta")
    assert done.code == 16 and summary_of(done)["hidden"] == 1 and results_of(done) == {mine: "migrated"}, done
    assert crowd[other][0].is_where() == {"alpha": "running"}
    with rules_of_alpha(lab, send):
        refused = lab.vmigrate("client", "--all", "alpha", "beta")
    assert refused.code == 77 and summary_of(refused)["result"] == "failed", refused
    assert "allow start * by client" in refused.err, refused


if __name__ == "__main__":
    e2e.main()
