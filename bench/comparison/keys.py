# SPDX-License-Identifier: GPL-2.0-or-later
"""Certificates and ssh keys for one comparison, and AES-128-GCM for everybody.

Every peer encrypts with the cipher that we use; what OpenSSL, GnuTLS and OpenSSH choose by themselves is slower here.
"""
import subprocess

OPENSSL = """openssl_conf = all
[all]
ssl_conf = ssl
[ssl]
system_default = suites
[suites]
MinProtocol = TLSv1.3
Ciphersuites = TLS_AES_128_GCM_SHA256
"""
GNUTLS = """[overrides]
tls-disabled-cipher = AES-256-GCM
tls-disabled-cipher = CHACHA20-POLY1305
tls-disabled-cipher = AES-128-CCM
tls-disabled-cipher = AES-256-CCM
"""


def make(directory, vmigrate, addresses):
    """For every host directory/HOST, as libvirt, QEMU, nbdkit and we name the files; directory/ssh; and settings."""
    directory.mkdir(mode=0o700)
    run(vmigrate, "pki", "init", "--ca-dir", directory / "ca")
    for host, address in addresses.items():
        run(vmigrate, "pki", "issue", host, "--ca-dir", directory / "ca", "--tls-dir", directory / host,
            "--san", f"IP:{address}")
    (directory / "openssl.cnf").write_text(OPENSSL, encoding="ascii")
    (directory / "gnutls.conf").write_text(GNUTLS, encoding="ascii")


def settings(directory):
    """The environment in which the libraries keep to our cipher."""
    return {"OPENSSL_CONF": str(directory / "openssl.cnf"),
            "GNUTLS_SYSTEM_PRIORITY_FILE": str(directory / "gnutls.conf")}


def run(*command):
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
