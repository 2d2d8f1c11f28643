"""`luthier files from-completions`: creates a training file from stored chat completions."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any

import click
import httpx

from luthier.cli.client import open_client
from luthier.cli.options import NamePair, Options, pass_options, server_options
from luthier.cli.output import note, plural, print_json, print_table, to_json
from luthier.language import say

if TYPE_CHECKING:
    import openai
    from openai.types.chat import ChatCompletion

# The reasons why a stored completion cannot become an example, in English and Chinese.
_REASONS = {
    "cut_off": ("cut off", "被截断"),
    "refused": ("refused", "拒绝回答"),
    "empty": ("empty", "空回答"),
    "not_text": ("with content other than text", "含非文本内容"),
}


@click.command(
    "from-completions",
    help=say(
        "Create a training file from stored chat completions (`store: true`): each becomes an example whose answer is "
        "trained. --show prints some of them without creating a file.\n\n"
        "Example: luthier files from-completions --model gpt-4o --metadata task=support --show 3",
        "把保存的对话补全（`store: true`）做成训练文件：每条补全是一个样本，只训练它的回答。"
        "--show 只查看几条，不生成文件。\n\n"
        "例子：luthier files from-completions --model gpt-4o --metadata task=support --show 3",
    ),
)
@click.option("--model", metavar="NAME", help=say("Only completions of this model.", "只取该模型的补全。"))
@click.option(
    "--metadata",
    "pairs",
    multiple=True,
    type=NamePair("KEY=VALUE", second_may_be_empty=True),
    help=say("Only completions with this key-value pair; repeatable.", "只取带有该键值对的补全；可重复。"),
)
@click.option("--filename", default="completions.jsonl", show_default=True, help=say("Name of the file.", "文件名。"))
@click.option("--show", type=click.IntRange(min=1), metavar="N", help=say("Only show the first N.", "只显示前 N 条。"))
@server_options
@pass_options
def from_completions(
    options: Options, model: str | None, pairs: tuple[tuple[str, str], ...], filename: str, show: int | None
) -> None:
    metadata = dict(pairs)
    selection = {key: value for key, value in (("model", model), ("metadata", metadata)) if value}
    with open_client(options) as client:
        if show:
            _show(client, options, selection, show)
            return
        # This route is Luthier's own, so the client has no method for it.
        body = {**selection, "filename": filename}
        export = client.post("/files/from_completions", body=body, cast_to=httpx.Response).json()
    if options.json:
        print_json(export)
        return
    click.echo(f"{export['file']['id']}  {export['file']['filename']}")
    count = export["examples"]
    note(say(f"{plural(count, 'example')}, oldest first.", f"共 {count} 条样本，旧的在前。"))
    for reason, skipped in export["skipped"].items():
        text = say(*_REASONS.get(reason, (reason, reason)))
        note(say(f"{skipped} left out: {text}.", f"未采用 {skipped} 条：{text}。"))


def _show(client: openai.OpenAI, options: Options, selection: dict[str, Any], count: int) -> None:
    """Prints the first completions, each with the last message of its request."""
    completions = list(islice(client.chat.completions.list(**selection, limit=min(count, 100)), count))
    if options.json:
        print_json([to_json(completion) for completion in completions])
        return
    columns = (say("id", "编号"), say("model", "模型"), say("last message", "最后一条消息"), say("answer", "回答"))
    rows = [(row.id, row.model, _question(client, row), _answer(row)) for row in completions]
    empty = say(
        "No stored chat completions match. Requests with store=True are stored.",
        "没有符合条件的对话补全。带 store=True 的请求会被保存。",
    )
    print_table(columns, rows, empty=empty)


def _question(client: openai.OpenAI, completion: ChatCompletion) -> str:
    newest = client.chat.completions.messages.list(completion.id, order="desc", limit=1).data
    return " ".join((newest[0].content or "").split()) if newest else ""


def _answer(completion: ChatCompletion) -> str:
    message = completion.choices[0].message
    functions = [call.function for call in message.tool_calls or [] if call.type == "function"]
    if message.function_call:
        return f"{message.function_call.name}({message.function_call.arguments})"
    calls = "; ".join(f"{function.name}({function.arguments})" for function in functions)
    return calls or " ".join((message.content or "").split())
