"""Are the tensors of our GGUF files those of llama.cpp's own quantiser, byte for byte?

    pip install llama-cpp-python                     # in an environment of its own; it compiles for some minutes
    python benchmarks/gguf_bytes.py --model DIR --rival-python /tmp/llama/bin/python [--mixtures q8_0,q4_k_m]

Our F16 file of the model is quantised by `llama_model_quantize` of that environment, once for each mixture, and its
tensors are compared with those of our own file of that mixture. With `--imatrix FILE` both are weighted by it.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
from pathlib import Path
from typing import Any

_RIVAL = """
import ctypes, json, sys
import llama_cpp

source, target, number, weights = sys.argv[1:5]
settings = llama_cpp.llama_model_quantize_default_params()
settings.ftype, settings.nthread = int(number), 2
if weights:
    class Importance(ctypes.Structure):
        _fields_ = [("name", ctypes.c_char_p), ("data", ctypes.POINTER(ctypes.c_float)), ("size", ctypes.c_size_t)]
    found = json.load(open(weights))
    entries = (Importance * (len(found) + 1))()
    kept = []
    for entry, (name, values) in zip(entries, found.items()):
        numbers = (ctypes.c_float * len(values))(*values)
        kept.append(numbers)
        entry.name, entry.data, entry.size = name.encode(), numbers, len(values)
    settings.imatrix = ctypes.cast(entries, ctypes.c_void_p)
code = llama_cpp.llama_model_quantize(source.encode(), target.encode(), ctypes.byref(settings))
sys.exit(code)
"""


def tensors(file: Path) -> dict[str, tuple[str, bytes]]:
    from gguf import GGUFReader

    return {each.name: (each.tensor_type.name, each.data.tobytes()) for each in GGUFReader(file).tensors}


def compare(ours: Path, theirs: Path) -> dict[str, Any]:
    """How many tensors are equal, and which are not: by format, or by bytes."""
    mine, other = tensors(ours), tensors(theirs)
    formats = [name for name in mine if mine[name][0] != other[name][0]]
    values = [name for name in mine if mine[name] != other[name] and name not in formats]
    return {"tensors": len(mine), "names": mine.keys() == other.keys(), "formats": formats, "bytes": values}


def weights_file(imatrix: Path, names: list[str], target: Path) -> Path:
    from camelid_gguf import importances

    found = importances.read(imatrix, names).importances
    target.write_text(json.dumps({name: values.tolist() for name, values in found.items()}), encoding="utf-8")
    return target


def main() -> None:
    from camelid_gguf import importances
    from camelid_gguf.mixtures import MIXTURES
    from camelid_gguf.testing import write_gguf

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--rival-python", required=True)
    parser.add_argument("--imatrix", type=Path)
    parser.add_argument("--mixtures", default=",".join(name for name in MIXTURES if name != "q2_k_s"))
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        source = write_gguf(arguments.model, work / "f16.gguf", "f16")
        names = list(tensors(source))
        matrix = importances.read(arguments.imatrix, names).importances if arguments.imatrix else None
        weights = weights_file(arguments.imatrix, names, work / "weights.json") if arguments.imatrix else ""
        for mixture in arguments.mixtures.split(","):
            ours = write_gguf(arguments.model, work / "ours.gguf", mixture, matrix)
            theirs = work / "theirs.gguf"
            number = str(MIXTURES[mixture].number)
            command = [arguments.rival_python, "-c", _RIVAL, str(source), str(theirs), number, str(weights)]
            subprocess.run(command, check=True, capture_output=True)
            print(json.dumps({"mixture": mixture, **compare(ours, theirs)}), flush=True)


if __name__ == "__main__":
    main()
