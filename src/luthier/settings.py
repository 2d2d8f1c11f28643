"""Every knob of the server, written once.

The variable `LUTHIER_<NAME>`, the flag of `luthier serve` and the reference page all derive from the fields
below; a description here is the documentation. This module knows nothing about what the knobs turn.
"""

import ipaddress
import re
from pathlib import Path
from typing import Annotated, Literal

import platformdirs
from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from luthier.types.job_options import HIGHEST_ALPHA, HIGHEST_RANK
from luthier.types.names import COMPLETION_NAMES, OTHER_SNAPSHOTS, SNAPSHOTS

DEFAULT_BASE = "smollm2-135m-instruct"


class Settings(BaseSettings):
    """Flags win over variables, variables over defaults."""

    # An error repeats no value: it may be a key.
    model_config = SettingsConfigDict(
        env_prefix="LUTHIER_", extra="forbid", validate_default=True, hide_input_in_errors=True
    )

    host: str = Field("127.0.0.1", description="Address to listen on. Other than loopback needs --api-keys.")
    port: int = Field(8000, ge=0, le=65535, description="Port to listen on; 0 takes a free one.")
    data: Path = Field(
        Path(platformdirs.user_data_dir("luthier")),
        description="Folder with all state: database, files, jobs, fine-tuned models.",
    )
    cache: Path = Field(
        Path(platformdirs.user_cache_dir("luthier")),
        description="Folder for what can be fetched again: base models, converted or pulled.",
    )
    api_keys: Annotated[list[SecretStr], NoDecode] = Field(
        default_factory=list,
        description=(
            "Keys that clients must send, separated by commas. None: no key is asked for, on loopback only. "
            "`proj_NAME=KEY` binds a key to a project; a plain key is the whole organization's."
        ),
    )
    base: str = Field(
        DEFAULT_BASE,
        description="Base model behind OpenAI's names: of the catalogue, a pulled one, or the path of a model folder.",
    )
    hub_endpoint: str | None = Field(
        None,
        description=(
            "Where `luthier models pull` finds Hugging Face models, such as the address of a mirror. None: the "
            "variable HF_ENDPOINT, else https://huggingface.co."
        ),
    )
    hub_token: SecretStr | None = Field(
        None,
        description=(
            "Token for gated and private models there. None: the one of Hugging Face's own tools (HF_TOKEN or their "
            "login), unless hub_endpoint is set."
        ),
    )
    modelscope_endpoint: str = Field(
        "https://www.modelscope.cn", description="Where `luthier models pull modelscope:ID` finds models."
    )
    modelscope_token: SecretStr | None = Field(None, description="Token for private models there.")
    embedding_model: Path | None = Field(
        None,
        description=(
            "Folder of a model made for embeddings, such as BERT or what sentence-transformers saves, behind OpenAI's "
            "names of embedding models. None: the base model embeds."
        ),
    )
    aliases: dict[str, str] = Field(
        default_factory=dict,
        description=(
            "More names, as JSON: from a name to a base model of the catalogue or a pulled one, the path of a model "
            'folder, or "upstream:MODEL" for a service elsewhere. Example: {"gpt-4o": "upstream:gpt-4o"}.'
        ),
    )
    upstream_base_url: str | None = Field(
        None, description="The service that upstream aliases reach, such as https://api.openai.com/v1."
    )
    upstream_api_key: SecretStr | None = Field(None, description="The key for that service.")
    organization: str = Field(
        "personal", pattern=r"^[\w.-]{1,64}$", description="Third part of fine-tuned model names."
    )
    device: Literal["auto", "cpu", "cuda"] = Field(
        "auto", description="Where training and serving run; auto takes a GPU when there is one."
    )
    precision: Literal["auto", "bfloat16", "float32"] = Field(
        "auto", description="Number format of the base weights; auto takes bfloat16 where the processor has it."
    )
    threads: int = Field(0, ge=0, description="Processor threads for training; 0 leaves the choice to PyTorch.")
    lora_rank: int = Field(
        16, ge=1, le=HIGHEST_RANK, description="Rank of new adapters, unless a job's metadata say otherwise."
    )
    lora_alpha: int = Field(
        0, ge=0, le=HIGHEST_ALPHA, description="Alpha of new adapters, which scales them; 0: twice the rank."
    )
    lora_targets: str = Field(
        "all-linear",
        pattern=r"^\w[\w-]*(,\w+)*$",
        description="Layers that adapters are put on: all-linear, attention, mlp, or names with commas between.",
    )
    definitions: str = Field(
        "40,20,40",
        pattern=r"^(full|slim|none|\d+(\.\d+)?,\d+(\.\d+)?,\d+(\.\d+)?)$",
        description=(
            "How training shows function definitions: in full, slim and not at all, as shares of the epochs; or one of "
            "full, slim, none."
        ),
    )
    keep_checkpoints: int = Field(3, ge=1, description="Checkpoints kept per job, the newest; OpenAI keeps three.")
    adapters_in_memory: int = Field(8, ge=1, description="Fine-tuned models kept loaded; the longest unused goes.")
    models_in_memory: int = Field(
        4,
        ge=1,
        description="Base models and models trained whole that are kept loaded; the longest unused goes, once idle.",
    )
    python_graders: Literal["off", "sandbox", "limits"] = Field(
        "off",
        description=(
            "Whether graders may be Python source. `sandbox`: in a child program that the kernel keeps from files, "
            "network and processes. `limits`: bounded in time and memory only, for trusted users."
        ),
    )
    prefix_cache_bytes: int = Field(
        256 * 1024 * 1024,
        ge=0,
        description="Memory for texts that were read before, so that what a prompt shares with them is not read again.",
    )
    engine: Literal["auto", "native", "openvino", "batched", "transformers", "vllm", "echo"] = Field(
        "auto",
        description=(
            "What serves base models; auto takes, for the Llama family, native on processors with a matrix unit (AMX), "
            "openvino on other x86-64 processors and batched elsewhere, and transformers for the rest. `vllm` asks a "
            "vLLM server, see docs/models.md; `echo` says prompts back, for trying out clients."
        ),
    )
    vllm_url: str | None = Field(
        None, description="A vLLM server that serves the base model. None: the engine vllm starts one itself."
    )
    vllm_api_key: SecretStr | None = Field(None, description="The key for that server, if it asks for one.")
    vllm_command: str = Field(
        "vllm", description="The program that starts vLLM, which may be installed in an environment of its own."
    )
    vllm_arguments: str = Field(
        "", description="More arguments for it, such as `--gpu-memory-utilization 0.8 --max-lora-rank 128`."
    )
    max_file_bytes: int = Field(512 * 1024 * 1024, ge=1, description="Largest file that may be sent at once.")
    max_upload_bytes: int = Field(
        8 * 1024**3, ge=1, description="Largest file that may be sent in parts (the Uploads API); OpenAI takes 8 GB."
    )
    answer_tokens: int = Field(
        1024, ge=1, description="Most tokens of an answer when the request names no limit of its own."
    )
    strict_calls: Literal["taught", "all", "off"] = Field(
        "taught",
        description=(
            "Which calls are held, while they are written, to the functions that are known and to their schemas. "
            "`taught`: those of fine-tuned models that were trained with definitions; `all`: those of every model; "
            "`off`: only those of requests that ask for it, with `strict` or by a `tool_choice`. Answers in words stay "
            "possible."
        ),
    )
    stored_days: int = Field(30, ge=1, description="Days for which chat completions with `store` are kept.")
    stored_completions: int = Field(
        10_000, ge=1, description="Chat completions with `store` that are kept at most; the oldest go first."
    )
    queue_limit: int = Field(
        64, ge=1, description="Requests of one key that may wait for an answer; more get status 429."
    )
    requests_per_minute: int = Field(
        0, ge=0, description="Requests for answers that a key may send in a minute; 0: no limit. More get status 429."
    )
    tokens_per_minute: int = Field(
        0, ge=0, description="Tokens that a key may ask for in a minute, counted as OpenAI does; 0: no limit."
    )
    cors_origins: Annotated[list[str], NoDecode] = Field(
        default_factory=list,
        description=(
            "Web pages that may call this server from a browser, by origin, separated by commas, such as "
            "https://app.example; * for all, which needs --api-keys. None: no page of another origin may."
        ),
    )
    batch_concurrency: int = Field(
        2, ge=1, le=64, description="Requests of batches answered at once; they wait while other requests are."
    )

    @field_validator("api_keys", "cors_origins", mode="before")
    @classmethod
    def _split_keys(cls, value: object) -> object:
        return [key.strip() for key in value.split(",") if key.strip()] if isinstance(value, str) else value

    @field_validator("api_keys")
    @classmethod
    def _one_project_each(cls, value: list[SecretStr]) -> list[SecretStr]:
        for number, entry in enumerate(value, 1):
            project, key = _bound(entry)
            if not key:
                raise ValueError(f"key {number} is empty: '{project}=' stands without the key that it is for")
            if any(other[1] == key and other[0] != project for other in map(_bound, value)):
                raise ValueError(f"key {number} is given twice, with different projects")
        return value

    @field_validator("cors_origins")
    @classmethod
    def _as_browsers_send_them(cls, value: list[str]) -> list[str]:
        return [origin.lower().rstrip("/") for origin in value]

    @field_validator("aliases")
    @classmethod
    def _plain_names(cls, value: dict[str, str]) -> dict[str, str]:
        for name in value:
            if not name or ":" in name:
                raise ValueError(f"'{name}' cannot be a name: fine-tuned models are named after it, with ':' between")
        return value

    @field_validator("data", "cache", "embedding_model")
    @classmethod
    def _absolute(cls, value: Path | None) -> Path | None:
        return value.expanduser().absolute() if value else None

    @model_validator(mode="after")
    def _all_pages_need_keys(self) -> "Settings":
        if "*" in self.cors_origins and not self.api_keys:
            raise ValueError("cors_origins: '*' lets every web page in, and no keys are set; set api_keys too")
        return self

    def keys(self) -> dict[str, str | None]:
        """Every key with its project; None: the whole organization's."""
        return {key: project for project, key in map(_bound, self.api_keys)}

    def names(self) -> dict[str, str]:
        """Every alias with its target: OpenAI's names on the default base, then the operator's own."""
        openai = [*SNAPSHOTS, *SNAPSHOTS.values(), *OTHER_SNAPSHOTS, *COMPLETION_NAMES]
        return {name: self.base for name in openai} | self.aliases

    def is_loopback(self) -> bool:
        """Whether only this machine can reach the server."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False


def _bound(entry: SecretStr) -> tuple[str | None, str]:
    """The project and the key of `proj_NAME=KEY`; a key may hold `=` itself."""
    found = re.fullmatch(r"(proj_[\w-]+)=(.*)", entry.get_secret_value(), re.ASCII)
    return (found[1], found[2]) if found else (None, entry.get_secret_value())
