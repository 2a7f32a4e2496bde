# SPDX-License-Identifier: GPL-2.0-or-later
"""The result as a page of Markdown."""
import platform
import subprocess
import textwrap
import time
from pathlib import Path

from comparison import image, packages

HEADINGS = ("copied by", "wall s", "GB/s", "CPU s alpha / beta", "CPU s", "MB on the wire", "peak MiB alpha / beta",
            "n")
WIDTH = 120
RATES = {"full": "Full speed", "10gbit": "10 Gb/s", "1gbit": "1 Gb/s", "100mbit": "100 Mb/s"}
NOTES = """Medians, [fastest - slowest]. GB/s is the size of the image over wall time. Wall time begins with the first
process on either side and ends when the copy is whole and flushed; every copy was then compared with its source. CPU
seconds are those of each side's cgroup. Bytes are the interfaces', both directions, headers included. Peak memory is
the resident memory of all processes of a side, the largest of samples 50 ms apart. Everybody encrypts with AES-128-GCM
unless it says "in clear"."""


def document(results, options, sizes, data_bytes, verdicts):
    parts = [heading(options, results), "![wall time](compare.svg)", judged(verdicts)]
    for rate, rows in results.items():
        parts.append(f"## {RATES[rate]}: {image.text_of(sizes[rate])}, {data_bytes[rate] * 1e-9:.2f} GB of it data")
        parts.append(table(rows, sizes[rate]))
    return "\n\n".join(parts) + "\n"


def heading(options, results):
    used = sorted({package for rows in results.values() for row in rows for package in row.peer.packages})
    versions = ", ".join(f"{package} {packages.version_of(package) or '(not there)'}" for package in used)
    where = "the disk" if options.on_disk else "tmpfs"
    said = (f"{time.strftime('%Y-%m-%d')}, commit {commit()}; {machine()}. Seed {options.seed}; repetitions: "
            f"{options.repetitions}, each with every peer once in shuffled order. Source in the page cache, copy on "
            f"{where}. Repeat it with `bench/compare`. " + (f"Peers: {versions}." if versions else ""))
    said = textwrap.fill(said, WIDTH, break_long_words=False, break_on_hyphens=False)
    return f"# Copying an image: vmigrate and others\n\n{said}\n\n{NOTES}"


def machine():
    cpus = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    models = [line.partition(": ")[2] for line in cpus if line.startswith("model name")]
    memory = int(Path("/proc/meminfo").read_text(encoding="ascii").split()[1]) / (1 << 20)
    return (f"{len(models) or '?'} cores of {models[0] if models else platform.machine()}, {memory:.0f} GiB, "
            f"Linux {platform.release()}, {distribution()}")


def distribution():
    try:
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    except (OSError, KeyError):
        return "unknown distribution"


def commit():
    shown = subprocess.run(["git", "-C", Path(__file__).parent, "describe", "--always", "--dirty"], check=False,
                           capture_output=True, text=True)
    return shown.stdout.strip() or "unknown"


def judged(verdicts):
    words = {True: "met", False: "**missed**", None: "-"}
    lines = ["| rate | asked of the best of ours | measured | |", "|---|---|---|---|"]
    lines += [f"| {RATES[rate]} | {asked} | {found} | {words[is_met]} |" for rate, asked, found, is_met in verdicts]
    return "\n".join(lines)


def table(rows, size):
    lines = ["| " + " | ".join(HEADINGS) + " |", "|---" * len(HEADINGS) + "|"]
    lines += ["| " + " | ".join(cells(row, size)) + " |" for row in rows]
    return "\n".join(lines)


def cells(row, size):
    if row.why_not or not row.figures:
        return [row.peer.what, f"not measured: {row.why_not.replace('|', '/')}", "", "", "", "", "", ""]
    seconds = [figure.seconds for figure in row.figures]
    cpu = [row.median(lambda figure, side=side: figure.cpu_seconds[side]) for side in (0, 1)]
    peak = [row.median(lambda figure, side=side: figure.peak_bytes[side]) / (1 << 20) for side in (0, 1)]
    return [row.peer.what, f"{row.seconds:.2f} [{min(seconds):.2f} - {max(seconds):.2f}]",
            f"{size * 1e-9 / row.seconds:.2f}", f"{cpu[0]:.2f} / {cpu[1]:.2f}", f"{row.cpu_seconds:.2f}",
            f"{row.median(lambda figure: figure.wire_bytes) * 1e-6:.0f}", f"{peak[0]:.0f} / {peak[1]:.0f}",
            str(len(seconds))]


def line(row):
    """The latest run, for the terminal."""
    figure = row.figures[-1]
    cpu = " + ".join(f"{one:.2f}" for one in figure.cpu_seconds)
    peak = " + ".join(f"{one >> 20}" for one in figure.peak_bytes)
    return (f"{row.peer.name:17} {figure.seconds:7.2f} s  cpu {cpu} s  {figure.wire_bytes * 1e-6:.0f} MB on the wire  "
            f"peak {peak} MiB")
