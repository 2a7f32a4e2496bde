#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""What cannot work is refused: one sentence, an exit code of its own, and nothing changed on either side.

See e2e.py for how to run it. Every refusal is checked by refuses(): the command's exit code and its one sentence, then
a fingerprint of both hosts against the one before. Tests that need a broken host break it in that host's own mount
namespace: cover() puts a file over another, hide() takes files away.
"""
import contextlib
import hashlib
import json
import os
import re
import shutil
import signal
import socket
import ssl
import struct
import subprocess
from pathlib import Path

import e2e
from e2e import HOSTS, differences, test, wait_until

SOURCE = e2e.HERE.parent.parent
EXIT_CODES = {name: int(code) for name, code in
              re.findall(r"ExitCode\{Errc::(\w+), (\d+)\}", (SOURCE / "migrate/exit_code.h").read_text())}
_ERRC = re.search(r"enum class Errc \{(.*?)\n\};", (SOURCE / "base/error.h").read_text(), re.DOTALL).group(1)
WIRE_NUMBERS = {name: number for number, name in enumerate(re.findall(r"^  (\w+)", _ERRC, re.MULTILINE), 1)}
PUSH_AND_PULL = ([], ["--pull"])
BUNDLES = "/var/lib/vmigrate/containers"
MIB = 1 << 20


# --- what must stay as it is ------------------------------------------------------------------------------------------


def seen_of(path, relative, has_blocks):
    """What must not change of one path. A directory's time and what a running container writes do change."""
    status = path.lstat()
    if path.is_dir() or "/rootfs/" in relative:
        return oct(status.st_mode)
    if relative.startswith("images/"):
        return (oct(status.st_mode), status.st_size, status.st_ino, status.st_blocks if has_blocks else None)
    return (oct(status.st_mode), status.st_size, status.st_ino, hashlib.sha256(path.read_bytes()).hexdigest())


def state_files(lab, host, has_blocks):
    top, found = lab.state(host), []
    for name in lab.files(host, has_digests=False):
        with contextlib.suppress(FileNotFoundError):
            found.append(f"{name} {seen_of(top / name, name, has_blocks)}")
    return found


ASK_HOST = """
for runtime in runc crun; do $runtime list -f json; echo ---; done
ip -o link show master br0 | cut -d: -f2
"""


def containers_and_ports(lab, host):
    """Every container with its status and pid, and what is plugged into the bridge."""
    runc, crun, ports = lab.exec(host, "sh", "-c", ASK_HOST).out.split("---\n")
    lists = [json.loads(text) if text.strip() else None for text in (runc, crun)]   # none: a runtime that is hidden
    known = [f"{entry['id']} {entry['status']} pid {entry['pid']}" for entries in lists for entry in entries or []]
    return known, sorted(port.split("@")[0].strip() for port in ports.splitlines())


def fingerprint(lab, has_blocks=True):
    """{host: {kind: list}}, for e2e.differences()."""
    seen = {}
    for host in HOSTS:
        seen[host] = lab.belongings(host)
        seen[host]["containers"], seen[host]["bridge ports"] = containers_and_ports(lab, host)
        seen[host]["files"] = state_files(lab, host, has_blocks)
        seen[host]["agent"] = lab.descriptors(host) if lab.agent_pid(host) else ["none"]
    inodes = {e2e.inode_of(image) for host in HOSTS for image in lab.state(host).glob("images/*")}
    seen["both"] = {"loop devices": [f"{device} {file}" for device, file in lab.loops_of(inodes).items()]}
    return seen


def check_unchanged(lab, before, has_blocks=True, allowed=None):
    def changes():
        lines = differences(before, fingerprint(lab, has_blocks))
        return [line for line in lines if not (allowed and re.search(allowed, line))]
    # An agent may still be at cleaning up when the command has ended.
    wait_until(lambda: not changes(), 5, lambda: "both sides to be as before:\n  " + "\n  ".join(changes()))


class Bystander:
    """A container on alpha with one open connection, that must not notice anything."""

    def __init__(self, lab, image="counter", fill_mib=0, **options):
        self.lab = lab
        self.container = lab.container("alpha", image, **{"size": "64M", **options})
        self.name = self.container.name
        self.connection = self.container.connect()
        self.counted = 0
        if fill_mib:
            with open(self.rootfs() / "fill", "wb") as file:
                for _ in range(fill_mib):
                    file.write(os.urandom(MIB))
                os.fsync(file.fileno())
        self.goes_on()
        lab.exec("alpha", "sync", "-f", f"{BUNDLES}/{self.name}/rootfs")

    def moves(self):
        """It can still be moved, to beta."""
        before = {host: self.lab.descriptors(host) for host in HOSTS}
        move = self.lab.vmigrate("client", "alpha", "beta", self.name)
        assert move.code == 0 and self.container.is_where() == {"beta": "running"}, move
        self.goes_on()
        # The destination announces it for a second; what comes next is to be compared with quiet agents.
        wait_until(lambda: before == {host: self.lab.descriptors(host) for host in HOSTS}, 5, "the agents to be done")
        return move

    def rootfs(self):
        return self.lab.root("alpha") / BUNDLES[1:] / self.name / "rootfs"

    def goes_on(self):
        """Its connection lives, and it has forgotten nothing."""
        if self.container.image == "redis":
            self.counted += 1
            assert self.connection.redis("INCR", "n") == self.counted
        else:
            first = int(self.connection.ask("get"))
            assert first >= self.counted, "the counter went back"
            wait_until(lambda: int(self.connection.ask("get")) > first, 5, "the counter to go on")
            self.counted = first

    def rerun(self, edit):
        """Starts it again with `edit(config)` done to its config.json."""
        bundle = self.lab.state("alpha") / "containers" / self.name
        config = json.loads((bundle / "config.json").read_text())
        edit(config)
        (bundle / "config.json").write_text(json.dumps(config))
        self.lab.exec("alpha", "sh", "-c", f"runc delete --force {self.name}; cd {BUNDLES}/{self.name} && "
                                           f"runc run -d -b . {self.name} </dev/null >/dev/null 2>&1")
        wait_until(lambda: self.container.is_where() == {"alpha": "running"} and self.lab._answers(self.container), 10,
                   f"{self.name} to run again")
        self.lab.exec("alpha", "sync", "-f", f"{BUNDLES}/{self.name}/rootfs")


