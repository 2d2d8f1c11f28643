"""The dashboard's files: whole, of this server alone, and the same as their makers published them."""

import hashlib
import re

import httpx
import pytest
from serving import Bare

from luthier.dashboard import assets

NOTICE = assets()["vendor/NOTICE.md"].read_text(encoding="utf-8")
TEXTS = assets()["texts.js"].read_text(encoding="utf-8") + assets()["texts_server.js"].read_text(encoding="utf-8")
OWN = [name for name in assets() if not name.startswith("vendor/")]


@pytest.mark.parametrize("name", list(assets()))
def test_a_file_is_served_without_a_key_under_a_strict_policy(keyed: Bare, name: str) -> None:
    response = httpx.get(f"{keyed.url}/dashboard/{name}")
    assert response.status_code == 200
    assert response.content == assets()[name].read_bytes()
    assert response.headers["content-security-policy"].startswith("default-src 'self';")
    assert "unsafe" not in response.headers["content-security-policy"]
    assert response.headers["x-content-type-options"] == "nosniff"
    again = httpx.get(f"{keyed.url}/dashboard/{name}", headers={"if-none-match": response.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


def test_the_root_is_the_dashboard_and_nothing_else_lies_there(keyed: Bare) -> None:
    assert httpx.get(keyed.url).content == assets()["index.html"].read_bytes()
    assert httpx.head(keyed.url).status_code == 200
    for path in ("/dashboard/", "/dashboard/%2e%2e/__init__.py", "/dashboard/no.js"):
        assert httpx.get(keyed.url + path).status_code == 404, path
    assert httpx.post(keyed.url).status_code == 401
    assert httpx.get(f"{keyed.url}/v1/luthier/jobs").status_code == 401


def test_pages_of_other_hosts_cannot_frame_or_read_it(bare: Bare) -> None:
    assert "frame-ancestors 'none'" in httpx.get(bare.url).headers["content-security-policy"]
    assert httpx.get(bare.url, headers={"host": "evil.example"}).status_code == 403
    assert httpx.get(bare.url, headers={"origin": "https://evil.example"}).status_code == 403


@pytest.mark.parametrize("name", OWN)
def test_own_files_name_no_other_host_and_write_no_markup(name: str) -> None:
    text = assets()[name].read_text(encoding="utf-8")
    hosts = set(re.findall(r"https?://([\w.-]+)", text)) - {"www.w3.org"}
    assert not hosts
    for sink in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "srcdoc"):
        assert sink not in text
    assert name.endswith(".html") or "<script" not in text


def test_every_module_and_text_that_is_used_exists() -> None:
    texts = re.findall(r"^  (\w+): \[", TEXTS, re.MULTILINE)
    assert len(texts) == len(set(texts))
    for name in OWN:
        text = assets()[name].read_text(encoding="utf-8")
        folder = name.rpartition("/")[0]
        for target in re.findall(r'from "\./([^"]+)"', text):
            assert f"{folder}/{target}".lstrip("/") in assets(), (name, target)
        for target in re.findall(r'from "\.\./([^"]+)"', text):
            assert target in assets(), (name, target)
        assert set(re.findall(r'\bt\("(\w+)"', text)) <= set(texts), name


def test_every_text_is_in_both_languages() -> None:
    text = r'"((?:[^"\\]|\\.)*)"'
    pattern = rf"^  (\w+): \[\s*{text},\s*{text},?\s*\]"
    entries = re.findall(pattern, TEXTS, re.MULTILINE)
    assert len(entries) == len(re.findall(r"^  \w+: \[", TEXTS, re.MULTILINE))
    for key, english, chinese in entries:
        assert set(re.findall(r"\{\w+\}", english)) == set(re.findall(r"\{\w+\}", chinese)), key
        assert re.search(r"[\u4e00-\u9fff]", chinese), key


@pytest.mark.parametrize(
    "name", [name for name in assets() if name.startswith("vendor/") and name != "vendor/NOTICE.md"]
)
def test_libraries_are_unchanged(name: str) -> None:
    digest = hashlib.sha256(assets()[name].read_bytes()).hexdigest()
    assert re.search(rf"\| {re.escape(name.removeprefix('vendor/'))} \|.*\| {digest} \|", NOTICE)
