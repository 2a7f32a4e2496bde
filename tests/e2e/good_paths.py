#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""What works, works end to end: see e2e.py for how to run it."""
import contextlib
import hashlib
import os
import re
import signal
import sqlite3
import subprocess
import tempfile
import threading
import time
from pathlib import Path

import e2e
from e2e import HOSTS, test, wait_until
from ledger import Ledger

PARTS = ["freeze", "dump", "last blocks", "checkpoint", "restore", "hand-over"]
MIB = 1 << 20


# --- what holds after every migration ---------------------------------------------------------------------------------


def check_it_moved(container, move, source, destination, rounds_min=2):
    """The command's word, the runtimes' word, the kernel's word and the report."""
    assert move.code == 0, move
    report = move.report
    assert report["result"] == "migrated" and "error" not in report, move
    assert container.is_where() == {destination: "running"}, f"{container.is_where()} {move}"
    assert container.pids(destination), f"no process of {container.name} on {destination}"
    assert not container.pids(source), f"processes of {container.name} are left on {source}"

    assert report["container"] == container.name and len(report["migration"]) == 32, report
    assert source in report["source"] and destination in report["destination"], report
    assert report["tracker"] == "bpf", report
    assert report["volume_bytes"] == os.stat(container.image_file(destination)).st_size, report
    assert report["checkpoint_bytes"] > 0 and report["wire_bytes"] > report["checkpoint_bytes"] / 4, report
    assert re.fullmatch("[0-9a-f]{32}", report["image_digest"]), report

    downtime = report["downtime"]
    assert [part["part"] for part in downtime["parts"]] == PARTS, downtime
    assert abs(sum(part["ms"] for part in downtime["parts"]) - downtime["total_ms"]) < 0.01, downtime
    assert 0 < downtime["total_ms"] < report["total_seconds"] * 1000, report
    assert report["total_seconds"] < move.seconds, f"{report['total_seconds']} s of {move.seconds} s"

    rounds = report["rounds"]
    assert [each["round"] for each in rounds] == list(range(1, len(rounds) + 1)) and len(rounds) >= rounds_min, rounds
    assert rounds[-1]["left_bytes"] == 0, rounds
    for each in rounds:
        assert set(each) == {"round", "dirty_blocks", "data_bytes", "zero_bytes", "wire_bytes", "seconds", "left_bytes",
                             "throttle_percent", "compares"}, each
        assert each["data_bytes"] + each["zero_bytes"] <= each["dirty_blocks"] * 4096, each

    again = rounds[1:]
    assert report["dirtied_bytes"] == sum(each["dirty_blocks"] for each in again) * 4096, report
    assert report["resent_bytes"] == sum(each["data_bytes"] for each in again), report

    told = [event["state"] for event in move.events if event["event"] == "state" and event["side"] == "source"]
    assert told[0] == "copying" and told[-1] == "done", told
    check_kept_copy(container, report, source)


def check_kept_copy(container, report, source):
    """The source's image is set aside, was unmounted cleanly, and nothing of it is still in use."""
    kept = container.lab.root(source) / report["kept_image"].lstrip("/")
    assert kept.name == f"{container.name}.img.migrated-{report['migration']}", report["kept_image"]
    assert kept.exists() and not container.image_file(source).exists(), e2e.listing(kept.parent)
    assert not container.lab.loops_of([e2e.inode_of(kept)]), "the kept image is still attached"
    check_file_system(kept)
    assert not (container.lab.root(source) / "run/netns" / container.name).exists(), "its network is left on the source"


