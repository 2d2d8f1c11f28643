"""Settings: flags over variables over defaults, and nothing unsafe by accident."""

from pathlib import Path

import pytest
from click.testing import CliRunner
from openai import OpenAI
from pydantic import SecretStr, ValidationError

from luthier.cli import main
from luthier.runtime import LuthierServer, running_or_embedded
from luthier.settings import Settings
from luthier.types.errors import LuthierError, RenamedSettingWarning
from luthier.types.plain_settings import DEFAULT_BASE, base_and_cache
from luthier.types.renamed_settings import RENAMED


def test_defaults_are_safe() -> None:
    settings = Settings()
    assert settings.is_loopback()
    assert settings.api_keys == []
    assert settings.names()["gpt-3.5-turbo"] == DEFAULT_BASE
    assert settings.names()["gpt-4o-mini-2024-07-18"] == DEFAULT_BASE


def test_variables_are_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LUTHIER_API_KEYS", "key-1, key-2,")
    monkeypatch.setenv("LUTHIER_ALIASES", '{"gpt-4o": "upstream:gpt-4o"}')
    monkeypatch.setenv("LUTHIER_DATA", str(tmp_path))
    settings = Settings()
    assert settings.api_keys == [SecretStr("key-1"), SecretStr("key-2")]
    assert settings.names()["gpt-4o"] == "upstream:gpt-4o"
    assert settings.data == tmp_path
    assert "key-1" not in repr(settings)


@pytest.mark.parametrize(
    "variables",
    [{}, {"LUTHIER_BASE": "other", "LUTHIER_PORT": "9"}, {"LUTHIER_CACHE": "~/kept"}, {"luthier_cache": "here/kept"}],
)
def test_base_and_cache_alone_are_those_of_all_settings(
    variables: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("LUTHIER_BASE", "LUTHIER_CACHE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    config = tmp_path / "config.toml"
    monkeypatch.setenv("LUTHIER_CONFIG", str(config))
    settings = Settings()
    assert base_and_cache() == (settings.base, settings.cache)
    config.write_text('base = "of the file"\n')
    assert base_and_cache() is None


@pytest.mark.parametrize(
    "given",
    [
        {"port": 70000},
        {"precision": "int4"},
        {"no_such": 1},
        {"organization": "a:b"},
        {"keep_checkpoints": 0},
        {"aliases": {"a:b": "x"}},
        {"aliases": {"ft:a b": "x"}},
        {"capture": "proj a"},
        {"aliases": {"proj_a=a:b": "x"}},
        {"aliases": {"a": "upstream:|"}},
        {"aliases": {"a": "upstream:b|upstream:c"}},
    ],
)
def test_nonsense_is_refused(given: dict) -> None:
    with pytest.raises(ValidationError):
        Settings(**given)


def test_a_projects_aliases_take_precedence() -> None:
    settings = Settings(aliases={"proj_a=gpt-4o": "upstream:", "gpt-4o": "x", "a=b": "y", "proj_b=gpt-4": "z"})
    assert settings.names()["gpt-4o"] == settings.names("proj_b")["gpt-4o"] == "x"
    assert settings.names("proj_a")["gpt-4o"] == "upstream:"
    assert settings.names("proj_a")["gpt-4"] == DEFAULT_BASE
    assert settings.names()["a=b"] == "y"


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "example.org"])
def test_no_keys_no_other_bind(host: str, tmp_path: Path) -> None:
    with pytest.raises(LuthierError, match="no keys are set"):
        LuthierServer(Settings(host=host, port=0, data=tmp_path)).__enter__()
    result = CliRunner().invoke(main, ["serve", "--host", host, "--data", str(tmp_path)])
    assert result.exit_code == 2
    assert "LUTHIER_API_KEYS" in result.stderr


def test_a_wrong_flag_is_named() -> None:
    result = CliRunner().invoke(main, ["serve", "--port", "ninety"])
    assert result.exit_code == 2
    assert "--port" in result.stderr
    assert "LUTHIER_PORT" in result.stderr


