"""The importance matrix: how much each column of each weight matters, as the mean square of what it is multiplied with.

Computed with torch on calibration rows, and kept as a GGUF file that llama.cpp's tools read and write (`llama-imatrix`,
`llama-quantize --imatrix`): for each tensor the sums of squares, and how many tokens were summed. Format:
github.com/ggml-org/llama.cpp, tools/imatrix/imatrix.cpp. Knows activations and that file. Knows no dataset.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from camelid_core.errors import ModelError
from camelid_core.models.gguf import gguf_values

from .gguf_file import write_file

_SUMS, _COUNTS = ".in_sum2", ".counts"


@dataclass(frozen=True)
class ImportanceMatrix:
    """`sums` by the tensor's name in GGUF files: of each column, float32; `counts` how many tokens each is of."""

    sums: Mapping[str, Any]
    counts: Mapping[str, int]
    datasets: Sequence[str]
    rows: int

    @property
    def importances(self) -> dict[str, Any]:
        """Means of squares. Where nothing was summed, all columns are alike."""
        import torch

        return {
            name: sums / self.counts[name] if self.counts[name] else torch.ones_like(sums)
            for name, sums in self.sums.items()
        }

    def metadata(self, file: str) -> dict[str, Any]:
        """What a model's file says of the importance matrix that it was made with."""
        return {
            "quantize.imatrix.file": file,
            "quantize.imatrix.dataset": ", ".join(self.datasets),
            "quantize.imatrix.entries_count": len(self.sums),
            "quantize.imatrix.chunks_count": self.rows,
        }

    def write(self, path: Path, architecture: str, longest: int) -> None:
        """Write it to a file. `longest` is the most tokens of a row."""
        import numpy as np

        tensors: dict[str, Any] = {}
        for name in sorted(self.sums):
            tensors[name + _SUMS] = self.sums[name].numpy().reshape(1, -1)
            tensors[name + _COUNTS] = np.array([[self.counts[name]]], np.float32)
        about: dict[str, Any] = {"general.type": "imatrix", "imatrix.datasets": list(self.datasets) or ["unknown"]}
        about |= {"imatrix.chunk_count": self.rows, "imatrix.chunk_size": longest}
        write_file(path, architecture, about, tensors)


def computed(
    model: Any,
    targets: Mapping[str, str],
    rows: Sequence[Sequence[int]],
    datasets: Sequence[str],
    report: Callable[[int], None] = lambda done: None,
) -> ImportanceMatrix:
    """Of a Transformers model on these rows. `targets` maps the names of its layers to those of tensors."""
    import torch

    sums: dict[str, Any] = {}
    counts: dict[str, int] = {}

    def collect(name: str) -> Callable[[Any, Any], None]:
        def hook(module: Any, inputs: Any) -> None:
            given = inputs[0].detach().float().reshape(-1, inputs[0].shape[-1])
            squares = given.square().sum(0).double().cpu()
            sums[name] = sums[name] + squares if name in sums else squares
            counts[name] = counts.get(name, 0) + given.shape[0]

        return hook

    layers = dict(model.named_modules())
    handles = [layers[layer].register_forward_pre_hook(collect(name)) for layer, name in targets.items()]
    try:
        with torch.inference_mode():
            for done, row in enumerate(rows):
                report(done)
                model(torch.tensor([list(row)], device=model.device), use_cache=False)
    finally:
        for handle in handles:
            handle.remove()
    report(len(rows))
    return ImportanceMatrix({name: value.float() for name, value in sums.items()}, counts, datasets, len(rows))


def read(path: Path, names: Iterable[str]) -> ImportanceMatrix:
    """The importance matrix in a file, of the tensors called `names`.

    Raises:
        ModelError: no such file, another kind of file, another model's, or numbers that are not finite.
    """
    values = gguf_values(path)
    if values.get("general.type") != "imatrix":
        raise ModelError(f"{str(path)!r} is a GGUF file, but holds no importance matrix.")
    import gguf
    import torch

    tensors = {tensor.name: tensor for tensor in gguf.GGUFReader(path).tensors}
    sums: dict[str, Any] = {}
    counts: dict[str, int] = {}
    for name in names:
        if (found := tensors.get(name + _SUMS)) is None or (count := tensors.get(name + _COUNTS)) is None:
            continue
        sums[name] = torch.tensor(found.data).float().reshape(-1)
        counts[name] = int(count.data.reshape(-1)[0])
        if not bool(torch.isfinite(sums[name]).all()):
            raise ModelError(f"{str(path)!r} holds numbers that are not finite ({name!r}); compute it again.")
    if not sums:
        raise ModelError(f"{str(path)!r} has no tensor of this model; it is another model's importance matrix.")
    return ImportanceMatrix(sums, counts, [], int(values.get("imatrix.chunk_count", 0)))
