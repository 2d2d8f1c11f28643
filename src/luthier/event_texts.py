"""Events and errors of jobs in Chinese, for display: the command line and the dashboard show them.

On the wire they are English, as OpenAI sends them (docs/reference/events.md). An event that is not in the table stays
English.
"""

import re

from luthier.arch.row_mixing import ROW_REASONS
from luthier.data.findings.names import finding_name
from luthier.types.storage_faults import STORAGE_FAULTS

# Pattern of an event → its Chinese text, with the groups of the pattern.
_EVENTS = [
    (re.compile(pattern, re.DOTALL), text)
    for pattern, text in (
        (r"Created fine-tuning job: (.*)", r"已创建微调任务：\1"),
        (r"Validating training file: (\S+) and validation file: (\S+)", r"正在验证训练文件 \1 和验证文件 \2"),
        (r"Validating training file: (\S+)", r"正在验证训练文件 \1"),
        (r"Files validated, moving job to queued state", "文件验证通过，任务进入队列"),
        (r"Fine-tuning job started", "微调任务已开始"),
        (r"(.*) is served by open weights here: (.*)", r"\1 在本服务器上由开放权重模型提供：\2"),
        (r"Peak learning rate (\S+)", r"学习率峰值 \1"),
        (r"Peak learning rate (\S+); chosen for auto: (.*)", r"学习率峰值 \1；auto 取值：\2"),
        (r"Training on (.*), (\S+), (\d+) threads", r"训练设备：\1，\2，\3 个线程"),
        (
            r"Training on (.*), (\S+), (\d+) threads in each of (\d+) processes",
            r"训练设备：\1，\2，\4 个进程，每个 \3 个线程",
        ),
        (r"All ([\d,]+) parameters are trained", r"训练全部 \1 个参数"),
        (r"([\d,]+) parameters are trained: LoRA of rank (\S+), alpha (\S+), on (.*)",
         r"训练 \1 个参数：LoRA，秩 \2，alpha \3，目标模块 \4"),
        (r"Function definitions are shown in full, slim and not at all, in (.*) of the epochs",
         r"函数定义按完整、精简、省略三种方式出现，各占轮数的 \1"),
        (r"Function definitions are shown in full, slim and not at all, in (.*) of the epochs; (\d+) examples without "
         r"a call were added, since the file has none",
         r"函数定义按完整、精简、省略三种方式出现，各占轮数的 \1；文件中没有不调用函数的样本，已补充 \2 条"),
        (r"Prompts and completions are trained inside the base model's chat template, as a user's message and its "
         r"answer", r"prompt 和 completion 套用基座模型的对话模板训练，分别作为用户消息和回答"),
        (r"(\d+) examples that end with a call were extended by a result and an answer, since the file has no "
         r"answers after results",
         r"文件中没有收到函数结果之后的回答，已为 \1 条以函数调用结尾的样本补充函数结果和文字回答"),
        (r"The base model's layers are sharded over (\d+) processes \(FSDP2\) and train through transformers' own "
         r"code: each process holds at most ([\d,]+) of ([\d,]+) parameters",
         r"基座模型的各层已切分到 \1 个进程（FSDP2），并由 transformers 自己的代码训练："
         r"在 \3 个参数中，每个进程最多保存 \2 个"),
        (r"Examples are not packed, which is slower: the base model has (.*)",
         r"每个样本单独成行，比打包慢：基座模型有\1"),
        (r"The base model's chat template loses definitions, calls or results of functions: Luthier's own form .*",
         "基座模型的对话模板会丢失函数的定义、调用或结果：训练和推理都改用 Luthier 自己的格式"),
        (r"The base model's chat template loses messages: Luthier's own form .*",
         "基座模型的对话模板会丢失消息：训练和推理都改用 Luthier 自己的格式"),
        (r"No working C\+\+ compiler with OpenMP was found .*",
         "没有找到可用的 C++ 编译器（需支持 OpenMP）：训练时间最多会加倍"),
        (r"Memory is short for examples of (\d+) tokens: gradient checkpointing is enabled",
         r"长度为 \1 个 token 的样本内存不足：已启用梯度检查点以节省内存"),
        (r"Training resumes after step (\d+)", r"从第 \1 步之后继续训练"),
        (r"The saved state cannot be read \((.*)\); training starts over", r"无法读取已保存的状态（\1）；重新开始训练"),
        (r"(\d+) examples are longer than the base model's context and were truncated",
         r"\1 个样本超过基座模型的上下文长度，末尾被截断"),
        (r"Checkpoint created at step (\d+) with Snapshot ID: (\S+)", r"第 \1 步已保存检查点：\2"),
        (r"Early stopping after step (\d+) of (\d+): "
         r"no lower loss than at step (\d+) in (\d+) consecutive validations?",
         r"在第 \1 步（共 \2 步）提前停止：第 \3 步之后连续 \4 次验证的损失都没有更低"),
        (r"The fine-tuned model is taken from step (\d+), which had the lowest full validation loss: (\S+), "
         r"against (\S+) after the last step", r"微调模型取自第 \1 步，其完整验证损失最低：\2（最后一步为 \3）"),
        (r"Parity check passed: the serving engine reproduces the trained model \(mean difference (\S+) over (\d+) "
         r"tokens of (\d+) examples, (\d+) most likely tokens differ(.*)\)",
         r"已核对：推理结果与训练一致（\3 个样本、\2 个 token 的平均差异为 \1，最可能的 token 有 \4 个不同\5）"),
        (r"The base's weights are served in 8 bits; --serving-weights full serves them as they are",
         "推理时基座权重为 8 位；使用 --serving-weights full 可恢复完整权重"),
        (r"New fine-tuned model created: (\S+)", r"已生成微调模型：\1"),
        (r"The job has successfully completed", "任务已成功完成"),
        (r"Metrics go to (\S+): (.*)", r"指标发往 \1：\2"),
        (r"The tracker (\S+) failed; the job continues without it: (.*)",
         r"实验跟踪工具 \1 出错，任务不受影响：\2"),
        (r"Findings in (\S+): (.*)\. All of them: GET \S+", r"\1 中发现的问题：\2。全部内容：luthier files report \1"),
        (r"Saved; the serving engine is loading the model to compare it with the trainer",
         "已保存；推理引擎正在加载模型并与训练结果核对"),
        (r"Fetching (.*) from the package index", r"正在从软件包索引获取 \1"),
        (r"Checksums (?:are right|match); converting the weights to safetensors \(once, about 20 seconds\)",
         "校验和正确；正在把权重转换为 safetensors（只需一次，约 20 秒）"),
        (r"Ready in (.*)", r"已就绪：\1"),
        (r"The server stopped; the job resumes from its last step when the server is back",
         "服务器已停止；服务器恢复后，任务从最后一步继续"),
        (r"The worker stopped unexpectedly; the job is back in the queue and will resume",
         "worker 意外终止；任务已回到队列，之后会继续"),
        (r"The trainer was terminated externally \(signal (\d+)\); the job resumes from its last saved step",
         r"训练进程被外部终止（信号 \1）；任务从最后保存的一步继续"),
        (r"The trainer was terminated externally \(exit code (\d+)\); the job resumes from its last saved step",
         r"训练进程被外部终止（退出码 \1）；任务从最后保存的一步继续"),
        (r"Waiting for a node of the Ray cluster with room for the trainer \(CPUs: (\d+), GPUs: (\d+), memory: (\S+) "
         r"GB\)",
         r"正在等待 Ray 集群中有足够资源的节点（CPU：\1，GPU：\2，内存：\3 GB）"),
        (r"The trainer starts on the Ray node (.*)", r"训练进程在 Ray 节点 \1 上启动"),
        (r"The trainer's node, or its Ray cluster, was lost \((.*)\); the job resumes from its last saved step",
         r"训练进程所在的节点或 Ray 集群已失去联系（\1）；任务从最后保存的一步继续"),
        (r"The trainer died \((.*)\); the job resumes from its last saved step",
         r"训练进程意外终止（\1）；任务从最后保存的一步继续"),
        (r"The server encountered an error and will retry: (.*)", r"服务器遇到错误，正在重试：\1"),
        (r"The job waits for (\d+) minutes? before it is retried \(wait (\d+) of (\d+)\): (.*)",
         r"任务等待 \1 分钟后重试（第 \2 次等待，共 \3 次）：\4"),
        (r"The database was unreachable for a while; the job resumes", "数据库曾一度无法访问；任务现在继续"),
        (r"The job was cancelled", "任务已取消"),
        (r"The job was paused", "任务已暂停"),
        (r"The job was resumed", "任务已恢复"),
        (r"The priority of the job is now (-?\d+)", r"任务的优先级现在是 \1"),
        (r"The job failed: The serving engine does not reproduce the trained model: mean difference (\S+) over "
         r"(\d+) tokens of (\d+) examples, (\d+) most likely tokens differ(.*)\. Try (.*)\. The trained model is kept "
         r"as the checkpoint (\S+)\.",
         r"任务失败：推理结果与训练不一致（\3 个样本、\2 个 token 的平均差异为 \1，最可能的 token 有 \4 个不同\5）。"
         r"可以尝试：\6。训练好的模型已保留为检查点 \7。"),
        (r"The job failed: After (\d+) waits of (\d+) minutes in all (.*)\. (.*), then create the job again\.",
         r"任务失败：共 \2 分钟的 \1 次等待之后，\3。\4，然后重新创建任务。"),
        (r"The job failed: (.*) The trained model is kept as the checkpoint (\S+)\.",
         r"任务失败：\1 训练好的模型已保留为检查点 \2。"),
        (r"The job failed: (.*)", r"任务失败：\1"),
        (r"Step (\d+)/(\d+): (.*)", r"第 \1/\2 步：\3"),
    )
]  # fmt: skip
_CODE_COUNT = re.compile(r"\b([a-z_]+) x(\d+)")
_PHRASES = (
    *ROW_REASONS.values(),
    *(texts for fault in STORAGE_FAULTS.values() for texts in fault),
    ("full validation loss=", "完整验证损失="),
    ("validation loss=", "验证损失="),
    ("training loss=", "训练损失="),
    (" (it grows with the square root of the examples)", "（随样本数的平方根增长）"),
    (" (the DPO paper's)", "（DPO 论文的取值）"),
    (" (OpenAI's rule for", "（OpenAI 的规则，样本数"),
    (" examples)", "）"),
    ("a fully fine-tuned model in the folder ", "全量微调的模型，文件夹 "),
    ("the model in the folder ", "模型文件夹 "),
    ("; without the adapter ", "；不带适配器时为 "),
    ("; effect of the adapter ", "；适配器效果 "),
    ("; rounding is at most ", "；舍入误差最多为 "),
    ("; rounding changes at most ", "；舍入误差最多改变效果的 "),
    (" % of the effect. Example ", " %。样本 "),
    (". Example ", "。样本 "),
    (" in training, ", "（训练）和 "),
    (" in serving", "（推理）"),
    (
        "--precision float32, which hardly rounds, or another --engine",
        "--precision float32（几乎没有舍入误差）或其他 --engine",
    ),
    ("another --engine, and report it", "其他 --engine，并报告此问题"),
)

