"""Kinds of structural faults: JSON, keys, roles, calls, definitions."""

from luthier.data.findings.kinds import Kind

_JSONL = (
    "Expected file to have JSONL format, where every line is a JSON dictionary. "
    'Line {line} is not a dictionary (HINT: line starts with: "{value:.1}...").'
)
_N_EXAMPLES = "{which} file has {value} example(s), but must have at least {detail} examples"
_NO_CONTENT = '{place}, key "__root__": At least one of content or function_call must be set.'

STRUCTURE: dict[str, Kind] = {
    "encoding_invalid": Kind(
        "error", "the text is not UTF-8 (found {value})", "不是 UTF-8 编码（遇到 {value}）",
        'Save the file as plain UTF-8, for example with open(path, "w", encoding="utf-8").',
        '请把文件另存为 UTF-8（不压缩），例如用 open(path, "w", encoding="utf-8") 写出。',
        "Line {line} is not valid UTF-8 (found {value})."),
    "expansion_too_large": Kind(
        "error", "the {value} file expands to more than 200 times its size",
        "{value} 文件解压后超过原来的 200 倍",
        "No training data is that repetitive. Check where the file comes from, and decompress it yourself.",
        "训练数据不会这样重复。请确认文件来源，并自行解压。",
        "The {value} file expands to more than 200 times its size."),
    "converted_from": Kind(
        "note", "read as {value} and converted", "按“{value}”读取并作了转换",
        "Lines are numbered as in the converted file; write that file with --fix OUT, because servers accept only "
        "JSONL.",
        "行号按转换后的文件计；服务器只接受 JSONL，请用 --fix OUT 写出转换后的文件。",
        "The file was read as {value}."),
    "byte_order_mark": Kind(
        "note", "the file begins with a byte order mark, which is skipped", "文件以字节顺序标记（BOM）开头，已跳过",
        "Nothing needs to be done; --fix OUT writes the file without it.", "不需要处理；--fix OUT 写出的文件没有它。",
        "The file begins with a byte order mark."),
    "encoding_ambiguous": Kind(
        "error", "the text is not UTF-8, and its encoding is ambiguous (found {value})",
        "不是 UTF-8 编码，也无法确定是哪种编码（遇到 {value}）",
        "Set the encoding, for example --encoding gb18030, big5 or cp1252; or save the file as UTF-8.",
        "请指定编码，例如 --encoding gb18030、big5 或 cp1252；或把文件另存为 UTF-8。",
        "The file is not valid UTF-8 (found {value})."),
    "columns_ambiguous": Kind(
        "error", "it is unclear which columns hold the question and the answer (columns: {value})",
        "无法判断问题和回答在哪一列（各列：{value}）",
        "Name them: --question COLUMN --answer COLUMN. If the table has no column names, add a first row with names "
        "such as question and answer.",
        "请指定：--question 列名 --answer 列名。没有列名的表格，请先在第一行写上列名，例如 question 和 answer。",
        _JSONL),
    "sheets_ambiguous": Kind(
        "error", "it is unclear which sheet of the workbook holds the examples (sheets: {value})",
        "无法判断样本在工作簿的哪个工作表（各工作表：{value}）",
        "Name it: --sheet NAME.", "请指定：--sheet 工作表名。",
        _JSONL),
    "line_too_long": Kind(
        "error", "longer than {detail}; only the beginning was read", "超过 {detail}；只读了开头部分",
        "Write one example per line; no conversation for training is that long.",
        "每行写一个样本；可用于训练的对话不会这么长。",
        "Line {line} is longer than {detail}."),
    "json_invalid": Kind(
        "error", "not valid JSON from character {detail} on: {value}", "从第 {detail} 个字符起不是合法的 JSON：{value}",
        "Write one JSON object per line; an array, indented JSON or CSV must be rewritten that way.",
        "每行写一个完整的 JSON 对象；JSON 数组、带缩进的 JSON 和 CSV 都要改写成这种形式。",
        _JSONL),
    "escape_invalid": Kind(
        "error", "a backslash that starts no JSON escape, at character {detail}: {value}",
        "第 {detail} 个字符处的反斜杠不是 JSON 的转义：{value}",
        "Write every backslash twice (\\\\sum, C:\\\\Users), or let json.dumps do it; --fix does it where the meaning "
        "is certain.",
        "JSON 里的反斜杠要写两次（\\\\sum、C:\\\\Users），或交给 json.dumps；确定无疑时 --fix 可以改正。",
        _JSONL),
    "smart_quotes": Kind(
        "error", "typographic quotation marks instead of \" at character {detail}: {value}",
        "第 {detail} 个字符处用了弯引号，应为 \"：{value}",
        'Write the straight mark " around keys and texts; --fix does it.', '键和文本要用直引号 "；--fix 可以改正。',
        _JSONL),
    "full_width_punctuation": Kind(
        "error", "full-width punctuation, or a space character that is invalid in JSON, at character {detail}: {value}",
        "第 {detail} 个字符处的 JSON 用了全角标点或 JSON 不允许的空白：{value}",
        "Outside texts, write , : {{ }} [ ] half-width and use plain spaces; --fix does it.",
        "文本之外的 , : {{ }} [ ] 要用半角，空白要用普通空格；--fix 可以改正。",
        _JSONL),
    "trailing_comma": Kind(
        "error", "a comma before a closing bracket at character {detail}: {value}",
        "第 {detail} 个字符处，右括号前多了逗号：{value}",
        "Remove the comma; --fix does it.", "请删去这个逗号；--fix 可以改正。",
        _JSONL),
    "python_repr": Kind(
        "error", "output of Python's print, not JSON, from character {detail} on: {value}",
        "从第 {detail} 个字符起是 Python 的打印形式，不是 JSON：{value}",
        "Write lines with json.dumps(example, ensure_ascii=False), not with str(example); --fix does it.",
        "请用 json.dumps(example, ensure_ascii=False) 写出，不要用 str(example)；--fix 可以改正。",
        _JSONL),
    "control_character": Kind(
        "error", "a raw control character ({value}) inside a text, at character {detail}",
        "第 {detail} 个字符处，文本里有未转义的控制字符（{value}）",
        "Write a line break as \\n and a tab as \\t; --fix does it.", "换行写成 \\n，制表符写成 \\t；--fix 可以改正。",
        _JSONL),
    "line_truncated": Kind(
        "error", "the line ends in the middle of the example: …{value}", "这一行在样本中间就结束了：……{value}",
        "Write the file again; the program that wrote it was probably stopped, or the disk was full.",
        "请重新写出文件；可能是程序中途停止或磁盘已满。",
        _JSONL),
    "duplicate_key": Kind(
        "error", 'the key "{key}" occurs twice in one object, and only one of its values would be read',
        "同一个对象里有两个 “{key}” 键，只有一个值会被读取",
        "Keep one of them; --fix does it where both values are equal.", "请只保留一个；两个值相同时 --fix 可以改正。",
        "Line {line} has the key '{key}' twice in one object."),
    "number_invalid": Kind(
        "error", "{value} is not a JSON number", "{value} 不是合法的 JSON 数字",
        "Write a finite number or null; --fix writes null for NaN.",
        "请写有限的数字或 null；--fix 会把 NaN 写成 null。",
        "Line {line} has {value}, which is not a JSON number."),
    "nesting_too_deep": Kind(
        "error", "nested more than {detail} levels deep", "嵌套超过 {detail} 层",
        "Flatten the example; no conversation needs this depth.", "请减少嵌套；对话数据用不到这么深的层次。",
        "Line {line} is nested more than {detail} levels deep."),
    "lone_surrogate": Kind(
        "error", "contains a lone surrogate (\\ud8xx or \\udcxx), half of a character",
        "含有半个字符（单独的 \\ud8xx 或 \\udcxx）",
        "Write the whole character; the text was probably cut in the middle of an emoji.",
        "请写完整的字符；文本可能是在一个表情符号中间被截断的。",
        "Line {line} has a lone surrogate, which is not valid Unicode."),
    "file_empty": Kind(
        "error", "the file has no examples", "文件里没有样本",
        "Write one example per line; at least {detail} are needed.", "每行写一个样本；至少需要 {detail} 个。",
        _N_EXAMPLES),
    "too_few_examples": Kind(
        "error", "{value} example(s), but at least {detail} are needed", "只有 {value} 个样本，至少需要 {detail} 个",
        "Add examples; 50 to 100 good ones are a good start.", "请增加样本；50 到 100 个高质量样本是好的起点。",
        _N_EXAMPLES),
    "unexpected_format": Kind(
        "error", "no line is a chat example or a prompt/completion pair (keys here: {value})",
        "没有一行是对话样本或 prompt/completion 对（键：{value}）",
        'Write each example as {{"messages": [...]}}; if the question and the answer are in two keys, name these '
        "with --question and --answer.",
        '请把每个样本写成 {{"messages": [...]}}；如果问题和回答各在一个键里，请用 --question 和 --answer 指定。',
        "Unexpected file format, expected either prompt/completion pairs or chat messages."),
    "method_mismatch": Kind(
        "error", "the file is in the {value} format, which the training method '{detail}' cannot use",
        "文件是 {value} 格式，不能用训练方法“{detail}”来训练",
        "Train with the method '{key}', or use another file.", "请改用训练方法“{key}”，或换一个文件。",
        "Input file {file_id} is in the {value} format, but the specified fine-tuning job is not using '{key}' "
        "as the training method (provided method={detail})."),
    "methods_mixed": Kind(
        "error", "the first of {key} example(s) in the {value} format, which the training method '{detail}' cannot "
        "use, unlike the other examples",
        "从这里起有 {key} 个 {value} 格式的样本，不能用训练方法“{detail}”来训练，其余样本可以",
        "Write the examples for each training method to a separate file.", "请把每种训练方法的样本写在各自的文件里。",
        "Input file {file_id} has examples in the {value} format, but the specified fine-tuning job is not using a "
        "method for them (provided method={detail})."),
    "data_type": Kind(
        "error", "not a JSON object: {value}", "不是 JSON 对象：{value}",
        'Write each line as one object, {{"messages": [...]}}; take examples out of an enclosing array.',
        '每行应是一个对象 {{"messages": [...]}}；请把样本从外层数组里取出来。',
        _JSONL),
    "missing_messages_list": Kind(
        "error", '"messages" is missing, empty or not a list (keys here: {detail})',
        "“messages” 缺失、为空或不是列表（这里的键：{detail}）",
        'Give the example a list "messages" with at least one message.',
        "请给样本加上至少含一条消息的 “messages” 列表。",
        'Line {line}, key "messages": Input should be a valid list with at least one message'),
    "message_type": Kind(
        "error", "the message is not an object: {value}", "消息不是对象：{value}",
        'Write the message as {{"role": ..., "content": ...}}.', '请把消息写成 {{"role": ..., "content": ...}}。',
        "{at}: Input should be a valid dictionary"),
    "message_missing_key": Kind(
        "error", 'the message has no "{key}"', "消息缺少 “{key}”",
        'Add "{key}"; only an assistant message that makes a call may go without content.',
        "请补上 “{key}”；只有发起调用的 assistant 消息可以没有 content。",
        {"role": "Example {example}, message {message} Discriminator 'role' is missing in value",
         "content": _NO_CONTENT}),
    "message_unrecognized_key": Kind(
        "error", 'the key "{key}" does not belong in this message', "这条消息里不应有 “{key}” 这个键",
        'Remove "{key}", or correct its spelling; calls and weight belong to assistant messages.',
        "请删去 “{key}” 或改正拼写；调用和 weight 只属于 assistant 消息。",
        "{at}: Extra inputs are not permitted"),
    "unrecognized_role": Kind(
        "error", "unknown role: {value}", "未知的角色：{value}",
        "Use one of: {detail}.", "请使用以下角色之一：{detail}。",
        "Example {example}, message {message} No match for discriminator 'role' and value '{value}' "
        "(allowed values: {detail})"),
    "missing_content": Kind(
        "error", '"{key}" is empty and there is no call', "“{key}” 为空，也没有函数调用",
        "Write the text, or remove the message.", "请写上内容，或删去这条消息。",
        _NO_CONTENT),
    "content_type": Kind(
        "error", '"{key}" must be text, found {value}', "“{key}” 必须是文本，现在是 {value}",
        'Use a string; content may also be a list of {{"type": "text", "text": ...}} parts. --fix writes '
        "numbers as text.",
        '请使用字符串；content 也可以是由 {{"type": "text", "text": ...}} 组成的列表。--fix 会把数字写成文本。',
        "{at}: Input should be a valid string"),
    "example_missing_assistant_message": Kind(
        "error", "no assistant message, so there is nothing to learn", "没有 assistant 消息，无从学习",
        "End the example with the answer that the model should give.", "请在样本末尾写上希望模型给出的回答。",
        "Line {line}: at least one message from the assistant is required"),
    "last_message_not_assistant": Kind(
        "warning", "the last message is from {value}; nothing after the last answer is learned",
        "最后一条消息来自 {value}；最后一个回答之后的内容不会被学习",
        "End the example with an assistant message.", "请以 assistant 消息结束样本。",
        "{place}: the last message should be from the assistant"),
    "unrecognized_key": Kind(
        "warning", 'the key "{key}" is not used', "“{key}” 这个键不会被使用",
        "Remove it, or correct its spelling.", "请删去，或改正拼写。",
        "{at}: Extra inputs are not permitted"),
    "call_invalid": Kind(
        "error", '"{key}" does not have the form of a function call', "“{key}” 不是接口规定的函数调用写法",
        'Write a call as {{"name": ..., "arguments": "<JSON>"}}; in tool_calls it goes under "function", next to an '
        '"id".',
        '调用应写成 {{"name": ..., "arguments": "<JSON>"}}；在 tool_calls 里放在 "function" 下，与 "id" 并列。',
        "{at}: Input should be a valid function call"),
    "arguments_not_json": Kind(
        "error", '"{key}" must be a string that contains JSON, found {value}',
        "“{key}” 必须是内容为 JSON 的字符串，现在是 {value}",
        "Write the arguments with json.dumps(...).", "请用 json.dumps(...) 写出参数。",
        "{at}: Input should be a valid JSON string"),
    "arguments_not_object": Kind(
        "error", '"{key}" must be a string that contains a JSON object, found {value}',
        "“{key}” 里必须是 JSON 对象，现在是 {value}",
        'Write every argument with its name: {{"name": value}}.', '请写出每个参数的名字：{{"名字": 值}}。',
        "{at}: Input should be a valid JSON object"),
    "arguments_encoded_twice": Kind(
        "error", "\"{key}\" is encoded as JSON twice, as a string within a string: {value}",
        "“{key}” 编码了两次，是字符串里的字符串：{value}",
        "Call json.dumps once, on the object; --fix does it. (OpenAI accepted such files; its own cookbook had one.)",
        "只对对象调用一次 json.dumps；--fix 可以改正。（OpenAI 接受过这样的文件，它自己的 cookbook 里就有一份。）",
        "{at}: Input should be a valid JSON object"),
    "argument_missing": Kind(
        "error", 'the required argument "{value}" is missing', "缺少必填参数 “{value}”",
        "Add it, let the assistant ask for it, or remove it from \"required\" in the definition.",
        "请补上，或让 assistant 追问；也可以从定义的 required 中去掉。",
        "{at}: Field required"),
    "argument_unknown": Kind(
        "error", 'the definition has no argument "{value}"', "定义里没有参数 “{value}”",
        "Correct the name (defined: {detail}), or define it.", "请改正名字（已定义：{detail}），或补上定义。",
        "{at}: Extra inputs are not permitted"),
    "argument_type": Kind(
        "error", '"{key}" must be of type {detail}, found {value}', "“{key}” 的类型必须是 {detail}，现在是 {value}",
        "Write the value in that type (a number without quotation marks), or correct the definition.",
        "请按该类型写值（数字不加引号），或改正定义。",
        "{at}: Input should be a valid {detail}"),
    "argument_not_in_enum": Kind(
        "error", '"{key}" is {value}, which is not one of {detail}', "“{key}” 是 {value}，不在 {detail} 之中",
        "Use one of the defined values, or add this one to the definition.", "请使用已定义的值，或把这个值加进定义。",
        "{at}: Input should be one of {detail}"),
    "arguments_break_schema": Kind(
        "error", '"{key}" is {value}, which violates its schema ({detail})',
        "“{key}” 是 {value}，不符合定义（{detail}）",
        "Correct the value, or the definition.", "请改正这个值，或改正定义。",
        "{at}: Input does not match the function's parameters ({detail})"),
    "definition_invalid": Kind(
        "error", '"{key}" does not have the form that the API defines: {value}', "“{key}” 不符合接口的规定：{value}",
        'Write tools as [{{"type": "function", "function": {{"name": ..., "parameters": {{...}}}}}}], '
        "functions as a list of the inner objects, and parallel_tool_calls as true or false.",
        'tools 写成 [{{"type": "function", "function": {{"name": ..., "parameters": {{...}}}}}}]；'
        "functions 写里层的对象；parallel_tool_calls 写 true 或 false。",
        "{at}: Input should be a valid definition"),
    "definition_repeated": Kind(
        "warning", "“{key}” defines {value} a second time", "“{key}” 第二次定义了 {value}",
        "Keep one of the definitions; otherwise it is unclear which arguments the function takes.",
        "请只保留一个定义，让函数的参数明确。",
        "{at}: Function defined twice"),
    "definitions_many": Kind(
        "warning", "{value} functions are defined; a request to a server may define at most {detail}",
        "定义了 {value} 个函数；向服务器发的一个请求最多定义 {detail} 个",
        "Define fewer functions in each example, only those that one request will offer.",
        "请减少每个样本里的定义，只留一个请求里会提供的函数。",
        "{at}: Too many functions"),
    "call_id_repeated": Kind(
        "warning", "two calls of this message have the id {value}, so their results cannot be told apart",
        "这条消息里有两个调用的 id 都是 {value}，无法区分它们的结果",
        "Give each call of a message its own id.", "请让同一条消息里每个调用的 id 各不相同。",
        "{at}: Call id is not unique"),
    "definition_schema_invalid": Kind(
        "warning", '"{key}" is not a valid JSON schema, so calls were not validated against it: {value}',
        "“{key}” 不是合法的 JSON Schema，因此没有用它核对调用：{value}",
        "Use the types string, number, integer, boolean, array and object; write required as a list of names; let a "
        "$ref point into the same schema, as #/$defs/NAME does.",
        "类型只用 string、number、integer、boolean、array、object；required 写成名字的列表；$ref 只能指向"
        "同一个定义内部，例如 #/$defs/名字。",
        "{at}: Input should be a valid JSON schema"),
    "undefined_function": Kind(
        "error", "calls {value}, which the example does not define", "调用了样本没有定义的函数 {value}",
        "Define it, correct the name (defined: {detail}), or leave out all definitions.",
        "请补上定义、改正名字（已定义：{detail}），或去掉全部定义。",
        "{at}: function '{value}' is not defined in this example"),
    "tool_result_without_call": Kind(
        "warning", "a result ({value}) that belongs to no earlier call", "这个结果（{value}）之前没有对应的调用",
        "Give it the tool_call_id or the function name of an earlier call.",
        "请填写之前某次调用的 tool_call_id 或函数名。",
        "{at}: no earlier call matches this result"),
    "call_without_result": Kind(
        "warning", 'the conversation goes on after the call "{key}" without its result',
        "调用 “{key}” 之后没有结果，对话就继续了",
        "Add the result right after the call, as a message with the role tool (or function), or end the example with "
        "the call.",
        "请在调用之后补上角色为 tool（function）的结果消息，或让样本以调用结束。",
        "{at}: no result follows this call"),
    "weight_invalid": Kind(
        "error", "weight must be 0 or 1, and only on an assistant message; found {value}",
        "weight 只能是 0 或 1，且只能写在 assistant 消息上；现在是 {value}",
        "Write 0 (not trained) or 1 (trained), or remove it.", "请写 0（不训练）或 1（训练），或删去。",
        "{at}: Input should be 0 or 1"),
    "item_last_message": Kind(
        "error", "the last message of this item is from {value}, so there is no question for the model to answer",
        "这一条的最后一条消息来自 {value}：没有要模型回答的问题",
        "End the messages with a user message; put the text that the grader compares the answer with into a separate "
        "key, such as reference_answer.",
        "messages 请以 user 消息结尾；评分器要比较的内容写在另外的键里，例如 reference_answer。",
        "{at}: the last message must be from the user"),
    "nothing_trainable": Kind(
        "error", "every assistant message has weight 0, so there is nothing to learn",
        "所有 assistant 消息的 weight 都是 0，无从学习",
        "Give at least one assistant message the weight 1, or remove the example.",
        "请至少让一条 assistant 消息的 weight 为 1，或删去这个样本。",
        "Line {line}: at least one assistant message must have a non-zero weight"),
    "preference_invalid": Kind(
        "error", '"{key}" does not have the form of a preference pair; found {value}',
        "“{key}” 不符合偏好对的写法，现在是 {value}",
        'Write {{"input": {{"messages": [...]}}, "preferred_output": [answer], "non_preferred_output": [answer]}}; '
        "each answer is one assistant message.",
        '写成 {{"input": {{"messages": [...]}}, "preferred_output": [回答], "non_preferred_output": [回答]}}，'
        "每个回答是一条 assistant 消息。",
        "{at}: Input should be a list of one assistant message"),
    "preference_same": Kind(
        "error", "the preferred and the non-preferred answer are the same, so there is nothing to learn",
        "两个回答相同，没有偏好可学",
        "Write another answer, or remove the example.", "请换一个回答，或删去这个样本。",
        "Line {line}: preferred_output and non_preferred_output are the same"),
    "duplicate_example": Kind(
        "warning", "the same as line {detail}", "与第 {detail} 行相同",
        "Remove it, unless it should count twice.", "除非有意重复，否则请删去。",
        "Line {line} is the same as line {detail}"),
}  # fmt: skip