# --- refusals ---------------------------------------------------------------------------------------------------------


def sentence_of(result):
    """The one line on stderr, without the program's name."""
    lines = result.err.splitlines()
    assert len(lines) == 1 and lines[0].startswith("vmigrate: "), f"not one sentence: {result}"
    assert "\\n" not in lines[0] and "level=error" not in lines[0], f"somebody else's log line: {result}"
    return lines[0].removeprefix("vmigrate: ")


def check_refusal(result, kind, *names):
    """The exit code of `kind`, and a sentence with every one of `names` (regular expressions) that says what to do."""
    assert result.code == EXIT_CODES[kind], f"{kind} is exit {EXIT_CODES[kind]}: {result}"
    sentence = sentence_of(result)
    for name in names:
        assert re.search(name, sentence), f"the sentence should say {name!r}: {sentence}"
    assert re.search(r"; .|\bmust\b", sentence), f"the sentence should say what to do: {sentence}"
    if result.out.strip():
        assert result.report["result"] == "aborted" and result.report["error"]["code"] == kind, result
        assert result.report["error"]["message"] == sentence, result


def refuses(lab, words, kind, *names, machine="client", before=None, has_blocks=True):
    """`vmigrate WORDS...` is refused and changes nothing."""
    before = before or fingerprint(lab, has_blocks)
    check_refusal(lab.vmigrate(machine, *words), kind, *names)
    check_unchanged(lab, before, has_blocks)


def both_ways(lab, name, kind, *names, has_blocks=True):
    """Pushed from alpha to beta and pulled by beta from alpha."""
    before = fingerprint(lab, has_blocks)
    for mode in PUSH_AND_PULL:
        refuses(lab, [*mode, "alpha", "beta", name], kind, *names, before=before, has_blocks=has_blocks)


@contextlib.contextmanager
def cover(lab, host, path, content, mode=0o755):
    """For that host, `path` has this content."""
    instead = f"/run/instead-of-{Path(path).name}"
    file = lab.root(host) / instead[1:]
    file.write_text(content)
    file.chmod(mode)
    lab.exec(host, "mount", "--bind", instead, path)
    try:
        yield
    finally:
        lab.exec(host, "umount", "--lazy", path)
        file.unlink()


@contextlib.contextmanager
def hide(lab, host, *paths):
    """For that host, these files are not there."""
    layers = []
    try:
        for path in paths:
            directory, layer = os.path.dirname(path), f"/run/without-{Path(path).name}"
            lab.exec(host, "mkdir", "-p", f"{layer}/upper", f"{layer}/work")
            layered = f"lowerdir={directory},upperdir={layer}/upper,workdir={layer}/work"
            lab.exec(host, "mount", "-t", "overlay", "overlay", "-o", layered, directory)
            layers.append((directory, layer))
            lab.exec(host, "rm", path)
        yield
    finally:
        for directory, layer in reversed(layers):
            lab.exec(host, "umount", "--lazy", directory)
            lab.exec(host, "rm", "-rf", layer)


@contextlib.contextmanager
def small_disk(lab, host, mib):
    """The host's state directory is on a file system of so many MiB."""
    path = "/var/lib/vmigrate"
    with without_agent(lab, host):
        mount = f"mount -t tmpfs -o size={mib}m,mode=700 small {path}"
        keep = f"mkdir /run/keep && cp -a {path}/host-id /run/keep/"
        lab.exec(host, "sh", "-c", f"{keep} && {mount} && cp -a /run/keep/host-id {path}/")
    try:
        yield
    finally:
        with without_agent(lab, host):
            lab.exec(host, "sh", "-c", f"umount --lazy {path}; rm -r /run/keep")


@contextlib.contextmanager
def without_agent(lab, host):
    lab.command("agent", host, "stop")
    try:
        yield
    finally:
        lab.command("agent", host, "start")


# --- the container ----------------------------------------------------------------------------------------------------


@test
def unknown_container(lab):
    """a container that nobody knows is refused"""
    for mode in PUSH_AND_PULL:
        refuses(lab, [*mode, "alpha", "beta", "nosuch"], "unknown_container", "nosuch", r"\balpha\b")
    refuses(lab, ["localhost", "beta", "nosuch"], "unknown_container", "nosuch", r"\balpha\b", machine="alpha")
    refuses(lab, ["--dry-run", "alpha", "beta", "nosuch"], "unknown_container", "nosuch", r"\balpha\b")


@test
def container_not_running(lab):
    """a container that is paused or stopped is refused"""
    one = Bystander(lab)
    lab.exec("alpha", "runc", "pause", one.name)
    both_ways(lab, one.name, "container_not_running", one.name, r"\balpha\b", "resume")
    lab.exec("alpha", "runc", "resume", one.name)
    one.goes_on()
    lab.exec("alpha", "runc", "kill", one.name, "KILL")
    wait_until(lambda: one.container.is_where() == {"alpha": "stopped"}, 5, "it to stop")
    both_ways(lab, one.name, "container_not_running", one.name, r"\balpha\b", "start")


@test
def started_anew(lab):
    """a container that is started anew while it is copied is not moved: it runs on where it is"""
    one = Bystander(lab, fill_mib=16)
    for mode in PUSH_AND_PULL:
        move = lab.start_vmigrate("client", *mode, "--bandwidth", "4M", "--compress", "none", "alpha", "beta", one.name)
        image = one.container.image_file("beta")
        wait_until(lambda: image.exists() and os.stat(image).st_blocks * 512 > 4 * MIB, 20, "the copy to be under way")
        one.rerun(lambda config: None)
        done = move.wait(60)
        assert done.code == 11 and done.report["error"]["code"] == "container_not_running", done
        assert "started anew" in done.report["error"]["message"] and "alpha" in done.report["error"]["message"], done
        assert one.container.is_where() == {"alpha": "running"}, one.container.is_where()
    one.connection, one.counted = one.container.connect(), 0
    one.goes_on()
    one.moves()


