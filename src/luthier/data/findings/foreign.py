"""Kinds for files of other tools: each names the format, and the keys that hold its questions and answers."""

from luthier.data.findings.kinds import Kind

_WIRE = "Unexpected file format, expected either prompt/completion pairs or chat messages."


def _kind(en: str, zh: str, remedy_en: str, remedy_zh: str) -> Kind:
    return Kind(
        "error",
        f"no line is an example: these are {en} (keys here: {{value}})",
        f"没有一行是样本：这是{zh}（键：{{value}}）",
        f'{remedy_en} Write each example as {{{{"messages": [...]}}}}.',
        f'{remedy_zh}请把每个样本写成 {{{{"messages": [...]}}}}。',
        _WIRE,
    )


# By code and `Finding.detail`, the name of the form in `examples.foreign_forms`.
FOREIGN_VARIANTS: dict[tuple[str, str], Kind] = {
    ("unexpected_format", name): kind
    for name, kind in {
        "preferences": Kind(
            "error", "none of these preference pairs can be read (keys here: {value})",
            "这些偏好对都无法读取（键：{value}）",
            "Each needs one question, one chosen and one rejected answer: "
            '{{"prompt": question, "chosen": answer, "rejected": answer}}.',
            "每个都需要一个问题、一个较好的回答和一个较差的回答："
            '{{"prompt": 问题, "chosen": 回答, "rejected": 回答}}。',
            _WIRE),
        "batch requests": _kind(
            "requests of the Batch API", " Batch API 的请求",
            "The messages are in body.messages; if the last one is not an answer, take it from the batch's output "
            "file (match by custom_id).",
            "消息在 body.messages 里；如果最后一条不是回答，回答在批处理的输出文件里（按 custom_id 对应）。"),
        "batch results": _kind(
            "results of the Batch API", " Batch API 的结果",
            "The answer is in response.body.choices[0].message, the question in the batch's input file (match by "
            "custom_id).",
            "回答在 response.body.choices[0].message 里，问题在批处理的输入文件里（按 custom_id 对应）。"),
        "gemini": _kind(
            "examples in Gemini's format", " Gemini 格式的样本",
            "Turn each element of contents into a message, with its role (model becomes assistant) and the texts of "
            "its parts; systemInstruction becomes a system message at the start.",
            "contents 的每一项是一条消息：角色 model 对应 assistant，parts 里的文本是内容；"
            "systemInstruction 是开头的 system 消息。"),
        "responses": _kind(
            "items of the Responses API", " Responses API 的条目",
            "The items of input and output are the messages; the text is in parts of type input_text and output_text.",
            "input 和 output 的条目就是消息；input_text、output_text 类型的部分是文本。"),
        "langsmith": _kind(
            "runs exported from LangSmith", " LangSmith 导出的运行记录",
            "The messages are in inputs, the answer is in outputs; in LangChain's messages the text is in "
            "kwargs.content.",
            "消息在 inputs 里，回答在 outputs 里；LangChain 的消息取 kwargs.content。"),
        "trace": _kind(
            "exported traces, such as Langfuse's", "导出的调用记录（例如 Langfuse 的）",
            "The messages are in input; append the expected output to them as an assistant message.",
            "消息在 input 里；请把期望的输出作为 assistant 消息接在后面。"),
        "evals": _kind(
            "items of an evaluation", "评测用的条目",
            "An eval builds its messages from the fields of item; there is no answer to learn until you write one.",
            "消息由模板从 item 的字段生成；没有写上回答之前，没有可学的内容。"),
        "source and target": _kind(
            "pairs of texts", "成对的文本",
            "Name both keys, such as --question source --answer target, and --fix OUT converts them; to add an "
            "instruction, write the examples yourself.",
            "请指定两个键，例如 --question source --answer target，再用 --fix OUT 转换；要加上指令时请自己写。"),
        "one text": _kind(
            "conversations written as one text", "整段对话写成的文本",
            "Split the text into messages at the labels of its speakers (such as USER: and ASSISTANT:).",
            "请按说话人的标记（例如 USER:、ASSISTANT:）把文本分成消息。"),
    }.items()
}  # fmt: skip
