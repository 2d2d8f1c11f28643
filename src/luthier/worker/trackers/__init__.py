"""Experiment trackers: a job's metrics for Weights & Biases, TensorBoard, MLflow, trackio and SwanLab.

    tracker.py     what a tracker is, and how one is opened by its name
    *_tracker.py   one tracker each; the package is imported when a run is opened
    __main__.py    a run in a child program, fed through its standard input
    live.py        the worker's side: one child program per job and tracker

A tracker never runs in the worker's process, and nothing waits for it: a tracker that is slow, hangs or fails does not
affect its job.
"""
