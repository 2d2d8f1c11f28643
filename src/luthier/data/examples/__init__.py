"""Stage 3, examples: JSON values in, `Example`s out, on which everything after the check works.

`example` and `preferences` read files; `messages` and `tool_definitions` convert messages and tools to one form;
`json_schema` validates arguments; `adapter_metadata` is what a model keeps of its training file.
"""
