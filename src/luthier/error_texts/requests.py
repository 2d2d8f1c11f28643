"""Errors about what a request asks for, and of the server itself, with names for what they quote.

The more specific come first.
"""

REQUESTS = (    # generation
    ("you must provide a model parameter", "请求缺少模型（model）。"),
    (
        "This model's maximum context length is {limit} tokens. However, you requested {requested} tokens ({prompt} in "
        "the messages, {completion} in the completion). Please reduce the length of the messages or completion.",
        "此模型的上下文最多 {limit} 个 token，而请求需要 {requested} 个"
        "（消息 {prompt} 个，回答 {completion} 个）。请缩短消息或回答。",
    ),
    (
        "This model's maximum context length is {limit} tokens. However, your messages resulted in more than "
        "{requested} tokens. Please reduce the length of the messages.",
        "此模型的上下文最多 {limit} 个 token，而消息超过 {requested} 个。请缩短消息。",
    ),
    (
        "This model's maximum context length is {limit} tokens. However, your messages resulted in {requested} tokens. "
        "Please reduce the length of the messages.",
        "此模型的上下文最多 {limit} 个 token，而消息有 {requested} 个。请缩短消息。",
    ),
    (
        "This model's maximum context length is {limit} tokens, however you requested more than {requested} tokens in "
        "your prompt. Please reduce your prompt; or completion length.",
        "此模型的上下文最多 {limit} 个 token，而提示超过 {requested} 个。请缩短提示或回答。",
    ),
    (
        "This model's maximum context length is {limit} tokens, however you requested {requested} tokens ({prompt} in "
        "your prompt; {completion} for the completion). Please reduce your prompt; or completion length.",
        "此模型的上下文最多 {limit} 个 token，而请求需要 {requested} 个"
        "（提示 {prompt} 个，回答 {completion} 个）。请缩短提示或回答。",
    ),
    ("The messages cannot be tokenized: {reason}", "无法把消息转换为 token：{reason}"),
    ("'functions' and 'tools' cannot be sent together.", "“functions”和“tools”不能同时发送。"),
    (
        "Invalid schema for {owner}: In context={place}, the value of '{keyword}' has the wrong type.",
        "{owner} 的 schema 无效：在 {place} 处，“{keyword}”的值类型不对。",
    ),
    ("Invalid schema for {owner}: In context={place}, {fault}.", "{owner} 的 schema 无效：在 {place} 处，{fault}。"),
    (
        "Invalid 'tools': the definitions are too large for a required call. Send fewer functions.",
        "“tools”无效：函数定义太大，无法要求必须调用其中一个。请减少函数。",
    ),
    (
        "Invalid value for '{param}': '{choice}' is only allowed when '{field}' are specified.",
        "没有“{field}”时不能使用“{param}”。",
    ),
    (
        "Invalid value for '{param}': the function '{function}' is not among {where}.",
        "“{param}”指定的函数“{function}”不在函数定义之中。",
    ),
    ("Invalid schema for '{param}': {reason}", "“{param}”的 schema 无效：{reason}"),
    ("Generation cannot be constrained to the schema: {reason}", "无法按 schema 约束生成：{reason}"),
    (
        "'messages' must contain the word 'json' in some form, to use 'response_format' of type 'json_object'.",
        "“response_format”为“json_object”时，消息中必须出现“json”一词。",
    ),
    (
        "Invalid key in 'logit_bias': {key}. Keys must be token ids of this model.",
        "“logit_bias”的键 {key} 无效：键必须是此模型的 token id。",
    ),
    (
        "Invalid key in 'logit_bias': this model has no token {token}; its token ids are below {size}. {hint}",
        "“logit_bias”的键无效：此模型没有 token {token}，token id 都小于 {size}。",
    ),
    (
        "Invalid '{param}': this model has no token {token}; its token ids are below {size}. {hint}",
        "“{param}”无效：此模型没有 token {token}，token id 都小于 {size}。请发送文字。",
    ),
    (
        "Unknown parameter: '{param}'. The chat template of this model reads {variables}.",
        "没有参数“{param}”：此模型的对话模板读取 {variables}。",
    ),
    (
        "Invalid value: '{effort}'. The model '{model}' was not trained to reason, and its chat template cannot turn "
        "reasoning on. Supported values are: 'none'.",
        "无效的值“{effort}”：模型 {model} 没有训练过推理，对话模板也无法开启推理。可用：'none'。",
    ),
    (
        "The 'top_logprobs' parameter is only allowed when 'logprobs' is enabled.",
        "只有启用“logprobs”时才能使用“top_logprobs”。",
    ),
    (
        "The 'stream_options' parameter is only allowed when 'stream' is enabled.",
        "只有启用“stream”时才能使用“stream_options”。",
    ),
    ("Invalid value for 'content': expected a string, got null.", "“content”应为字符串，实际为空值。"),
    (
        "The model '{model}' is served upstream, but no upstream service is set: start the server with {settings}.",
        "模型 {model} 由上游服务提供，但没有设置上游服务：请用 {settings} 启动服务器。",
    ),
    (
        "The upstream service refused this server's key (status {status}); its operator can set another with {name}.",
        "上游服务拒绝了此服务器的密钥（状态 {status}）；管理员可以用 {name} 设置另一个。",
    ),
    ("The upstream service could not be reached: {reason}", "无法连接上游服务：{reason}"),
    (
        "{count} requests are waiting already. Please try again in 1s.",
        "已有 {count} 个请求在等待。请过 1 秒再试。",
    ),
    (
        "Rate limit reached for {model} in organization {organization} on requests per min (RPM): Limit {limit}, Used "
        "{used}, Requested {requested}. Please try again in {wait}.",
        "每分钟的请求数已达上限（{limit} 个）。请过 {wait} 再试。",
    ),
    (
        "Rate limit reached for {model} in organization {organization} on tokens per min (TPM): Limit {limit}, Used "
        "{used}, Requested {requested}. Please try again in {wait}.",
        "每分钟的 token 数已达上限（{limit} 个）。请过 {wait} 再试。",
    ),
    (
        "Request too large for {model} in organization {organization} on {kind} per min ({unit}): Limit {limit}, "
        "Requested {requested}. The input or output tokens must be reduced.",
        "请求太大：每分钟上限为 {limit}，请求需要 {requested}。请缩短输入或输出。",
    ),
    # the server
    ("The server is shutting down.", "服务器正在关闭。"),
    (
        "The server had an error while processing your request. Sorry about that! Its log has the cause.",
        "服务器处理请求时出错，非常抱歉。原因写在服务器的日志里。",
    ),
    (
        "The server's database is damaged; its operator has to restore a backup.",
        "服务器的数据库已损坏，管理员需要恢复备份。",
    ),
    (
        "The server's disk is full. Nothing was stored; its operator has to free space.",
        "服务器的磁盘已满，没有保存任何内容。管理员需要腾出空间。",
    ),
    (
        "The server's disk reports errors. Nothing was stored; its operator has to check the disk.",
        "服务器的磁盘读写出错，没有保存任何内容。管理员需要检查磁盘。",
    ),
    ("The server's disk is read-only. Nothing was stored.", "服务器的磁盘是只读的，没有保存任何内容。"),
    (
        "The database is locked by another program. Nothing was stored; please try again.",
        "数据库被其他程序锁定，没有保存任何内容。请重试。",
    ),
    (
        "The database cannot be reached, or did not respond in time. Please try again.",
        "无法连接数据库，或数据库没有及时响应。请重试。",
    ),
    ("The database is busy. Please try again.", "数据库繁忙。请重试。"),
    ("Invalid URL ({method} {path})", "没有此地址（{method} {path}）。"),
    ("Not allowed to {method} on {path} (HINT: Perhaps you meant another method)", "{path} 不接受 {method} 请求。"),
    # invalid requests
    (
        "We could not parse the JSON body of your request. (HINT: {hint})",
        "无法解析请求的 JSON 正文：它不是有效的 JSON。",
    ),
    (
        "The JSON body of your request is nested deeper than {limit} levels.",
        "请求的 JSON 正文嵌套超过 {limit} 层。",
    ),
    (
        "The JSON body of your request has a lone surrogate: {hint}",
        "请求的 JSON 正文里有不成对的代理项：它的 \\u 转义只是半个字符。",
    ),
    (
        "The JSON body of your request is too large: at most {values} values and {members} members of objects. {hint}",
        "请求的 JSON 正文太大：最多 {values} 个值、{members} 个对象成员。请分成几个请求，或作为文件发送。",
    ),
    (
        "Send the body of this request as JSON, with the header Content-Type: application/json (sent: {header}).",
        "请以 JSON 发送此请求的正文，请求头应为 Content-Type: application/json（实际：{header}）。",
    ),
    (
        "Send this request as multipart/form-data, with the fields {fields}.",
        "请以 multipart/form-data 发送此请求，字段为 {fields}。",
    ),
    ("The names and fields of this form must be encoded in UTF-8.", "表单的名称和字段必须用 UTF-8 编码。"),
    (
        "The headers of the request have {size} bytes; at most {limit} are allowed.",
        "请求头共 {size} 字节，最多允许 {limit} 字节。",
    ),
    (
        "The body is compressed (Content-Encoding: {encoding}). Send it uncompressed.",
        "请求正文经过压缩（{encoding}）。请发送未压缩的正文。",
    ),
    ("The header Range selects no bytes of this file.", "请求头 Range 指定的范围不在此文件之内。"),
    (
        "The header Idempotency-Key is too long: at most {limit} characters.",
        "请求头 Idempotency-Key 太长：最多 {limit} 个字符。",
    ),
    (
        "A request with the idempotency key '{key}' is still running. Please try again.",
        "幂等键为“{key}”的请求仍在进行。请重试。",
    ),
    (
        "Keys for idempotent requests can only be used with the same parameters they were first used with. {hint}",
        "幂等键只能用于参数相同的请求。要发送不同的请求，请换一个键。",
    ),
    ("you must provide a request body", "请求没有正文。"),
    ("Unsupported parameter: '{param}' is not available on this server.", "此服务器不支持参数“{param}”。"),
    (
        "Invalid value for 'after': no object with id '{id}' is in this list.",
        "列表中没有 {id}（参数 after）：它可能已被删除。",
    ),
    ("Missing required parameter: '{param}'.", "缺少“{param}”。"),
    ("Unknown parameter: '{param}'.", "没有参数“{param}”。"),
    ("Invalid value: {value}. Supported values are: {values}.", "无效的值 {value}。可用：{values}。"),
    (
        "Invalid '{param}': {kind} below minimum value. Expected a value {limit}, but got {value} instead.",
        "“{param}”的值 {value} 太小：应当 {limit}。",
    ),
    (
        "Invalid '{param}': integer above maximum value. Expected a value {limit}, but got {value} instead (the "
        "server's queue limit).",
        "“{param}”的值 {value} 太大：应当 {limit}（服务器的队列上限）。",
    ),
    (
        "Invalid '{param}': {kind} above maximum value. Expected a value {limit}, but got {value} instead.",
        "“{param}”的值 {value} 太大：应当 {limit}。",
    ),
    (
        "Invalid '{param}': string too long. Expected a string with maximum length {limit}, but got a string with "
        "length {length} instead.",
        "“{param}”太长：最多 {limit} 个字符，实际 {length} 个。",
    ),
    (
        "Invalid '{param}': string too short. Expected a string with minimum length {limit}, but got a string with "
        "length {length} instead.",
        "“{param}”太短：至少 {limit} 个字符，实际 {length} 个。",
    ),
    (
        "Invalid '{param}': array too long. Expected an array with maximum length {limit}, but got an array with "
        "length {length} instead.",
        "“{param}”太长：最多 {limit} 项，实际 {length} 项。",
    ),
    (
        "Invalid '{param}': array too short. Expected an array with minimum length {limit}, but got an array with "
        "length {length} instead.",
        "“{param}”太短：至少 {limit} 项，实际 {length} 项。",
    ),
    ("Invalid '{param}': empty {kind}. {expected}", "“{param}”不能为空。"),
    (
        "Invalid '{param}': string does not match pattern. Expected a string that matches the pattern '{pattern}'.",
        "“{param}”的格式不对：应符合 {pattern}。",
    ),
    (
        "Invalid type for '{param}': expected {expected}, but got {actual} instead.",
        "“{param}”的类型不对：应为{expected}，实际为{actual}。",
    ),
)  # fmt: skip