@test
def plain_directory(lab):
    """a root file system in a plain directory is refused with the command that converts it"""
    one = Bystander(lab)
    lab.exec("alpha", "sh", "-c", f"cd {BUNDLES}/{one.name} && runc delete --force {one.name} && cp -a rootfs plain && "
                                  "umount rootfs && rmdir rootfs && mv plain rootfs")
    one.rerun(lambda config: None)
    rootfs = f"{BUNDLES}/{one.name}/rootfs"
    both_ways(lab, one.name, "rootfs_not_on_device",
              f"{rootfs} is a plain directory", f"vmigrate image create --from {rootfs} --size SIZE IMAGE")


@test
def bundle_tied_to_its_host(lab):
    """a container with hooks or bind mounts is refused"""
    one = Bystander(lab)
    one.rerun(lambda config: config.update(hooks={"prestart": [{"path": "/bin/true"}]}))
    both_ways(lab, one.name, "unsupported_container", "prestart hooks", r"\balpha\b")
    one.rerun(lambda config: config.pop("hooks"))
    bind = {"destination": "/tmp", "type": "bind", "source": "/usr/share", "options": ["rbind", "ro"]}
    one.rerun(lambda config: config["mounts"].append(bind))
    both_ways(lab, one.name, "unsupported_container", "bind mount", "/usr/share", r"\balpha\b")


# --- names ------------------------------------------------------------------------------------------------------------

ODD_NAMES = ["a/b", "../db", "..", "a..b", ".", "x" * 300, "a b", "a\nb", "é", ""]


@test
def odd_names(lab):
    """names that no container has are refused"""
    before = fingerprint(lab)
    for name in ODD_NAMES:
        for mode in PUSH_AND_PULL:
            result = lab.vmigrate("client", *mode, "alpha", "beta", "--", name)
            kind = "invalid_name" if name else "usage"
            assert result.code == EXIT_CODES[kind] and not result.out, result
            assert "container id" in sentence_of(result) or not name, result
    assert lab.vmigrate("client", "alpha", "beta", "--", "-x").code == EXIT_CODES["invalid_name"]
    # Without the "--" it is an option, and there is none of that name.
    assert lab.vmigrate("client", "alpha", "beta", "-x").code == EXIT_CODES["usage"]
    check_unchanged(lab, before)


def crc32c(data):
    value = 0xFFFFFFFF
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
    return value ^ 0xFFFFFFFF


class Wire:
    """One conversation as docs/protocol.md has it, up to Open: for what the command would never send."""
    HELLO, OPEN, REFUSE, PULL, START, EVENT, REPORT, ASK = 1, 2, 4, 5, 6, 7, 8, 53

    def __init__(self, lab, host, who="client"):
        """To `host`'s agent, from the client, with the certificate of `who`."""
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        tls.minimum_version = ssl.TLSVersion.TLSv1_3
        directory = lab.directory / who / "etc/tls"
        tls.load_verify_locations(directory / "ca-cert.pem")
        tls.load_cert_chain(directory / "client-cert.pem", directory / "client-key.pem")
        self.socket = tls.wrap_socket(lab.connect("client", host_address(host), 7700), server_hostname=host)
        lab.connections.append(self.socket)
        name = b"bad_input"
        text = struct.pack("<H", len(name)) + name
        self.send(self.HELLO, struct.pack("<HH16s", 1, 1, os.urandom(16)) + text + text)
        kind, _ = self.receive()
        assert kind == self.HELLO, kind

    def send(self, kind, payload):
        header = struct.pack("<2sBBII", b"VM", kind, 0, len(payload), len(payload))
        self.socket.sendall(header + struct.pack("<I", crc32c(header)) + payload)

    def send_document(self, kind, document, before=b""):
        text = json.dumps(document).encode()
        self.send(kind, before + struct.pack("<I", len(text)) + text)

    def _read(self, count):
        got = b""
        while len(got) < count:
            more = self.socket.recv(count - len(got))
            assert more, "the agent ended the conversation without an answer"
            got += more
        return got

    def receive(self):
        kind, flags, length = struct.unpack("<2xBBI", self._read(16)[:8])
        payload = self._read(length)
        assert flags == 0, "compressed"
        return kind, payload

    def refusal(self):
        """(number of base/error.h, sentence), from Refuse or Report."""
        kind, payload = self.receive()
        while kind == self.EVENT:
            kind, payload = self.receive()
        if kind == self.REFUSE:
            return struct.unpack("<I", payload[:4])[0], payload[6:].decode()
        assert kind == self.REPORT, kind
        error = json.loads(payload[4:])["error"]
        return error["number"], error["message"]


OPTIONS = {"downtime_max_ms": 1000, "freeze_timeout_ms": 10000, "rounds_max": 30, "on_stall": "freeze",
           "tracker": "auto", "compression": "auto", "verify": False, "bandwidth_max": 0,
           "timeout_ms": 0, "timeout_action": "cancel", "auto_converge": False,
           "switchover_bandwidth_max": 0, "streams": 1, "keep_source_s": 86400, "sample_s": 5,
           "resume": True, "keep_partial": False}


def request_for(name, is_pull=False):
    peer = "alpha" if is_pull else "beta"
    return {"container": name, "peer": peer, "pull": is_pull, "dry_run": False, "options": OPTIONS}


def offer_of(lab, name):
    """(id, document): what alpha offers to beta, which pulls."""
    pull = Wire(lab, "alpha", who="beta")
    pull.send_document(Wire.PULL, request_for(name, is_pull=True))
    kind, payload = pull.receive()
    assert kind == Wire.OPEN, payload
    pull.socket.close()
    return payload[:16], json.loads(payload[20:])


