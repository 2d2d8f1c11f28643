"""The config file, aliases, doctor and completion."""

import json
from pathlib import Path

import pytest
from command_line import run

from luthier.cli import doctor as doctor_module
from luthier.settings import Settings


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "config.toml"
    monkeypatch.setenv("LUTHIER_CONFIG", str(path))
    return path


def test_flags_win_over_variables_and_variables_over_the_file(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config.write_text('port = 8001\nqueue_limit = 3\nlora_rank = 4\n[aliases]\na = "x"\nb = "y"\n')
    monkeypatch.setenv("LUTHIER_PORT", "8002")
    monkeypatch.setenv("LUTHIER_QUEUE_LIMIT", "5")
    monkeypatch.setenv("LUTHIER_ALIASES", '{"b": "z"}')
    settings = Settings(port=8003)
    assert (settings.port, settings.queue_limit, settings.lora_rank) == (8003, 5, 4)
    assert settings.aliases == {"a": "x", "b": "z"}


@pytest.mark.parametrize(("text", "names"), [("port = \n", "not valid TOML"), ("prot = 1\n", "prot")])
def test_a_faulty_file_is_one_message(config: Path, text: str, names: str) -> None:
    config.write_text(text)
    result = run("config", "show")
    assert result.exit_code == 2
    assert names in result.stderr


def test_config_path_and_show(config: Path) -> None:
    assert run("config", "path").stdout.strip() == str(config)
    config.write_text('port = 8001\napi_keys = ["secret"]\n')
    output = run("config", "show").stdout
    assert "8001" in output
    assert "secret" not in output
    assert json.loads(run("config", "show", "--json").stdout)["port"] == 8001


def test_aliases_are_set_listed_and_removed(config: Path) -> None:
    assert "No aliases" in run("alias").stdout
    config.write_text("# my server\nport = 8001\n[aliases]\nold = 'base'\n")
    assert run("alias", "set", "gpt-5", "upstream:gpt-5").exit_code == 0
    assert run("alias", "set", "模型", "Qwen/Qwen3-0.6B").exit_code == 0
    expected = {"old": "base", "gpt-5": "upstream:gpt-5", "模型": "Qwen/Qwen3-0.6B"}
    assert json.loads(run("alias", "list", "--json").stdout) == expected
    assert config.read_text().startswith("# my server\nport = 8001\n")
    assert Settings().aliases == expected
    assert run("alias", "remove", "old").exit_code == 0
    assert run("alias", "remove", "old").exit_code == 2
    assert "old" not in Settings().aliases


def test_a_file_that_cannot_be_edited_stays_as_it_is(config: Path) -> None:
    config.write_text('aliases = {a = "b"}\n')
    result = run("alias", "set", "c", "d")
    assert result.exit_code == 2
    assert "[aliases]" in result.stderr
    assert config.read_text() == 'aliases = {a = "b"}\n'


@pytest.mark.services
def test_doctor_shows_every_check(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LUTHIER_BSAE", "typo")
    left_out = (doctor_module._engine, doctor_module.hub)  # torch, and the network
    checks = [check for check in doctor_module.CHECKS if check not in left_out]
    monkeypatch.setattr(doctor_module, "CHECKS", checks)
    result = run("doctor", "--data", tmp_path / "data", "--json")
    findings = {finding["name"]: finding for finding in json.loads(result.stdout)}
    assert {"version", "config", "cpu", "data", "cache", "port", "compiler", "base", "environment"} <= set(findings)
    assert {"open files", "database", "keys", "kernels"} <= set(findings)
    assert "LUTHIER_BSAE" in findings["environment"]["text"]
    assert not (tmp_path / "data").exists()
    assert "✓ version" in run("doctor").stdout


def test_a_check_that_fails_does_not_hide_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(settings: Settings):
        raise RuntimeError("no such file")
        yield

    monkeypatch.setattr(doctor_module, "CHECKS", [broken, doctor_module._version])
    result = run("doctor")
    assert result.exit_code == 1
    assert "RuntimeError: no such file" in result.stdout
    assert "Luthier" in result.stdout


@pytest.mark.parametrize("prebuilt", [False, True])
def test_doctor_asks_for_a_compiler_unless_kernels_are_prebuilt(
    prebuilt: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor_module, "CHECKS", [doctor_module._compiler])
    monkeypatch.setattr("luthier.native.PREBUILT", tmp_path if prebuilt else tmp_path / "absent")
    monkeypatch.setenv("PATH", "")
    result = run("doctor")
    assert ("install g++" in result.stdout) is not prebuilt


@pytest.mark.services
@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_a_script(shell: str) -> None:
    assert "_LUTHIER_COMPLETE" in run("completion", shell).stdout


def test_wrong_settings_are_explained_in_chinese(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value, text in (
        ("PORT", "ninety", "应为整数"),
        ("PORT", "-1", "应不小于 0"),
        ("DEVICE", "tpu", "可选值"),
        ("CPU_TIER", "sse9", "LUTHIER_CPU_TIER=sse9：这个 CPU 的层级有"),
        ("CORS_ORIGINS", "*", "取值无效：cors_origins: '*'"),
    ):
        monkeypatch.setenv(f"LUTHIER_{name}", value)
        warning = run("serve", "--lang", "zh").stderr
        assert text in warning, warning
        monkeypatch.delenv(f"LUTHIER_{name}")
