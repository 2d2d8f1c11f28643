"""All settings of the server, each defined once.

The environment variable `LUTHIER_<NAME>`, the flag of `luthier serve` and the reference page are derived from the
fields below, whose descriptions are the documentation. Renamed ones keep working (`luthier.types.renamed_settings`).
"""

from pathlib import Path
from typing import Annotated, Literal

import platformdirs
from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_core import PydanticCustomError
from pydantic_settings import NoDecode

from luthier.devices import DeviceName, Precision, select_device
from luthier.hardware import UnknownTierError, cpu_tiers
from luthier.types.aliases import check_alias_name, parse_target, project_and_name
from luthier.types.allowed_hosts import AllowedHosts, is_loopback_host
from luthier.types.api_keys import check_keys, project_and_key, read_key_file
from luthier.types.job_options import MAX_ALPHA, MAX_RANK
from luthier.types.names import COMPLETION_NAMES, OTHER_SNAPSHOTS, SNAPSHOTS, TrackerName
from luthier.types.plain_settings import DEFAULT_BASE, DEFAULT_CACHE
from luthier.types.projects import DEFAULT_PROJECT, PROJECT_ID
from luthier.types.settings_sources import SourcedSettings


class Settings(SourcedSettings):
    """See `SourcedSettings` for the sources and their precedence."""

    host: str = Field("127.0.0.1", description="Address to listen on. Any address but loopback requires --api-keys.")
    port: int = Field(8000, ge=0, le=65535, description="Port to listen on; 0 picks a free port.")
    data: Path = Field(
        Path(platformdirs.user_data_dir("luthier")),
        description="Data folder with all state: database, files, jobs, fine-tuned models.",
    )
    store: SecretStr | None = Field(
        None,
        description=(
            "Database of servers and workers on several machines, as postgresql://USER:PASSWORD@HOST:5432/DATABASE "
            "(docs/cluster.md). None: SQLite in the data folder."
        ),
    )
    cache: Path = Field(
        DEFAULT_CACHE,
        description="Cache folder for what can be fetched or built again: base models, compiled kernels, measurements.",
    )
    blobs: str | None = Field(
        None,
        pattern=r"^[a-z0-9]+://[^/@?#]+(/[^?#]*)?$",
        description=(
            "Bucket for files, models and resume states, as s3://BUCKET/PREFIX, gs://… or az://… (docs/operating.md). "
            "Credentials, region and endpoint come from the client's own variables, such as AWS_ACCESS_KEY_ID and "
            "AWS_ENDPOINT_URL. None: the data folder."
        ),
    )
    max_blob_copy_bytes: int = Field(
        20 * 1024**3,
        ge=0,
        description="Local copies of what is in the bucket `blobs`; the least recently used are evicted.",
    )
    api_keys: Annotated[list[SecretStr], NoDecode] = Field(
        default_factory=list,
        description=(
            "API keys that clients must send, separated by commas. None: no authentication, on loopback only. "
            "`proj_NAME=KEY` binds a key to a project; a plain key belongs to the whole organization."
        ),
    )
    api_key_file: Path | None = Field(
        None,
        description=(
            "File with more API keys, one a line, as in `api_keys`, so that they stand neither in the environment nor "
            "in the process list. Only its owner may have access to it (mode 0600)."
        ),
    )
    base: str = Field(
        DEFAULT_BASE,
        description="Base model behind OpenAI's model names: a catalogue entry, a pulled model or a model folder.",
    )
    hub_endpoint: str | None = Field(
        None,
        description=(
            "Hugging Face endpoint of `luthier models pull`, such as the URL of a mirror. None: the environment "
            "variable HF_ENDPOINT, else https://huggingface.co."
        ),
    )
    hub_token: SecretStr | None = Field(
        None,
        description=(
            "Hugging Face token for gated and private models. None: that of Hugging Face's own tools (HF_TOKEN or "
            "their login), unless hub_endpoint is set."
        ),
    )
    modelscope_endpoint: str = Field(
        "https://www.modelscope.cn", description="ModelScope endpoint of `luthier models pull modelscope:ID`."
    )
    modelscope_token: SecretStr | None = Field(None, description="ModelScope token for private models.")
    embedding_model: Path | None = Field(
        None,
        description=(
            "Folder of an embedding model (BERT, or a sentence-transformers model) behind OpenAI's embedding model "
            "names. None: embeddings come from the base model."
        ),
    )
    aliases: dict[str, str] = Field(
        default_factory=dict,
        description=(
            "More model names, as a JSON object: from a name to a catalogue entry, a pulled or fine-tuned model, the "
            'path of a model folder, or "upstream:MODEL" for the upstream service. Example: {"gpt-4o": '
            '"upstream:gpt-4o"}. "upstream:" is the same name there; "upstream:|MODEL" is that one, and the local '
            "MODEL once the upstream service no longer has it. A name may be that of a fine-tuned model (ft:...); "
            "`proj_NAME=` before a name limits it to a project."
        ),
    )
    upstream_base_url: str | None = Field(
        None, description="Upstream service that `upstream:` aliases are proxied to, such as https://api.openai.com/v1."
    )
    upstream_api_key: SecretStr | None = Field(None, description="API key of the upstream service.")
    capture: Annotated[list[str], NoDecode] = Field(
        default_factory=list,
        description=(
            "Projects, separated by commas, or `all`, whose chat completions that pass through to the upstream service "
            "are stored, with the metadata luthier:captured=true, within `stored_days` and `stored_completions`. "
            "`default` is the project of keys without one. None: nothing is stored."
        ),
    )
    organization: str = Field("personal", pattern=r"^[\w.-]{1,64}$", description="Third part of `ft:` model names.")
    device: Literal["auto", "cpu", "cuda", "mps"] = Field(
        "auto", description="Device of training and serving; auto takes an NVIDIA GPU. Apple's, mps, is untested."
    )
    precision: Literal["auto", "bfloat16", "float32"] = Field(
        "auto", description="Dtype of the base weights; auto takes bfloat16 where the CPU or GPU is fast in it."
    )
    threads: int = Field(0, ge=0, description="CPU threads for training; 0 leaves the choice to PyTorch.")
    concurrent_jobs: int = Field(1, ge=1, le=64, description="Jobs that train side by side, where memory allows.")
    training_processes: int = Field(
        1,
        ge=1,
        le=64,
        description="Processes that train a job together on this machine, data-parallel: one per GPU or CPU socket.",
    )
    shard_base: bool = Field(
        False, description="Shard a base larger than a GPU over `training_processes` (FSDP2); adapters only."
    )
    launcher: Literal["local", "ray"] = Field(
        "local", description="Where trainers run: on the worker's machine, or on a Ray cluster (docs/cluster.md)."
    )
    lora_rank: int = Field(
        16, ge=1, le=MAX_RANK, description="LoRA rank of new adapters, unless a job's metadata set it."
    )
    lora_alpha: int = Field(0, ge=0, le=MAX_ALPHA, description="LoRA alpha (scale) of new adapters; 0: twice the rank.")
    lora_targets: str = Field(
        "all-linear",
        pattern=r"^\w[\w-]*(,\w+)*$",
        description="Target modules of LoRA: all-linear, attention, mlp, or layer names separated by commas.",
    )
    definitions: str = Field(
        "40,20,40",
        pattern=r"^(full|slim|none|\d+(\.\d+)?,\d+(\.\d+)?,\d+(\.\d+)?)$",
        description=(
            "Tool definitions in training prompts: shares of full, slim and no definitions over all epochs; or one "
            "of full, slim, none for all."
        ),
    )
    result_turns: float = Field(
        0.15,
        ge=0,
        le=1,
        description=(
            "Share of the training examples ending with a call that go on with a result and an answer in words, in a "
            "file without answers after results; 0: none."
        ),
    )
    keep_checkpoints: int = Field(3, ge=1, description="Newest checkpoints kept per job; OpenAI keeps three.")
    trackers: Annotated[list[TrackerName], NoDecode] = Field(
        default_factory=list,
        description=(
            "Experiment trackers that the metrics of every job go to, separated by commas: wandb, tensorboard, mlflow, "
            "trackio, swanlab. What they keep is in the folder `trackers` of the data folder. A job's `integrations` "
            "choose wandb for that job. None: those of `integrations` only."
        ),
    )
    wandb_api_key: SecretStr | None = Field(
        None,
        description="Weights & Biases key of this server. None: runs stay offline, until `wandb sync` sends them.",
    )
    mlflow_uri: str | None = Field(
        None, description="MLflow tracking server, such as http://127.0.0.1:5000. None: a folder on this machine."
    )
    lora_slots: int = Field(
        8, ge=1, description="LoRA adapters kept loaded per base model; the least recently used is evicted."
    )
    models_in_memory: int = Field(
        4,
        ge=1,
        description="Base models and fully fine-tuned models kept loaded; the least recently used idle one is evicted.",
    )
    python_graders: Literal["off", "sandbox", "limits"] = Field(
        "off",
        description=(
            "Python graders. `sandbox`: run in a child process that the kernel denies files, network and processes. "
            "`limits`: time and memory limits only, for trusted users."
        ),
    )
    prefix_cache_bytes: int = Field(
        256 * 1024 * 1024,
        ge=0,
        description="Memory of the prefix cache: KV cache of earlier prompts, reused by prompts with the same prefix.",
    )
    engine: str = Field(
        "auto",
        description=(
            "Inference engine. auto picks, for the Llama family, native on x86-64 CPUs with its kernels or a "
            "compiler, and batched (PyTorch) everywhere else; batched for most other attention-only families; "
            "transformers for the rest. `vllm` uses a vLLM server, see docs/models.md; `echo` repeats the prompt, for "
            "testing clients. Plugins may add others."
        ),
    )
    serving_weights: Literal["auto", "full", "int8"] = Field(
        "auto",
        description=(
            "Base weights of the engine native. full: as they are; int8: in 8 bits, half the memory to read; auto: in "
            "8 bits where they change the log-probabilities of a text by at most 0.05, unless precision is float32."
        ),
    )
    vllm_url: str | None = Field(
        None,
        description="URL of a running vLLM server, or of several replicas with commas between; None: one is started.",
    )
    vllm_api_key: SecretStr | None = Field(None, description="API key of the vLLM server, if it requires one.")
    vllm_command: str = Field(
        "vllm", description="Command that starts vLLM, which may be installed in another environment."
    )
    vllm_arguments: str = Field(
        "", description="More arguments for vLLM, such as `--gpu-memory-utilization 0.8 --max-lora-rank 128`."
    )
    max_file_bytes: int = Field(512 * 1024 * 1024, ge=1, description="Largest file of one request.")
    max_upload_bytes: int = Field(
        8 * 1024**3, ge=1, description="Largest file of the Uploads API, in all its parts; OpenAI accepts 8 GB."
    )
    default_max_tokens: int = Field(
        1024, ge=1, description="Completion tokens of a request that sets neither max_tokens nor max_completion_tokens."
    )
    strict_calls: Literal["taught", "all", "copied", "off"] = Field(
        "taught",
        description=(
            "Constrained decoding of tool calls to functions and their schemas. `taught`: the request's functions, "
            "else those that a fine-tuned model was trained with; `all`: the same, as it was called earlier; `copied`: "
            "in addition, arguments that the training file always copies from the conversation take their values from "
            "there (docs/training.md); `off`: only for requests with `strict` or a `tool_choice`. Text answers stay "
            "possible."
        ),
    )
    stored_days: int = Field(30, ge=1, description="Days that stored chat completions and responses are kept.")
    stored_completions: int = Field(
        10_000,
        ge=1,
        description="Most stored chat completions, most stored responses and most conversations; the oldest go first.",
    )
    queue_limit: int = Field(64, ge=1, description="Most waiting requests per API key; further ones get status 429.")
    requests_per_minute: int = Field(
        0, ge=0, description="Inference requests per minute and API key; 0: no limit. Further ones get status 429."
    )
    tokens_per_minute: int = Field(
        0, ge=0, description="Tokens per minute and API key, counted as OpenAI counts them; 0: no limit."
    )
    recording: Path | None = Field(None, description="Folder of `luthier migrate record`, for the migration page.")
    cors_origins: Annotated[list[str], NoDecode] = Field(
        default_factory=list,
        description=(
            "Origins allowed by CORS, separated by commas, such as https://app.example; * allows all and requires "
            "--api-keys. None: same origin only."
        ),
    )
    webhook_hosts: Annotated[list[str], NoDecode] = Field(
        default_factory=list,
        description=(
            "Hosts that webhooks may be sent to, separated by commas: names, `*.` before a name for all names below "
            "it, `localhost` for this machine. Addresses that are not public must be listed too, such as 10.1.0.0/16. "
            "None: no webhooks."
        ),
    )
    batch_concurrency: int = Field(
        2, ge=1, le=64, description="Batch requests processed concurrently; they yield to interactive requests."
    )
    worker: bool = Field(
        True,
        description=(
            "Whether the server itself trains jobs and runs batches and evaluations; false leaves them to "
            "`luthier worker` on the same data folder."
        ),
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Least severe log lines of `luthier serve` and `luthier worker`, on stderr."
    )
    log_format: Literal["text", "json"] = Field(
        "text", description="Log lines as text, or as one JSON object each, with the fields of a request apart."
    )
    log_requests: bool = Field(True, description="Whether the server logs a line per request, at the level info.")

    @field_validator("api_keys", "cors_origins", "capture", "trackers", "webhook_hosts", mode="before")
    @classmethod
    def _split_commas(cls, value: object) -> object:
        return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value

    @field_validator("api_keys")
    @classmethod
    def _check_projects(cls, value: list[SecretStr]) -> list[SecretStr]:
        check_keys(value)
        return value

    @field_validator("webhook_hosts")
    @classmethod
    def _check_hosts(cls, value: list[str]) -> list[str]:
        AllowedHosts.parse(value)
        return value

    @field_validator("cors_origins")
    @classmethod
    def _normalize_origins(cls, value: list[str]) -> list[str]:
        return [origin.lower().rstrip("/") for origin in value]

    @field_validator("capture")
    @classmethod
    def _check_captured(cls, value: list[str]) -> list[str]:
        for project in value:
            if not PROJECT_ID.fullmatch(project):
                raise ValueError(f"'{project}' is not the name of a project")
        return value

    @field_validator("aliases")
    @classmethod
    def _check_alias_names(cls, value: dict[str, str]) -> dict[str, str]:
        for entry, target in value.items():
            _, name = project_and_name(entry)
            check_alias_name(name)
            parse_target(name, target)
        return value

    @field_validator("data", "cache", "embedding_model", "api_key_file")
    @classmethod
    def _make_absolute(cls, value: Path | None) -> Path | None:
        return value.expanduser().absolute() if value else None

    @model_validator(mode="after")
    def _add_keys_of_file(self) -> "Settings":
        """`api_keys` has all keys from here on."""
        if self.api_key_file:
            self.api_keys = [*self.api_keys, *read_key_file(self.api_key_file)]
            check_keys(self.api_keys)
        return self

    @model_validator(mode="after")
    def _require_companions(self) -> "Settings":
        if "*" in self.cors_origins and not self.api_keys:
            raise ValueError("cors_origins: '*' allows every web page and requires api_keys, which are not set")
        if self.shard_base and self.training_processes == 1:
            raise PydanticCustomError("shard_base", "shard_base needs 2 or more training_processes, one for each GPU")
        return self

    @model_validator(mode="after")
    def _check_cpu_tier(self) -> "Settings":
        try:
            cpu_tiers()
        except UnknownTierError as error:
            raise PydanticCustomError("cpu_tier", "{error}", {"error": str(error), **vars(error)}) from error
        return self

    def keys(self) -> dict[str, str | None]:
        """API key → project; None: the whole organization."""
        return {key: project for project, key in map(project_and_key, self.api_keys)}

    def store_url(self) -> str | None:
        """Of the database of `store`; None: SQLite in the data folder."""
        return self.store.get_secret_value() if self.store else None

    def names(self, project: str | None = None) -> dict[str, str]:
        """Alias → target: OpenAI's names on the default base model, overridden by `aliases`.

        An alias of `project` overrides the one for all projects; without `project`, only those for all are returned.
        """
        names = dict.fromkeys((*SNAPSHOTS, *SNAPSHOTS.values(), *OTHER_SNAPSHOTS, *COMPLETION_NAMES), self.base)
        owned = [(*project_and_name(entry), target) for entry, target in self.aliases.items()]
        names |= {name: target for owner, name, target in owned if owner is None}
        return names | {name: target for owner, name, target in owned if owner is not None and owner == project}

    def alias_targets(self) -> list[str]:
        """Of all projects."""
        return list(self.aliases.values())

    def captures(self, project: str | None) -> bool:
        """Whether chat completions of `project` are captured; None: the whole organization's, in the default one."""
        return "all" in self.capture or (project or DEFAULT_PROJECT) in self.capture

    def hardware(self) -> tuple[DeviceName, Precision]:
        """Device and dtype, with `auto` resolved for this machine. May import torch."""
        return select_device(self.device, self.precision)

    def is_loopback(self) -> bool:
        """Whether only this machine can reach the server."""
        return is_loopback_host(self.host)
