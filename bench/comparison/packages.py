# SPDX-License-Identifier: GPL-2.0-or-later
"""Debian packages that the peers come in."""
import contextlib
import os
import subprocess
from pathlib import Path

APT_GET = ["apt-get", "-q", "-y", "-o", "DPkg::Lock::Timeout=600"]
POLICY = Path("/usr/sbin/policy-rc.d")


def version_of(package):
    """None if it is not installed."""
    shown = subprocess.run(["dpkg-query", "-W", "-f", "${db:Status-Status} ${Version}", package], check=False,
                           capture_output=True, text=True)
    status, _, version = shown.stdout.partition(" ")
    return version if status == "installed" else None


def install(packages):
    """Installs what is missing, and starts none of its services. Returns why that was not possible, or nothing."""
    missing = [package for package in packages if not version_of(package)]
    if not missing:
        return None
    with services_not_started():
        failure = apt_get("install", "--no-install-recommends", *missing)
        if failure:
            apt_get("update")
            failure = apt_get("install", "--no-install-recommends", *missing)
    return failure and f"{' '.join(missing)} cannot be installed: {failure}"


def apt_get(*words):
    done = subprocess.run([*APT_GET, *words], check=False, capture_output=True, text=True,
                          env={**os.environ, "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C"})
    complaints = [line for line in done.stderr.splitlines() if line.startswith("E:")]
    return None if done.returncode == 0 else (complaints or ["apt-get failed"])[-1]


@contextlib.contextmanager
def services_not_started():
    """Debian's own way to say so: a policy that forbids it. One that is there already is left alone."""
    if POLICY.exists():
        yield
        return
    POLICY.write_text("#!/bin/sh\nexit 101\n", encoding="ascii")
    POLICY.chmod(0o755)
    try:
        yield
    finally:
        POLICY.unlink()
