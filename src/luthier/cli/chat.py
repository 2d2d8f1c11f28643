"""`luthier chat`: one answer, or a conversation with history, streamed as it is written.

Calls that the model makes are shown as name(arguments); in a conversation the person is asked for what they return,
because the API wants an answer to every call before it goes on. Executes nothing.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from luthier.cli.client import Connection, open_connection
from luthier.cli.errors import ADDRESS, Trouble, explain
from luthier.cli.functions_file import faults, read_functions
from luthier.cli.i18n import printable
from luthier.cli.options import Options, pass_options, server_options
from luthier.cli.output import as_json, note, print_json
from luthier.language import say

if TYPE_CHECKING:
    from openai.types.chat.chat_completion_chunk import ChoiceDelta

Message = dict[str, Any]


@dataclass
class Reply:
    """A streamed answer being put together: text, tool calls by index, or one legacy function call."""

    content: str = ""
    tool_calls: dict[int, Message] = field(default_factory=dict)
    function_call: Message | None = None

    def add(self, delta: ChoiceDelta) -> str:
        """Takes one piece; returns the text in it."""
        for part in delta.tool_calls or []:
            empty = {"id": "", "type": "function", "function": {"name": "", "arguments": ""}}
            call = self.tool_calls.setdefault(part.index, empty)
            call["id"] += part.id or ""
            if part.function:
                _extend(call["function"], part.function.name, part.function.arguments)
        if delta.function_call:
            self.function_call = self.function_call or {"name": "", "arguments": ""}
            _extend(self.function_call, delta.function_call.name, delta.function_call.arguments)
        text = (delta.content or "") + (delta.refusal or "")
        self.content += text
        return text

    def calls(self) -> list[Message]:
        """The called functions, in order: each has `name` and `arguments`."""
        made = [call["function"] for _, call in sorted(self.tool_calls.items())]
        return made + ([self.function_call] if self.function_call else [])

    def message(self) -> Message:
        """The answer as the next request repeats it."""
        said: Message = {"role": "assistant", "content": self.content or None}
        if self.tool_calls:
            said["tool_calls"] = [call for _, call in sorted(self.tool_calls.items())]
        if self.function_call:
            said["function_call"] = self.function_call
        return said if self.calls() else said | {"content": self.content}


def _extend(call: Message, name: str | None, arguments: str | None) -> None:
    call["name"] += name or ""
    call["arguments"] += arguments or ""


@dataclass(frozen=True)
class Conversation:
    """A model, how it samples, and what was said so far."""

    connection: Connection
    model: str
    sampling: dict[str, Any]
    messages: list[Message]
    functions: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    def request(self) -> dict[str, Any]:
        return {"model": self.model, "messages": self.messages, **self.functions, **self.sampling}

    def answer(self) -> Reply:
        """Streams the next answer to stdout and keeps it."""
        reply, chunk = Reply(), None
        with self.connection.client.chat.completions.create(**self.request(), stream=True) as chunks:
            for chunk in chunks:
                for choice in chunk.choices:
                    click.echo(printable(reply.add(choice.delta)), nl=False)
        if chunk is None:
            raise Trouble(
                say(f"{self.connection.address} sent no answer.", f"{self.connection.address} 没有给出回答。"),
                say(*ADDRESS),
            )
        if reply.content:
            click.echo()
        for call in reply.calls():
            click.echo(printable(f"{call['name']}({call['arguments']})"))
            wrong = faults(self.functions, call["name"], call["arguments"])
            if wrong:
                note(f"  {wrong}", "yellow")
        self.messages.append(reply.message())
        return reply


def talk(conversation: Conversation) -> None:
    """A conversation on a terminal, until Ctrl-D, or Ctrl-C where one would type."""
    note(say("Ctrl-D ends, /new forgets what was said.", "Ctrl-D 结束，/new 清空对话。"), "dim")
    opening = len(conversation.messages)
    while True:
        text = _ask("> ")
        if text is None:
            return
        if text == "/new":
            del conversation.messages[opening:]
        elif text:
            with _all_or_nothing(conversation):
                conversation.messages.append({"role": "user", "content": text})
                while _answer_calls(conversation, conversation.answer()):
                    pass


@contextmanager
def _all_or_nothing(conversation: Conversation) -> Iterator[None]:
    """A turn that fails or is interrupted is forgotten, so that the next one starts from a valid history."""
    import openai

    length = len(conversation.messages)
    try:
        yield
    except openai.OpenAIError as error:
        del conversation.messages[length:]
        explain(error, conversation.connection.address).show()
    except Trouble as trouble:
        del conversation.messages[length:]
        trouble.show()
    except KeyboardInterrupt:
        del conversation.messages[length:]
        click.echo()


def _answer_calls(conversation: Conversation, reply: Reply) -> bool:
    """Asks the person what each call returns; whether there was one. Ctrl-C forgets the turn."""
    for call in [call for _, call in sorted(reply.tool_calls.items())]:
        result = _returned(call["function"])
        conversation.messages.append({"role": "tool", "tool_call_id": call["id"], "content": result})
    if reply.function_call:
        result = _returned(reply.function_call)
        conversation.messages.append({"role": "function", "name": reply.function_call["name"], "content": result})
    return bool(reply.calls())


def _returned(call: Message) -> str:
    answer = _ask(say(f"{call['name']} returns> ", f"{call['name']} 返回> "))
    if answer is None:
        raise KeyboardInterrupt
    return answer


def _ask(prompt: str) -> str | None:
    """A line from the person; None at the end of input. `readline` gives editing and history where there is one."""
    with suppress(ImportError):
        import readline  # noqa: F401
    try:
        return input(prompt).strip()
    except (EOFError, KeyboardInterrupt):
        click.echo()
        return None


def _on_terminal() -> bool:
    return sys.stdin.isatty()


@click.command(
    help=say(
        "Talk to a model. MESSAGE, or text piped in, gets one answer; without it a conversation starts.\n\n"
        'Examples: luthier chat gpt-3.5-turbo "How do I read a balance sheet?", '
        "luthier chat ft:… --functions functions.json",
        "与模型对话。给出 MESSAGE（或用管道输入）得到一次回答；不给出则开始连续对话。\n\n"
        '例子：luthier chat gpt-3.5-turbo "怎样看一张资产负债表？"、luthier chat ft:… --functions functions.json',
    )
)
@click.argument("model")
@click.argument("message", required=False)
@click.option("--system", metavar="TEXT", help=say("The system message.", "系统消息。"))
@click.option("--temperature", type=click.FloatRange(0, 2), help=say("0 always answers the same.", "0 表示回答固定。"))
@click.option("--max-tokens", type=click.IntRange(min=1), help=say("Longest answer, in tokens.", "回答的最大词元数。"))
@click.option(
    "--functions",
    metavar="FILE",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help=say(
        "Definitions that the model may call: a JSON list of tools or functions, or a training file. Calls are shown, "
        "held against their definitions, and you say what they return; nothing is run.",
        "模型可以调用的函数定义：tools 或 functions 的 JSON 列表，或训练文件。会显示调用并对照定义检查，"
        "返回值由你输入；不会执行任何函数。",
    ),
)
@server_options
@pass_options
def chat(
    options: Options,
    model: str,
    message: str | None,
    system: str | None,
    temperature: float | None,
    max_tokens: int | None,
    functions: Path | None,
) -> None:
    given = {"temperature": temperature, "max_tokens": max_tokens}
    sampling = {key: value for key, value in given.items() if value is not None}
    definitions = read_functions(functions) if functions else {}
    opening: list[Message] = [{"role": "system", "content": system}] if system else []
    if message is None and not _on_terminal():
        message = sys.stdin.read().strip()
    if message == "" or (message is None and options.json):
        raise click.UsageError(say("There is no MESSAGE to answer.", "没有可回答的 MESSAGE。"))
    with open_connection(options) as connection:
        conversation = Conversation(connection, model, sampling, opening, definitions)
        if message is None:
            talk(conversation)
            return
        conversation.messages.append({"role": "user", "content": message})
        if options.json:
            print_json(as_json(connection.client.chat.completions.create(**conversation.request())))
        else:
            conversation.answer()
