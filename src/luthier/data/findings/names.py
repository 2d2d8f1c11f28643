"""Chinese names of the finding codes, for headings and events; the sentences are those of `luthier.data.findings`."""

from luthier.data.findings.render_errors import chinese_render_error
from luthier.language import Language, current

NAMES = {
    "encoding_invalid": "编码无效",
    "expansion_too_large": "解压后过大",
    "converted_from": "格式已转换",
    "byte_order_mark": "字节顺序标记",
    "encoding_ambiguous": "编码不明",
    "columns_ambiguous": "列不明",
    "sheets_ambiguous": "工作表不明",
    "line_too_long": "行过长",
    "json_invalid": "JSON 无效",
    "smart_quotes": "弯引号",
    "full_width_punctuation": "全角标点",
    "trailing_comma": "多余的逗号",
    "python_repr": "Python 打印形式",
    "control_character": "控制字符",
    "line_truncated": "行不完整",
    "duplicate_key": "重复的键",
    "number_invalid": "数字无效",
    "nesting_too_deep": "嵌套过深",
    "lone_surrogate": "半个字符",
    "file_empty": "空文件",
    "too_few_examples": "样本太少",
    "unexpected_format": "格式不符",
    "method_mismatch": "训练方法不符",
    "methods_mixed": "训练方法混杂",
    "data_type": "不是 JSON 对象",
    "missing_messages_list": "缺少 messages",
    "message_type": "消息类型错误",
    "message_missing_key": "消息缺少键",
    "message_unrecognized_key": "消息有未知的键",
    "unrecognized_role": "未知角色",
    "missing_content": "缺少内容",
    "content_type": "内容类型错误",
    "example_missing_assistant_message": "缺少 assistant 消息",
    "last_message_not_assistant": "末尾不是 assistant 消息",
    "unrecognized_key": "未知的键",
    "call_invalid": "调用无效",
    "arguments_not_json": "参数不是 JSON",
    "arguments_not_object": "参数不是对象",
    "arguments_encoded_twice": "参数编码两次",
    "argument_missing": "缺少参数",
    "argument_unknown": "未定义的参数",
    "argument_type": "参数类型错误",
    "argument_not_in_enum": "参数不在取值范围",
    "arguments_break_schema": "参数不符合定义",
    "definition_invalid": "函数定义无效",
    "definition_schema_invalid": "JSON Schema 无效",
    "undefined_function": "未定义的函数",
    "tool_result_without_call": "没有调用的结果",
    "call_without_result": "没有结果的调用",
    "weight_invalid": "weight 无效",
    "nothing_trainable": "没有可训练内容",
    "preference_invalid": "偏好对无效",
    "preference_same": "两个回答相同",
    "duplicate_example": "重复样本",
    "format_unsupported": "不支持的格式",
    "file_damaged": "文件已损坏",
    "parquet_extra": "缺少 Parquet 组件",
    "column_duplicate": "重复的列名",
    "row_misfit": "行与表头不符",
    "header_repeated": "重复的表头",
    "quotation_unclosed": "引号未闭合",
    "rows_skipped": "跳过的行",
    "column_unused": "未使用的列",
    "meaningful_key": "有含义而未使用的键",
    "loss_key": "训练标记的键",
    "reasoning_key": "思考过程的键",
    "not_text": "非文本内容",
    "preference_key": "偏好的键",
    "system_key": "messages 外的 system",
    "function_name": "函数名不可用",
    "definition_repeated": "函数重复定义",
    "definitions_many": "函数定义太多",
    "call_id_repeated": "调用的 id 重复",
    "truncated": "超出上下文",
    "nothing_trainable_in_context": "上下文内无可训练内容",
    "preamble": "应答语开头",
    "common_opening": "相同开头",
    "answer_cut_off": "回答中断",
    "user_message_missing": "没有 user 消息",
    "prompt_separator_missing": "prompt 没有分隔符",
    "completion_space_missing": "completion 前没有空格",
    "completion_ending_missing": "completion 没有结尾",
    "refusal": "拒答",
    "identity_leak": "自称其他模型",
    "near_duplicate": "近似重复",
    "conflicting_answers": "回答矛盾",
    "validation_leak": "验证集泄漏",
    "likeness_sampled": "近似重复抽样查找",
    "system_prompt_blank": "system 提示空白",
    "system_prompt_repeated": "多条 system 消息",
    "system_prompt_varies": "system 提示不一致",
    "system_prompt_missing": "缺少 system 提示",
    "label_imbalance": "标签不均衡",
    "call_imbalance": "调用不均衡",
    "answer_language": "回答语言不同",
    "foreign_script": "混入其他文字",
    "garbled_text": "乱码",
    "secret": "机密信息",
    "personal_data": "个人信息",
    "mostly_alike": "样本大多雷同",
    "escape_damage": "转义损坏",
    "escape_residue": "未解码的转义",
    "placeholder": "未填写的占位符",
    "missing_value": "缺失值",
    "call_as_text": "写成文本的调用",
    "reasoning_open": "思考标记不完整",
    "invisible_character": "看不见的字符",
    "question_preamble": "问题中的应答语",
    "assistant_repeated": "连续 assistant 消息",
    "argument_unmentioned": "未提到的参数值",
    "base_refuses_example": "基座模型无法训练",
    "answer_repeats": "回答反复重复",
    "mail_head": "邮件头",
    "label_by_form": "问题形式泄露标签",
    "preference_reversed": "偏好相反",
    "preferred_longer": "优选回答更长",
    "preferred_shorter": "优选回答更短",
    "escape_invalid": "转义无效",
    "item_last_message": "末条消息不符",
}