@test
def odd_names_on_the_wire(lab):
    """names that no container has are refused by the agents too, with NUL among them"""
    one = Bystander(lab)
    before = fingerprint(lab)
    migration, offer = offer_of(lab, one.name)   # to be sent to beta under other names
    assert offer["container"] == one.name
    for name in [*ODD_NAMES, "a\0b", "\0", "-x", "/etc/passwd"]:
        conversations = {"Start": Wire(lab, "alpha"), "Start of a pull": Wire(lab, "beta"),
                         "Pull": Wire(lab, "alpha", who="beta"), "Open": Wire(lab, "beta", who="alpha")}
        conversations["Start"].send_document(Wire.START, request_for(name))
        conversations["Start of a pull"].send_document(Wire.START, request_for(name, is_pull=True))
        conversations["Pull"].send_document(Wire.PULL, request_for(name))
        conversations["Open"].send_document(Wire.OPEN, {**offer, "container": name}, before=migration)
        for what, conversation in conversations.items():
            number, sentence = conversation.refusal()
            assert number == WIRE_NUMBERS["invalid_name"], f"{what} of {name!r}: {number} {sentence}"
            assert "container id" in sentence and "\0" not in sentence, sentence
            conversation.socket.close()
    check_unchanged(lab, before)
    one.goes_on()


# --- hosts ------------------------------------------------------------------------------------------------------------


@test
def same_host(lab):
    """a source that is the destination is refused, by whatever names"""
    one = Bystander(lab)
    before = fingerprint(lab)
    for machine, *words in [("client", "alpha", "alpha"), ("client", "alpha", "10.77.0.1"),
                            ("client", "10.77.0.1", "alpha:7700"), ("client", "--pull", "alpha", "10.77.0.1"),
                            ("client", "localhost", "client"), ("alpha", "localhost", "alpha"),
                            ("alpha", "localhost", "10.77.0.1"), ("alpha", "10.77.0.1", "localhost")]:
        refuses(lab, [*words, one.name], "same_host", "source and destination", machine=machine, before=before)
    one.goes_on()


@test
def port_closed(lab):
    """a host where nobody listens is refused"""
    one = Bystander(lab)
    before = fingerprint(lab)
    for *words, who in [("alpha", "beta:7701", "beta:7701"), ("alpha:7701", "beta", "alpha:7701"),
                        ("--pull", "alpha:7701", "beta", "alpha:7701"), ("--pull", "alpha", "beta:7701", "beta:7701"),
                        ("alpha", "nohost", "nohost"), ("nohost", "beta", "nohost")]:
        refuses(lab, [*words, one.name], "connect_failed", who, before=before)
    refuses(lab, ["localhost", "beta:7701", one.name], "connect_failed", "beta:7701", machine="alpha")
    one.goes_on()


@test
def already_there(lab):
    """a destination that has the image, the bundle or the container already is refused"""
    one = Bystander(lab)
    state = lab.state("beta")
    image, bundle = state / "images" / f"{one.name}.img", state / "containers" / one.name
    image.write_text("not yours")
    both_ways(lab, one.name, "already_exists", f"images/{one.name}.img", r"\bbeta\b", "remove or rename")
    assert image.read_text() == "not yours"
    image.unlink()
    bundle.mkdir()
    both_ways(lab, one.name, "already_exists", f"containers/{one.name}", r"\bbeta\b", "remove or rename")
    bundle.rmdir()
    for runtime in ("runc", "crun"):
        lab.command("ct", "beta", one.name, "--image", "counter", "--runtime", runtime, "--ip", "10.77.0.200")
        # It runs, so its file system may take blocks at any time.
        both_ways(lab, one.name, "already_exists", f"container {one.name} ", r"\bbeta\b", "delete it", has_blocks=False)
        refuses(lab, ["--dry-run", "alpha", "beta", one.name], "already_exists", f"container {one.name} ", r"\bbeta\b",
                has_blocks=False)
        lab.command("rm", "beta", one.name)
    one.goes_on()


@test
def no_space(lab):
    """a destination without room for the image or the checkpoint is refused"""
    one = Bystander(lab)
    with small_disk(lab, "beta", 40):
        both_ways(lab, one.name, "no_space", "/var/lib/vmigrate", r"\bbeta\b", r"40\.0 MiB")
        refuses(lab, ["--dry-run", "alpha", "beta", one.name], "no_space", "/var/lib/vmigrate", r"\bbeta\b")
    meminfo = re.sub(r"(?m)^(MemAvailable:\s+)\d+", r"\g<1>300", Path("/proc/meminfo").read_text())
    with cover(lab, "beta", "/proc/meminfo", meminfo, mode=0o444):
        both_ways(lab, one.name, "no_space", r"\bbeta\b", "memory", r"300 KiB")
    one.goes_on()


@test
def other_architecture(lab):
    """a destination of another architecture is refused"""
    one = Bystander(lab)
    other = {"x86_64": "i686", "aarch64": "armv8l"}.get(os.uname().machine)
    if other is None:
        raise e2e.Skip("setarch knows no other name for this machine")
    with without_agent(lab, "beta"):
        disguised = lab.start("beta", "setarch", "linux32", "sh", "-c", 'exec "$@" 2>/dev/null', "-",
                              lab.binary, "serve", "--listen", "10.77.0.2:7700", "--tls-dir", "/etc/vmigrate/tls")
        wait_until(lambda: is_listening(lab, "beta", 7700), 5, "the agent to listen")
        try:
            both_ways(lab, one.name, "incompatible_host", r"\bbeta\b", other, os.uname().machine)
        finally:
            end(lab, disguised, lab.agent_pid("beta"))
    one.goes_on()


