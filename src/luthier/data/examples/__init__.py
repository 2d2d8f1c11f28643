"""Stage 3, examples: JSON values in, `Example`s out, which everything after the check works on.

`example` and `preferences` read files; `messages` and `tool_definitions` bring messages and tools into one form;
`json_schema` validates arguments; `adapter_metadata` is what a model keeps of its training file.
"""
