# SPDX-FileCopyrightText: The bulwark.node authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is hidden of a command line, and what must stay."""

from __future__ import annotations

import pytest

from ansible_collections.bulwark.node.plugins.module_utils.node.redact import REDACTED as HIDDEN
from ansible_collections.bulwark.node.plugins.module_utils.node.redact import redacted

SECRETS = (
    "rd.iscsi.password",
    "rd.iscsi.in.password",
    "rd.luks.key",
    "luks.key",
    "cryptkey",
    "systemd.set_credential",
    "inst.vncpassword",
    "systemd.set_credential_binary",
    "systemd.random_seed",
    "passwd",
    "rootpw",
    "rootpwd",
    "rootpass",
    "luks-passphrase",
    "wifi.psk",
    "k3s.token",
    "TOKEN",
    "api_key",
    "apikey",
    "private-key",
    "authkey",
    "client_secret",
    "aws.creds",
    "my_credentials",
    "--token",
    "--PASSWORD",
    "jwt",
    "session_jwt",
    "otp",
    "totp",
    "luks_pin",
    "tpm2-pin",
    "vault.unseal",
    "auto_unseal",
    "auth",
    "code",
    "sas",
)
JWT = "eyJhbGciOiJI.eyJzdWIiOiIxs3cr3t.SflKxwRJSMeKKs3cr3t"
BOOTSTRAP = "s3cr3t.0123s3cr3t456789"


@pytest.mark.parametrize(
    ("token", "shown"),
    [(f"{name}=s3cr3t", f"{name}={HIDDEN}") for name in SECRETS]
    + [
        ("netroot=iscsi:user:s3cr3t@10.0.0.1::3260::iqn.x", f"netroot=iscsi:{HIDDEN}@10.0.0.1::3260::iqn.x"),
        ("netroot=iscsi:user:s3c/r3:t@h:in:s3cr3t@10.0.0.1::iqn", f"netroot=iscsi:{HIDDEN}@10.0.0.1::iqn"),
        ("root=cifs://user:s3cr3t@server/share", f"root=cifs://{HIDDEN}@server/share"),
        ("inst.ks=http://user:s3cr3t@host/ks.cfg", f"inst.ks=http://{HIDDEN}@host/ks.cfg"),
        ("inst.ks=https://s3cr3t@host/ks.cfg", f"inst.ks=https://{HIDDEN}@host/ks.cfg"),
        # A query goes as a whole: no list of names is complete.
        ("ds=nocloud;s=https://h/?token=s3cr3t", f"ds=nocloud;s=https://h/?{HIDDEN}"),
        ("seedfrom=https://h/?sig=s3cr3t", f"seedfrom=https://h/?{HIDDEN}"),
        ("url=https://h/x?X-Amz-Date=1&X-Amz-Signature=s3cr3t", f"url=https://h/x?{HIDDEN}"),
        ("url=https://h/x?a=1&sas=s3cr3t&b=2", f"url=https://h/x?{HIDDEN}"),
        *((f"url=https://h/x?{name}=s3cr3t", f"url=https://h/x?{HIDDEN}") for name in ("auth", "code", "x", "jwt")),
        ("url=https://h/x?s3cr3t", f"url=https://h/x?{HIDDEN}"),
        ("url=https://h/x#s3cr3t", f"url=https://h/x#{HIDDEN}"),
        ("https://h/x?token=s3cr3t", f"https://h/x?{HIDDEN}"),
        ("https://user:s3cr3t@h/x?a=s3cr3t", f"https://{HIDDEN}@h/x?{HIDDEN}"),
        # Passwords may hold what begins a query, and queries what ends a password.
        ("root=cifs://user:s3c?r3t@server/share", f"root=cifs://{HIDDEN}"),
        ("url=https://h?token=s3c@r3t", f"url=https://{HIDDEN}"),
        ("url=https://user:s3cr3t@h/x?mail=a@b&x=s3cr3t", f"url=https://{HIDDEN}"),
        ("netroot=iscsi:user:s3c?r3t@10.0.0.1::iqn", f"netroot=iscsi:{HIDDEN}@10.0.0.1::iqn"),
        ("url=https://user:s3c;token=r3t@h/", f"url=https://{HIDDEN}@h/"),
        ("rootflags=username=x,password=s3c?r3t,vers=3", f"rootflags=username=x,password={HIDDEN},vers=3"),
        ("rootflags=password=s3c;r3t&s3c,ro", f"rootflags=password={HIDDEN},ro"),
        ("ds=nocloud;token=s3cr3t;s=http://h/", f"ds=nocloud;token={HIDDEN};s=http://h/"),
        ("a=b=token=s3cr3t", f"a=b=token={HIDDEN}"),
        ("path=/x?pin=s3cr3t", f"path=/x?pin={HIDDEN}"),
        ("proxy=user:s3cr3t@proxy:3128", f"proxy={HIDDEN}@proxy:3128"),
        ("systemd.setenv=https_proxy=user:s3cr3t@proxy", f"systemd.setenv=https_proxy={HIDDEN}@proxy"),
        # Values that are tokens, whatever their names.
        (f"x={JWT}", f"x={HIDDEN}"),
        (f"x=a,y={JWT}", f"x=a,y={HIDDEN}"),
        (JWT, HIDDEN),
        (f"join={BOOTSTRAP}", f"join={HIDDEN}"),
        (f"join=10.0.0.1:6443,{BOOTSTRAP},x", f"join=10.0.0.1:6443,{HIDDEN},x"),
        (BOOTSTRAP, HIDDEN),
        (f"x=K10{'0' * 64}::server:s3cr3t", f"x={HIDDEN}"),
        ("x=ghp_s3cr3t0123456789abcdef", f"x={HIDDEN}"),
        ("x=hvs.s3cr3t0123456789abcdef", f"x={HIDDEN}"),
        ("rootflags=username=x,password=s3c,,r3t,vers=3", f"rootflags=username=x,password={HIDDEN},vers=3"),
        ("rootflags=user=x,passwd=s3cr3t", f"rootflags=user=x,passwd={HIDDEN}"),
        ("systemd.setenv=DB_PASSWORD=s3cr3t", f"systemd.setenv=DB_PASSWORD={HIDDEN}"),
        ('systemd.setenv="TOKEN=s3c r3t"', f'systemd.setenv="TOKEN={HIDDEN}'),
        ('"rd.iscsi.password=s3c r3t"', f'"rd.iscsi.password={HIDDEN}'),
        ('header="X: Bearer s3cr3t"', f'header="X: Bearer {HIDDEN}"'),
        ("http://user:s3cr3t@host/", f"http://{HIDDEN}@host/"),
    ],
)
def test_a_secret_on_the_command_line_is_not_shown(token: str, shown: str) -> None:
    assert redacted([token]) == [shown]
    assert "s3c" not in shown
    assert "r3t" not in shown


