"""Stands for a trainer that the zygote forks: `trainer_proxy.py ADDRESS FOLDER`. Passes streams and SIGTERM on."""

import json
import os
import signal
import socket
import sys

connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
connection.connect(sys.argv[1])
socket.send_fds(connection, [json.dumps({"folder": sys.argv[2]}).encode()], [0, 1, 2])
pid = int(connection.recv(64))
signal.signal(signal.SIGTERM, lambda *_: os.kill(pid, signal.SIGTERM))
nothing = os.open(os.devnull, os.O_RDWR)
for stream in (0, 1):  # the trainer alone holds the pipes
    os.dup2(nothing, stream)
code = os.waitstatus_to_exitcode(int(connection.recv(64)))
if code < 0:
    signal.signal(-code, signal.SIG_DFL) if -code != signal.SIGKILL else None
    os.kill(os.getpid(), -code)
sys.exit(code)
