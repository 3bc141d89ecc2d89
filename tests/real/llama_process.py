"""
The process in which one llama.cpp server lives; ``llama.py`` starts it.

Its settings come as one line of JSON on standard input, so that the key stands in no list of
processes. The input stays open for as long as the server is wanted: at its end, which is also that of
a parent that died, the server ends.
"""

from __future__ import annotations

import faulthandler
import json
import sys

import xllamacpp

END_SECONDS = 2.0
"""How long an orderly end may take: a server with a client that still reads would wait for it."""


def serve() -> None:
    settings = json.loads(sys.stdin.readline())
    params = xllamacpp.CommonParams()
    params.model.path = settings["model_path"]
    params.model_alias = {settings["model"]}
    params.chat_template = settings["chat_template"]
    params.hostnames = ["127.0.0.1"]
    params.port = settings["port"]
    params.api_keys = [settings["key"]]
    params.n_ctx = settings["context"] * settings["places"]
    params.n_parallel = settings["places"]
    # Threads that spin for each other on few cores make it ten times slower.
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
    params.warmup = False
    params.fit_params = False
    server = xllamacpp.Server(params)
    sys.stdin.read()
    # By a thread of C, for the server's end holds the interpreter.
    faulthandler.dump_traceback_later(END_SECONDS, exit=True)
    del server


if __name__ == "__main__":
    serve()
