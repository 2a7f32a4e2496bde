# SPDX-License-Identifier: GPL-2.0-or-later
"""The image that is copied: ext4, 3/8 of it files of this system, 3/8 random files, the rest never written.

At 4 GiB these are 1.5 GiB below /usr (libraries, programs, documentation, headers; no file above 40 MiB), and 24 files
of 64 MiB. The first compress like a real root file system, the second not at all. Smaller images keep the proportions.
"""
import os
import shutil
import stat
import subprocess
from pathlib import Path

FOLDERS = ("lib", "bin", "sbin", "share", "include", "libexec")
LARGEST_FILE_BYTES = 40 << 20
RANDOM_FILES = 24
SMALLEST_BYTES = 64 << 20   # below that the file system itself takes a good part of it
BLOCK_BYTES = 4096
PIECE_BYTES = 1 << 20


def make(path, size, mount_point):
    """An image of `size` bytes at `path`, in the page cache. `mount_point` is an empty directory, for a while."""
    with open(path, "wb") as image:
        image.truncate(size)
    subprocess.run(["mkfs.ext4", "-q", "-F", "-m0", path], check=True)
    subprocess.run(["mount", "-o", "loop,noatime", path, mount_point], check=True)
    try:
        copy_files(mount_point, size * 3 // 8)
        write_random_files(mount_point, size * 3 // 8 // RANDOM_FILES)
    finally:
        subprocess.run(["umount", mount_point], check=True)
    subprocess.run(["cat", path], check=True, stdout=subprocess.DEVNULL)


def files_of_this_system(top):
    """(name, bytes on a disk) of regular files, in an order that does not depend on the directory's own."""
    for folder in FOLDERS:
        for where, folders, names in os.walk(top / folder):
            folders.sort()
            for name in sorted(names):
                path = Path(where, name)
                state = path.lstat()
                if stat.S_ISREG(state.st_mode) and state.st_size <= LARGEST_FILE_BYTES:
                    yield path, -(-state.st_size // BLOCK_BYTES) * BLOCK_BYTES


def copy_files(into, budget_bytes):
    # Every n-th file of everything there is: a small image is a sample of the large one, not its beginning.
    everything = list(files_of_this_system(Path("/usr")))
    step = max(1, sum(size for _, size in everything) // max(1, budget_bytes))
    for offset in range(step):
        for path, size in everything[offset::step]:
            if size > budget_bytes:
                continue
            target = Path(into, path.relative_to("/"))
            budget_bytes -= size + BLOCK_BYTES * sum(not folder.exists() for folder in target.parents)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)


def write_random_files(into, file_bytes):
    for number in range(RANDOM_FILES):
        with open(Path(into, f"random-{number:02}"), "wb") as file:
            for at in range(0, file_bytes, PIECE_BYTES):
                file.write(os.urandom(min(PIECE_BYTES, file_bytes - at)))


def data_bytes(path):
    """What is not a hole."""
    return Path(path).stat().st_blocks * 512


def size_of(text):
    """4G, 128M or a number of bytes."""
    unit = {"K": 10, "M": 20, "G": 30}.get(text[-1:].upper())
    return int(text[:-1]) << unit if unit else int(text)


def text_of(size):
    for unit, shift in (("GiB", 30), ("MiB", 20)):
        if size >= 1 << shift:
            return f"{size / (1 << shift):g} {unit}"
    return f"{size} B"