@test
def missing_cpu_features(lab):
    """a destination whose CPU lacks features is refused"""
    one = Bystander(lab)
    cpuinfo = Path("/proc/cpuinfo").read_text()
    flag = re.search(r"(?m)^(?:flags|Features)\s*:.* (\w+)$", cpuinfo).group(1)
    lesser = re.sub(rf"(?m)^((?:flags|Features)\s*:.*) {flag}$", r"\1", cpuinfo)
    with cover(lab, "beta", "/proc/cpuinfo", lesser, mode=0o444):
        both_ways(lab, one.name, "incompatible_host", r"\bbeta\b", flag)
    one.goes_on()


@test
def tools_missing(lab):
    """a host without CRIU or without the container's runtime is refused"""
    one = Bystander(lab)
    criu, runc, crun = (shutil.which(tool) for tool in ("criu", "runc", "crun"))
    for host in HOSTS:
        with hide(lab, host, criu):
            both_ways(lab, one.name, "criu_missing", "criu", rf"\b{host}\b")
        for hidden in ([runc], [runc, crun]):
            before = fingerprint(lab)
            with hide(lab, host, *hidden):
                for mode in PUSH_AND_PULL:
                    result = lab.vmigrate("client", *mode, "alpha", "beta", one.name)
                    check_refusal(result, "criu_missing", "runc", rf"\b{host}\b")
            check_unchanged(lab, before)
    one.goes_on()


def pretend_criu(body):
    """A criu that answers `--version` and `check` and then does `body`; $real is the real one."""
    return f'#!/bin/sh\nreal=/run/criu.real\ncase "$1" in check | --version) exec $real "$@" ;; esac\n{body}\n'


@contextlib.contextmanager
def other_criu(lab, host, script):
    criu = shutil.which("criu")
    lab.exec(host, "cp", criu, "/run/criu.real")
    try:
        with cover(lab, host, criu, script):
            yield
    finally:
        lab.exec(host, "rm", "/run/criu.real")


@test
def criu_check_fails(lab):
    """a host whose `criu check` fails is refused"""
    one = Bystander(lab)
    script = ('#!/bin/sh\n'
              '[ "$1" != check ] || { echo "Error (criu/cr-check.c:1): the kernel lacks everything" >&2; exit 1; }\n'
              'exec /run/criu.real "$@"\n')
    for host in HOSTS:
        with other_criu(lab, host, script):
            both_ways(lab, one.name, "criu_missing", "criu", "the kernel lacks everything", rf"\b{host}\b")
    one.goes_on()


@test
def no_bpf(lab):
    """where BPF cannot run, --tracker=bpf is refused and auto takes rescan and says so"""
    one = Bystander(lab)
    lab.exec("alpha", "mount", "-t", "tmpfs", "nothing", "/sys/kernel/btf")
    try:
        for mode in PUSH_AND_PULL:
            refuses(lab, [*mode, "--tracker=bpf", "alpha", "beta", one.name], "tracker_unavailable",
                    "tracker", r"\balpha\b", "rescan", has_blocks=False)
        one.goes_on()
        move = one.moves()
        assert move.report["tracker"] == "rescan", move
        remarks = [event["message"] for event in move.events if event.get("event") == "remark"]
        assert any("tracker" in remark and "cannot" in remark for remark in remarks), remarks
    finally:
        lab.exec("alpha", "umount", "--lazy", "/sys/kernel/btf")


# --- certificates -----------------------------------------------------------------------------------------------------

CERTIFICATE_FILES = ("ca-cert.pem", "server-cert.pem", "server-key.pem", "client-cert.pem", "client-key.pem")


def run(*words, stdin=""):
    return subprocess.run([str(word) for word in words], input=stdin, text=True, capture_output=True, check=True)


def directory_of_certificates(lab, kind):
    """--tls-dir of one who calls himself beta and client: `expired`, `self-signed`, `foreign` (another CA's)."""
    directory = lab.directory / f"certificates-{kind}"
    if directory.exists():
        return directory
    if kind == "foreign":
        other = lab.directory / "certificates-of-another-ca"
        run(lab.binary, "pki", "init", "--tls-dir", other)
        run(lab.binary, "pki", "issue", "beta", "--ca-dir", other, "--tls-dir", directory, "--san", "DNS:client")
        shutil.copy(lab.directory / "pki/ca-cert.pem", directory / "ca-cert.pem")
        return directory
    directory.mkdir()
    shutil.copy(lab.directory / "pki/ca-cert.pem", directory)
    for side in ("server", "client"):
        key, certificate = directory / f"{side}-key.pem", directory / f"{side}-cert.pem"
        extensions = [f"extendedKeyUsage={side}Auth", "subjectAltName=DNS:beta,DNS:client,IP:10.77.0.2"]
        run("openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", key)
        if kind == "self-signed":
            run("openssl", "req", "-x509", "-key", key, "-subj", "/CN=beta", "-days", "5", "-out", certificate,
                *(word for extension in extensions for word in ("-addext", extension)))
        else:
            (directory / "extensions").write_text("\n".join(extensions) + "\n")
            request = run("openssl", "req", "-new", "-key", key, "-subj", "/CN=beta").stdout
            authority = ["-CA", lab.directory / "pki/ca-cert.pem", "-CAkey", lab.directory / "pki/ca-key.pem"]
            run("openssl", "x509", "-req", *authority, "-days", "-1", "-extfile", directory / "extensions",
                "-out", certificate, stdin=request)
    return directory


@test
def own_certificates(lab):
    """without good certificates of its own neither the command nor an agent starts"""
    one = Bystander(lab)
    good = lab.directory / "client/etc/tls"
    before = fingerprint(lab)
    halves = lab.directory / "certificates-halves"
    halves.mkdir()
    for file in ("ca-cert.pem", "server-cert.pem", "server-key.pem"):
        shutil.copy(good / file, halves)
    for directory, says in [(lab.directory / "nowhere", "ca-cert.pem"), (halves, "client-cert.pem"),
                            (directory_of_certificates(lab, "expired"), "client-cert.pem expired on 20"),
                            (directory_of_certificates(lab, "self-signed"), "client-cert.pem .*self-signed"),
                            (directory_of_certificates(lab, "foreign"), "client-cert.pem .*was not issued by the CA")]:
        for mode in PUSH_AND_PULL:
            refuses(lab, ["--tls-dir", directory, *mode, "alpha", "beta", one.name], "tls_failed",
                    re.escape(str(directory)), says, before=before)
        agent = lab.exec("client", lab.binary, "serve", "--listen", "10.77.0.100:7700", "--tls-dir", directory,
                         check=False)
        check_refusal(agent, "tls_failed", re.escape(str(directory)))
    one.goes_on()


