"""The tables of `docs/reference/compatibility.md` are made from both OpenAPI documents; this file, run as a program,
makes them anew."""

import json
import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))  # run as a program, it begins in its own folder

import httpx
import pytest
from openai import OpenAI

from conformance.compare import differences
from conformance.extract import EXTRACT
from conformance.test_official_suites import AREAS, SKIPPED
from generated_pages import fill, pages, table
from luthier.catalogue import Catalogue
from luthier.runtime import LuthierServer
from luthier.server import create_app
from luthier.settings import Settings
from luthier.store import Store
from through_api import upload

PAGES = pages("compatibility")
COMMAND = "python tests/conformance/test_compatibility_page.py"
# Where (method and path, then the place, as regular expressions), and why, in English and Chinese. Each one must be
# needed.
REASONS = [
    (
        "POST /chat/completions",
        r"messages\[\] \(role=user\)\.content\[\] \(type=(image_url|input_audio|file)\)",
        "The models here accept text only.",
        "这里的模型只接受文本。",
    ),
    (
        "POST /chat/completions",
        r".*\(type=custom\)",
        "Custom tools take free text; the models here are trained on calls with JSON arguments.",
        "自定义工具接受自由文本；这里的模型学的是带 JSON 参数的调用。",
    ),
    (
        "POST /chat/completions",
        r"seed = -?9223372036854776000",
        "A 64-bit integer, says OpenAI's documentation; the bounds in its schema are rounded to values outside that "
        "range.",
        "按 OpenAI 的文字说明是 64 位整数；其 schema 里的上下限因舍入而超出了这个范围。",
    ),
    (
        "POST /chat/completions",
        r"(modalities\[\]|verbosity) = .*",
        "The models here write plain text in one style; only the value that requests it is accepted.",
        "这里的模型只以一种方式写普通文本；只接受与此相符的值。",
    ),
    (
        "POST /chat/completions",
        r"web_search_options|audio|moderation",
        "Not supported; the error names the field.",
        "不支持；错误会指出该字段。",
    ),
    (
        "POST /chat/completions",
        r"tool_choice \(type=allowed_tools\)",
        "Accepted if its tools are named as functions; OpenAI's schema does not define them.",
        "其中的工具以函数名列出时接受；OpenAI 的 schema 没有规定它们的形式。",
    ),
    (
        "GET /chat/completions/{completion_id}/messages",
        r"answer: data\[\]\.(tool_calls\[\]|function_call|content_parts\[\])\..*",
        "Returned as sent, with all fields; the schema does not specify more.",
        "按发送时的样子返回全部字段；schema 没有更多规定。",
    ),
    (
        "(GET|POST) /evals.*",
        r"answer: (data\[\]\.)?(testing_criteria\[\]|data_source)\..*",
        "Returned as sent, with an id added to each criterion; the schema does not specify more.",
        "原样返回收到的内容，每个标准加上 id；schema 没有更多规定。",
    ),
    (
        "POST /(evals/.*|responses.*|conversations.*)",
        r".*\(type=input_(image|file)\).*",
        "The models here accept text only.",
        "这里的模型只接受文本。",
    ),
    (
        "POST /(evals/.*|responses.*)",
        r"(.*\.)?(tools\[\]|tool_choice).*",
        "The only tools here are functions, which the model calls and the client runs.",
        "这里的工具只有函数，由模型调用，由客户端执行。",
    ),
    (
        "POST /(responses|conversations).*",
        r"(items|input)\[\]( \(type=(?!input_|message)\w+\).*|\.type \(null\))",
        "Items of tools and features that are not supported. A null type is treated as absent.",
        "不支持的工具和功能的条目。值为 null 的类型视为没有类型。",
    ),
    (
        "POST /responses.*",
        r"model \((absent|null)\)",
        "A request must name its model.",
        "请求必须指明模型。",
    ),
    (
        "POST /responses.*",
        r"prompt|moderation|context_management.*|personality",
        "Not supported; the error names the field.",
        "不支持；错误会指出该字段。",
    ),
    (
        "POST /responses.*",
        r"(text\.verbosity|reasoning\.(mode|context)).*",
        "The models here write and reason as they were trained; only the value that requests it is accepted.",
        "这里的模型按训练时的方式书写和推理；只接受与此相符的值。",
    ),
    (
        "(GET|POST) /(responses|conversations).*",
        r"answer: (data\[\]\.)?(type|id|summary)|answer: (tools\[\]\.type|tool_choice)",
        "Returned as sent or generated, with all fields; the schema does not specify more.",
        "按收到或生成的内容返回，包含全部字段；schema 没有更多规定。",
    ),
    (
        "POST /files",
        r"expires_after",
        "In a form, its two fields are `expires_after[anchor]` and `expires_after[seconds]`, as OpenAI's clients send "
        "them.",
        "在表单里，它的两个字段写作 `expires_after[anchor]` 和 `expires_after[seconds]`，与 OpenAI 的客户端相同。",
    ),
    (
        "GET /files/{file_id}/content",
        r"answer: as application/json",
        "The bytes of the file, as `application/octet-stream`, as OpenAI returns them.",
        "以 `application/octet-stream` 返回文件的字节；OpenAI 也是这样。",
    ),
    (
        "POST /(fine_tuning/(alpha/graders/.*|jobs)|evals)",
        r".*\(type=score_model\)\.range\[\]",
        "Two numbers, says OpenAI's documentation; its schema has the bounds in the wrong place.",
        "按 OpenAI 的文字说明是两个数；其 schema 把上下限写错了位置。",
    ),
    (
        "POST /moderations",
        r"answer: .*",
        "Passed through unchanged from the configured upstream service; without one, the status is 404.",
        "原样转发所配置的上游服务的应答；没有配置时返回状态 404。",
    ),
    (
        "POST /fine_tuning/alpha/graders/validate",
        r"answer: grader\..*",
        "The grader is returned as sent, with all fields; the schema does not specify more.",
        "评分器按发送时的样子返回全部字段；schema 没有更多规定。",
    ),
]
AREAS_IN_CHINESE = {
    "files": "文件",
    "uploads": "分段上传",
    "jobs": "任务",
    "job checkpoints": "任务的检查点",
    "checkpoint permissions": "检查点许可",
    "graders": "评分器",
    "models": "模型",
    "chat": "对话",
    "responses": "响应",
    "conversations": "会话",
    "completions": "文本补全",
    "embeddings": "嵌入",
    "batches": "批处理",
    "evals": "evals",
    "webhooks": "webhook",
}
HEADERS = {
    "scores": {
        "en": ("area", "openai 3.57.0", "openai 1.109.1"),
        "zh": ("部分", "openai 3.57.0", "openai 1.109.1"),
    },
    "differences": {"en": ("operation", "where", "why"), "zh": ("操作", "位置", "原因")},
    "refused": {"en": ("operation", "sent", "why"), "zh": ("操作", "发送的内容", "原因")},
}
# Operation, a body (FILE: a training file that exists), the `param` of the error, and why, in English and Chinese.
REFUSED: list[tuple[str, dict[str, Any], str, str, str]] = [
    (
        "/completions",
        {"model": "gpt-4o-mini", "prompt": "a", "suffix": "b"},
        "suffix",
        "The models here continue a text and are not trained to fill gaps.",
        "这里的模型只续写文本，没有训练过填补空缺。",
    ),
    (
        "/chat/completions",
        {
            "model": "gpt-4o-mini",
            "messages": [{"role": "user", "content": "a"}],
            "functions": [{"name": "f"}],
            "tools": [{"type": "function", "function": {"name": "f"}}],
        },
        "functions",
        "The old form of `tools`; the two contradict each other.",
        "`tools` 的旧形式；两者同时出现会互相矛盾。",
    ),
    (
        "/evals",
        {
            "data_source_config": {"type": "logs"},
            "testing_criteria": [
                {
                    "type": "label_model",
                    "name": "a",
                    "model": "gpt-4o-mini",
                    "input": [{"role": "king", "content": "a"}],
                    "labels": ["a"],
                    "passing_labels": ["a"],
                }
            ],
        },
        "testing_criteria[0].input[0].role",
        "The roles are `user`, `assistant`, `system` and `developer`.",
        "角色只有 `user`、`assistant`、`system` 和 `developer` 四种。",
    ),
    (
        "/batches",
        {"input_file_id": "FILE", "endpoint": "/v1/videos", "completion_window": "24h"},
        "endpoint",
        "Batches support only endpoints that exist here.",
        "批处理只支持这里提供的端点。",
    ),
]


