"""Trainers on a Ray cluster, each an actor that reserves CPUs, GPUs and memory on one node.

The worker sees `launcher.py`: a trainer process like a local one, which it can stop, kill and read events from. That
process (`__main__.py`) is a Ray driver. It lets the actor (`node.py`) run the trainer on its node, and synchronizes the
job folder here with the one there (`mirror.py`). So nodes share neither a folder nor the database, and a crash of Ray
does not affect the worker.
"""
