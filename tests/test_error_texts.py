"""Errors of the API in Chinese: those that the dashboard can provoke are all in the table."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from luthier.data.findings.render_errors import RENDER_ERRORS
from luthier.error_texts import chinese_error
from luthier.error_texts.requests import REQUESTS
from luthier.error_texts.resources import RESOURCES
from luthier.types import errors
from source_tree import FILES, nodes, relative, source

# Of routes that no page calls: their errors are quoted after what their status means.
_NO_PAGE = (
    "evaluation/graders/",
    "generate/",
    "inference/engines/vllm/",
    "server/routes/batches",
    "server/routes/completions",
    "server/routes/embeddings",
    "server/routes/eval",
    "server/routes/graders",
    "server/routes/moderations",
    "server/routes/responses/",
    "server/routes/uploads",
    "store/batches",
    "store/bucket",
    "store/conversations",
    "store/eval",
    "store/job_states",
    "store/model_folders",
    "store/responses",
    "store/stored_completions",
    "store/uploads",
    "worker/",
)
_API_ERRORS = {name for name, of in vars(errors).items() if isinstance(of, type) and issubclass(of, errors.APIError)}
# Of errors that are put together; some that they become follow.
_PARTS = {
    "This model's maximum context length is x1 tokens. However, ",
    "Invalid 'x1': x1",
    "Invalid 'x1': x1.",
    "Invalid 'x1': x1 x1 value. Expected a value x1 x1, but got x1 instead.",
    "Invalid typex1: expected x1, but got x1 instead.",
    "The model `x1` does not exist or you do not have access to it.x1",
    "The model 'x1' does not existx1",
    "Job x1 is x1 and cannot be x1.",
    "Job x1 has x1. Send models=true to delete the job and all of its models.",
}
_WHOLE = {
    "This model's maximum context length is 32 tokens. However, your messages resulted in 40 tokens. Please reduce the "
    "length of the messages.": "此模型的上下文最多 32 个 token，而消息有 40 个。请缩短消息。",
    "The model `x` does not exist or you do not have access to it.": "模型 x 不存在，或没有访问权限。",
    "Job ftjob-1 is queued and cannot be resumed.": "任务 ftjob-1 正在排队，无法恢复。",
    "Job ftjob-1 has 3 models, checkpoints included. Send models=true to delete the job and all of its models.": (
        "任务 ftjob-1 留下了 3 个模型（含检查点）。发送 models=true 可以连同它们一起删除。"
    ),
    "Job has already completed: ftjob-1 is failed.": "任务 ftjob-1 已经结束：已失败。",
    "Missing required parameter: 'validation_file'.": "缺少“validation_file”。",
    "Invalid 'n_epochs': integer below minimum value. Expected a value >= 1, but got 0 instead.": (
        "“n_epochs”的值 0 太小：应当 >= 1。"
    ),
    "Invalid type for 'seed': expected an integer, but got a decimal number instead.": (
        "“seed”的类型不对：应为整数，实际为小数。"
    ),
    "Invalid 'name': string too long. Expected a string with maximum length 120, but got a string with length 121 "
    "instead.": "“name”太长：最多 120 个字符，实际 121 个。",
    "Invalid 'ids': empty array. Expected an array with minimum length 1, but got an empty array instead.": (
        "“ids”不能为空。"
    ),
    "Invalid value: 'x'. Supported values are: 'peft' and 'merged'.": "无效的值 'x'。可用：'peft'、'merged'。",
    "No such File object: file-1\n{x}": "没有文件 file-1\n{x}。",
}


def _templates(path: Path, classes: set[str]) -> Iterator[str]:
    """The texts of errors of these classes that a file raises, with x1 for what an error quotes."""
    if not any(f"{name}(" in source(path) for name in classes):
        return
    functions = [node for node in nodes(path) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))]
    for scope in functions:
        calls = [node for node in ast.walk(scope) if isinstance(node, ast.Call)]
        raised = [call.args[0] for call in calls if _name(call.func) in classes and call.args]
        assigned = [node for node in ast.walk(scope) if isinstance(node, ast.Assign)]
        names = {argument.id for argument in raised if isinstance(argument, ast.Name)}
        values = [node.value for node in assigned if _name(node.targets[0]) in names]
        yield from filter(None, map(_template, [*raised, *values]))


def _name(node: ast.expr) -> str:
    return node.id if isinstance(node, ast.Name) else ""


def _template(node: ast.expr) -> str:
    if isinstance(node, ast.Constant):
        return str(node.value)
    parts = node.values if isinstance(node, ast.JoinedStr) else []
    return "".join(str(part.value) if isinstance(part, ast.Constant) else "x1" for part in parts)


@pytest.mark.source
def test_what_a_page_can_provoke_is_said_in_chinese() -> None:
    texts = {text: relative(path) for path in FILES for text in _templates(path, _API_ERRORS)}
    quoted = {text: path for text, path in texts.items() if "原话" in chinese_error(400, text)}
    assert not {text: path for text, path in quoted.items() if not path.startswith(_NO_PAGE)}.keys() - _PARTS
    assert texts.keys() >= _PARTS


@pytest.mark.source
def test_why_a_conversation_cannot_be_rendered_is_said_in_chinese() -> None:
    files = [path for path in FILES if relative(path).startswith("data/")]
    texts = {text for path in files for text in _templates(path, {"RenderError"})}
    assert len(texts) > 10
    assert not {text for text in texts if "原话" in chinese_error(400, text)}


def test_every_text_has_its_values_in_both_languages() -> None:
    for english, chinese in (*RESOURCES, *REQUESTS, *RENDER_ERRORS):
        assert set(re.findall(r"\{\w+\}", chinese)) <= set(re.findall(r"\{\w+\}", english)), english
        assert chinese_error(400, re.sub(r"\{\w+\}", "x1", english)) == re.sub(r"\{\w+\}", "x1", chinese), english


def test_what_an_error_quotes_is_in_its_chinese_text() -> None:
    assert {english: chinese_error(400, english) for english in _WHOLE} == _WHOLE


def test_an_error_without_a_chinese_text_is_quoted_after_its_kind() -> None:
    assert chinese_error(400, "New one", param="seed") == "请求无效（seed）。服务器的原话：New one"
    assert chinese_error(503, "New one") == "服务器出错。服务器的原话：New one"
    assert chinese_error(404, "New one", code="model_not_found") == "没有这个模型。服务器的原话：New one"
    assert chinese_error(400, "样本太少（3 个），无法拆分") == "样本太少（3 个），无法拆分"