def page(language: str) -> str:
    """The whole page. Raises AssertionError for a difference without a reason, or the other way round."""
    rows = {"scores": _scores(language), "differences": _differences(language), "refused": _refused(language)}
    return fill(PAGES[language], {part: table(HEADERS[part][language], rows[part]) for part in rows})


def _differences(language: str) -> list[tuple[str, str, str]]:
    places: dict[tuple[str, str], list[str]] = {}
    used = set()
    for operation, where in differences(json.loads(EXTRACT.read_text(encoding="utf-8")), document()):
        reason = next((row for row in REASONS if re.fullmatch(row[0], operation) and re.fullmatch(row[1], where)), None)
        assert reason, f"{operation}: {where}: either accept or answer it, or say in REASONS why not"
        used.add(reason)
        why = reason[2] if language == "en" else reason[3]
        place = where.removesuffix(" ")
        places.setdefault((operation, why), []).append(f"`{place}`")
    assert used == set(REASONS), f"no longer needed: {set(REASONS) - used}"
    return [(f"`{of}`", ", ".join(dict.fromkeys(where)), why) for (of, why), where in places.items()]


def _refused(language: str) -> Iterator[tuple[str, str, str]]:
    for path, _, param, english, chinese in REFUSED:
        yield f"`POST {path}`", f"`{param}`", english if language == "en" else chinese


