"""Trainers on a Ray cluster, each an actor that reserves CPUs, GPUs and memory on one node.

`launcher.py` is what the worker sees: a trainer process like a local one, which it stops, kills and reads events of.
That process (`__main__.py`) is a Ray driver. It has the actor (`node.py`) run the trainer on its node, and keeps the
job folder here in step with the one there (`mirror.py`). So neither a folder nor the database is shared with nodes,
and no crash of Ray's reaches the worker.
"""
