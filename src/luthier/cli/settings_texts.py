"""The settings in Chinese, and the topics under which `luthier serve --help` lists them.

The English descriptions are in `luthier.settings`. A setting without an entry here is described in English.
"""

# ((title in English and Chinese), settings); settings without a topic come last.
TOPICS = (
    (("First settings", "常用设置"), ("host", "port", "data", "base", "api_keys", "api_key_file", "aliases", "engine",
                                      "device")),
    (("Models", "模型"), ("cache", "blobs", "max_blob_copy_bytes", "hub_endpoint", "hub_token",
                        "modelscope_endpoint", "modelscope_token", "embedding_model", "upstream_base_url",
                        "upstream_api_key", "capture", "recording", "organization")),
    (("Training", "训练"), ("precision", "threads", "concurrent_jobs", "training_processes", "shard_base",
                          "launcher", "lora_rank", "lora_alpha", "lora_targets", "definitions", "result_turns",
                          "keep_checkpoints", "worker", "python_graders", "trackers", "wandb_api_key", "mlflow_uri")),
    (("Serving", "推理"), ("serving_weights", "lora_slots", "models_in_memory", "prefix_cache_bytes",
                         "default_max_tokens", "strict_calls", "batch_concurrency", "webhook_hosts")),
    (("vLLM", "vLLM"), ("vllm_url", "vllm_api_key", "vllm_command", "vllm_arguments")),
    (("Limits", "限制"), ("max_file_bytes", "max_upload_bytes", "stored_days", "stored_completions", "queue_limit",
                        "requests_per_minute", "tokens_per_minute", "cors_origins")),
    (("Log", "日志"), ("log_level", "log_format", "log_requests")),
)  # fmt: skip

