# SPDX-FileCopyrightText: The bulwark.node authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The kubelet's effective configuration: merged as the kubelet merges it, each value with its source."""

from __future__ import annotations

import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.bulwark.node.plugins.module_utils.node import kubelet, kubelet_config
from ansible_collections.bulwark.node.plugins.module_utils.node.kubelet import Kubelet
from ansible_collections.bulwark.node.plugins.module_utils.node.kubelet_config import Config, Reservation
from ansible_collections.bulwark.node.tests.unit.plugins.module_utils.node.conftest import Files, Machine

MIB = 1 << 20
TOTAL = 10000 * MIB
CONFIG = "/var/lib/kubelet/config.yaml"
FOLDER = "/etc/k"
K3S = "/var/lib/rancher/k3s/agent/etc/kubelet.conf.d"


def read(machine: Machine, *arguments: str, files: Files | None = None, **about: Any) -> Config:
    about = {"pid": 1, "process": "kubelet", "unit": "kubelet.service", "started_at": 1.0, **about}
    return kubelet_config.read(machine("no-hugepages", files), Kubelet(arguments=("kubelet", *arguments), **about))


def value(config: Config, key: str) -> Any:
    setting = config.scalars.get(key)
    return (setting.value, setting.source) if setting else None


def pairs(config: Config, key: str) -> dict[str, str]:
    return {name: each.value for name, each in config.maps.get(key, {}).items()}


# scalars


@pytest.mark.parametrize(
    ("document", "arguments", "expected"),
    [
        ("", [], (110, "default")),
        ("maxPods: 50", [], (50, CONFIG)),
        ("maxPods: 0", [], (110, "default")),  # Go's zero value is no value
        ("maxPods: null", [], (110, "default")),
        ("maxPods: 50", ["--max-pods=0"], (0, "flag")),  # but a flag's is one
        ("maxPods: 50", ["--max_pods", "60"], (60, "flag")),
        ("maxPods: 50", ["--max-pods=1", "--max-pods=60"], (60, "flag")),
    ],
)
def test_a_flag_wins_over_the_file_and_the_file_over_the_default(
    machine: Machine, document: str, arguments: list[str], expected: tuple[int, str]
) -> None:
    config = read(machine, f"--config={CONFIG}", *arguments, files={CONFIG: document})
    assert (value(config, "maxPods"), config.reason) == (expected, None)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], (True, "default")),
        (["--fail-swap-on=false"], (False, "flag")),
        (["--fail-swap-on=F"], (False, "flag")),
        (["--fail-swap-on", "--v=2"], (True, "flag")),  # a boolean flag takes no word of its own
    ],
)
def test_boolean_flags(machine: Machine, arguments: list[str], expected: tuple[bool, str]) -> None:
    assert value(read(machine, *arguments), "failSwapOn") == expected


def test_only_defaults_that_all_releases_share_are_called_so(machine: Machine) -> None:
    config = read(machine)
    assert {setting.source for setting in config.scalars.values()} == {"default"}
    assert not {"cgroupDriver", "containerRuntimeEndpoint", "reservedSystemCPUs"} & set(config.scalars)
    assert pairs(config, "evictionHard") == {
        "memory.available": "100Mi",
        "nodefs.available": "10%",
        "nodefs.inodesFree": "5%",
        "imagefs.available": "15%",
    }


# drop-ins


def test_dropins_are_merged_key_by_key_in_the_order_of_names_folders_included(machine: Machine) -> None:
    config = read(
        machine,
        f"--config={CONFIG}",
        f"--config-dir={FOLDER}",
        files={
            CONFIG: "maxPods: 1\ncgroupDriver: systemd\nkubeReserved: {cpu: 100m, memory: 1Gi}",
            f"{FOLDER}/10-a.conf": "maxPods: 10\nkubeReserved: {memory: 2Gi}",
            f"{FOLDER}/15-folder/50.conf": "maxPods: 15\npodPidsLimit: -7",
            f"{FOLDER}/20-b.conf": "cgroupDriver:\nkubeReserved: {cpu: null, pid: 100}",
            f"{FOLDER}/30-c.yaml": "maxPods: 30",
            f"{FOLDER}/15-folder/README": "maxPods: 31",
        },
    )
    assert config.reason is None
    dropins = ("10-a.conf", "15-folder/50.conf", "20-b.conf")
    assert config.files == (CONFIG, *(f"{FOLDER}/{name}" for name in dropins))
    assert value(config, "maxPods") == (15, f"{FOLDER}/15-folder/50.conf")
    assert value(config, "podPidsLimit") == (-1, f"{FOLDER}/15-folder/50.conf")
    assert value(config, "cgroupDriver") is None
    assert pairs(config, "kubeReserved") == {"memory": "2Gi", "pid": "100"}


