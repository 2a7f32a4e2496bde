# SPDX-License-Identifier: GPL-2.0-or-later
"""Block devices to measure on: there within `with`, gone afterwards, also after Ctrl-C and SIGTERM."""
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ZRAM_CONTROL = Path("/sys/class/zram-control")
TRACKERS = Path("/sys/fs/bpf/vmigrate")


def end_in_order():
    """Ctrl-C and SIGTERM end this process through its `with` statements, so that nothing is left behind."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda caught, _: sys.exit(128 + caught))


def output_of(*command):
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


def forget_tracker(node):
    """What a benchmark that was killed has left in the kernel: a tracker outlives its process."""
    if not node or not TRACKERS.is_dir():
        return
    number = os.stat(node).st_rdev
    for pins in TRACKERS.glob(f"*-{os.major(number)}-{os.minor(number)}-0"):
        shutil.rmtree(pins, ignore_errors=True)


class Scratch:
    """A directory for images."""

    def __init__(self, parent):
        self.parent = parent

    def __enter__(self):
        self.path = Path(tempfile.mkdtemp(prefix="vmigrate-bench-", dir=self.parent))
        return self.path

    def __exit__(self, *failure):
        shutil.rmtree(self.path, ignore_errors=True)


class Loop:
    """A loop device over a new sparse file."""

    def __init__(self, image, size):
        self.image, self.size, self.node = Path(image), size, None

    def __enter__(self):
        with open(self.image, "xb") as file:
            file.truncate(self.size)
        self.node = output_of("losetup", "--find", "--show", str(self.image))
        return self

    def __exit__(self, *failure):
        # By the file and not by the remembered node: Ctrl-C may have come before there was one to remember.
        for node in output_of("losetup", "--noheadings", "--output", "NAME", "--associated", str(self.image)).split():
            forget_tracker(node)
            subprocess.run(["losetup", "--detach", node], check=False)
        self.image.unlink(missing_ok=True)


class Zram:
    """A compressed device in memory. It has no request queue: its writes are tracked as bios."""

    def __init__(self, size):
        self.size, self.number, self.node = size, None, None

    @staticmethod
    def is_there():
        if not ZRAM_CONTROL.is_dir() and shutil.which("modprobe"):
            subprocess.run(["modprobe", "--quiet", "zram"], check=False)
        return ZRAM_CONTROL.is_dir()

    def __enter__(self):
        self.number = (ZRAM_CONTROL / "hot_add").read_text().strip()
        self.node = f"/dev/zram{self.number}"
        Path(f"/sys/block/zram{self.number}/disksize").write_text(str(self.size))
        return self

    def __exit__(self, *failure):
        forget_tracker(self.node)
        for _ in range(100):  # udev may still have it open
            try:
                (ZRAM_CONTROL / "hot_remove").write_text(self.number)
                return
            except OSError:
                time.sleep(0.05)
        print(f"{self.node} is busy and stays")


def build_directory(top, *targets):
    """Where the benchmarks' programs are: $VMIGRATE_BUILD, or the release preset, built now."""
    if "VMIGRATE_BUILD" in os.environ:
        return Path(os.environ["VMIGRATE_BUILD"]).resolve()
    subprocess.run(["cmake", "--preset", "release"], cwd=top, check=True, stdout=subprocess.DEVNULL)
    subprocess.run(["cmake", "--build", "--preset", "release", "--target", *targets], cwd=top, check=True,
                   stdout=subprocess.DEVNULL)
    return top / "build/release"
