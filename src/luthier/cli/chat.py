"""`luthier chat`: a single answer or a conversation with history, streamed.

Tool calls are shown as name(arguments). In a conversation the user types their results, because the API requires a
result for every call. Nothing is executed.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from luthier.cli.client import Connection, open_connection
from luthier.cli.errors import ADDRESS_HINT, CliError, translate_client_error
from luthier.cli.functions_file import call_errors, read_functions
from luthier.cli.i18n import printable
from luthier.cli.options import Options, pass_options, server_options
from luthier.cli.output import note, print_json, spinner, to_json
from luthier.language import say

if TYPE_CHECKING:
    from openai.types.chat.chat_completion_chunk import ChoiceDelta

Message = dict[str, Any]


@dataclass
class Reply:
    """An answer assembled from the chunks of a stream: text, tool calls by index, or a legacy function call."""

    content: str = ""
    tool_calls: dict[int, Message] = field(default_factory=dict)
    function_call: Message | None = None

    def add(self, delta: ChoiceDelta) -> str:
        """Adds a delta and returns its text."""
        for part in delta.tool_calls or []:
            new = {"id": "", "type": "function", "function": {"name": "", "arguments": ""}}
            call = self.tool_calls.setdefault(part.index, new)
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
        """The calls in order, each with `name` and `arguments`."""
        functions = [call["function"] for _, call in sorted(self.tool_calls.items())]
        return functions + ([self.function_call] if self.function_call else [])

    def message(self) -> Message:
        """The answer as a message for the next request."""
        message: Message = {"role": "assistant", "content": self.content or None}
        if self.tool_calls:
            message["tool_calls"] = [call for _, call in sorted(self.tool_calls.items())]
        if self.function_call:
            message["function_call"] = self.function_call
        return message if self.calls() else message | {"content": self.content}


def _extend(call: Message, name: str | None, arguments: str | None) -> None:
    call["name"] += name or ""
    call["arguments"] += arguments or ""


@dataclass(frozen=True)
class Conversation:
    """A conversation with a model: sampling parameters, messages so far, and the tools or functions of each request."""

    connection: Connection
    model: str
    sampling: dict[str, Any]
    messages: list[Message]
    functions: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    def request(self) -> dict[str, Any]:
        return {"model": self.model, "messages": self.messages, **self.functions, **self.sampling}

    def stream_reply(self) -> Reply:
        """Streams the next answer to stdout and appends it to the messages."""
        reply, chunk = Reply(), None
        with ExitStack() as waiting:
            # The first answer of a model takes longer, since the server loads its weights.
            waiting.enter_context(spinner(say("Waiting for the model …", "正在等待模型……")))
            chunks = self.connection.client.chat.completions.create(**self.request(), stream=True)
            first = next(chunks, None)
        with chunks:
            for chunk in chain([first] if first else [], chunks):
                for choice in chunk.choices:
                    click.echo(printable(reply.add(choice.delta)), nl=False)
        if chunk is None:
            raise CliError(
                say(
                    f"{self.connection.address} sent an empty stream.", f"{self.connection.address} 没有返回任何内容。"
                ),
                say(*ADDRESS_HINT),
            )
        if reply.content:
            click.echo()
        for call in reply.calls():
            click.echo(printable(f"{call['name']}({call['arguments']})"))
            errors = call_errors(self.functions, call["name"], call["arguments"])
            if errors:
                note(f"  {errors}", "yellow")
        self.messages.append(reply.message())
        return reply


def _chat_help() -> str:
    return say("Ctrl-D ends the chat, /new clears the history.", "Ctrl-D 结束，/new 清空对话。")


def chat_loop(conversation: Conversation) -> None:
    """Holds a conversation on a terminal, until Ctrl-D, or Ctrl-C at the prompt."""
    note(_chat_help(), "dim")
    first_turn = len(conversation.messages)
    while True:
        text = _read_line("> ")
        if text is None:
            return
        if text in ("/help", "/?"):
            note(_chat_help(), "dim")
        elif text == "/new":
            del conversation.messages[first_turn:]
        elif text:
            with _rolled_back_on_error(conversation):
                conversation.messages.append({"role": "user", "content": text})
                while _answer_calls(conversation, conversation.stream_reply()):
                    pass


@contextmanager
def _rolled_back_on_error(conversation: Conversation) -> Iterator[None]:
    """Removes a turn that fails or is interrupted, so that the history stays valid."""
    import openai

    length = len(conversation.messages)
    try:
        yield
    except openai.OpenAIError as error:
        del conversation.messages[length:]
        translate_client_error(error, conversation.connection.address).show()
    except CliError as error:
        del conversation.messages[length:]
        error.show()
    except KeyboardInterrupt:
        del conversation.messages[length:]
        note(say("\nStopped; this turn is discarded.", "\n已中断；这一轮不保留。"), "dim")


def _answer_calls(conversation: Conversation, reply: Reply) -> bool:
    """Asks the user for the result of each call, and returns whether there was one. Ctrl-C discards the turn."""
    for call in [call for _, call in sorted(reply.tool_calls.items())]:
        result = _call_result(call["function"])
        conversation.messages.append({"role": "tool", "tool_call_id": call["id"], "content": result})
    if reply.function_call:
        result = _call_result(reply.function_call)
        conversation.messages.append({"role": "function", "name": reply.function_call["name"], "content": result})
    return bool(reply.calls())


def _call_result(call: Message) -> str:
    line = _read_line(say(f"{call['name']} returns> ", f"{call['name']} 返回> "))
    if line is None:
        raise KeyboardInterrupt
    return line


def _read_line(prompt: str) -> str | None:
    """A line of input; None at the end of the input. Python's `readline`, where it exists, adds editing and history."""
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
        "Chat with a model. MESSAGE, or text from a pipe, gets a single answer; without it a conversation starts.\n\n"
        'Examples: luthier chat gpt-3.5-turbo "How do I read a balance sheet?", '
        "luthier chat ft:… --functions functions.json",
        "与模型对话。给出 MESSAGE（或通过管道输入）得到一次回答；不给出则开始连续对话。\n\n"
        '例子：luthier chat gpt-3.5-turbo "怎样看一张资产负债表？"、luthier chat ft:… --functions functions.json',
    )
)
@click.argument("model")
@click.argument("message", required=False)
@click.option("--system", metavar="TEXT", help=say("The system message.", "系统消息。"))
@click.option(
    "--temperature",
    type=click.FloatRange(0, 2),
    help=say("Sampling temperature; 0 is greedy.", "采样温度，0 为贪心。"),
)
@click.option("--max-tokens", type=click.IntRange(min=1), help=say("Token limit of an answer.", "回答的 token 上限。"))
@click.option(
    "--functions",
    metavar="FILE",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help=say(
        "Functions that the model may call: a JSON list of tools or functions, or a training file. Calls are shown and "
        "validated against their definitions, and you type their results; nothing is executed.",
        "模型可以调用的函数定义：tools 或 functions 的 JSON 列表，或训练文件。会显示调用并按定义校验，"
        "结果由你输入；不会执行任何函数。",
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
    parameters = {"temperature": temperature, "max_tokens": max_tokens}
    sampling = {key: value for key, value in parameters.items() if value is not None}
    definitions = read_functions(functions) if functions else {}
    messages: list[Message] = [{"role": "system", "content": system}] if system else []
    if message is None and not _on_terminal():
        message = sys.stdin.read().strip()
    if message == "" or (message is None and options.json):
        raise click.UsageError(say("There is no MESSAGE to answer.", "没有可回答的 MESSAGE。"))
    with open_connection(options) as connection:
        conversation = Conversation(connection, model, sampling, messages, definitions)
        if message is None:
            chat_loop(conversation)
            return
        conversation.messages.append({"role": "user", "content": message})
        if options.json:
            print_json(to_json(connection.client.chat.completions.create(**conversation.request())))
        else:
            conversation.stream_reply()
