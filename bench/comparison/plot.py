# SPDX-License-Identifier: GPL-2.0-or-later
"""The result as a picture: a panel for each rate, a bar for each peer, as long as its median wall time."""
from html import escape

from comparison import image
from comparison.table import RATES

WIDTH, LABEL_WIDTH, VALUE_WIDTH = 860, 330, 70
BAR_HEIGHT, ROW_HEIGHT, PANEL_HEAD, MARGIN = 13, 19, 34, 14
COLOURS = {"ours": "#1b6ca8", "floor": "#9aa5ad", "encrypts": "#d98032", "in clear": "#c9c06a"}
STYLE = ("text{font:12px sans-serif;fill:#222}.head{font-weight:bold}.value{font-size:11px}"
         ".spread{stroke:#222;stroke-width:1}")


def drawing(results, sizes):
    parts, y = [], MARGIN
    for rate, rows in results.items():
        panel, y = drawn_panel(f"{RATES[rate]}, {image.text_of(sizes[rate])}: seconds", rows, y)
        parts += panel
    parts += legend(y)
    height = y + ROW_HEIGHT + MARGIN
    return (f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" '
            f'viewBox="0 0 {WIDTH} {height}">\n<style>{STYLE}</style>\n'
            f'<rect width="{WIDTH}" height="{height}" fill="white"/>\n' + "\n".join(parts) + "\n</svg>\n")


def drawn_panel(title, rows, y):
    shown = [row for row in rows if row.figures and not row.why_not]
    longest = max((figure.seconds for row in shown for figure in row.figures), default=1)
    scale = (WIDTH - LABEL_WIDTH - VALUE_WIDTH) / longest
    parts = [text(MARGIN, y + 18, title, "head")]
    y += PANEL_HEAD
    for row in sorted(shown, key=lambda row: row.seconds):
        parts += bar(row, y, scale)
        y += ROW_HEIGHT
    return parts, y + MARGIN


def bar(row, y, scale):
    seconds = [figure.seconds for figure in row.figures]
    middle = y + BAR_HEIGHT / 2
    begin, end = (LABEL_WIDTH + scale * one for one in (min(seconds), max(seconds)))
    return [text(MARGIN, y + 11, row.peer.what),
            rectangle(LABEL_WIDTH, y, scale * row.seconds, BAR_HEIGHT, COLOURS[kind(row.peer)]),
            f'<line class="spread" x1="{begin:.1f}" y1="{middle:.1f}" x2="{end:.1f}" y2="{middle:.1f}"/>',
            text(end + 5, y + 11, f"{row.seconds:.2f}", "value")]


def kind(peer):
    if peer.is_ours:
        return "ours"
    if peer.is_floor:
        return "floor"
    return "encrypts" if peer.encrypts else "in clear"


def legend(y):
    parts = []
    for number, (name, colour) in enumerate(COLOURS.items()):
        x = LABEL_WIDTH + 110 * number
        parts += [rectangle(x, y, BAR_HEIGHT, BAR_HEIGHT, colour), text(x + BAR_HEIGHT + 5, y + 11, name)]
    return parts


def rectangle(x, y, width, height, colour):
    return f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height}" fill="{colour}"/>'


def text(x, y, words, style=""):
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{style}">{escape(words)}</text>'
