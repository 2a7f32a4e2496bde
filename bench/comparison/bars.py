# SPDX-License-Identifier: GPL-2.0-or-later
"""What we ask of ourselves, judged by the medians of one run. A bar for which a peer is missing is not judged."""

FLOOR_RATIO_MAX = 1.10
SLOW_RATES = ("1gbit", "100mbit")
SPEED_UP_MIN = 1.3


def verdicts(results):
    """(rate, what was asked, what was measured, whether it is met or None)."""
    said = []
    if "full" in results:
        said += at_full_speed(measured(results["full"]))
    for rate in SLOW_RATES:
        if rate in results:
            said += at_slow_speed(rate, measured(results[rate]))
    return said


def measured(rows):
    return [row for row in rows if row.figures and not row.why_not]


def best(rows):
    return min(rows, key=lambda row: row.seconds, default=None)


def others(rows):
    return [row for row in rows if not row.peer.is_ours and not row.peer.is_floor]


def ours(rows):
    return best(row for row in rows if row.peer.is_ours)


def at_full_speed(rows):
    us = ours(rows)
    floor = best(row for row in rows if row.peer.is_floor)
    rival = best(row for row in others(rows) if row.peer.encrypts)
    nbdcopy = next((row for row in rows if row.peer.name == "nbdkit-nbdcopy"), None)
    return [
        ratio("full", f"at most {FLOOR_RATIO_MAX:.2f} times the wall time of the best floor", us, floor,
              lambda found: found <= FLOOR_RATIO_MAX),
        ratio("full", "less wall time than every peer that encrypts", us, rival, lambda found: found < 1),
        ratio("full", "no more CPU time than nbdcopy from nbdkit", us, nbdcopy, lambda found: found <= 1,
              lambda row: row.cpu_seconds),
    ]


def at_slow_speed(rate, rows):
    us = ours(rows)
    plain = best(row for row in others(rows) if not row.peer.compresses)
    packed = best(row for row in others(rows) if row.peer.compresses)
    return [
        ratio(rate, f"{SPEED_UP_MIN} times as fast as every peer without compression", us, plain,
              lambda found: found * SPEED_UP_MIN <= 1),
        ratio(rate, "not slower than the best peer with compression", us, packed, lambda found: found <= 1),
    ]


def ratio(rate, asked, us, them, is_met, of=lambda row: row.seconds):
    if us is None or them is None:
        return rate, asked, "not measured", None
    found = of(us) / of(them)
    return rate, asked, f"{us.peer.name} {of(us):.2f} s, {them.peer.name} {of(them):.2f} s: {found:.2f}", is_met(found)
