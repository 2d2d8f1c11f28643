"""Chinese for the messages of `RenderError`: why a base model's chat template cannot render a conversation."""

from functools import cache

from luthier.language import ChineseTexts

RENDER_ERRORS = (
    ("Message {number} does not have the form of a message.", "第 {number} 条消息不符合消息的格式。"),
    (
        "Message {number} has content that is not text; this base model reads text only.",
        "第 {number} 条消息含有非文本内容，而这个基座模型只能读取文本。",
    ),
    (
        "Message {number}: the arguments of {function} are not JSON: {reason}",
        "第 {number} 条消息：函数 {function} 的参数不是 JSON：{reason}",
    ),
    (
        "Message {number}: the arguments of {function} are not a JSON object.",
        "第 {number} 条消息：函数 {function} 的参数不是 JSON 对象。",
    ),
    ("The definitions of functions are not a list of definitions.", "函数定义不是由定义组成的列表。"),
    ("The text uses every private-use character of Unicode.", "文本用到了 Unicode 的所有私用字符。"),
    (
        "Message {number}: its text is lost in this base model's chat template.",
        "第 {number} 条消息：它的文本在基座模型的对话模板里丢失了。",
    ),
    (
        "Message {number}: the call of {function} cannot be read back from the text that this base model's chat "
        "template writes for it (call form: {form}).",
        "第 {number} 条消息：从基座模型的对话模板写出的文本里，无法重新读出对 {function} 的调用（调用格式：{form}）。",
    ),
    (
        "The base model's chat template rewrites earlier turns, so the tokens of message {number} cannot be told "
        "apart. Use a base model with a template that only appends.",
        "基座模型的对话模板会改写之前的轮次，无法分清第 {number} 条消息的 token。请使用对话模板只追加内容的基座模型。",
    ),
    ("The chat template of this base model is not valid: {reason}", "基座模型的对话模板无效：{reason}"),
    (
        "The base model's chat template rejects this conversation: {reason}",
        "基座模型的对话模板不接受这段对话：{reason}",
    ),
    (
        "The base model's chat template writes this answer differently from other answers.",
        "基座模型的对话模板对这个回答的写法与其他回答不同。",
    ),
    (
        "The base model's chat template has no place for reasoning_content: remove it from the example.",
        "基座模型的对话模板里没有 reasoning_content 的位置：请从样本中删去。",
    ),
    ("The base model's chat template leaves out an answer.", "基座模型的对话模板漏掉了一个回答。"),
    (
        "The base model's chat template ends an answer differently once another turn follows it.",
        "后面还有轮次时，基座模型的对话模板会以不同的方式结束回答。",
    ),
    (
        "The base model's chat template writes other text before an answer than in the prompt for it.",
        "基座模型的对话模板在回答之前写出的文本与相应的提示不同。",
    ),
    (
        "The chat template loses {parts}, and Luthier's own call forms do not fit this base model.",
        "对话模板会丢失 {parts}，而 Luthier 自己的调用格式也不适用于这个基座模型。",
    ),
    (
        "The base model has no chat template, and no end-of-text token with which Luthier could make one.",
        "基座模型没有对话模板，也没有可用来构造模板的结束 token。",
    ),
)  # fmt: skip


def chinese_render_error(message: str) -> str:
    """The message in Chinese; unchanged if it is not in the table."""
    return _texts().of(message) or message


@cache
def _texts() -> ChineseTexts:
    return ChineseTexts(RENDER_ERRORS)
