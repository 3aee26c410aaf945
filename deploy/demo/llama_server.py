"""A llama.cpp server process with the options that the `llama.cpp` preset gives, run from the xllamacpp wheel.

The wheel carries llama.cpp's own HTTP server as a library and no executable; this starts it. Same names as llama-server's
options, the few that the demo and the preset need; anything else is refused.
"""
import argparse
import os
import signal
import sys


def options():
    parser = argparse.ArgumentParser(prog="llama-server", allow_abbrev=False)
    parser.add_argument("-m", "--model", required=True, help="a GGUF file")
    parser.add_argument("-a", "--alias", default="", help="the name the server answers to")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8080)
    parser.add_argument("-c", "--ctx-size", type=int, default=4096)
    parser.add_argument("-t", "--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("-np", "--parallel", type=int, default=2)
    return parser.parse_args()


def main():
    chosen = options()
    if not os.access(chosen.model, os.R_OK):
        sys.exit(f"llama-server: cannot read {chosen.model}")
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = chosen.model
    params.model_alias = {chosen.alias} if chosen.alias else set()
    params.hostnames = [chosen.host]
    params.port = chosen.port
    params.n_ctx = chosen.ctx_size
    params.n_parallel = chosen.parallel
    params.cpuparams.n_threads = chosen.threads
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: os._exit(0))
    server = xllamacpp.Server(params)  # returns once the model is loaded and the port is open
    print(f"llama-server: {chosen.alias or chosen.model} at {server.listening_address}", flush=True)
    while True:
        signal.pause()


main()
