# SPDX-License-Identifier: GPL-2.0-or-later
"""Everybody who can copy an image from alpha to beta. Each file has one way to do it, in as many variants as matter."""
from peers import dd_over_ssh, floor, nbdcopy, qemu_mirror, rsync, socat, vmigrate

MODULES = (vmigrate, floor, nbdcopy, qemu_mirror, rsync, dd_over_ssh, socat)
ALL = {peer.name: peer for module in MODULES for peer in module.PEERS}
