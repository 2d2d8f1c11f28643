"""Errors of the API in Chinese, for display: the command line shows them, and the server sends them to the dashboard.

To all other clients they go word for word as OpenAI sends them. An error that is not in the table is quoted after what
its code or its status means.
"""

import re

from luthier.data.findings.render_errors import RENDER_ERRORS
from luthier.error_texts.requests import REQUESTS
from luthier.error_texts.resources import RESOURCES
from luthier.language import ChineseTexts

_TEXTS = ChineseTexts((*RESOURCES, *REQUESTS, *RENDER_ERRORS))
_TERMS = {
    "validating_files": "正在验证文件",
    "queued": "正在排队",
    "running": "正在训练",
    "paused": "已暂停",
    "succeeded": "已成功",
    "failed": "已失败",
    "cancelled": "已取消",
    "a string": "字符串",
    "an integer": "整数",
    "a decimal": "小数",
    "a decimal number": "小数",
    "a boolean": "布尔值",
    "an array": "数组",
    "an object": "对象",
    "null": "空值",
    "The file": "文件",
    "The request": "请求",
    "A file for batches": "批处理文件",
    "The part": "分段",
    "no such header": "没有此请求头",
}
_CODES = {
    "model_not_found": "没有这个模型",
    "invalid_api_key": "API 密钥不正确",
    "context_length_exceeded": "超过了模型的上下文长度",
    "insufficient_quota": "账号额度不足",
    "rate_limit_exceeded": "超过速率限制",
    "training_not_available": "该服务不再接受微调任务",
    "unsupported_value": "不支持这个取值",
    "unknown_parameter": "没有这个参数",
    "missing_required_parameter": "缺少必填参数",
}
_STATUSES = {
    400: "请求无效",
    401: "没有通过身份验证",
    403: "没有权限",
    404: "找不到所指的对象",
    409: "与当前状态冲突",
    413: "请求太大",
    422: "请求无法处理",
    429: "请求过多",
    500: "服务器出错",
}

_CHINESE_MARKS = re.compile("[。，：；（]")


def chinese_error(status: int, message: str, code: object = None, param: object = None) -> str:
    """The message of an error response with this HTTP status; `code`, `param`: those of its body."""
    if chinese := _TEXTS.of(message, _term):
        return chinese
    if _CHINESE_MARKS.search(message):  # a sentence that the server has in both languages
        return message
    lead = _CODES.get(str(code)) or _STATUSES.get(500 if status >= 500 else status, f"服务器返回状态 {status}")
    place = f"（{param}）" if param else ""
    return f"{lead}{place}。服务器的原话：{message}"


def _term(name: str, text: str) -> str:
    """What an error quotes as `name`; of the server's own words their translation."""
    return re.sub(",? and ", "、", text) if name == "values" else _TERMS.get(text, text)