def is_listening(lab, host, port):
    return re.search(rf":{port:04X} [0-9A-F:]+ 0A", Path(f"/proc/{lab.init_of(host)}/net/tcp").read_text()) is not None


def end(lab, running, pid):
    os.kill(pid, signal.SIGKILL)
    running.process.communicate()
    lab.running.remove(running)


@contextlib.contextmanager
def listening(lab, *command):
    """On beta, port 7701, somebody listens who is no agent."""
    wait_until(lambda: not is_listening(lab, "beta", 7701), 5, "the port to be free")
    running = lab.start("beta", *command)
    wait_until(lambda: is_listening(lab, "beta", 7701), 5, "it to listen")
    pid = running.pid()
    try:
        yield
    finally:
        end(lab, running, pid)


def openssl_listening(lab, certificates, *options):
    return listening(lab, "openssl", "s_server", "-quiet", "-accept", "10.77.0.2:7701", "-cert",
                     certificates / "server-cert.pem", "-key", certificates / "server-key.pem", *options)


def refuses_in_every_part(lab, name, kind, *says):
    """beta:7701 as the destination that the source dials, the agent that the command dials, the source of a pull."""
    before = fingerprint(lab)
    for mode in PUSH_AND_PULL:
        for words in (["alpha", "beta:7701"], ["beta:7701", "alpha"]):
            refuses(lab, [*mode, *words, name], kind, r"\bbeta\b.*:7701", *says, before=before)
    refuses(lab, ["localhost", "beta:7701", name], kind, r"\bbeta\b.*:7701", *says, machine="alpha", before=before)


@test
def certificates_of_who_is_dialled(lab):
    """a host that shows an expired, self-signed or foreign certificate is refused"""
    one = Bystander(lab)
    for kind, says in [("expired", "expired on 20"), ("self-signed", "self-signed"), ("foreign", "another CA")]:
        directory = directory_of_certificates(lab, kind)
        with openssl_listening(lab, directory, "-CAfile", directory / "ca-cert.pem", "-Verify", "1"):
            refuses_in_every_part(lab, one.name, "tls_failed", says)
    one.goes_on()


def is_let_in(lab, host, tls):
    """Whether the agent goes on after the handshake. Under TLS 1.3 its refusal comes with the first byte to be read."""
    try:
        dialled = tls.wrap_socket(lab.connect("client", host_address(host), 7700), server_hostname=host)
        lab.connections.append(dialled)
        dialled.settimeout(5)
        dialled.recv(1)
        return True
    except (ssl.SSLError, ConnectionError):
        return False


def host_address(host):
    return {"alpha": "10.77.0.1", "beta": "10.77.0.2"}[host]


def logs(lab, host, before, text, count=1):
    """Waits until the agent's log, from `before` on, has the text."""
    wait_until(lambda: lab.agent_log(host)[before:].count(text) >= count, 5, f"{host} to log {text!r} {count} times")


REFUSED_CERTIFICATES = [(None, "it showed no certificate"), ("expired", "expired on 20"),
                        ("self-signed", "self-signed"), ("foreign", "another CA")]


@test
def certificates_of_who_dials(lab):
    """an agent lets nobody in without a certificate, or with an expired, self-signed or foreign one"""
    one = Bystander(lab)
    before = fingerprint(lab)
    for host in HOSTS:
        for kind, says in REFUSED_CERTIFICATES:
            tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            tls.load_verify_locations(lab.directory / "client/etc/tls/ca-cert.pem")
            if kind:
                directory = directory_of_certificates(lab, kind)
                tls.load_cert_chain(directory / "client-cert.pem", directory / "client-key.pem")
            logged = len(lab.agent_log(host))
            assert not is_let_in(lab, host, tls), f"{host} lets in who shows {kind or 'no certificate'}"
            logs(lab, host, logged, says)
    # A command that trusts both CAs is not trusted by the agent.
    both = lab.directory / "certificates-both"
    both.mkdir()
    for file in CERTIFICATE_FILES:
        shutil.copy(directory_of_certificates(lab, "foreign") / file, both)
    other_ca = (lab.directory / "certificates-of-another-ca/ca-cert.pem").read_text()
    (both / "ca-cert.pem").write_text((lab.directory / "pki/ca-cert.pem").read_text() + other_ca)
    for words in (["alpha", "beta"], ["--pull", "beta", "alpha"]):
        refuses(lab, ["--tls-dir", both, *words, one.name], "tls_failed", r"\balpha\b.* refused our certificate",
                before=before)
    one.goes_on()


# --- rights -----------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def rules(lab, host, text):
    """`host`'s agent has these rules, or none at all."""
    file = lab.directory / host / "etc/tls/rules"
    before = file.read_text()
    file.unlink()
    if text is not None:
        file.write_text(text)
    try:
        yield
    finally:
        file.write_text(before)


def certify_stranger(lab):
    """A host of the same CA that no rule knows."""
    directory = lab.directory / "mallory/etc/tls"
    if not directory.exists():
        run(lab.binary, "pki", "issue", "mallory", "--ca-dir", lab.directory / "pki", "--tls-dir", directory)
    return directory