def finding_name(code: str, language: Language | None = None) -> str:
    """The code, in Chinese after its name; codes of plugins have none. `language`: None for that of the user."""
    return f"{NAMES[code]}（{code}）" if (language or current()) == "zh" and code in NAMES else code


_CONVERSIONS = (  # how the names that `convert` gives begin; the rest, such as a list of keys, is kept
    ("CSV table", "CSV 表格"),
    ("XLSX table", "XLSX 表格"),
    ("Parquet table", "Parquet 表格"),
    ("JSON array", "JSON 数组"),
    ("indented JSON", "带缩进的 JSON"),
    ("JSON objects in one line", "写在一行里的多个 JSON 对象"),
    ("CR line endings", "以 CR 结尾的行"),
    ("pandas columns", "pandas 的列"),
    ("one object with the list", "一个对象里的列表"),
    ("messages as text", "写成文本的 messages"),
    ("messages of other roles or keys", "使用其他角色或键的消息"),
    ("conversations of question and answer", "一问一答的对话"),
    ("questions and answers", "问答"),
    ("ShareGPT with calls as text", "调用写成文本的 ShareGPT"),
    ("preference pairs", "偏好对"),
    ("prompt and completion as messages", "写成消息的 prompt 和 completion"),
)


_TERMS = {  # by code and field, the Chinese for the words that our own checks write into a finding
    ("secret", "key"): {"key": "密钥", "password": "密码"},
    ("personal_data", "key"): {
        "email": "电子邮箱",
        "phone": "电话号码",
        "ID card": "身份证号",
        "bank card": "银行卡号",
        "SSN": "美国社会安全号",
        "IBAN": "国际银行账号 IBAN",
    },
    ("foreign_script", "detail"): {
        "Cyrillic": "西里尔字母",
        "Hebrew or Arabic": "希伯来文或阿拉伯文",
        "Indic": "印度文字",
        "Thai": "泰文",
        "Kana": "假名",
        "Hangul": "谚文",
    },
    ("number_invalid", "value"): {"a number of thousands of digits": "有几千位数字的数"},
    ("definition_schema_invalid", "value"): {"an integer of more than 64 bits": "有超过 64 位的整数"},
}


def conversion_name(english: str) -> str:
    """The Chinese name of a converted format; names of encodings and file formats are the same in both languages."""
    beginning, chinese = next((pair for pair in _CONVERSIONS if english.startswith(pair[0])), ("", ""))
    return chinese + english.removeprefix(beginning)


def chinese_fields(code: str, key: str | None, value: str, detail: str) -> dict[str, str | None]:
    """The key, the value and the detail of a finding as its Chinese sentence writes them."""
    if code == "converted_from":
        value = conversion_name(value)
    if code == "base_refuses_example":
        detail = chinese_render_error(detail)
    fields = {"key": key, "value": value, "detail": detail}
    return {name: _TERMS.get((code, name), {}).get(text or "", text) for name, text in fields.items()}
