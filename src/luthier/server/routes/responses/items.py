"""Items as sent, as stored, and as the corresponding messages of a chat."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from luthier.store import Store
from luthier.store.request_ids import resource_id
from luthier.store.response_items import Item
from luthier.types.errors import BadRequestError
from luthier.types.response_items import (
    AnyInputItem,
    InputCall,
    InputCallOutput,
    InputCompaction,
    InputMessage,
    InputReasoning,
    ItemReference,
)
from luthier.types.responses import MAX_INPUT_ITEMS

ID_LENGTH = 48
_PREFIXES = {
    "message": "msg_",
    "function_call": "fc_",
    "function_call_output": "fco_",
    "reasoning": "rs_",
    "compaction": "cmp_",
}
Message = dict[str, Any]


def item_id(kind: str) -> str:
    return resource_id(_PREFIXES[kind], ID_LENGTH)


def stored_items(store: Store, sent: str | Sequence[AnyInputItem] | None, param: str = "input") -> list[Item]:
    """The items of a request with ids, as the API returns them; a reference is replaced by its target under a new id.

    Raises NotFoundError for a reference to an item that is not stored; BadRequestError.
    """
    if sent is None:
        return []
    if isinstance(sent, str):
        return [_stored(InputMessage(role="user", content=sent), param)]
    references = [item.id for item in sent if isinstance(item, ItemReference)]
    by_id = store.responses.items_by_id(references, param) if references else {}
    stored = []
    for index, item in enumerate(sent):
        if isinstance(item, ItemReference):
            stored.append(by_id[item.id] | {"id": item_id(by_id[item.id]["type"])})
        else:
            stored.append(_stored(item, f"{param}[{index}]"))
    return stored


def _stored(item: InputMessage | InputCall | InputCallOutput | InputReasoning | InputCompaction, param: str) -> Item:
    stored: Item = {"id": item_id(item.type), "type": item.type}
    match item:
        case InputMessage():
            stored |= {"role": item.role, "status": item.status or "completed", "content": _parts(item, param)}
            if item.phase is not None:
                stored["phase"] = item.phase
        case InputCall():
            stored |= {"call_id": item.call_id, "name": item.name, "arguments": item.arguments}
            stored["status"] = item.status or "completed"
        case InputCallOutput():
            output = item.output
            parts = (
                output if isinstance(output, str) else [{"type": "input_text", "text": part.text} for part in output]
            )
            stored |= {"call_id": item.call_id, "output": parts, "status": item.status or "completed"}
        case InputReasoning():
            stored |= {"summary": item.summary or [], "content": item.content or []}
            stored |= {"encrypted_content": item.encrypted_content} if item.encrypted_content else {}
        case InputCompaction():
            stored["encrypted_content"] = item.encrypted_content
    return stored


def _parts(message: InputMessage, param: str) -> list[dict[str, Any]]:
    is_answer = message.role == "assistant"
    if isinstance(message.content, str):
        return [_text_part(message.content, is_answer=is_answer)]
    if not message.content and not is_answer:
        place = f"{param}.content"
        text = f"Invalid '{place}': empty array. Expected an array with minimum length 1, but got an empty array."
        raise BadRequestError(text, param=place, code="empty_array")
    return [
        {"type": "refusal", "refusal": part.refusal}
        if part.type == "refusal"
        else _text_part(part.text, is_answer=is_answer)
        for part in message.content
    ]


def _text_part(text: str, *, is_answer: bool) -> dict[str, Any]:
    if is_answer:
        return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
    return {"type": "input_text", "text": text}


def expanded(items: Iterable[Item], compacted: Callable[[str, str], list[Item]], param: str = "input") -> list[Item]:
    """The items, with compactions replaced by the items that they stand for.

    Raises NotFoundError; BadRequestError for more items than a request may have.
    """
    whole: list[Item] = []
    for item in items:
        whole += compacted(item["encrypted_content"], param) if item["type"] == "compaction" else [item]
        if len(whole) > MAX_INPUT_ITEMS:
            message = f"Too many items: a request may build on {MAX_INPUT_ITEMS:,}. Send only the last turns."
            raise BadRequestError(message, param=param, code="context_length_exceeded")
    return whole


def check_results(items: Iterable[Item]) -> None:
    """Raises BadRequestError, in OpenAI's words, for a call without its result, and for a result without its call."""
    has_result: dict[str, bool] = {}  # by the ids of calls
    for item in items:
        if item["type"] == "function_call":
            has_result[item["call_id"]] = False
        elif item["type"] == "function_call_output":
            if item["call_id"] not in has_result:
                message = f"No tool call found for function call output with call_id {item['call_id']}."
                raise BadRequestError(message, param="input")
            has_result[item["call_id"]] = True
    unanswered = next((call_id for call_id, has in has_result.items() if not has), None)
    if unanswered is not None:
        raise BadRequestError(f"No tool output found for function call {unanswered}.", param="input")


def to_messages(items: Iterable[Item]) -> list[Message]:
    """The messages of a chat. Consecutive calls, also after an assistant's text, become one message."""
    messages: list[Message] = []
    open_turn = False  # whether the last message is an assistant's, which a call may join
    for item in items:
        if item["type"] == "reasoning":
            continue
        if item["type"] == "function_call":
            if not open_turn:
                messages.append({"role": "assistant", "content": None})
            messages[-1].setdefault("tool_calls", []).append(_tool_call(item))
        elif item["type"] == "function_call_output":
            content = _chat_content(item["output"])
            messages.append({"role": "tool", "tool_call_id": item["call_id"], "content": content})
        else:
            messages.append({"role": item["role"], "content": _chat_content(item["content"])})
        open_turn = messages[-1]["role"] == "assistant"
    return messages


def _tool_call(item: Item) -> dict[str, Any]:
    function = {"name": item["name"], "arguments": item["arguments"]}
    return {"id": item["call_id"], "type": "function", "function": function}


def _chat_content(content: str | list[dict[str, Any]]) -> str | list[dict[str, Any]]:
    """The content of a chat message: a single text without parts; "" for an answer without any text."""
    if isinstance(content, str):
        return content
    parts = [part if part["type"] == "refusal" else {"type": "text", "text": part["text"]} for part in content]
    if not parts:
        return ""
    return str(parts[0]["text"]) if len(parts) == 1 and parts[0]["type"] == "text" else parts
