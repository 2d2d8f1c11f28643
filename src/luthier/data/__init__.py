"""From the bytes of a file to checked examples, token ids and statistics. No torch, no network.

Stages, each of which imports earlier ones only:

1. `findings`: the kinds of faults, their texts in English and Chinese, and the report.
2. `jsonl`: bytes → lines and JSON values.
3. `examples`: JSON values → `Example`s; messages, tool definitions and the metadata of an adapter.
4. `check`: a file → a report. `convert`: other formats → JSONL. `rendering`: examples → token ids and loss weights.
5. `repair`: a faulty file → a file without errors. `split`: a file → training and validation files. `token_stats`: a
   file → token counts.

`cost_estimate` is arithmetic on token counts and imports no stage.
"""
