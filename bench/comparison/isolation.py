# SPDX-License-Identifier: GPL-2.0-or-later
"""Nothing of a comparison is left behind, however it ends.

The comparison proper runs in namespaces of its own for processes and mounts, as a child of the command that was typed.
When the child ends or is killed, the kernel ends every process and undoes every mount and network namespace in there.
What no namespace can hold, two cgroups and a directory, is the parent's to remove.
"""
import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

NAMESPACES = ["unshare", "--mount", "--propagation", "private", "--pid", "--fork", "--kill-child", "--mount-proc"]
HOSTS = ("alpha", "beta")


def cgroup_tree():
    for line in Path("/proc/self/mounts").read_text(encoding="utf-8").splitlines():
        _, where, kind, *_ = line.split()
        if kind == "cgroup2":
            return Path(where)
    sys.exit("compare: no cgroup2 file system is mounted")


@contextlib.contextmanager
def cgroups():
    made = [cgroup_tree() / f"vmigrate-compare-{os.getpid()}-{host}" for host in HOSTS]
    try:
        for group in made:
            group.mkdir()
        yield dict(zip(HOSTS, made))
    finally:
        for group in made:
            remove_cgroup(group)


def remove_cgroup(group):
    if not group.exists():
        return
    (group / "cgroup.kill").write_text("1", encoding="ascii")
    for _ in range(500):
        with contextlib.suppress(OSError):
            group.rmdir()
            return
        time.sleep(0.02)
    print(f"compare: {group} stays: something in it does not end", file=sys.stderr)


@contextlib.contextmanager
def scratch(where):
    directory = Path(tempfile.mkdtemp(prefix="vmigrate-compare-", dir=where))
    try:
        yield directory
    finally:
        remove_tree(directory)


def remove_tree(directory):
    """Whoever was killed in there may need a moment to be gone."""
    for _ in range(500):
        shutil.rmtree(directory, ignore_errors=True)
        if not directory.exists():
            return
        time.sleep(0.02)
    print(f"compare: {directory} cannot be removed", file=sys.stderr)


def end_on_signals():
    """Any polite request to end unwinds the stack."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda caught, _: sys.exit(128 + caught))


def run_isolated(command, environment):
    """Runs `command` in namespaces of its own; its exit code. Interrupted, it ends with all that it started."""
    process = subprocess.Popen([*NAMESPACES, *command], env={**os.environ, **environment})
    try:
        return process.wait()
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def furnish():
    """Inside: a /run of our own, where network namespaces have their names and sshd its directory; and no settings of
    root's shell, which a shell that sshd starts would read first, however long that takes."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=755", "run", "/run"], check=True)
    Path("/run/sshd").mkdir()
    settings = Path(pwd.getpwuid(0).pw_dir, ".bashrc")
    if settings.exists():
        subprocess.run(["mount", "--bind", "/dev/null", settings], check=True)
