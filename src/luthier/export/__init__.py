"""Exports a fine-tuned model: as a PEFT adapter, merged weights, GGUF, or a folder for Ollama or vLLM.

    targets.py      parses the value of --to
    source.py       the exported model: weights, base, job, chat template
    adapter.py      the LoRA factors of a PEFT folder, and the weight change that they make
    merge.py        the merged weights, one tensor at a time
    gguf_files/     GGUF files: metadata, tokenizer, weights, LoRA
    ollama/         the Modelfile and its template
    folders.py      writes the folder of each target
    runtimes/       load an artefact in its own program and score it
    gate.py         the parity gate for artefacts
    card.py         the model card: README.md of the folder
    run.py          one export from start to finish
    importing.py    imports adapters that were trained elsewhere

An export reads the data folder and writes one new folder. Server and worker do not import this package.
"""
