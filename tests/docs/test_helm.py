"""The chart in examples/helm: what it renders to, where helm is at hand, and what can be seen of it where it is not."""

from __future__ import annotations

import importlib
import json
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from secure.parties.config import ALL_PARTIES, Limits
from secure.parties.settings_file import load_settings
from secure.parties.transport.certificates.making import make_certificates
from secure.parties.transport.certificates.own import read_own
from secure.protocols.core.errors import ConfigurationError
from tests.docs.conftest import ROOT
from tests.parties.local import eventually

CHART = ROOT / "examples" / "helm" / "secure-inference"
HELM = shutil.which("helm")
VALUES: dict[str, Any] = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
TEMPLATES = {path.name: path.read_text(encoding="utf-8") for path in (CHART / "templates").iterdir()}
EVERYTHING: dict[str, Any] = {
    "models": {"claim": "split-models"},
    "certificates": {"items": [{"key": "a.crt", "path": "trusted/p0/a.crt"}]},
    "callers": [{"ipBlock": {"cidr": "192.0.2.0/24"}}],
    "service": {"annotations": {"example.org/forward": "tcp"}},
    "storage": {"className": "fast"},
}
"""What a release gives that uses every setting."""
Render = Callable[[Mapping[str, Any]], str]


@pytest.fixture(scope="module")
def render(tmp_path_factory: pytest.TempPathFactory) -> Render:
    """Renders all templates with these values over the chart's own, as one text. Raises RuntimeError."""
    folder = tmp_path_factory.mktemp("values")

    def by_command(values: Mapping[str, Any]) -> str:
        (folder / "values.json").write_text(json.dumps(values), encoding="utf-8")
        command = [HELM or "", "template", "clinic-b", str(CHART), "--values", str(folder / "values.json")]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        if done.returncode:
            raise RuntimeError(done.stderr)
        return done.stdout

    def by_package(values: Mapping[str, Any]) -> str:
        with helm.Chart.load(CHART) as chart:
            try:
                return "\n---\n".join(chart.render(dict(values), name="clinic-b", namespace="parties").values())
            except helm.HelmRenderError as error:
                raise RuntimeError(str(error)) from None

    if HELM is not None:
        return by_command
    try:
        helm = importlib.import_module("helm_python")
    except ImportError:
        pytest.skip("neither helm nor the package helm-python-sdk is installed")
    return by_package


def objects(text: str) -> dict[str, Any]:
    """Kind → the one object of it."""
    found = {made["kind"]: made for made in yaml.safe_load_all(text) if made is not None}
    assert set(found) == {"ConfigMap", "Service", "NetworkPolicy", "StatefulSet"}
    return found