@test
def strangers_certificate(lab):
    """a peer with a good certificate and no right is refused, whatever it asks for, with the line that is missing"""
    one = Bystander(lab)
    stranger = certify_stranger(lab)
    migration, offer = offer_of(lab, one.name)
    before = fingerprint(lab)
    for is_dry_run in (False, True):
        conversations = [
            (Wire.START, "alpha", {**request_for(one.name), "dry_run": is_dry_run}, "start", "by"),
            (Wire.START, "beta", {**request_for(one.name, is_pull=True), "dry_run": is_dry_run}, "start", "by"),
            (Wire.PULL, "alpha", {**request_for(one.name, is_pull=True), "dry_run": is_dry_run}, "send", "to"),
            (Wire.OPEN, "beta", {**offer, "dry_run": is_dry_run}, "receive", "from")]
        for kind, host, document, action, preposition in conversations:
            wire = Wire(lab, host, who="mallory")
            wire.send_document(kind, document, before=migration if kind == Wire.OPEN else b"")
            number, sentence = wire.refusal()
            assert number == WIRE_NUMBERS["not_authorised"], sentence
            line = f"allow inspect {one.name} by" if is_dry_run else f"allow {action} {one.name} {preposition}"
            assert f'"{line} mallory" to /etc/vmigrate/tls/rules on {host}' in sentence, sentence
    for host in HOSTS:
        wire = Wire(lab, host, who="mallory")
        wire.send(Wire.ASK, migration + struct.pack("<H", len(one.name)) + one.name.encode())
        number, sentence = wire.refusal()
        assert number == WIRE_NUMBERS["not_authorised"] and f'"allow ask {one.name} by mallory"' in sentence, sentence
    for words in (["alpha", "beta"], ["--pull", "alpha", "beta"], ["--dry-run", "alpha", "beta"], ["alpha", "localhost"]):
        refuses(lab, ["--tls-dir", stranger, *words, one.name], "not_authorised",
                fr"{one.name} \w+ mallory", "/etc/vmigrate/tls/rules on ", before=before)
    one.goes_on()
    one.moves()


def refuses_localhost(lab, name, before):
    """beta does not let alpha's own command send it the container."""
    answer = lab.vmigrate("alpha", "localhost", "beta", name)
    assert answer.code == EXIT_CODES["not_authorised"] and f'"allow receive {name} from alpha"' in answer.err, answer
    check_unchanged(lab, before)


@test
def missing_rights(lab):
    """one right is not another: each agent allows what its own rules say, for that container, to that host"""
    one = Bystander(lab)
    start, send, receive = "allow start * by client\n", "allow send * to beta\n", "allow receive * from alpha\n"
    others = send.replace("*", "other-*"), receive.replace("alpha", "gamma")
    before = fingerprint(lab)
    for mode, agent in (([], "alpha"), (["--pull"], "beta")):
        words = [*mode, "alpha", "beta", one.name]
        for at_alpha, at_beta, line, host in [
                (None, start + receive if mode else receive, "start" if not mode else "send", "alpha"),
                (start + others[0], start + receive, "send", "alpha"),
                (start + send, start + others[1], "receive", "beta"),
                (start + send, None, "start" if mode else "receive", "beta")]:
            with rules(lab, "alpha", at_alpha), rules(lab, "beta", at_beta):
                refuses(lab, words, "not_authorised", fr'"allow {line} {one.name} ', f"rules on {host}", before=before)
        with rules(lab, agent, send + receive + "# allow start * by client\n"):
            refuses(lab, words, "not_authorised", fr'"allow start {one.name} by client"', f"on {agent}", before=before)
    with rules(lab, "beta", ""):
        refuses_localhost(lab, one.name, before)
    with rules(lab, "alpha", send + "allow everything\n"):
        refuses(lab, ["alpha", "beta", one.name], "not_authorised", "/etc/vmigrate/tls/rules:2: ", before=before)
    one.goes_on()


@test
def right_to_look(lab):
    """who may inspect may do dry runs and nothing else"""
    one = Bystander(lab)
    before = fingerprint(lab)
    at_alpha = f"allow inspect {one.name} by client\nallow inspect {one.name} by beta\n"
    with rules(lab, "alpha", at_alpha), rules(lab, "beta", f"allow inspect {one.name} by alpha\n"):
        looked = lab.vmigrate("client", "--dry-run", "--sample", "1", "alpha", "beta", one.name)
        assert looked.code == 0 and looked.report["result"] == "predicted", looked
        refuses(lab, ["alpha", "beta", one.name], "not_authorised", f"allow start {one.name} by client", before=before)
        refuses_localhost(lab, one.name, before)
    one.moves()


# --- peers that are no agents -----------------------------------------------------------------------------------------

NO_AGENT = """
import os, socket, sys
what = {"plain text": b"220 beta ESMTP ready\\r\\n", "garbage": os.urandom(5000), "nothing": b""}[sys.argv[1]]
listener = socket.create_server(("10.77.0.2", 7701))
while True:
    connection, _ = listener.accept()
    try:
        connection.sendall(what)
        while what and connection.recv(65536):
            pass
    except OSError:
        pass
    connection.close()
"""


@test
def old_tls_is_dialled(lab):
    """a host that speaks TLS 1.2 only is refused"""
    one = Bystander(lab)
    with openssl_listening(lab, lab.directory / "beta/etc/tls", "-tls1_2"):
        refuses_in_every_part(lab, one.name, "not_tls", r"TLS 1\.3")
    one.goes_on()


@test
def no_tls_is_dialled(lab):
    """a host that answers in plain text or garbage, or hangs up, is refused"""
    one = Bystander(lab)
    for what, kind in [("plain text", "not_tls"), ("garbage", "not_tls"), ("nothing", "connection_lost")]:
        with listening(lab, "python3", "-c", NO_AGENT, what):
            refuses_in_every_part(lab, one.name, kind, "TLS")
    one.goes_on()