def _scores(language: str) -> Iterator[tuple[str, str, str]]:
    skipped = f", {SKIPPED} skipped" if language == "en" else f"，跳过 {SKIPPED}"
    total = {"3.57.0": 0, "1.109.1": 0}
    for area, _, passed in AREAS:
        suffix = skipped if area == "files" else ""
        title = area if language == "en" else AREAS_IN_CHINESE[area]
        yield title, f"{passed['3.57.0']}{suffix}", f"{passed['1.109.1']}{suffix}"
        total = {version: count + passed[version] for version, count in total.items()}
    yield "all" if language == "en" else "合计", f"{total['3.57.0']}{skipped}", f"{total['1.109.1']}{skipped}"


def document() -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder))
        openapi: dict[str, Any] = create_app(Settings(data=Path(folder)), store, Catalogue(Path(folder))).openapi()
        store.close()
    return openapi


@pytest.mark.parametrize("language", PAGES)
def test_the_page_is_what_the_documents_say(language: str) -> None:
    assert PAGES[language].read_text(encoding="utf-8") == page(language), f"run: {COMMAND}"


@pytest.mark.parametrize(("path", "body", "param"), [row[:3] for row in REFUSED], ids=[row[2] for row in REFUSED])
def test_what_is_refused_is_refused(
    client: OpenAI, server: LuthierServer, path: str, body: dict[str, Any], param: str
) -> None:
    parameters = {key: upload(client) if value == "FILE" else value for key, value in body.items()}
    answer = httpx.post(f"{server.endpoint.base_url}{path}", json=parameters)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)


if __name__ == "__main__":
    for language, path in PAGES.items():
        path.write_text(page(language), encoding="utf-8")
