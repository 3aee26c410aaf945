"""Python classes of proto/ecolink/v1, made by protoc for this run: a second reader of the contract beside protobuf-c."""

import os
import subprocess
import sys

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", "..", ".."))


def generate(out):
    """Generates into `out` and puts it on the import path."""
    proto = os.path.join(ROOT, "proto")
    files = sorted(os.listdir(os.path.join(proto, "ecolink", "v1")))
    subprocess.run(
        ["protoc", "-I", proto, "--python_out", out]
        + ["ecolink/v1/" + f for f in files if f.endswith(".proto")],
        check=True,
    )
    sys.path.insert(0, out)