def test_the_chart_is_of_this_version() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text(encoding="utf-8"))
    version = re.search(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert version is not None and chart["version"] == chart["appVersion"] == VALUES["image"]["tag"] == version[1]
    assert chart["name"] == CHART.name and chart["apiVersion"] == "v2"


def test_templates_use_every_value_and_no_other() -> None:
    used = {name for text in TEMPLATES.values() for name in re.findall(r"\.Values\.([\w.]+)", text)}
    assert used == {name for name in leaves(VALUES) if not name.startswith("resources.")} | {"resources"}


def leaves(values: Mapping[str, Any], above: str = "") -> Iterator[str]:
    """Names of all values, with those of the tables that they are in."""
    for name, value in values.items():
        if isinstance(value, dict) and value:
            yield from leaves(value, f"{above}{name}.")
        else:
            yield f"{above}{name}"


def test_its_settings_are_read_and_bind_where_the_chart_asks(tmp_path: Path) -> None:
    path = tmp_path / "parties.toml"
    path.write_text(VALUES["settings"], encoding="utf-8")
    settings = load_settings(path)
    party = settings.party(VALUES["role"])
    assert (party.listen, party.admin) == ("0.0.0.0:7100", "0.0.0.0:9100")
    assert settings.stock is not None and settings.stock.dir == Path("/var/lib/secure-inference/stock")
    assert VALUES["role"] in ALL_PARTIES


def test_a_party_is_allowed_as_little_as_its_unit_allows() -> None:
    """What the templates say themselves, whatever values are given."""
    pod = TEMPLATES["statefulset.yaml"]
    for line in (
        "automountServiceAccountToken: false",
        "runAsNonRoot: true",
        "seccompProfile: {type: RuntimeDefault}",
        "emptyDir: {medium: Memory, sizeLimit: 1Mi}",
        "httpGet: {path: /ready, port: admin}",
        "httpGet: {path: /health, port: admin}",
    ):
        assert line in pod, line
    containers = pod.count("imagePullPolicy:")
    assert containers == 2 and pod.count('include "party.confined"') == containers
    for line in ("allowPrivilegeEscalation: false", "readOnlyRootFilesystem: true", "drop: [ALL]"):
        assert line in TEMPLATES["_helpers.tpl"], line
    assert not re.search(r"privileged: true|hostNetwork|hostPath|hostPID", "".join(TEMPLATES.values()))
    seconds = re.search(r"terminationGracePeriodSeconds: (\d+)", pod)
    assert seconds is not None and int(seconds[1]) > Limits.drain_seconds


def test_a_secret_reaches_the_party_as_files_of_its_own(tmp_path: Path) -> None:
    """The script beside the party, in a volume as secrets have them: links to a folder that is exchanged."""
    given, taken = tmp_path / "given", tmp_path / "taken"
    given.mkdir()
    taken.mkdir()
    for turn in ("first", "second"):
        make_certificates(given / f"..{turn}")
        for file in (given / f"..{turn}").iterdir():
            file.chmod(0o440)
    (given / "..data").symlink_to("..first")
    for name in ("p1.crt", "p1.key", "authority.crt", "owner.crt"):
        (given / name).symlink_to(f"..data/{name}")
    (given / "trusted" / "p0").mkdir(parents=True)
    (given / "trusted" / "p0" / "a.crt").symlink_to("../../..data/authority.crt")
    with pytest.raises(ConfigurationError, match="other users may read"):
        read_own(given / "..first", "p1")
    script = (CHART / "files" / "certificates.sh").read_text(encoding="utf-8")
    assert script.count("sleep 5\n") == 1
    environment = {"GIVEN": str(given), "CERTIFICATES": str(taken), "PATH": "/usr/bin:/bin"}
    command = ["sh", "-euc", script.replace("sleep 5\n", "sleep 0.1\n")]
    with subprocess.Popen(command, env=environment) as running:
        try:
            names = {"p1.crt", "p1.key", "authority.crt", "owner.crt", "a.crt"}
            eventually(lambda: {path.name for path in taken.rglob("*.*")} == names)
            assert {path.stat().st_mode & 0o777 for path in taken.rglob("*.*")} == {0o600}
            assert (taken / "trusted" / "p0" / "a.crt").read_bytes() == (given / "authority.crt").read_bytes()
            (given / "..data").unlink()
            (given / "..data").symlink_to("..second")
            (given / "owner.crt").unlink()
            for name in ("p1.key", "p1.crt", "authority.crt"):
                new = (given / "..second" / name).read_bytes()
                eventually(lambda name=name, new=new: (taken / name).read_bytes() == new)  # type: ignore[misc]
            eventually(lambda: not (taken / "owner.crt").exists())
            assert running.poll() is None
        finally:
            running.terminate()
    shutil.rmtree(taken / "trusted")
    read_own(taken, "p1")


@pytest.mark.parametrize("values", [{}, EVERYTHING], ids=["as it stands", "with every setting"])
def test_helm_renders_it(render: Render, values: dict[str, Any]) -> None:
    made = objects(render(values))
    pod = made["StatefulSet"]["spec"]["template"]["spec"]
    party, beside = pod["containers"][0], pod["initContainers"][0]
    assert party["args"][0] == "p1" and made["ConfigMap"]["data"]["parties.toml"].strip() == VALUES["settings"].strip()
    assert beside["command"][-1] == (CHART / "files" / "certificates.sh").read_text(encoding="utf-8")
    for container in (party, beside):
        confined = container["securityContext"]
        assert confined["readOnlyRootFilesystem"] and confined["capabilities"] == {"drop": ["ALL"]}
        assert confined["allowPrivilegeEscalation"] is False
        names = {volume["name"] for volume in pod["volumes"]} | {"state"}
        assert {mount["name"] for mount in container["volumeMounts"]} <= names
    assert pod["securityContext"]["runAsNonRoot"] and pod["automountServiceAccountToken"] is False
    chosen = made["Service"]["spec"]["selector"]
    assert chosen.items() <= made["StatefulSet"]["spec"]["template"]["metadata"]["labels"].items()
    assert chosen == made["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"]
    assert ("from" in made["NetworkPolicy"]["spec"]["ingress"][0]) is bool(values)
    assert ("models" in {mount["name"] for mount in party["volumeMounts"]}) is bool(values)


def test_helm_refuses_settings_that_bind_elsewhere(render: Render) -> None:
    with pytest.raises(RuntimeError, match=r"\[p0\] needs the line admin"):
        render({"role": "p0"})


@pytest.mark.skipif(HELM is None, reason="helm is not installed")
def test_helm_finds_nothing_wrong() -> None:
    done = subprocess.run([HELM or "", "lint", "--strict", str(CHART)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