CHINESE = {
    "host": "监听地址。回环地址以外的地址必须设置 --api-keys。",
    "port": "监听端口；0 表示任选一个空闲端口。",
    "data": "数据文件夹，保存全部状态：数据库、文件、任务、微调模型。",
    "store": "多台机器上的服务器和 worker 共用的数据库，格式为 postgresql://用户:密码@主机:5432/数据库"
    "（见 docs/cluster.md）。不设置：数据文件夹中的 SQLite。",
    "cache": "缓存文件夹，保存可以重新获取或生成的内容：基座模型、编译好的内核、测量结果。",
    "blobs": "存放文件、模型和训练状态的存储桶，写作 s3://BUCKET/PREFIX、gs://… 或 az://…（见 docs/operating.md）。"
    "凭据、区域和地址取自客户端自己的环境变量，例如 AWS_ACCESS_KEY_ID 和 AWS_ENDPOINT_URL。"
    "不设置则存放在数据文件夹中。",
    "max_blob_copy_bytes": "存储桶 `blobs` 中的内容在本机的副本所占空间的上限；最久未使用的先移出。",
    "api_keys": "客户端必须发送的 API 密钥，用逗号分隔。不设置则不验证，且只能监听回环地址。"
    "`proj_NAME=KEY` 把密钥绑定到一个项目；普通密钥属于整个组织。",
    "api_key_file": "存放更多 API 密钥的文件，每行一个，写法与 `api_keys` 相同，这样密钥既不出现在环境变量中，"
    "也不出现在进程列表中。只有文件的所有者可以访问（权限 0600）。",
    "base": "OpenAI 的模型名称所代表的基座模型：目录中的模型、获取过的模型或模型文件夹。",
    "hub_endpoint": "`luthier models pull` 使用的 Hugging Face 地址，例如镜像的 URL。"
    "默认取环境变量 HF_ENDPOINT，否则为 https://huggingface.co。",
    "hub_token": "Hugging Face 令牌，用于需授权的或私有的模型。默认使用 Hugging Face 自己的工具保存的令牌"
    "（HF_TOKEN 或其登录），设置了 hub_endpoint 时除外。",
    "modelscope_endpoint": "`luthier models pull modelscope:ID` 使用的 ModelScope 地址。",
    "modelscope_token": "ModelScope 令牌，用于私有模型。",
    "embedding_model": "OpenAI 的嵌入模型名称所代表的模型文件夹（BERT 或 sentence-transformers 模型）。"
    "不设置则由基座模型计算嵌入。",
    "aliases": "更多模型名称，JSON 对象：从名称到目录中的模型、获取过的模型、模型文件夹的路径，"
    '或 "upstream:MODEL"（上游服务的模型）。例如 {"gpt-4o": "upstream:gpt-4o"}。也可用 luthier alias 设置。',
    "upstream_base_url": "上游服务的地址，`upstream:` 别名的请求转发到那里，例如 https://api.openai.com/v1。",
    "upstream_api_key": "上游服务的 API 密钥。",
    "capture": "转发到上游服务的对话要保存下来的项目，用逗号分隔，或 `all`；保存的对话带有 metadata "
    "luthier:captured=true，并受 `stored_days` 和 `stored_completions` 限制。`default` 是没有项目的密钥所属的项目。"
    "不设置则不保存。",
    "organization": "微调模型名称的第三部分。",
    "device": "训练和推理所用的设备；auto 使用 NVIDIA GPU。Apple 的 GPU（mps）未经测试。",
    "precision": "基座权重的数据类型；auto 在 CPU 或 GPU 计算 bfloat16 快时使用它。",
    "threads": "训练所用的 CPU 线程数；0 由 PyTorch 决定。",
    "concurrent_jobs": "内存允许时同时训练的任务数；每个任务使用 CPU 的一份线程。",
    "training_processes": "在本机共同训练一个任务的进程数（数据并行）：每个 GPU 或每个 CPU 插槽一个。",
    "shard_base": "把基座模型的各层切分到 `training_processes` 个进程（FSDP2），用于单个 GPU 放不下的模型；"
    "只支持适配器。",
    "launcher": "训练进程在哪里运行：local 为 worker 所在的机器，ray 为 Ray 集群（见 docs/cluster.md）。",
    "lora_rank": "新适配器的 LoRA 秩，任务的 metadata 可以另行指定。",
    "lora_alpha": "新适配器的 LoRA alpha（缩放）；0 表示秩的两倍。",
    "lora_targets": "LoRA 的目标模块：all-linear、attention、mlp，或用逗号分隔的层名。",
    "result_turns": "以函数调用结尾的训练样本中，补充函数结果和文字回答的比例；只用于没有此类回答的文件。0：不补充。",
    "definitions": "训练提示中的函数定义：完整、精简、省略三者在全部轮数中的比例；或只用 full、slim、none 中的一种。",
    "keep_checkpoints": "每个任务保留的最新检查点数；OpenAI 保留三个。",
    "trackers": "所有任务的指标都发往的实验跟踪工具，用逗号分隔：wandb、tensorboard、mlflow、trackio、swanlab。"
    "本机保存的内容在数据文件夹的 `trackers` 中。"
    "任务的 `integrations` 为该任务单独指定 wandb。不设置则只按 `integrations`。",
    "wandb_api_key": "本服务器的 Weights & Biases 密钥。不设置则运行记录保存在本机，可用 `wandb sync` 发送。",
    "mlflow_uri": "MLflow 跟踪服务器，例如 http://127.0.0.1:5000。不设置则保存在本机文件夹中。",
    "lora_slots": "每个基座模型保持加载的 LoRA 适配器数；最久未使用的先移出。",
    "models_in_memory": "保持加载的基座模型和全量微调模型数；最久未使用的空闲模型先移出。",
    "python_graders": "Python 评分器。`sandbox`：在内核禁止访问文件、网络和进程的子进程中运行。"
    "`limits`：只限制时间和内存，仅适合可信的用户。",
    "prefix_cache_bytes": "前缀缓存的内存：保存以前提示的 KV 缓存，供开头相同的提示复用。",
    "engine": "推理引擎。auto 对 Llama 系列模型：在带有其内核或编译器的 x86-64 CPU 上取 native，"
    "其余取 batched（PyTorch）；其他纯注意力模型大多取 batched，其余架构取 transformers。"
    "`vllm` 使用 vLLM 服务器，见 docs/models.md；`echo` 原样返回提示，用于测试客户端。插件可以增加其他引擎。",
    "serving_weights": "引擎 native 的基座权重。full：保持原样；int8：8 位，读取的内存减半；auto：一段文本的对数概率"
    "平均变化不超过 0.05 时用 8 位，除非精度设为 float32。",
    "vllm_url": "引擎 `vllm` 使用的 vLLM 服务器的地址；多个副本用逗号分隔。不设置则由引擎自己启动一个。",
    "vllm_api_key": "vLLM 服务器的 API 密钥（如果需要）。",
    "vllm_command": "启动 vLLM 的命令，vLLM 可以安装在另一个环境中。",
    "vllm_arguments": "传给 vLLM 的其他参数，例如 `--gpu-memory-utilization 0.8 --max-lora-rank 128`。",
    "max_file_bytes": "单个请求中文件的最大字节数。",
    "max_upload_bytes": "Uploads API 中一个文件（全部分块）的最大字节数；OpenAI 接受 8 GB。",
    "default_max_tokens": "请求没有设置 max_tokens 或 max_completion_tokens 时，回答的 token 上限。",
    "strict_calls": "函数调用的约束解码，使调用不超出函数及其定义。`taught`：请求中的函数，"
    "没有则取微调模型训练时的函数；`all`：同上，旧版本的写法；"
    "`copied`：另外，训练文件中总是照抄对话内容的参数，其值只能取自对话（docs/training.md）；"
    "`off`：只用于带 `strict` 或 `tool_choice` 的请求。始终可以用文字回答。",
    "stored_days": "保存的对话补全和响应（responses）保留的天数。",
    "stored_completions": "保存的对话补全、响应和会话（conversations）各自的最大条数；最旧的先删除。",
    "queue_limit": "每个 API 密钥最多可等待的请求数；超过时返回状态 429。",
    "requests_per_minute": "每个 API 密钥每分钟的推理请求数；0 表示不限。超过时返回状态 429。",
    "tokens_per_minute": "每个 API 密钥每分钟的 token 数，按 OpenAI 的方式计算；0 表示不限。",
    "recording": "`luthier migrate record` 写出的文件夹，用于仪表板的迁移页面。",
    "cors_origins": "CORS 允许的来源，用逗号分隔，例如 https://app.example；* 允许全部，且必须设置 --api-keys。"
    "不设置则只允许同源。",
    "webhook_hosts": "允许接收 webhook 的主机，用逗号分隔：主机名；名称前加 `*.` 表示其下的所有名称；"
    "`localhost` 表示本机。非公网地址也必须列出，例如 10.1.0.0/16。不设置则不发送 webhook。",
    "batch_concurrency": "同时处理的批处理请求数；它们让位于交互请求。",
    "worker": "服务器是否自己训练任务并执行批处理和评估；false 时交给同一数据文件夹上的 `luthier worker`。",
    "log_level": "`luthier serve` 和 `luthier worker` 在标准错误输出的最低日志级别。",
    "log_format": "日志行为文本，或每行一个 JSON 对象，请求的各个字段分开。",
    "log_requests": "服务器是否为每个请求写一行日志（级别 info）。",
}
