"""Kinds of findings on foreign formats: unreadable files, rows out of shape, unused keys, forms that are not served."""

from luthier.data.findings.kinds import Kind

_EXTRA = "{at}: Extra inputs are not permitted"

CONVERSION: dict[str, Kind] = {
    "format_unsupported": Kind(
        "error", "unsupported file format: {value}", "不支持的文件格式：{value}",
        "Save the data as JSONL, CSV or .xlsx; unpack an archive first, and check the files in it.",
        "请另存为 JSONL、CSV 或 .xlsx；压缩包请先解压，再检查里面的文件。",
        "The file is in the format {value}, not JSONL."),
    "file_damaged": Kind(
        "error", "this {value} file is damaged: {detail}", "这个 {value} 文件已损坏或不完整",
        "Download it or save it again; the usual cause is an interrupted download.",
        "请重新下载或另存；常见的原因是下载没有完成。",
        "The {value} file is damaged."),
    "parquet_extra": Kind(
        "error", "this is a Parquet file; reading it needs the extra “parquet”, which is not installed",
        "这是 Parquet 文件；读取它需要可选组件 parquet，目前没有安装",
        'Install it with pip install "luthier[parquet]", or write the data as JSONL: dataset.to_json("train.jsonl").',
        '请用 pip install "luthier[parquet]" 安装，或把数据写成 JSONL：dataset.to_json("train.jsonl")。',
        "The file is in the Parquet format, not JSONL."),
    "column_duplicate": Kind(
        "error", "two columns have the name “{key}” (columns: {value})", "有两列都叫“{key}”（各列：{value}）",
        "Rename or delete one of them; otherwise it is unclear which one to read.",
        "请改名或删去其中一列，否则无法确定读取哪一列。",
        "The table has two columns '{key}'."),
    "row_misfit": Kind(
        "error", "row {key} of the table does not match its header (cells: {value}, columns: {detail}): there is a "
                 "separator or a quotation mark too few or too many",
        "表格第 {key} 行有 {value} 个单元格，而表头有 {detail} 列：缺少或多了分隔符、引号",
        'Put a cell that contains the separator or a line break in quotation marks ("…"), and double every quotation '
        'mark inside it (""). Name every column in the header.',
        '含有分隔符或换行的单元格要用引号括起来（"…"），其中的引号写两次（""）。表头里每一列都要有名称。',
        "Line {line} does not fit the header of the table."),
    "header_repeated": Kind(
        "error", "row {key} of the table repeats its header: {value}", "表格第 {key} 行重复了表头：{value}",
        "Delete the row; the usual cause is that several tables were joined.",
        "请删去这一行；常见的原因是把几个表格接在了一起。",
        "Line {line} repeats the header of the table."),
    "quotation_unclosed": Kind(
        "error", "row {key} of the table has a quotation mark that is not closed properly: {value}",
        "表格第 {key} 行的引号没有正确闭合：{value}",
        'Close it at the end of the cell, and double every quotation mark inside a cell ("").',
        '请在单元格末尾补上引号；单元格里面的引号写两次（""）。',
        "Line {line} has an unclosed quotation mark."),
    "rows_skipped": Kind(
        "note", "the rows above the table's header are not used: {value}", "表头之前的行没有使用：{value}",
        "Fine if they are a title; otherwise name the columns with --question and --answer.",
        "如果只是标题则没有问题；否则请用 --question 和 --answer 指定列名。",
        "Rows above the header were skipped."),
    "column_unused": Kind(
        "note", "“{key}” is not used ({detail} values, such as {value})",
        "没有使用“{key}”（{detail} 个值，例如 {value}）",
        "Fine for an id or the name of a source; if the answer depends on it, add it to the question.",
        "如果只是编号或来源的名称则没有问题；如果回答要依据它，请写进问题里。",
        "The key '{key}' is not used."),
    "meaningful_key": Kind(
        "error", "“{key}” changes the meaning of this example, but is not used: {value}",
        "“{key}” 决定这个样本的含义，却不会被使用：{value}",
        "Add a context to the question; if it is a rating, remove the examples with bad answers; then delete the key.",
        "如果是上下文，请写进问题；如果是评分，请删去回答不好的样本；之后再删去这个键。",
        _EXTRA),
    "loss_key": Kind(
        "error", "“{key}” says whether this message is trained on, but the key for that is “weight”: {value}",
        "“{key}” 表示这条消息是否参与训练，这里要用 “weight”：{value}",
        'Write "weight": 0 (not trained) or 1 (trained) on the assistant message; --fix does it.',
        '请在 assistant 消息上写 "weight": 0（不训练）或 1（训练）；--fix 可以改正。',
        _EXTRA),
    "reasoning_key": Kind(
        "error", "“{key}” contains reasoning, which belongs in “reasoning_content” of an assistant message: {value}",
        "“{key}” 里是思考过程，而训练时思考过程要写在 assistant 消息的 “reasoning_content” 里：{value}",
        "Rename it if the model should reason, otherwise delete it; --fix renames it on an assistant message.",
        "如果要让模型思考，请改用这个名字，否则请删去；--fix 可以改正 assistant 消息上的名字。",
        _EXTRA),
    "not_text": Kind(
        "error", "“{key}” contains an image, audio or a file, but these models read and write only text: {value}",
        "“{key}” 是图片、声音或文件，而这里的模型只能读写文本：{value}",
        "Remove the example, or describe the image or the audio in words.",
        "请删去这个样本，或用文字写出其中的内容。",
        "{at}: Input should be text"),
    "preference_key": Kind(
        "error", "“{key}” marks an answer as better or worse, which this training method does not use: {value}",
        "“{key}” 表示回答的好坏，这种训练方法不会使用：{value}",
        "Remove the examples with bad answers; or write pairs (input, preferred_output, non_preferred_output) and "
        "train with --method dpo.",
        "请删去回答不好的样本；或写成偏好对（input、preferred_output、non_preferred_output），用 --method dpo 训练。",
        _EXTRA),
    "system_key": Kind(
        "error", "“{key}” is outside the messages, so it is not used as the system prompt: {value}",
        "“{key}” 写在 messages 之外，不会当作 system 提示使用：{value}",
        'Write it as the first message, {{"role": "system", "content": ...}}; --fix does it.',
        '请写成第一条消息 {{"role": "system", "content": ...}}；--fix 可以改正。',
        _EXTRA),
    "function_name": Kind(
        "warning", "the function of “{key}” is named {value}, but the API does not accept such a name in a request",
        "“{key}” 的函数名是 {value}，向服务器发请求时不能用这样的名字",
        "Use 1 to 64 letters (a-z, A-Z), digits, _ and -, both in the definition and in the calls.",
        "请只用 1 到 64 个英文字母、数字、_ 和 -，定义和调用里都要改。",
        "{at}: Invalid function name"),
}  # fmt: skip