@test
def no_tls_dials(lab):
    """an agent hangs up on TLS 1.2, plain text and garbage, and goes on serving others"""
    one = Bystander(lab)
    before = fingerprint(lab)
    for host in HOSTS:
        logged = len(lab.agent_log(host))
        old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        old.load_verify_locations(lab.directory / "client/etc/tls/ca-cert.pem")
        old.maximum_version = ssl.TLSVersion.TLSv1_2
        assert not is_let_in(lab, host, old), f"{host} speaks TLS 1.2"
        for text in (b"GET / HTTP/1.1\r\nHost: alpha\r\n\r\n", b"EHLO client\r\n" * 9, os.urandom(70000), b""):
            dialled = lab.connect("client", host_address(host), 7700, timeout=5)
            with contextlib.suppress(OSError):
                dialled.sendall(text)
                dialled.shutdown(socket.SHUT_WR)
                while dialled.recv(65536):
                    pass
            dialled.close()
        logs(lab, host, logged, "event=peer_dropped", count=4)
        # Who says nothing keeps nobody else waiting.
        hangs = [lab.connect("client", host_address(host), 7700) for _ in range(20)]
        answer = lab.vmigrate("client", *([] if host == "alpha" else ["--pull"]), "alpha", "beta", "nosuch")
        check_refusal(answer, "unknown_container", "nosuch")
        for hang in hangs:
            hang.close()
    check_unchanged(lab, before)
    one.goes_on()


# --- while it copies --------------------------------------------------------------------------------------------------


def start_slowly(lab, mode, name):
    """A migration that copies for some seconds; returns when some of it has arrived."""
    move = lab.start_vmigrate("client", *mode, "--bandwidth=20M", "alpha", "beta", name)
    image = lab.state("beta") / "images" / f"{name}.img"
    wait_until(lambda: image.exists() and image.stat().st_blocks * 512 > 6 * MIB, 20, "the copy to be under way")
    return move


def big_bystander(lab):
    return Bystander(lab, "redis", fill_mib=80, size="256M")


def agent_dies(lab, dying):
    one = big_bystander(lab)
    for mode in PUSH_AND_PULL:
        before = fingerprint(lab, has_blocks=False)
        move = start_slowly(lab, mode, one.name)
        lab.command("agent", dying, "kill")
        check_refusal(move.wait(), "connection_lost", rf"\b{dying}\b")
        one.goes_on()
        lab.command("agent", dying, "start")
        check_unchanged(lab, before, has_blocks=False, allowed="BPF pins: gone")   # of an earlier agent that died
        one.goes_on()
    one.moves()


@test
def source_agent_dies(lab):
    """the source's agent dies while it copies: the container runs on, and the next agent removes what was left"""
    agent_dies(lab, "alpha")


@test
def destination_agent_dies(lab):
    """the destination's agent dies while it copies: the container runs on, and the next agent removes what was left"""
    agent_dies(lab, "beta")


@test
def disk_fills(lab):
    """the destination's disk fills while it copies: the container runs on and nothing is left there"""
    one = big_bystander(lab)
    with small_disk(lab, "beta", 180):
        filler = lab.state("beta") / "filler"
        for mode in PUSH_AND_PULL:
            before = fingerprint(lab, has_blocks=False)
            move = start_slowly(lab, mode, one.name)
            with contextlib.suppress(OSError), open(filler, "wb", buffering=0) as file:
                while True:
                    file.write(bytes(MIB))
            result = move.wait()
            filler.unlink()
            check_refusal(result, "disk_full", r"\bbeta\b", "--state-dir")
            check_unchanged(lab, before, has_blocks=False)
            one.goes_on()


@test
def rates_of_others(lab):
    """set: without a migration, at the wrong host, of another container or without a right it is refused, and nothing changes"""
    one = big_bystander(lab)

    def refused(host, name, kind, *names):
        answer = lab.vmigrate("client", "set", host, name, "--bandwidth", "1K", is_json=False)
        assert not answer.out, answer
        check_refusal(answer, kind, *names)

    before = fingerprint(lab)
    for host in HOSTS:
        refused(host, one.name, "unknown_container", one.name, host)
    refused("alpha", "no-such", "unknown_container", "no-such", "alpha")
    refused("alpha:7799", one.name, "connect_failed", "alpha:7799")
    refused("localhost", one.name, "usage", "localhost")
    check_unchanged(lab, before)
    move = lab.start_vmigrate("client", "--bandwidth=8M", "alpha", "beta", one.name)
    image = lab.state("beta") / "images" / f"{one.name}.img"
    wait_until(lambda: image.exists() and image.stat().st_blocks * 512 > 6 * MIB, 20, "the copy to be under way")
    refused("beta", one.name, "unknown_container", one.name, "beta")
    for too_little in ("", "allow send * to beta\nallow inspect * by client\nallow start other-* by client\n"):
        with rules(lab, "alpha", too_little):
            refused("alpha", one.name, "not_authorised", f'"allow start {one.name} by client"', "on alpha")
    moved = move.wait()
    assert moved.code == 0 and not [event for event in moved.events if event["event"] == "rates"], moved
    one.goes_on()


# --- while it stands still --------------------------------------------------------------------------------------------


@test
def checkpoint_fails(lab):
    """a container that cannot be written down runs on"""
    for runtime in ("runc", "crun"):
        one = Bystander(lab, runtime=runtime)
        assert one.connection.ask("uring").startswith("fd "), "no io_uring here"
        both_ways(lab, one.name, "checkpoint_failed", one.name, r"\balpha\b", has_blocks=False)
        one.goes_on()
        assert one.connection.ask("deleted") == "ok"


@test
def restore_fails(lab):
    """a container that cannot be restored runs on where it was"""
    # CRIU dies at once; CRIU itself refuses, as a file is missing.
    for body, why in [("exit 1", ""), ('rm -f /var/lib/vmigrate/tmp/*-in/core-1.img; exec $real "$@"', "core-1|EOF")]:
        for runtime in ("runc", "crun"):
            one = Bystander(lab, runtime=runtime)
            with other_criu(lab, "beta", pretend_criu(body)):
                both_ways(lab, one.name, "restore_failed", one.name, r"\bbeta\b", why, has_blocks=False)
                one.goes_on()
            assert one.connection.ask("deleted") == "ok"
            one.moves()
            assert one.connection.ask("deleted") == "ok"


e2e.main()
