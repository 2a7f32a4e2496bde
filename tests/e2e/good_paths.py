#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""What works, works end to end: see e2e.py for how to run it."""
import e2e
from e2e import test


def check_it_moved(container, move, source, destination):
    assert move.code == 0, move
    assert move.report["result"] == "migrated", move
    assert container.is_where() == {destination: "running"}, container.is_where()
    assert container.pids(destination) and not container.pids(source), "exactly one side runs its processes"


@test
def third_party_push(lab):
    """a third party has a container pushed from alpha to beta"""
    redis = lab.container("alpha", "redis")
    connection = redis.connect()
    assert connection.redis("INCR", "n") == 1
    move = lab.vmigrate("client", "alpha", "beta", redis.name)
    check_it_moved(redis, move, "alpha", "beta")
    assert connection.redis("INCR", "n") == 2


e2e.main()
