"""Exports a fine-tuned model: as a PEFT adapter, merged weights, GGUF, or a folder for Ollama or vLLM.

    targets.py      what --to asks for
    source.py       the model: its weights, its base, and what is known of both
    adapter.py      LoRA factors of a PEFT folder, and what they add to a weight
    merge.py        the merged weights, tensor by tensor
    gguf_files/     GGUF files: metadata, tokenizer, weights, LoRA
    ollama/         the Modelfile and its template
    folders.py      what each target writes
    runtimes/       the programs that load an artefact and score it
    gate.py         the parity gate on what was written
    card.py         README.md of the folder, the model card
    run.py          one export from start to end
    importing.py    the other way: adapters that were trained elsewhere

An export reads the data folder and writes one new folder. Server and worker import nothing of this.
"""
