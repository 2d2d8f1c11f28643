"""Errors about keys, jobs, files, models and webhooks, with names for what they quote. The more specific come first."""

RESOURCES = (
    # keys, projects, access
    (
        "You didn't provide an API key. You need to provide your API key in an Authorization header using {scheme}",
        "没有提供 API 密钥。请在 Authorization 请求头中以 Bearer 方式发送密钥（Authorization: Bearer 密钥）。",
    ),
    (
        "Incorrect API key provided: {key}. The keys of this server are set when it is started {how}",
        "API 密钥不正确：{key}。此服务器的密钥在启动时设置（--api-keys 或 LUTHIER_API_KEYS），"
        "或用 luthier keys create 创建。",
    ),
    ("No such project: {project}", "没有项目 {project}。"),
    ("OpenAI-Project header should match project for API key", "请求头 OpenAI-Project 与密钥所属的项目不一致。"),
    (
        "A priority above 0 puts a job before those of other projects and requires an admin API key.",
        "大于 0 的优先级会排到其他项目的任务之前，需要管理员密钥。",
    ),
    (
        "You have insufficient permissions for this operation. It requires an admin API key: {which}",
        "权限不足：此操作需要管理员密钥，即不属于任何项目的密钥，或角色为 admin 的托管密钥。",
    ),
    ("This API key can only read, because its role is 'reader'.", "此密钥的角色是 reader，只能读取。"),
    (
        "This server has no API keys, so it accepts requests only from its own machine, not from {host}. To reach it "
        "{how}",
        "此服务器没有设置密钥，因此只接受本机的请求，不接受来自 {host} 的请求。要从其他机器访问，"
        "请用 --api-keys 或 LUTHIER_API_KEYS 启动。",
    ),
    (
        "This server has no API keys, so it accepts only loopback names, not '{host}'. To reach it {how}",
        "此服务器没有设置密钥，因此只接受本机的名称，不接受“{host}”。要用其他名称访问（例如在容器中），"
        "请用 --api-keys 或 LUTHIER_API_KEYS 启动。",
    ),
    ("Requests from pages of another origin ({origin}) are refused.", "不接受来自其他网站（{origin}）的页面的请求。"),
    (
        "A key of the project {project} can create keys only for that project.",
        "项目 {project} 的密钥只能为该项目创建密钥。",
    ),
    ("No such API key: {key}", "没有 API 密钥 {key}。"),
    ("No such checkpoint permission: {permission}", "没有共享权限 {permission}。"),
    # jobs
    ("Could not find fine tune: {job}", "没有任务 {job}。"),
    (
        "Job {job} has {count} models, checkpoints included. Send models=true to delete the job and all of its models.",
        "任务 {job} 留下了 {count} 个模型（含检查点）。发送 models=true 可以连同它们一起删除。",
    ),
    (
        "Job {job} has 1 model. Send models=true to delete the job and all of its models.",
        "任务 {job} 留下了 1 个模型。发送 models=true 可以连同它一起删除。",
    ),
    ("Job {job} is {status}. Cancel it before you delete it.", "任务 {job} {status}。请先取消，再删除。"),
    (
        "Job {dependent} continues from a model of job {job}. Cancel it, or wait until it has ended.",
        "任务 {dependent} 正在以任务 {job} 的模型为起点训练。请取消它，或等它结束。",
    ),
    (
        "The trainer of job {job} is still being stopped. Delete the job again in a moment.",
        "任务 {job} 的训练进程还在停止。请稍后再删除。",
    ),
    ("Job has already completed: {job} is {status}.", "任务 {job} 已经结束：{status}。"),
    ("Job {job} is {status} and cannot be paused.", "任务 {job} {status}，无法暂停。"),
    ("Job {job} is {status} and cannot be resumed.", "任务 {job} {status}，无法恢复。"),
    (
        "The metadata of {job} already has {count} pairs, so there is no room for a priority.",
        "任务 {job} 的元数据已有 {count} 项，放不下优先级。",
    ),
    (
        "Invalid 'suffix': '{suffix}'. Letters, digits, '-', '_' and '.' are allowed.",
        "名称（后缀）“{suffix}”无效：只能用字母、数字、“-”、“_”和“.”。",
    ),
    (
        "Model {name} is not available for fine-tuning or does not exist. On this server '{served}' is served "
        "upstream, and only base models on this server can be fine-tuned.",
        "模型 {name} 无法微调：它由上游服务提供，而这里只能微调本服务器上的基座模型。",
    ),
    ("Model {name} is not available for fine-tuning or does not exist.", "模型 {name} 不存在，或无法微调。"),
    (
        "'hyperparameters' and 'method.supervised.hyperparameters' contradict each other; send only one.",
        "“hyperparameters”与“method.supervised.hyperparameters”互相矛盾，请只发送其中一个。",
    ),
    (
        "'hyperparameters' apply only to the supervised method; send 'method.dpo.hyperparameters' instead.",
        "“hyperparameters”只适用于监督式方法；请改用“method.dpo.hyperparameters”。",
    ),
    (
        "The metadata '{key}' needs a 'validation_file', whose loss decides when to stop.",
        "元数据“{key}”需要验证文件（validation_file），由它的损失决定何时停止。",
    ),
    (
        "The model {model} is fine-tuned, so the shape of its adapter is fixed: remove {keys}.",
        "模型 {model} 已经微调过，适配器的形状已定：请去掉 {keys}。",
    ),
    (
        "The method 'reinforcement' is not available on this server. Supported values are: 'supervised' and 'dpo'.",
        "此服务器不支持“reinforcement”方法，可用：'supervised' 和 'dpo'。",
    ),
    (
        "Rate limit reached for this API key on active fine-tuning jobs: Limit {limit}, Used {used}, Requested 1. "
        "Please try again after one of its jobs has ended.",
        "此密钥同时进行的任务已达上限（{limit} 个）。请等其中一个结束后再试。",
    ),
    # files
    ("No such File object: {file}", "没有文件 {file}。"),
    ("invalid {param}: {file}", "“{param}”无效：没有文件 {file}。"),
    ("File '{file}' has purpose '{purpose}'; {requirement}.", "文件 {file} 的用途是“{purpose}”，不能用在这里。"),
    ("File is empty.", "文件是空的。"),
    ("Invalid file format for {api} API. Must be .jsonl", "文件格式不对：{api} 的文件名必须以 .jsonl 结尾。"),
    ("{what} is larger than {limit} bytes.", "{what}超过 {limit} 字节。"),
    (
        "Files above {limit} bytes are not read here: use `luthier check`, `estimate` or `split`.",
        "超过 {limit} 字节的文件不在这里读取：请用 luthier check、estimate 或 split。",
    ),
    ("File {file} has no report: no job has validated it yet.", "文件 {file} 还没有检查报告：尚无任务验证过它。"),
    (
        "You exceeded your current quota: the files of this API key may hold {limit} bytes, they hold {used}, and "
        "{size} were requested. Delete files {remedy}",
        "超出配额：此密钥的文件最多 {limit} 字节，已有 {used} 字节，还要存入 {size} 字节。"
        "请删除不需要的文件，或向管理员申请更高的上限。",
    ),
    (
        "{what} is damaged on this server's disk: {files} does not match its checksum. Restore it {remedy}",
        "{what} 在服务器磁盘上已损坏：{files} 与校验和不符。请从备份恢复（luthier restore），或重新创建。",
    ),
    (
        "{what} is incomplete on this server's disk: {files} is missing. Restore it {remedy}",
        "{what} 在服务器磁盘上不完整：缺少 {files}。请从备份恢复（luthier restore），或重新创建。",
    ),
    # models, exports
    (
        "The model `{model}` does not exist or you do not have access to it. A model that was fine-tuned {how}",
        "模型 {model} 不存在，或没有访问权限。在其他服务微调的模型需要别名：用 LUTHIER_ALIASES 设置。",
    ),
    (
        "The model `{model}` does not exist or you do not have access to it.",
        "模型 {model} 不存在，或没有访问权限。",
    ),
    ("The model '{model}' does not exist", "模型 {model} 不存在。"),
    ("'{model}' is not a fine-tuned model.", "{model} 不是微调模型。"),
    (
        "The model '{model}' is shared with this project, which may only call it.",
        "模型 {model} 是共享给本项目的，只能调用。",
    ),
    (
        "Other models or jobs start from the model '{model}'; delete or cancel those first.",
        "其他模型或任务以模型 {model} 为起点。请先删除或取消它们。",
    ),
    (
        "The base model of '{model}' is not on this server yet: `luthier models pull` fetches it.",
        "{model} 的基座模型还不在这台服务器上：请用 luthier models pull 获取。",
    ),
    (
        "The model '{model}' is not a fine-tuned model and cannot be deleted here.",
        "{model} 不是微调模型，不能在这里删除。",
    ),
    (
        "The model '{model}' is shared with this project and cannot be deleted from it.",
        "模型 {model} 是共享给本项目的，不能由本项目删除。",
    ),
    ("The dashboard has no file '{name}'.", "仪表板没有文件“{name}”。"),
    ("No such export: {export}", "没有导出 {export}。"),
    (
        "{count} exports are already waiting. Try again when one has ended.",
        "已有 {count} 个导出在等待。请等其中一个结束后再试。",
    ),
    # webhooks, migration
    ("No such webhook endpoint: {endpoint}", "没有 webhook 端点 {endpoint}。"),
    (
        "A project has at most {limit} webhook endpoints. Delete one that is not used.",
        "每个项目最多 {limit} 个 webhook 端点。请删除不用的端点。",
    ),
    (
        "Invalid URL: it must begin with https:// or http:// and a host, without user, password and fragment.",
        "网址无效：应以 https:// 或 http:// 加主机名开头，不含用户名、密码和 # 部分。",
    ),
    (
        "This server sends no webhooks to '{host}'. Its operator allows hosts with --webhook-hosts "
        "(LUTHIER_WEBHOOK_HOSTS).",
        "此服务器不向“{host}”发送 webhook。管理员可以用 --webhook-hosts（LUTHIER_WEBHOOK_HOSTS）允许主机。",
    ),
    ("The test event could not be sent to {url}. {reason}", "测试事件无法发送到 {url}。原因：{reason}"),
    (
        "The recording in the setting 'recording' cannot be read: {reason}",
        "无法读取设置项 recording 指定的录制：{reason}",
    ),
)  # fmt: skip
