"""The progress of a job in the user's language: statuses, events, and what happens between events.

The API sends events in English, as OpenAI does (docs/reference/events.md); `luthier.event_texts` translates them.
"""

import re

from luthier.event_texts import chinese_event, chinese_failure
from luthier.language import current, say

STATUSES = {
    "validating_files": ("validating files", "验证文件"),
    "queued": ("queued", "排队中"),
    "running": ("running", "训练中"),
    "paused": ("paused", "已暂停"),
    "succeeded": ("succeeded", "成功"),
    "failed": ("failed", "失败"),
    "cancelled": ("cancelled", "已取消"),
}


def failure_text(code: str, message: str) -> str:
    """Why a job failed: the server's message; in Chinese, preceded by the meaning of the error code."""
    return say(message, chinese_failure(code, message))


def status_text(status: str) -> str:
    """The name of a status in the user's language; an unknown status is returned unchanged."""
    return say(*STATUSES.get(status, (status, status)))


def event_text(message: str) -> str:
    """The message of an event in the user's language."""
    if current() != "zh":
        return re.sub(r"All of them: GET /v1/files/(\S+)/report", r"See all: luthier files report \1", message)
    return chinese_event(message)


def phase_text(status: str, step: int, total: int) -> str:
    """What a job is doing: its status, or while it runs, what happens before its first and after its last step."""
    if status != "running":
        return status_text(status)
    if not step:
        return say("loading the model", "正在加载模型")
    if step >= total:
        return say("comparing with the serving engine", "正在与推理引擎核对")
    return status_text(status)