# Codes of failed jobs (docs/reference/events.md) → what happened, in Chinese.
_JOB_ERRORS = {
    "invalid_training_file": "训练文件中有无法使用的样本",
    "invalid_validation_file": "验证文件中有无法使用的样本",
    "invalid_n_examples": "样本数量不足",
    "base_model_unavailable": "无法获取或转换基座模型",
    "model_not_available": "起始的微调模型已被删除",
    "model_deleted": "微调模型在任务结束前被删除",
    "invalid_targets": "基座模型没有 luthier:targets 中的层",
    "insufficient_devices": "本机的 GPU 少于训练所需的进程数",
    "insufficient_memory": "训练所需的内存超过空闲内存",
    "sharding_unsupported": "此任务的基座模型无法切分到多个进程",
    "parity_failed": "推理结果与训练不一致，或模型无法用于推理",
    "training_diverged": "损失或梯度不是有限的数",
    "training_error": "训练进程遇到意外错误",
    "trainer_died": "训练进程多次意外终止",
    "storage_unavailable": "磁盘、数据库或存储桶在一个多小时里无法写入",
    "server_error": "服务器多次遇到意外错误",
}


def chinese_event(message: str) -> str:
    for pattern, text in _EVENTS:
        match = pattern.fullmatch(message)
        if match:
            translated = match.expand(text)
            for en, zh in _PHRASES:
                translated = translated.replace(en, zh)
            return _CODE_COUNT.sub(lambda count: f"{finding_name(count[1], 'zh')} ×{count[2]}", translated)
    return message


def chinese_failure(code: str, message: str) -> str:
    """What the code of a failed job stands for, and the server's sentence after it."""
    lead = _JOB_ERRORS.get(code)
    return f"{lead}。服务器的原话：{message}" if lead else message