@pytest.mark.parametrize(("language", "text"), [("en", "needs 2 or more training_processes"), ("zh", "至少为 2")])
def test_a_base_is_sharded_over_several_processes(
    language: str, text: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("LUTHIER_LANG", language)
    result = CliRunner().invoke(main, ["serve", "--shard-base", "true", "--data", str(tmp_path)])
    assert result.exit_code == 2
    assert text in result.stderr
    assert Settings(shard_base=True, training_processes=2).shard_base


def test_a_table_that_is_no_json_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LUTHIER_ALIASES", "gpt-4o=upstream")
    for command in (["serve"], ["jobs"]):
        result = CliRunner().invoke(main, command)
        assert result.exit_code == 2
        assert "aliases" in result.stderr
        assert "Traceback" not in result.output


def test_every_setting_is_a_flag() -> None:
    output = CliRunner().invoke(main, ["serve", "--help"]).output
    for name in Settings.model_fields:
        assert "--" + name.replace("_", "-") in output


@pytest.mark.parametrize(("old", "new"), RENAMED.items())
def test_a_renamed_setting_keeps_its_variable_and_flag(old: str, new: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.warns(RenamedSettingWarning, match=f"{old} was renamed to {new}"):
        assert getattr(Settings(**{old: 3}), new) == 3
    monkeypatch.setenv(f"LUTHIER_{old.upper()}", "4")
    with pytest.warns(RenamedSettingWarning, match=f"LUTHIER_{new.upper()}"):
        assert getattr(Settings(), new) == 4
    with pytest.warns(RenamedSettingWarning):
        assert getattr(Settings(**{new: 5}), new) == 5  # a flag wins over a variable, whatever the names
    monkeypatch.setenv(f"LUTHIER_{new.upper()}", "6")
    with pytest.warns(RenamedSettingWarning):
        assert getattr(Settings(), new) == 6  # the current name wins over the former one


def test_the_flag_of_a_renamed_setting_is_hidden_and_warns() -> None:
    assert "--adapters-in-memory" not in CliRunner().invoke(main, ["serve", "--help"]).output
    result = CliRunner().invoke(main, ["serve", "--adapters-in-memory", "0"])
    assert result.exit_code == 2
    assert "Warning: The setting adapters_in_memory was renamed to lora_slots (--lora-slots" in result.stderr
    assert "--lora-slots / LUTHIER_LORA_SLOTS: Input should be greater than or equal to 1" in result.stderr


def test_a_renamed_variable_warns_in_any_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LUTHIER_ANSWER_TOKENS", "0")
    result = CliRunner().invoke(main, ["jobs"])
    assert result.exit_code == 2
    assert result.stderr.startswith("Warning: The setting answer_tokens was renamed to default_max_tokens")


def test_one_server_a_folder_and_commands_find_it(tmp_path: Path, tiny_base: Path) -> None:
    settings = Settings(port=0, data=tmp_path / "data", base=str(tiny_base))
    with LuthierServer(settings) as running:
        with pytest.raises(LuthierError, match="is already running"):
            LuthierServer(settings).__enter__()
        with running_or_embedded(settings.data) as endpoint:
            assert (endpoint.base_url, endpoint.embedded) == (running.endpoint.base_url, False)
        address = settings.data / "server.json"
        assert address.stat().st_mode & 0o077 == 0
    assert not address.exists()


def test_no_key_of_the_operator_is_written_to_the_data_folder(tmp_path: Path, tiny_base: Path) -> None:
    tmp_path.chmod(0o755)  # a folder that was there before
    settings = Settings(port=0, data=tmp_path, base=str(tiny_base), api_keys="proj_a=sk-of-the-operator")
    with LuthierServer(settings) as running:
        assert running.endpoint.api_key != "sk-of-the-operator"
        assert "sk-of-the-operator" not in (tmp_path / "server.json").read_text()
        assert (tmp_path / "luthier.db").stat().st_mode & 0o077 == 0
        for key in (running.endpoint.api_key, "sk-of-the-operator"):
            assert OpenAI(base_url=running.endpoint.base_url, api_key=key).files.list().data == []


def test_an_address_left_by_a_dead_server_is_ignored(
    tmp_path: Path, tiny_base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LUTHIER_BASE", str(tiny_base))
    (tmp_path / "server.json").write_text('{"base_url": "http://127.0.0.1:1/v1", "api_key": "x"}')
    with running_or_embedded(tmp_path) as endpoint:
        assert endpoint.embedded
        assert len(endpoint.api_key) > 20  # on a machine with other people, a free port alone would be open to them


def test_a_port_in_use_is_named(tmp_path: Path, tiny_base: Path) -> None:
    with LuthierServer(Settings(port=0, data=tmp_path / "one", base=str(tiny_base))) as running:
        port = int(running.endpoint.base_url.split(":")[2].split("/")[0])
        with pytest.raises(LuthierError, match=f"port {port}"):
            LuthierServer(Settings(port=port, data=tmp_path / "two", base=str(tiny_base))).__enter__()


def test_keys_and_their_projects() -> None:
    settings = Settings(api_keys="proj_a=sk-1, sk-2==,proj_b=sk-3=, proj_a=sk-4, a=b")
    assert settings.keys() == {"sk-1": "proj_a", "sk-2==": None, "sk-3=": "proj_b", "sk-4": "proj_a", "a=b": None}
    assert Settings().keys() == {}


@pytest.mark.parametrize(("given", "said"), [("sk-1,proj_a=", "key 2 is empty"), ("sk-1,proj_a=sk-1", "given twice")])
def test_keys_that_cannot_be_meant(given: str, said: str) -> None:
    with pytest.raises(ValidationError, match=said) as caught:
        Settings(api_keys=given)
    assert "sk-1" not in str(caught.value)


@pytest.mark.parametrize(
    ("mode", "is_taken"), [(0o600, True), (0o400, True), (0o640, False), (0o604, False), (0o644, False)]
)
def test_a_key_file_is_for_its_owner_only(tmp_path: Path, mode: int, is_taken: bool) -> None:
    path = tmp_path / "keys"
    path.write_text("# of the team\nproj_a=sk-1\n\n  sk-2==  \n")
    path.chmod(mode)
    if is_taken:
        keys = Settings(api_keys="sk-0", api_key_file=path).keys()
        assert keys == {"sk-0": None, "sk-1": "proj_a", "sk-2==": None}
    else:
        with pytest.raises(ValueError, match=f"{path} has mode {mode:04o}.*chmod 600 {path}"):
            Settings(api_key_file=path)


@pytest.mark.parametrize(
    ("content", "cause"),
    [(None, "cannot be read"), (b"\n# none\n", "contains no key"), (b"proj_b=sk-0\n", "different projects"),
     (b"proj_b=\n", "is empty"), (b"\xff\xfe", "cannot be read")],
)  # fmt: skip
def test_a_key_file_that_gives_no_keys_is_refused(tmp_path: Path, content: bytes | None, cause: str) -> None:
    path = tmp_path / "keys"
    if content is not None:
        path.write_bytes(content)
        path.chmod(0o600)
    with pytest.raises(ValueError, match=cause):
        Settings(api_keys="proj_a=sk-0", api_key_file=path)