@pytest.mark.parametrize(
    "token",
    [
        "console=ttyS0,115200n8",
        "keymap=de",
        "vconsole.keymap=us",
        "rd.vconsole.keymap=us",
        "keyboard=de",
        "hugepages=0:4,1:4",
        "default_hugepagesz=1G",
        "root=UUID=6f3c1a52-9b0e-4d7a-8c25-0e1f5a7b9d34",
        "rd.luks.uuid=luks-6f3c",
        "rd.luks.name=6f3c=root",
        "crashkernel=1G-4G:192M,4G-64G:256M",
        "iommu.passthrough=1",
        "spec_store_bypass_disable=on",
        "module.sig_enforce=1",
        "ip=10.0.0.2::10.0.0.1:255.255.255.0:node1:eth0:none",
        "netroot=iscsi:10.0.0.1::3260::iqn.2003-01.org.x:disk",
        "nfsroot=10.0.0.1:/export/root,vers=3",
        "inst.repo=http://mirror:8080/debian",
        "mitigations=auto,nosmt",
        "quiet",
        "--",
        "isolcpus=managed_irq,2-7",
        "crashkernel=1G-2G:128M,2G-:256M@16M",
        "video=HDMI-A-1:1920x1080@60",
        "netconsole=4444@10.0.0.1/eth1,9353@10.0.0.2/12:34:56:78:9a:bc",
        "memmap=64K@0x90000",
        "microcode=force_minrev",
        "ds=nocloud;s=http://10.0.0.1/seed/;h=node1",
        "ds=nocloud-net;seedfrom=https://h:8080/seed/",
        "root=live:https://mirror/images/pxeboot.squashfs",
        "netroot=iscsi:@10.0.0.1::::iqn.2003-01.org.x:disk",
        "rootflags=subvol=@rootfs",
        "systemd.unified_cgroup_hierarchy=1",
        "module_blacklist=nouveau,pinctrl_amd",
        "pinctrl_amd.dyndbg=+p",
        "modprobe.blacklist=mpt3sas",
        "mpt3sas.max_queue_depth=100",
        "rd.luks.options=tpm2-device=auto",
        "initrd=\\EFI\\debian\\initrd.img-6.1.0-25-amd64",
        "coreos.live.rootfs_url=https://mirror.example/fcos-40.20240101.3.0-live-rootfs.x86_64.img",
        "usbcore.quirks=0bda:8153:k,04e8:61f5:u",
    ],
)
def test_what_is_no_secret_is_shown(token: str) -> None:
    assert redacted([token]) == [token]


@pytest.mark.parametrize(
    ("tokens", "shown"),
    [
        (["--token", "s3cr3t", "ro"], ["--token", HIDDEN, "ro"]),
        (["--token", "-s3cr3t", "ro"], ["--token", HIDDEN, "ro"]),
        (["--token", "--quiet", "x"], ["--token", "--quiet", "x"]),
        (["--password"], ["--password"]),
        (["token", "visible"], ["token", "visible"]),
    ],
)
def test_the_word_after_a_secret_flag_is_not_shown(tokens: list[str], shown: list[str]) -> None:
    assert redacted(tokens) == shown


@pytest.mark.usefixtures("bounded")
@pytest.mark.parametrize("part", ["a", ":", "x=", "://@:", "key,", "bearer  ", "?@", "eyJ.", ";,&"])
def test_a_hostile_line_takes_the_time_of_its_length(part: str) -> None:
    text = part * (1_000_000 // len(part))
    redacted([f"a={text}", text])
