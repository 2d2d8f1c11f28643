"""docs/operating.md and the files in deploy/: every metric, setting and path that they name exists."""

import configparser
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from luthier.catalogue import Catalogue
from luthier.server import create_app
from luthier.settings import Settings
from luthier.store import Store

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
PAGES = [ROOT / "docs" / name for name in ("operating.md", "operating.zh-CN.md")]


def _service() -> configparser.ConfigParser:
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str  # type: ignore[assignment]  # systemd's names have capitals
    unit.read(DEPLOY / "luthier.service", encoding="utf-8")
    return unit


def test_every_metric_is_documented_in_both_languages(tmp_path: Path) -> None:
    store = Store(tmp_path)
    app = create_app(Settings(data=tmp_path), store, Catalogue(tmp_path / "cache"))
    names = {family.name for family in app.state.registry.collect() if family.name.startswith("luthier_")}
    store.close()
    for page in PAGES:
        named = {name.removesuffix("_total") for name in re.findall(r"`(luthier_\w+)`", page.read_text("utf-8"))}
        assert names <= named, page.name
        assert {name for name in named if name.startswith("luthier_engine")} <= names, page.name


def test_the_pages_are_alike() -> None:
    english, chinese = (page.read_text(encoding="utf-8") for page in PAGES)
    for pattern in (r"(?s)^```.*?^```", r"^#+ ", r"^\|", r"^- "):
        matches = [re.findall(pattern, text, re.MULTILINE) for text in (english, chinese)]
        assert len(matches[0]) == len(matches[1]), pattern
    blocks = [re.findall(r"(?s)^```.*?^```", text, re.MULTILINE) for text in (english, chinese)]
    assert blocks[0] == blocks[1]


def test_the_unit_names_settings_that_exist() -> None:
    unit = (DEPLOY / "luthier.service").read_text(encoding="utf-8")
    image = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
    compose = (DEPLOY / "compose.yaml").read_text(encoding="utf-8")
    worker = (DEPLOY / "luthier-worker.service").read_text(encoding="utf-8")
    named = set(re.findall(r"LUTHIER_([A-Z_]+)", unit + worker + image + compose))
    assert {name.lower() for name in named} <= set(Settings.model_fields)
    service = _service()["Service"]
    assert service["ExecStart"].startswith("/opt/luthier/bin/luthier serve --host 127.0.0.1")
    assert (service["User"], service["NoNewPrivileges"], service["ProtectSystem"]) == ("luthier", "true", "strict")


@pytest.mark.services
@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="there is no systemd-analyze here")
@pytest.mark.parametrize("name", ["luthier.service", "luthier-worker.service"])
def test_systemd_accepts_the_unit(name: str, tmp_path: Path) -> None:
    """With a program that exists, since the one of the unit is installed elsewhere."""
    text = (DEPLOY / name).read_text(encoding="utf-8")
    unit = tmp_path / name
    unit.write_text(text.replace("/opt/luthier/bin/luthier", "/bin/true").replace("User=luthier", "User=root"))
    command = ["systemd-analyze", "verify", "--man=no", str(unit)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    complaints = [line for line in result.stderr.splitlines() if name in line]
    assert complaints == []


def test_the_image_runs_as_a_user_and_its_base_can_be_chosen() -> None:
    lines = (DEPLOY / "Dockerfile").read_text(encoding="utf-8").splitlines()
    assert "ARG BASE=debian:bookworm-slim" in lines
    assert lines.index("USER luthier") < lines.index('ENTRYPOINT ["luthier"]')
    assert not any(line.startswith("USER root") for line in lines)
    copied = [word for line in lines if line.startswith("COPY") for word in line.split()[1:-1]]
    assert all((ROOT / name).exists() for name in copied)


def test_the_compose_file_keeps_data_and_publishes_on_loopback() -> None:
    service = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))["services"]["luthier"]
    assert (DEPLOY / service["build"]["context"] / service["build"]["dockerfile"]).is_file()
    assert all(port.startswith("127.0.0.1:") for port in service["ports"])
    assert {volume.split(":")[1] for volume in service["volumes"]} >= {"/data", "/cache"}


def test_the_proxy_lets_streams_and_files_through(tmp_path: Path) -> None:
    text = (DEPLOY / "nginx.conf").read_text(encoding="utf-8")
    assert "proxy_buffering off;" in text
    megabytes = int(re.findall(r"client_max_body_size (\d+)m;", text)[0])
    assert megabytes * 10**6 > Settings().max_file_bytes
    assert text.count("{") == text.count("}")