@pytest.mark.parametrize(
    ("document", "dropin", "signals"),
    [
        # The file brings the defaults, into which a drop-in is merged; a drop-in alone brings none.
        ("maxPods: 1", "evictionHard: {memory.available: 1Gi}", 4),
        ("evictionHard: {nodefs.available: 1%}", "evictionHard: {memory.available: 1Gi}", 2),
        (
            "evictionHard: {nodefs.available: 1%}\nmergeDefaultEvictionSettings: true",
            "evictionHard: {memory.available: 1Gi}",
            4,
        ),
        ("maxPods: 1", "evictionHard: null", 0),
        (None, "evictionHard: {memory.available: 1Gi}", 1),
        (None, "maxPods: 1", 4),
    ],
)
def test_default_thresholds_belong_to_the_configuration_file(
    machine: Machine, document: str | None, dropin: str, signals: int
) -> None:
    files = {f"{FOLDER}/1.conf": dropin, **({} if document is None else {CONFIG: document})}
    given = [] if document is None else ["--config", CONFIG]
    config = read(machine, *given, "--config-dir", FOLDER, files=files)
    assert (len(pairs(config, "evictionHard")), config.reason) == (signals, None)


def merge_patch(base: Any, patch: Any) -> Any:
    """RFC 7396, section 2."""
    if not isinstance(patch, dict):
        return patch
    merged = dict(base) if isinstance(base, dict) else {}
    for key, each in patch.items():
        if each is None:
            merged.pop(key, None)
        else:
            merged[key] = merge_patch(merged.get(key), each)
    return merged


def test_files_at_random_are_merged_as_pyyaml_and_the_rfc_have_it(machine: Machine) -> None:
    dice = random.Random(3)

    def document() -> dict[str, Any]:
        found: dict[str, Any] = {"apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration"}
        choices: dict[str, list[Any]] = {
            "cgroupDriver": ["systemd", "cgroupfs"],
            "maxPods": [50, 110, 250],
            "failSwapOn": [True, False],
            "topologyManagerPolicy": ["restricted"],
            "clusterDNS": [["10.96.0.10"]],
            "kubeReserved": [{"memory": "1Gi", "cpu": None}, {"cpu": "500m"}, {}],
            "evictionSoft": [{"memory.available": "5%", "pid.available": "10%"}, {"memory.available": None}],
        }
        for key, values in choices.items():
            if dice.random() < 0.5:
                found[key] = dice.choice([*values, None])
        return found

    for _round in range(60):
        documents = [document() for each in range(3)]
        paths = [CONFIG, f"{FOLDER}/1.conf", f"{FOLDER}/2.conf"]
        files = {path: yaml.safe_dump(each) for path, each in zip(paths, documents)}
        config = read(machine, "--config", CONFIG, "--config-dir", FOLDER, files=files)
        expected: Mapping[str, Any] = {}
        for each in documents:
            expected = merge_patch(expected, each)
        assert config.reason is None
        for key in ("cgroupDriver", "maxPods", "failSwapOn", "topologyManagerPolicy"):
            setting = config.scalars.get(key)
            assert (setting.value if setting and setting.source != "default" else None) == expected.get(key)
        for key in ("kubeReserved", "evictionSoft"):
            assert pairs(config, key) == expected.get(key, {})


# what cannot be read


@pytest.mark.parametrize(
    ("arguments", "files", "reason"),
    [
        (["--config=/nowhere"], {}, "/nowhere: does not exist"),
        (["--config=relative"], {}, "relative: does not exist"),
        (["--config", CONFIG], {CONFIG: "a: ["}, f"{CONFIG}: line 1: is not understood"),
        (["--config", CONFIG], {CONFIG: "a: &x 1"}, f"{CONFIG}: line 1: is not understood"),
        (["--config", CONFIG], {CONFIG: "- a\n"}, f"{CONFIG}: is no mapping"),
        (["--config", CONFIG], {CONFIG: "text"}, f"{CONFIG}: is no mapping"),
        (["--config", CONFIG], {CONFIG: "maxPods: many"}, f"{CONFIG}: maxPods is no int"),
        (["--config", CONFIG], {CONFIG: "maxPods: true"}, f"{CONFIG}: maxPods is no int"),
        (["--config", CONFIG], {CONFIG: "kubeReserved: [1]"}, f"{CONFIG}: kubeReserved is no mapping"),
        (["--config", CONFIG], {CONFIG: "kubeReserved: {memory: {a: 1}}"}, f"{CONFIG}: kubeReserved holds"),
        (["--config", CONFIG], {CONFIG: b"\xff\xfe\x00"}, f"{CONFIG}: holds control characters"),
        (["--config", CONFIG], {CONFIG: b"x" * (10 << 20)}, f"{CONFIG}: holds more than"),
        (["--config-dir", FOLDER], {f"{FOLDER}/1.conf": "a: 1", f"{FOLDER}/2.conf": "\ta"}, f"{FOLDER}/2.conf: line 1"),
        (["--max-pods=all"], {}, "the flag --max-pods holds 'all'"),
        (["--fail-swap-on=perhaps"], {}, "the flag --fail-swap-on holds"),
    ],
)
def test_what_cannot_be_read_is_a_reason_and_no_default_is_claimed(
    machine: Machine, arguments: list[str], files: Files, reason: str
) -> None:
    config = read(machine, *arguments, files=files)
    assert (config.reason or "").startswith(reason)
    assert not config.scalars
    assert not config.maps
    assert kubelet_config.reservation(config, TOTAL) == Reservation(None, config.reason)