def check_file_system(image):
    done = subprocess.run(["e2fsck", "-fn", str(image)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"e2fsck -fn {image}: exit {done.returncode}\n{done.stdout}{done.stderr}"


def move_redis(lab, runtime, command, source="alpha", destination="beta", options=()):
    """One migration of redis under a ledger's load: nothing that was acknowledged is lost."""
    redis = lab.container(source, "redis", runtime=runtime)
    ledger = Ledger(lab, redis)
    machine, *words = command
    move = lab.vmigrate(machine, *options, *words, redis.name)
    check_it_moved(redis, move, source, destination)
    assert ledger.writes_on()
    assert ledger.longest_stall_ms() < 5000
    assert ledger.end() > 20
    redis.stop(destination)
    check_file_system(redis.image_file(destination))
    return move


# --- ways to say it ---------------------------------------------------------------------------------------------------


@test
def push_from_its_own_host(lab):
    """push: on alpha, `vmigrate alpha beta` moves redis (runc) under load; no reconnect, no lost write"""
    move_redis(lab, "runc", ["alpha", "alpha", "beta"])


@test
def push_by_a_third_party(lab):
    """third party: on the client, `vmigrate alpha beta` moves redis (crun) under load; no reconnect, no lost write"""
    move_redis(lab, "crun", ["client", "alpha", "beta"])


@test
def push_from_localhost(lab):
    """push: on beta, `vmigrate localhost alpha` moves redis (runc)"""
    move_redis(lab, "runc", ["beta", "localhost", "alpha"], "beta", "alpha")


@test
def localhost_needs_no_agent(lab):
    """push: `vmigrate localhost beta` needs no agent on alpha"""
    lab.command("agent", "alpha", "stop")
    move_redis(lab, "runc", ["alpha", "localhost", "beta"])


@test
def pull_by_a_third_party(lab):
    """pull: on the client, `vmigrate --pull alpha beta` moves redis (crun) under load; no reconnect, no lost write"""
    move_redis(lab, "crun", ["client", "alpha", "beta"], options=["--pull"])


@test
def pull_to_localhost(lab):
    """pull: on alpha, `vmigrate beta localhost` fetches redis (runc)"""
    move_redis(lab, "runc", ["alpha", "beta", "localhost"], "beta", "alpha")


@test
def verify_reads_both_sides_again(lab):
    """--verify: both sides read the whole image again while frozen, and say so"""
    redis = lab.container("alpha", "redis")
    ledger = Ledger(lab, redis, load=32)
    before = {host: bytes_read(lab.agent_pid(host)) for host in e2e.HOSTS}
    move = lab.vmigrate("client", "--verify", "alpha", "beta", redis.name)
    check_it_moved(redis, move, "alpha", "beta")
    assert move.report["verified"] is True, move.report
    data = sum(each["data_bytes"] for each in move.report["rounds"])
    read = {host: bytes_read(lab.agent_pid(host)) - before[host] for host in e2e.HOSTS}
    # To send it, the source has read it once already.
    assert read["alpha"] > 1.6 * data and read["beta"] > 0.8 * data, f"read: {read}, sent: {data}"
    assert ledger.end() > 0


def bytes_read(pid):
    return int(re.search(r"rchar: (\d+)", Path(f"/proc/{pid}/io").read_text()).group(1))


@test
def report_for_people(lab):
    """without --json the story is told in lines: rounds, parts of the downtime, where it runs now"""
    counter = lab.container("alpha", "counter")
    move = lab.vmigrate("client", "alpha", "beta", counter.name, is_json=False)
    assert move.code == 0, move
    assert re.search(r"^  round  1 .* sent, .* on the wire in .* left$", move.out, re.M), move
    for part in [*PARTS, "total"]:
        assert re.search(rf"^    {part} +[0-9.]+ ms$", move.out, re.M), move
    assert f"{counter.name} now runs on beta" in move.out and "image digest " in move.out, move
    assert move.err == "", move


@test
def a_kept_copy_goes(lab):
    """the source's copy goes when --keep-source is over, or by its name with purge; not before"""
    counter, kept = lab.container("alpha", "counter"), []
    for source, destination, hours in (("alpha", "beta", 0), ("beta", "alpha", 1)):
        move = lab.vmigrate("client", "--keep-source", hours, source, destination, counter.name)
        assert move.code == 0, move
        kept.append(lab.root(source) / move.report["kept_image"].lstrip("/"))
    wait_until(lambda: not counter.kept_images("alpha"), 10, "the copy on alpha to go")
    purge = lab.exec("beta", lab.binary, "purge")
    assert purge.out == "" and kept[1].exists(), purge
    copy = move.report["migration"]
    shown = lab.exec("beta", lab.binary, "status", counter.name, check=False).out
    assert copy in shown and kept[1].name in shown, shown
    wrong = lab.exec("beta", lab.binary, "purge", counter.name, "--copy", copy[::-1], check=False)
    assert wrong.code == 10 and kept[1].exists(), wrong
    lab.exec("beta", lab.binary, "purge", counter.name, "--copy", copy)
    for host in HOSTS:
        assert not [*lab.state(host).glob("*/*.migrated-*"), *lab.state(host).glob("kept/*")], host
    assert counter.is_where() == {"alpha": "running"}


# --- what must survive ------------------------------------------------------------------------------------------------


@test
def sqlite_keeps_every_row(lab):
    """sqlite (WAL, synchronous=FULL): every acknowledged row is there after the move, and the database is sound"""
    container = lab.container("alpha", "sqlite")
    connection, rows, trouble, is_ending = container.connect(), [0], [], threading.Event()

    def write_rows():
        try:
            while not is_ending.is_set():
                answer = connection.ask(str(rows[0] + 1))
                assert answer == f"ok {rows[0] + 1}", answer
                rows[0] += 1
        except Exception as failure:  # pylint: disable=broad-except
            trouble.append(failure)
    writer = threading.Thread(target=write_rows)
    writer.start()
    try:
        wait_until(lambda: rows[0] > 50 or trouble, 10, "50 rows")
        move = lab.vmigrate("client", "alpha", "beta", container.name)
        at_move = rows[0]
        wait_until(lambda: rows[0] > at_move + 50 or trouble, 10, "50 rows after the move")
    finally:
        is_ending.set()
        writer.join()
    assert not trouble, trouble
    check_it_moved(container, move, "alpha", "beta")
    assert connection.ask("count") == f"{rows[0]} {rows[0]}"
    # What the program says of itself is one thing; what stands in the image is another.
    container.stop("beta")
    check_file_system(container.image_file("beta"))
    with tempfile.TemporaryDirectory(dir=lab.directory) as directory:
        for file in ("rows.db", "rows.db-wal"):
            subprocess.run(["debugfs", "-R", f"dump /data/{file} {directory}/{file}", str(container.image_file("beta"))], check=True,
                           capture_output=True)
        with contextlib.closing(sqlite3.connect(f"{directory}/rows.db")) as database:
            assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            assert database.execute("SELECT n FROM t ORDER BY rowid").fetchall() == [(n,) for n in range(1, rows[0] + 1)]


def survives_with_its_files(lab, runtime):
    container = lab.container("alpha", "inotify", runtime=runtime)
    probe = container.connect()
    assert probe.ask("touch one") == "ok"
    seen = int(probe.ask("events"))   # the counter's own file, or not, and this one
    assert seen > 0
    paths = ["/data", "/data/counter", "/data/one", "/bin/ct_probe"]
    before = {path: probe.ask(f"ino {path}") for path in paths}
    assert "-1" not in before.values(), before
    assert probe.ask("deleted") == "ok"
    counted = int(probe.ask("get"))

    move = lab.vmigrate("client", "alpha", "beta", container.name)
    check_it_moved(container, move, "alpha", "beta")
    assert {path: probe.ask(f"ino {path}") for path in paths} == before, "inode numbers changed"
    assert probe.ask("deleted") == "ok", "the open file without a name has lost its bytes"
    assert probe.ask("events") == str(seen), "events were lost or doubled"
    assert probe.ask("touch two") == "ok" and probe.ask("events") == str(seen + 1), "the watch does not work any more"
    now = int(probe.ask("get"))
    assert now >= counted
    wait_until(lambda: int(probe.ask("get")) > now, 5, "the counter's thread to go on")


@test
def files_survive_with_runc(lab):
    """an inotify watch, an open-but-deleted file and inode numbers survive the move (runc)"""
    survives_with_its_files(lab, "runc")


@test
def files_survive_with_crun(lab):
    """an inotify watch, an open-but-deleted file and inode numbers survive the move (crun)"""
    survives_with_its_files(lab, "crun")


@test
def there_and_back_twice(lab):
    """redis goes there and back twice on one connection; every acknowledged write is present in order"""
    redis = lab.container("alpha", "redis")
    ledger = Ledger(lab, redis)
    for source, destination in (("alpha", "beta"), ("beta", "alpha")) * 2:
        # At once: when the command has ended, the migration has, too.
        move = lab.vmigrate("client", source, destination, redis.name)
        check_it_moved(redis, move, source, destination)
        assert ledger.writes_on()
    assert ledger.end() > 100
    assert len(redis.kept_images("alpha")) == 2 and len(redis.kept_images("beta")) == 2
    redis.stop("alpha")
    check_file_system(redis.image_file("alpha"))


@test
def rounds_shrink(lab):
    """under write load, on a slow link, each round leaves less than the one before"""
    redis = lab.container("alpha", "redis")
    ledger = Ledger(lab, redis, load=48)
    move = lab.vmigrate("client", "--bandwidth", "40M", "--compress", "none", "--max-downtime", "400", "alpha", "beta", redis.name)
    check_it_moved(redis, move, "alpha", "beta", rounds_min=3)
    sent = [each["data_bytes"] for each in move.report["rounds"]]
    # Until only the load's own writes are left: those come in as they like.
    assert sent[0] > 40 * MIB and sent[0] > sent[1] > sent[2] and max(sent[2:]) < sent[0] / 4, sent
    # The limit is kept: what is sent while it runs takes its time.
    first = move.report["rounds"][0]
    assert first["wire_bytes"] / first["seconds"] < 44 * MIB, first
    assert ledger.end() > 0


@test
def rescan_tracker(lab):
    """--tracker=rescan moves redis under load as well"""
    redis = lab.container("alpha", "redis")
    ledger = Ledger(lab, redis)
    move = lab.vmigrate("client", "--tracker", "rescan", "--verify", "alpha", "beta", redis.name)
    assert move.code == 0 and move.report["tracker"] == "rescan" and move.report["verified"], move
    assert redis.is_where() == {"beta": "running"}
    assert ledger.end() > 0


# --- dry run and change of mind ---------------------------------------------------------------------------------------


def everything(lab, containers):
    """Both sides, as far as one can look without touching them."""
    seen = {}
    for host in e2e.HOSTS:
        seen[host] = {kind: things for kind, things in lab.belongings(host).items()}
        seen[host]["files"] = [f"{name} {what}" for name, what in lab.files(host).items()]
        seen[host]["descriptors of the agent"] = lab.descriptors(host)
        seen[host]["pids"] = [pid for pid in lab.processes(host)]
        seen[host]["runtime"] = [str(container.is_where()) for container in containers]
    seen["both"] = {"loops": sorted(lab.loops_of([e2e.inode_of(container.image_file("alpha")) for container in containers]).items())}
    return seen


def differences(before, after):
    return e2e.differences(*({where: {kind: [str(thing) for thing in things] for kind, things in kinds.items()}
                              for where, kinds in side.items()} for side in (before, after)))


def everything_at_rest(lab, containers):
    """Both sides once nothing has changed for longer than ext4 takes to commit, 5 s: what was touched in memory before
    reaches the image by itself, during the dry run or not."""
    seen = [everything(lab, containers)]

    def is_at_rest():
        time.sleep(6)
        seen.append(everything(lab, containers))
        return not differences(*seen[-2:])

    lab.exec("alpha", "sync")
    wait_until(is_at_rest, 60, lambda: "rest: " + "; ".join(differences(*seen[-2:])))
    return seen[-1]


def dry_run_changes_nothing(lab, machine, *words):
    redis = lab.container("alpha", "redis")
    connection = redis.connect()
    assert connection.redis("SET", "key", "value" * 1000) == "OK"
    before = everything_at_rest(lab, [redis])
    done = lab.vmigrate(machine, "--dry-run", "--sample", "1", *words, redis.name)
    # The agents close the connection a moment after the command.
    wait_until(lambda: not differences(before, everything(lab, [redis])), 15,
               lambda: "changes by the dry run:\n  " + "\n  ".join(differences(before, everything(lab, [redis]))))
    assert done.code == 0, done
    report = done.report
    assert report["result"] == "predicted" and report["container"] == redis.name, report
    assert report["converges"] is True and report["reason"], report
    assert report["used_bytes"] > MIB and report["volume_bytes"] == 1 << 30 and report["memory_bytes"] > MIB, report
    assert report["bandwidth_bytes_per_second"] > MIB and 0 < report["round_trip_ms"] < 1000, report
    assert 0 < report["expected_downtime_ms"] < 10000 and 0 < report["total_seconds"] < 60 and report["rounds"], report
    assert connection.redis("GET", "key") == b"value" * 1000
    return redis


@test
def dry_run_then_migration(lab):
    """--dry-run from a third party predicts and changes nothing on either side; then it moves as predicted"""
    redis = dry_run_changes_nothing(lab, "client", "alpha", "beta")
    check_it_moved(redis, lab.vmigrate("client", "alpha", "beta", redis.name), "alpha", "beta")


@test
def dry_run_of_a_pull(lab):
    """--dry-run --pull predicts and changes nothing on either side"""
    dry_run_changes_nothing(lab, "client", "--pull", "alpha", "beta")


@test
def dry_run_sees_the_load(lab):
    """--dry-run notices the rate of writes, and that a link can be too slow for them"""
    redis = lab.container("alpha", "redis")
    ledger = Ledger(lab, redis)
    sample, move = ("--dry-run", "--sample", "1"), ("localhost", "beta", redis.name)
    done = lab.vmigrate("alpha", *sample, *move)
    assert done.code == 0 and done.report["dirty_bytes_per_second"] > 4096, done
    slow = lab.vmigrate("alpha", *sample, "--bandwidth", "64K", "--max-downtime", "350", *move)
    assert slow.code == 0 and slow.report["converges"] is False, slow
    people = lab.vmigrate("alpha", *sample, *move, is_json=False)
    assert people.code == 0 and "nothing was changed on either side" in people.out, people
    assert ledger.end() > 0


def limit_is_taken_away(lab, *mode):
    """100 MiB at 4 MiB/s take 25 s; once the limit is gone, what is left comes in a few."""
    redis = lab.container("alpha", "redis")
    fill = f"/var/lib/vmigrate/containers/{redis.name}/rootfs/fill"
    lab.exec("alpha", "dd", "if=/dev/urandom", f"of={fill}", "bs=1M", "count=100", "status=none", "conv=fsync")
    ledger = Ledger(lab, redis)
    move = lab.start_vmigrate("client", *mode, "--bandwidth", "4M", "--compress", "none", "alpha", "beta", redis.name)

    def arrived():
        image = redis.image_file("beta")
        return os.stat(image).st_blocks * 512 if image.exists() else 0

    wait_until(lambda: arrived() > 4 * MIB, 20, "the copy to be under way")
    done = lab.vmigrate("client", "set", "alpha", redis.name, "--bandwidth", "0", is_json=False)
    assert done.code == 0, done
    assert done.out == f"{redis.name}: no limit while it runs, no limit while it stands still\n", done
    before = arrived()
    assert before < 60 * MIB, f"{before // MIB} MiB had arrived already: it was not held back"
    ended = move.wait(60)
    check_it_moved(redis, ended, "alpha", "beta")
    first = ended.report["rounds"][0]
    assert first["data_bytes"] > 100 * MIB and first["data_bytes"] / first["seconds"] > 6 * MIB, first
    told = [event["event"] for event in ended.events if event["event"] in ("rates", "round")]
    assert told[:2] == ["rates", "round"] and told.count("rates") == 1, told
    remark = "from now on no limit while it runs, no limit while it stands still"
    assert ended.report["remarks"].count(remark) == 1, ended.report["remarks"]
    assert ledger.end() > 0
    late = lab.vmigrate("client", "set", "alpha", redis.name, "--bandwidth", "0", is_json=False)
    assert late.code == 10 and redis.name in late.err, late


@test
def set_during_a_push(lab):
    """set: a migration limited to 4 MiB/s goes on without a limit once its operator takes it away"""
    limit_is_taken_away(lab)


@test
def set_during_a_pull(lab):
    """set: the same when the destination has dialled; the source is told"""
    limit_is_taken_away(lab, "--pull")


def cancelled(lab, machine, *words, number=signal.SIGINT):
    redis = lab.container("alpha", "redis")
    ledger = Ledger(lab, redis, load=32)
    before = everything_of_beta(lab)
    command = lab.start_vmigrate(machine, "--bandwidth", "8M", "--compress", "none", *words, redis.name)
    wait_until(lambda: redis.image_file("beta").exists() and os.stat(redis.image_file("beta")).st_blocks * 512 > 4 * MIB, 20,
               "the copy to be under way")
    command.signal(number)
    done = command.wait(20)
    assert done.code == 2, done
    assert done.report["result"] == "aborted" and done.report["error"]["code"] == "cancelled", done
    assert redis.is_where() == {"alpha": "running"}, redis.is_where()
    wait_until(lambda: not differences(before, everything_of_beta(lab)), 5,
               lambda: "changes on the destination:\n  " + "\n  ".join(differences(before, everything_of_beta(lab))))
    assert ledger.writes_on(), "the connection is dead"
    assert ledger.longest_stall_ms() < 1000
    # And it is as movable as before.
    check_it_moved(redis, lab.vmigrate("client", "alpha", "beta", redis.name), "alpha", "beta")
    assert ledger.end() > 0


def everything_of_beta(lab):
    seen = {**lab.belongings("beta"), "descriptors of the agent": lab.descriptors("beta")}
    # The journal may remember the attempt.
    seen["files"] = [name for name in lab.files("beta", has_digests=False) if not name.startswith("journal/")]
    return {"beta": seen}


@test
def ctrl_c_of_a_third_party(lab):
    """Ctrl-C on the client during the copy: exit 2, redis runs on with its connection, nothing is left on beta"""
    cancelled(lab, "client", "alpha", "beta")


@test
def ctrl_c_of_a_push(lab):
    """Ctrl-C of a push on alpha during the copy: exit 2, redis runs on with its connection, nothing is left on beta"""
    cancelled(lab, "alpha", "localhost", "beta")


@test
def ctrl_c_of_a_pull(lab):
    """Ctrl-C of a third party's pull during the copy: exit 2, redis runs on with its connection, nothing is left on beta"""
    cancelled(lab, "client", "--pull", "alpha", "beta")


@test
def sigterm_of_a_pull_to_localhost(lab):
    """SIGTERM of a pull on beta during the copy: exit 2, redis runs on with its connection, nothing is left on beta"""
    cancelled(lab, "beta", "alpha", "localhost", number=signal.SIGTERM)


# --- memory -----------------------------------------------------------------------------------------------------------


def memory_stays_small(lab, container):
    for host in e2e.HOSTS:
        lab.reset_memory_peak(host)
    move = lab.vmigrate("client", "alpha", "beta", container.name, timeout=240)
    check_it_moved(container, move, "alpha", "beta")
    for host in e2e.HOSTS:
        peak = lab.memory_peak_kib(host) // 1024
        print(f"    {host}'s agent: at most {peak} MiB", flush=True)
        assert peak <= 64 + 32, f"the agent on {host} needed {peak} MiB"
    return move


@test
def memory_for_much_data(lab):
    """no agent needs more than 96 MiB for an image with 600 MiB of data, which arrives unchanged"""
    counter = lab.container("alpha", "counter")
    much = f"/var/lib/vmigrate/containers/{counter.name}/rootfs/data/much"
    lab.exec("alpha", "dd", "if=/dev/urandom", f"of={much}", "bs=1M", "count=600", "status=none", "conv=fsync")
    digest = lab.exec("alpha", "sha256sum", much).out.split()[0]
    move = memory_stays_small(lab, counter)
    assert sum(each["data_bytes"] for each in move.report["rounds"]) >= 600 * MIB, move.report
    # Read past the page cache, from the image.
    counter.stop("beta")
    with subprocess.Popen(["debugfs", "-R", "cat /data/much", str(counter.image_file("beta"))], stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL) as file:
        assert hashlib.file_digest(file.stdout, "sha256").hexdigest() == digest, "the file is not what it was"


@test
def memory_for_a_large_image(lab):
    """no agent needs more than 96 MiB for a sparse image of 1 TiB, and holes cost nothing"""
    counter = lab.container("alpha", "counter", size="1T")
    move = memory_stays_small(lab, counter)
    assert move.report["volume_bytes"] == 1 << 40
    assert os.stat(counter.image_file("beta")).st_blocks * 512 < 2 << 30, "the holes were written"


if __name__ == "__main__":
    e2e.main()
