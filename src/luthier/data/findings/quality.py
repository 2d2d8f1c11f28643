"""Kinds of quality findings: the structure of an example is right, but its content may not be."""

from luthier.data.findings.kinds import Kind, Severity


def _kind(severity: Severity, en: str, zh: str, remedy_en: str, remedy_zh: str) -> Kind:
    """OpenAI has no sentences for these, so `wire` is the English one."""
    return Kind(severity, en, zh, remedy_en, remedy_zh, "{place}: " + en)


_OTHER_FORMS = (
    "Add questions of other forms with this label, and of this form with other labels; otherwise the model learns the "
    "form instead of the meaning.",
    "请让这个标签也出现在其他形式的问题里，其他标签也出现在这种形式里；否则模型学到的是形式，不是意思。",
)

QUALITY: dict[str, Kind] = {
    "base_refuses_example": _kind(
        "error",
        "the base model cannot be trained on this example: {detail}",
        "基座模型无法用这个样本训练：{detail}",
        "Change what this message names, or choose another base model.",
        "请修改所指出的内容，或换一个基座模型。",
    ),
    "truncated": _kind(
        "warning",
        "{value} tokens, but the base model's context holds {detail}: the end will be cut off",
        "共 {value} 个 token，而基座模型的上下文只有 {detail} 个：末尾会被截去",
        "Shorten the example, or choose a base model with a longer context.",
        "请缩短样本，或选用上下文更长的基座模型。",
    ),
    "nothing_trainable_in_context": _kind(
        "error",
        "nothing is left to train: every answer is beyond the base model's context of {detail} tokens (the example "
        "has {value})",
        "没有可训练的内容：所有回答都在基座模型上下文的 {detail} 个 token 之外（样本共 {value} 个）",
        "Shorten the text before the answer, or remove the example.",
        "请缩短回答之前的内容，或删去样本。",
    ),
    "preamble": _kind(
        "warning",
        "the answer begins with an empty phrase: {value} (then: {detail})",
        "回答以没有内容的应答语开头：{value}（后面是：{detail}）",
        "Remove it: a model learns these first words before anything else.",
        "请删去：模型最先学会的就是这几个开头的字。",
    ),
    "common_opening": _kind(
        "note",
        "{detail} of the answers begin with the same words: {value}",
        "{detail} 的回答以同样的文字开头：{value}",
        "Fine for a fixed format; otherwise remove these words, which teach nothing.",
        "如果是固定格式则没有问题；否则请删去，从这些文字里学不到任何内容。",
    ),
    "answer_cut_off": _kind(
        "warning",
        "the answer seems to stop in the middle: {value}",
        "回答似乎没有写完：{value}",
        "Finish the answer, or remove the example; it may have been cut off at a token limit.",
        "请补全回答或删去样本；可能是生成时到了长度上限。",
    ),
    "refusal": _kind(
        "warning",
        "the assistant declines to answer: {value}",
        "assistant 拒绝回答：{value}",
        "Keep it only if the model should refuse here; otherwise write an answer, or remove the example.",
        "只有希望模型在这里拒绝时才保留；否则请删去或写上真正的回答。",
    ),
    "identity_leak": _kind(
        "warning",
        "the assistant says which model it is, or who made it: {value}",
        "回答里说出了模型或其开发者的名字：{value}",
        "Remove it, or write the name that your assistant should give.",
        "请删去，或改成您的助手应有的名字。",
    ),
    "near_duplicate": _kind(
        "note",
        "nearly the same as line {detail}, in the question and in the answer or call",
        "与第 {detail} 行几乎相同：问题以及回答或调用都相近",
        "Keep one of them, or make them differ in a meaningful way.",
        "请保留一个，或让它们有实质的不同。",
    ),
    "conflicting_answers": _kind(
        "warning",
        "the same question as in line {detail}, but a different answer",
        "问题与第 {detail} 行相同，回答却不同",
        "Keep one of the answers; trained on both, the model learns to guess.",
        "请确定一个回答；两个都教，模型只会去猜。",
    ),
    "validation_leak": _kind(
        "warning",
        "the training file has the same question, or nearly the same example, in line {detail}",
        "训练文件第 {detail} 行有同样的问题或几乎相同的样本",
        "Remove it from one of the files (luthier split keeps similar examples in one file); otherwise the validation "
        "result looks better than it is.",
        "请从其中一个文件里删去（luthier split 会把相近的样本放在同一个文件里）；否则验证结果会虚高。",
    ),
    "likeness_sampled": _kind(
        "note",
        "only the first {value} of {detail} examples were searched for near duplicates",
        "只在前 {value} 个样本（共 {detail} 个）中查找了近似重复",
        "To compare the other examples, split the file and check the parts.",
        "如需比较其余样本，请把文件分开检查。",
    ),
    "system_prompt_blank": _kind(
        "warning",
        "the system prompt is blank",
        "system 提示是空白的",
        "Write the prompt that the model will be used with, or remove the message.",
        "请写上实际使用时的提示，或删去这条消息。",
    ),
    "system_prompt_repeated": _kind(
        "warning",
        "{detail} system messages in one example; the second: {value}",
        "一个样本里有 {detail} 条 system 消息；第二条是：{value}",
        "Keep one, at the start.",
        "请只在开头保留一条。",
    ),
    "system_prompt_varies": _kind(
        "warning",
        "the system prompt differs from the one in line {detail} only in spaces, punctuation or case: {value}",
        "system 提示与第 {detail} 行的只差空格、标点或大小写：{value}",
        "Write it the same way everywhere, exactly as the model will be used with it.",
        "请在各处写成完全一样，并与实际使用时一致。",
    ),
    "system_prompt_missing": _kind(
        "note",
        "some examples have no system prompt, unlike the others: {value} (the first is line {detail})",
        "有些样本没有 system 提示，其余样本有：{value}（首个在第 {detail} 行）",
        "Fine if the model will be used both ways; otherwise give all examples the same prompt.",
        "如果使用时两种情况都有则没有问题；否则请给所有样本加上同样的提示。",
    ),
    "label_imbalance": _kind(
        "warning",
        "the labels are unevenly distributed: {key} to {value} is {detail}",
        "标签分布不均：{key} 与 {value} 之比为 {detail}",
        "Add examples of the rare labels, or expect the model to prefer the common ones.",
        "请增加少见标签的样本，否则模型会偏向常见标签。",
    ),
    "call_imbalance": _kind(
        "note",
        "the calls are unevenly distributed: {key} to {value} is {detail}",
        "函数调用分布不均：{key} 与 {value} 之比为 {detail}",
        "Add examples that call the rare function, unless it will be as rare in use.",
        "请增加调用少见函数的样本，除非实际使用时它也同样少见。",
    ),
    "answer_language": _kind(
        "warning",
        "the answer is not in the language of the question: {value}",
        "回答与问题的语言不同：{value}",
        "Answer in the language of the question, unless that is the task.",
        "除非任务如此，请用问题的语言回答。",
    ),
    "foreign_script": _kind(
        "warning",
        "stray letters of another script ({detail}): {value}",
        "混入了另一种文字（{detail}）：{value}",
        "Remove them unless they are intended; chat models sometimes insert such letters.",
        "如果不是有意的请删去；对话模型生成时有时会混入。",
    ),
    "garbled_text": _kind(
        "warning",
        "text decoded with the wrong encoding: {value}",
        "文字出现乱码：{value}",
        "Read the source again with the correct encoding.",
        "请用正确的编码重新读取原文。",
    ),
    "secret": _kind(
        "warning",
        "contains a {key}: {value}",
        "含有机密信息（{key}）：{value}",
        "Remove it and revoke it; a model can repeat what it was trained on.",
        "请删去并作废；模型会复述训练过的内容。",
    ),
    "personal_data": _kind(
        "warning",
        "contains personal data ({key}): {value}",
        "含有个人信息（{key}）：{value}",
        "Replace it with fictitious data, unless the person has agreed.",
        "请换成虚构的数据，除非本人同意。",
    ),
    "answer_repeats": _kind(
        "warning",
        "the answer repeats the same words {detail} times: {value}",
        "回答把同样的文字重复了 {detail} 次：{value}",
        "Shorten it or remove the example: it teaches the model not to stop.",
        "请缩短或删去样本：模型会从中学会停不下来。",
    ),
    "mail_head": _kind(
        "note",
        "addresses in e-mail headers (From:, To: …): {detail} examples, such as {value}",
        "邮件头（From:、To: 等）里有地址：{detail} 个样本，例如 {value}",
        "Fine for public mail; otherwise remove the headers: a model can repeat what it was trained on.",
        "公开的邮件没有问题；否则请删去邮件头：模型会复述训练过的内容。",
    ),
    "label_by_form": _kind(
        "warning",
        "the form of the question gives away the label “{key}”: {value}",
        "问题的形式泄露了标签“{key}”：{value}",
        *_OTHER_FORMS,
    ),
}

# By code and `Finding.detail`: sentences of a special case.
QUALITY_VARIANTS: dict[tuple[str, str], Kind] = {
    ("label_by_form", form): _kind(
        "warning",
        f"{en} nearly always go with the label “{{key}}”, others nearly never: {{value}}",
        f"{zh}几乎都对应标签“{{key}}”，其他的几乎都不是：{{value}}",
        *_OTHER_FORMS,
    )
    for form, en, zh in (
        (
            "bare",
            "bare commands (no question, no please, I or let's)",
            "直接的命令（不是提问，也没有“请”“我”之类的开头）",
        ),
        ("question", "questions", "提问"),
        ("indirect", "requests that begin with please, I, we or let's", "以“请”“我”“帮”之类开头的请求"),
        ("word", "requests with this first word", "以这个词开头的请求"),
        ("short", "short requests (in characters)", "短的请求（按字符数）"),
        ("long", "long requests (in characters)", "长的请求（按字符数）"),
    )
}