def test_flags_are_sure_even_where_the_file_cannot_be_read(machine: Machine) -> None:
    config = read(machine, "--config=/nowhere", "--max-pods=7", "--kube-reserved=memory=1Gi")
    assert value(config, "maxPods") == (7, "flag")
    assert pairs(config, "kubeReserved") == {"memory": "1Gi"}
    assert config.reason == "/nowhere: does not exist"
    assert value(config, "failSwapOn") is None


def test_a_relative_path_is_the_processes_own(machine: Machine) -> None:
    host = machine("no-hugepages", {"/opt/kubelet.yaml": "maxPods: 3"})
    folder = Path(host.root, "proc/9")
    folder.mkdir(parents=True)
    (folder / "cwd").symlink_to("/opt")
    config = kubelet_config.read(
        host, Kubelet(9, "kubelet", "kubelet.service", 1.0, ("kubelet", "--config=kubelet.yaml"))
    )
    assert value(config, "maxPods") == (3, "/opt/kubelet.yaml")


# k3s, RKE2, MicroK8s

OWN = f"{K3S}/00-k3s-defaults.conf"


def k3s(machine: Machine, files: Files, without: tuple[str, ...] = ()) -> Config:
    host = machine("k3s-dropins", files, without)
    agent = kubelet.find(host)
    assert agent is not None
    return kubelet_config.read(host, agent)


def test_k3s_merges_its_dropins_and_the_users_arguments(machine: Machine) -> None:
    config = k3s(machine, {})
    assert config.reason is None
    assert value(config, "failSwapOn") == (False, OWN)
    assert value(config, "imageGCHighThresholdPercent") == (70, f"{K3S}/20-cli-config-dir/50-gc.conf")
    assert value(config, "maxPods") == (150, "flag")
    assert pairs(config, "evictionHard") == {"imagefs.available": "5%", "nodefs.available": "5%"}
    assert pairs(config, "evictionSoft") == {"memory.available": "1Gi"}
    assert kubelet_config.reservation(config, TOTAL) == Reservation(2048 * MIB, None)


UNIT = "/etc/systemd/system/k3s.service"


@pytest.mark.parametrize(
    ("files", "pods"),
    [
        # The unit's own arguments replace all of a configuration file.
        ({UNIT: "[Service]\nExecStart=/usr/bin/k3s server --kubelet-arg max-pods=9\n"}, (9, "flag")),
        ({UNIT: "[Service]\nExecStart=/usr/bin/k3s server \\\n  '--kubelet-arg=max_pods=9'\n"}, (9, "flag")),
        (
            {f"{UNIT}.d/a.conf": "[Service]\nExecStart=\nExecStart=/usr/bin/k3s server --kubelet-arg=max-pods=8\n"},
            (8, "flag"),
        ),
        (
            {
                UNIT: "[Service]\nExecStart=/usr/bin/k3s server -c /etc/own.yaml\n",
                "/etc/own.yaml": "kubelet-arg: max-pods=7",
            },
            (7, "flag"),
        ),
        (
            {"/proc/77/environ": "K3S_CONFIG_FILE=/etc/own.yaml\0", "/etc/own.yaml": "kubelet-arg: max-pods=6"},
            (6, "flag"),
        ),
        ({"/proc/77/cmdline": "/usr/bin/k3s\0server\0--kubelet-arg\0max-pods=5\0"}, (5, "flag")),
        # A later file replaces, a + adds.
        ({"/etc/rancher/k3s/config.yaml.d/20.yaml": "kubelet-arg: [v=2]"}, (110, "default")),
        ({"/etc/rancher/k3s/config.yaml.d/20.yaml": "kubelet-arg+: [max-pods=4]"}, (4, "flag")),
        # Copied to the drop-ins at start, where it is read.
        ({"/etc/rancher/k3s/config.yaml": "kubelet-arg: [config=/nowhere]"}, (110, "default")),
        (
            {
                "/etc/rancher/k3s/config.yaml": "data-dir: /data",
                "/data/agent/etc/kubelet.conf.d/00-k3s-defaults.conf": "maxPods: 3",
            },
            (3, "/data/agent/etc/kubelet.conf.d/00-k3s-defaults.conf"),
        ),
    ],
)
def test_the_arguments_of_k3s_come_from_its_unit_and_its_own_configuration(
    machine: Machine, files: Files, pods: tuple[int, str]
) -> None:
    config = k3s(machine, files)
    assert (value(config, "maxPods"), config.reason) == (pods, None)


