# SPDX-License-Identifier: GPL-2.0-or-later
"""Many connections that want nothing: hostile_client.py KIND COUNT HOST:PORT TLS_DIR ADDRESS...

Keeps COUNT connections busy from the given source addresses until stdin ends. Whoever is dropped comes back after some
seconds. KIND: idle (says nothing), trickle (a ClientHello of one byte per second), silent (shakes hands, then says
nothing), mumble (shakes hands, then a message of one byte per second). One line per second: connections that are open,
and that were made.
"""
import asyncio
import contextlib
import itertools
import os
import ssl
import sys

COMES_BACK_S = 10
# As docs/protocol.md has them: an endless ClientHello, and the header and beginning of a Hello.
CLIENT_HELLO = b"\x16\x03\x01\x20\x00\x01\x00\x1f\xfc\x03\x03" + os.urandom(8000)
HELLO = bytes.fromhex("564d01002b0000002b000000c7b55ef3") + bytes.fromhex("01000100")


class Crowd:
    def __init__(self, kind, host, port, directory):
        self.kind, self.host, self.port = kind, host, port
        self.open, self.made = 0, 0
        self.tls = None
        if kind in ("silent", "mumble"):
            self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            self.tls.load_verify_locations(f"{directory}/ca-cert.pem")
            self.tls.load_cert_chain(f"{directory}/client-cert.pem", f"{directory}/client-key.pem")

    async def visit(self, address):
        named = {"server_hostname": self.host} if self.tls else {}
        reader, writer = await asyncio.open_connection(self.host, self.port, ssl=self.tls, local_addr=(address, 0), **named)
        self.open += 1
        self.made += 1
        talk = asyncio.create_task(self.talk(writer))
        try:
            while await reader.read(65536):
                pass
        finally:
            self.open -= 1
            talk.cancel()
            writer.transport.abort()

    async def talk(self, writer):
        words = {"trickle": CLIENT_HELLO, "mumble": HELLO}.get(self.kind, b"")
        for byte in words:
            writer.write(bytes([byte]))
            await asyncio.sleep(1)

    async def come_and_go(self, address, begins_after):
        await asyncio.sleep(begins_after)
        while True:
            with contextlib.suppress(OSError, asyncio.TimeoutError):
                await self.visit(address)
            await asyncio.sleep(COMES_BACK_S)


async def until_stdin_ends():
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


async def main():
    kind, count, to, directory, *addresses = sys.argv[1:]
    host, port = to.split(":")
    crowd = Crowd(kind, host, int(port), directory)
    tasks = [asyncio.create_task(crowd.come_and_go(address, COMES_BACK_S * i / int(count)))
             for i, address in zip(range(int(count)), itertools.cycle(addresses))]
    end = asyncio.create_task(until_stdin_ends())
    while not end.done():
        print(crowd.open, crowd.made, flush=True)
        await asyncio.wait([end], timeout=1)
    for task in tasks:
        task.cancel()


asyncio.run(main())