VARIANTS: dict[tuple[str, str], Kind] = {  # by code and `Finding.detail`: sentences of a special case
    ("encoding_invalid", "halves"): Kind(
        "error", "characters such as emoji are encoded as surrogate pairs (CESU-8, as MySQL and Java write it), which "
                 "is not valid UTF-8",
        "表情符号等字符被写成了两半（CESU-8，常见于 MySQL 和 Java），不是 UTF-8",
        "Write the file as UTF-8 (utf8mb4 in MySQL); --fix does it.",
        "请写成 UTF-8（MySQL 中是 utf8mb4）；--fix 可以改正。",
        "Line {line} is not valid UTF-8."),
    ("columns_ambiguous", "delimiters"): Kind(
        "error", "the columns are ambiguous, because several characters could be the separator: {value}",
        "有几种符号都可能是分隔符，无法判断各列：{value}",
        "Separate the columns with only one of comma, semicolon and tab; put a cell that contains the separator in "
        'quotation marks ("…").',
        '列之间只用逗号、分号或制表符中的一种分隔；单元格里含有分隔符时用引号括起来（"…"）。',
        "The columns of the file are ambiguous."),
    ("columns_ambiguous", "unknown name"): Kind(
        "error", "--question and --answer must each name a column (or key) of the file; these exist: {value}",
        "--question 和 --answer 都要指定文件里的一列（或一个键）；文件里有：{value}",
        "Set both options, spelled as in the file.", "请写上这两个选项，名称与文件中一致。",
        "The columns of the file are ambiguous."),
    ("sheets_ambiguous", "unknown name"): Kind(
        "error", "the workbook has no sheet of the name that --sheet gives; its sheets: {value}",
        "工作簿里没有 --sheet 指定的工作表；它的工作表：{value}",
        "Set --sheet to one of these names.", "请把 --sheet 设为其中一个名称。",
        "The sheet of the workbook is ambiguous."),
    ("format_unsupported", "pointer"): Kind(
        "error", "this is a Git LFS pointer, not the file itself",
        "这是 Git LFS 的指针文件，不是数据本身",
        "Fetch the file with git lfs pull, or through the download link on its web page.",
        "请获取文件本身：git lfs pull，或使用网页上的下载链接。",
        "The file is a pointer of Git LFS, not JSONL."),
    ("format_unsupported", "page"): Kind(
        "error", "this is a web page, not a data file: {value}", "这是网页，不是数据文件：{value}",
        "Use the direct download link; yours leads to a page about the file, or to one that asks you to sign in.",
        "请使用文件本身的下载链接；链接指向的可能是介绍文件的页面或登录页面。",
        "The file is a web page, not JSONL."),
    ("unrecognized_key", "text"): Kind(
        "warning", "“{key}” holds a long text that is not used: {value}", "没有使用“{key}”里的长文本：{value}",
        "If the answer depends on it, add it to the question; otherwise remove it.",
        "如果回答要依据它，请写进问题里；否则请删去。",
        _EXTRA),
    ("loss_key", "example"): Kind(
        "error", "“{key}” is outside the messages, where it has no effect on training: {value}",
        "“{key}” 写在 messages 之外，对训练不起作用：{value}",
        'Write "weight": 0 (not trained) or 1 (trained) on the assistant messages; remove an example that should not '
        "be trained on.",
        '请在 assistant 消息上写 "weight": 0（不训练）或 1（训练）；不要训练的样本请删去。',
        _EXTRA),
    ("loss_key", "nothing trainable"): Kind(
        "error", "“{key}” says that this message is not trained on, nor is any other answer of the example, so there "
                 "is nothing to learn: {value}",
        "“{key}” 表示这条消息不参与训练，样本里的其他回答也不参与，无从学习：{value}",
        'Write "weight": 1 on an answer that should be learned, or remove the example; --fix moves it to the rejects.',
        '请在要学习的回答上写 "weight": 1，或删去这个样本；--fix 会把它移到被拒绝的行里。',
        _EXTRA),
    ("loss_key", "unclear"): Kind(
        "error", "“{key}” says whether this message is trained on, but the key for that is “weight”: {value}",
        "“{key}” 表示这条消息是否参与训练，这里要用 “weight”：{value}",
        'Write "weight": 0 (not trained) or 1 (trained) on an assistant message, whichever is meant; other messages '
        "are never trained on.",
        '请按原意在 assistant 消息上写 "weight": 0（不训练）或 1（训练）；其他消息从不训练。',
        _EXTRA),
    ("reasoning_key", "unclear"): Kind(
        "error", "“{key}” contains reasoning, which belongs in “reasoning_content” of an assistant message: {value}",
        "“{key}” 里是思考过程，而训练时思考过程要写在 assistant 消息的 “reasoning_content” 里：{value}",
        "Write it there, before the answer that it led to, if the model should reason; otherwise delete it.",
        "如果要让模型思考，请写到对应回答的 “reasoning_content” 里，否则请删去。",
        _EXTRA),
    ("system_key", "unclear"): Kind(
        "error", "“{key}” is not used as the system prompt: {value}", "“{key}” 不会当作 system 提示使用：{value}",
        'Write the whole system prompt as the first message, {{"role": "system", "content": ...}}.',
        '请把完整的 system 提示写成第一条消息 {{"role": "system", "content": ...}}。',
        _EXTRA),
    ("content_type", "reasoning"): Kind(
        "error", "“{key}” has parts of type {value}, but reasoning belongs in “reasoning_content”",
        "“{key}” 里有 {value} 类型的内容，思考过程应写在 “reasoning_content” 里",
        "Move it there, or delete it if the model should not reason; --fix moves it if every part is complete "
        "and an answer follows.",
        "请移到那里；如果不要让模型思考，请删去；各部分都完整、后面又有回答时，--fix 可以移动。",
        "{at}: Input should be a valid string"),
    ("content_type", "calls"): Kind(
        "error", "“{key}” has parts of type {value}, the form of calls and results in Anthropic's API",
        "“{key}” 里有 {value} 类型的内容，这是 Anthropic 接口中函数调用和结果的写法",
        "Write each call into “tool_calls”, and its result as a message with the role tool; --fix does it if every "
        "part is complete.",
        "调用请写进 “tool_calls”，结果写成角色为 tool 的消息；各部分都完整时，--fix 可以改正。",
        "{at}: Input should be a valid string"),
    ("missing_messages_list", "“messages”: text"): Kind(
        "error", '"messages" is a string instead of a list: {value}', "“messages” 是文本，不是列表：{value}",
        "Write the list itself, without quotation marks around it; --fix does it.",
        "请直接写列表，外面不加引号；--fix 可以改正。",
        'Line {line}, key "messages": Input should be a valid list with at least one message'),
    ("missing_messages_list", "“messages”: other text"): Kind(
        "error", '"messages" is a string that contains no list of messages: {value}',
        "“messages” 是文本，里面也不是消息的列表：{value}",
        'Write [{{"role": ..., "content": ...}}, ...]; in a cell of a table, write it with json.dumps.',
        '请写成 [{{"role": ..., "content": ...}}, ...]；在表格的单元格里请用 json.dumps 写出。',
        'Line {line}, key "messages": Input should be a valid list with at least one message'),
    ("missing_content", "result"): Kind(
        "warning", "the result of the call is empty", "函数的结果是空的",
        "Fine if the function returns nothing; otherwise write what it returned.",
        "如果函数确实没有返回内容则没有问题；否则请写上它返回的内容。",
        "{at}: content is empty"),
    ("missing_content", "question"): Kind(
        "warning", "the user message is empty", "user 消息是空的",
        "Fine if the assistant should speak first; otherwise write the question, or remove the message.",
        "如果就是让 assistant 先开口则没有问题；否则请写上问题或删去这条消息。",
        "{at}: content is empty"),
    ("arguments_not_object", "empty list"): Kind(
        "error", "\"{key}\" is an empty list, {value}, which is how PHP writes an empty object",
        "“{key}” 是空列表 {value}，PHP 会把没有成员的对象写成这样",
        "Write {{}} for a call without arguments; --fix does it.", "没有参数的调用请写 {{}}；--fix 可以改正。",
        "{at}: Input should be a valid JSON object"),
    ("missing_content", "refusal"): Kind(
        "error", "the answer is in “refusal” ({value}), but only “content” is trained on, and that is empty",
        "回答写在 “refusal” 里（{value}），而用来学习的 content 是空的",
        "Move the refusal to “content” if the model should decline here; --fix does it.",
        "如果希望模型在这里拒绝，请把它写进 content；--fix 可以改正。",
        "{at}: content is empty"),
    ("content_type", "parts"): Kind(
        "error", "“{key}” has parts of type {value}, but in messages the type of a text part is “text”",
        "“{key}” 里有 {value} 类型的内容，消息里的文本类型应为 “text”",
        'Write each text part as {{"type": "text", "text": ...}}; --fix does it if the parts hold only text.',
        '文本请写成 {{"type": "text", "text": ...}}；各部分只含文本时，--fix 可以改正。',
        "{at}: Input should be a valid string"),
    ("preference_invalid", "several"): Kind(
        "error", "“{key}” has several answers, but a preference pair has one: {value}",
        "“{key}” 里有几个回答，而一个偏好对只能有一个：{value}",
        "Write one line for each rejected answer, with the question and the chosen answer on each.",
        "请为每个较差的回答各写一行，每行都带上问题和较好的回答。",
        "{at}: Input should be a list of one assistant message"),
    ("preference_invalid", "unread"): Kind(
        "error", "this preference pair cannot be read: it needs exactly one question, one chosen and one rejected "
                 "answer, each a text or messages; “{key}” is {value}",
        "无法读取这个偏好对：需要一个问题、一个较好的回答和一个较差的回答，都是文本或消息；“{key}” 是 {value}",
        'Write {{"prompt": question, "chosen": answer, "rejected": answer}}; if the answers are whole conversations, '
        "only their last messages may differ.",
        '请写成 {{"prompt": 问题, "chosen": 回答, "rejected": 回答}}；如果回答是整段对话，只能是最后一条消息不同。',
        "{at}: Input should be a list of one assistant message"),
    ("preference_invalid", "prompt"): Kind(
        "warning", "the input of the pair ends with an assistant message, so its answers answer no question",
        "偏好对的 input 以 assistant 消息结尾，两个回答没有对应的问题",
        "End the input with a user message or a result; move an answer out of it.",
        "input 请以 user 消息或函数结果结尾；里面的回答请移出来。",
        "{at}: the input of the pair should not end with an assistant message"),
    ("call_invalid", "text"): Kind(
        "error", "“{key}” is text that is not a call in JSON: {value}", "“{key}” 不是用 JSON 写的函数调用：{value}",
        'Write it with json.dumps as {{"name": ..., "arguments": {{...}}}}, without any other key.',
        '请用 json.dumps 写出：{{"name": ..., "arguments": {{...}}}}，不含别的键。',
        "{at}: Input should be a valid function call"),
    ("content_type", "media"): Kind(
        "error", "“{key}” contains an image, audio or a file, but these models read and write only text: {value}",
        "“{key}” 是图片、声音或文件，而这里的模型只能读写文本：{value}",
        "Remove the example, or describe the image or the audio in words.",
        "请删去这个样本，或用文字写出其中的内容。",
        "{at}: Input should be text"),
}  # fmt: skip