@pytest.mark.parametrize(
    ("files", "without", "reason"),
    [
        ({}, (UNIT,), "k3s hides its command line, and no unit k3s.service shows it"),
        ({}, (OWN,), f"{K3S} holds no defaults of k3s: this release gives its kubelet flags"),
        (
            {"/etc/rancher/k3s/config.yaml": "token: &x hush"},
            (),
            "/etc/rancher/k3s/config.yaml: line 1: is not understood",
        ),
        ({UNIT: "[Service]\nExecStart=/usr/bin/k3s server --token 'hush\n"}, (), "No closing quotation"),
    ],
)
def test_what_k3s_does_not_show_leaves_the_users_flags_alone(
    machine: Machine, files: Files, without: tuple[str, ...], reason: str
) -> None:
    config = k3s(machine, files, without)
    assert (config.reason or "").startswith(reason)
    assert "hush" not in str(config)
    assert all(setting.source == "flag" for setting in config.scalars.values())


def test_microk8s_keeps_the_flags_in_a_file(machine: Machine) -> None:
    path = "/var/snap/microk8s/7/args/kubelet"
    text = '# a comment\n--eviction-hard="memory.available<100Mi,nodefs.available<1Gi"\n--root-dir=${SNAP_COMMON}/var/lib/kubelet\n--max-pods=9\n'
    config = read(machine, f"--kubelet-args-file={path}", files={path: text}, process="kubelite")
    assert pairs(config, "evictionHard") == {"memory.available": "100Mi", "nodefs.available": "1Gi"}
    assert value(config, "maxPods") == (9, "flag")
    assert config.root_dir == "/var/snap/microk8s/common/var/lib/kubelet"
    assert "does not exist" in (read(machine, process="kubelite").reason or "")


# what is kept for the system


@pytest.mark.parametrize(
    ("arguments", "document", "mib"),
    [
        ([], None, 100),  # the default threshold alone
        (["--kube-reserved=memory=1Gi,cpu=1"], None, 1124),
        (["--kube-reserved", "cpu=1,memory=1Gi", "--system-reserved", "memory=512Mi"], None, 1636),
        (["--kube-reserved=memory=1Gi", "--kube-reserved=cpu=1"], None, 1124),  # several times: together
        (["--eviction-hard=memory.available<500Mi,nodefs.available<10%"], None, 500),
        (["--eviction-hard=memory.available<5%"], None, 500),
        (["--eviction-hard="], None, 0),
        (["--eviction-hard=memory.available<0%"], None, 0),
        (["--eviction-hard=memory.available<100%"], None, 0),
        (["--eviction-hard=nodefs.available<10%"], None, 0),  # one threshold takes the others' defaults away
        ([], "kubeReserved: {memory: 1Gi}\nsystemReserved: {memory: 24Mi}\n", 1148),
        ([], "evictionHard: {memory.available: 200Mi}\n", 200),
        ([], "evictionHard: {nodefs.available: 5%}\n", 0),
        ([], "evictionHard: {nodefs.available: 5%}\nmergeDefaultEvictionSettings: true\n", 100),
        ([], "evictionHard: {}\n", 0),
        ([], "evictionHard:\nkubeReserved:\n", 100),
        ([], "", 100),
        # A flag replaces the whole map of the file.
        (["--kube-reserved=cpu=1"], "kubeReserved: {memory: 1Gi}\n", 100),
    ],
)
def test_reservations_and_threshold_are_summed(
    machine: Machine, arguments: list[str], document: str | None, mib: int
) -> None:
    given = [] if document is None else ["--config=/nowhere", f"--config={CONFIG}"]
    config = read(machine, *given, *arguments, files={} if document is None else {CONFIG: document})
    assert kubelet_config.reservation(config, TOTAL) == Reservation(mib * MIB, None)


@pytest.mark.parametrize(
    "argument",
    [
        "--kube-reserved=memory=lots",
        "--eviction-hard=memory.available<inf%",
        "--eviction-hard=memory.available<nan%",
        "--eviction-hard=memory.available",
    ],
)
def test_a_reservation_that_is_no_quantity_is_none_with_a_reason(machine: Machine, argument: str) -> None:
    kept = kubelet_config.reservation(read(machine, argument), TOTAL)
    assert kept.size is None
    assert (kept.reason or "").startswith("the kubelet's reservations cannot be read")
