"""LoRA adapters side by side: one model call in which every row is under its own.

Knows PEFT's LoRA layers and their tensors. Knows nothing of requests, files and threads.
In each layer the matrices of all adapters lie one below the other. Rows take one product with them, of which a mask
leaves each row its own part, and one back; what comes of it is added to what the base's layer says. (PEFT's own mixed
batches go through the adapters of every layer one by one, which costs more than the base's work itself.)
An adapter is held once: PEFT's parameters become views of what lies here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch.nn.functional import linear

Layout = tuple[tuple[str, int, float], ...]
"""Name, rank and scale of adapters, as they lie below each other."""


class MultiLora:
    """Which adapter each row is under, in all layers at once."""

    def __init__(self) -> None:
        self._layers: dict[Any, _StackedLayer] = {}
        self._rows: tuple[str | None, ...] = ()

    def stack_adapters(self, model: Any, names: frozenset[str]) -> None:
        """Take up the adapters `names` as PEFT holds them in `model`, and let go of those that are missing now."""
        self.activate(())
        layers = {layer for layer in model.modules() if not names.isdisjoint(getattr(layer, "lora_A", ()))}
        for layer in layers | self._layers.keys():
            layer_stack = self._layers.get(layer) or self._layers.setdefault(layer, _StackedLayer(layer))
            layer_stack.stack_adapters(names)

    def clear(self) -> None:
        """Forget all layers: the model has them no more."""
        self.activate(())
        self._layers.clear()

    def activate(self, rows: Sequence[str | None]) -> None:
        """The adapters of the next call's rows, in their order; if all rows have one, of however many rows.
        Under None, and under a name that is not here, the base answers alone."""
        wanted = tuple(rows if len(set(rows)) > 1 else rows[:1])
        if wanted == self._rows:
            return
        self._rows = wanted
        row_scales = _RowScales(wanted)
        for layer_stack in self._layers.values():
            layer_stack.activate(row_scales)


class _StackedLayer:
    """One layer's adapters below each other. `_selected` is what the rows in hand need of it."""

    def __init__(self, layer: Any) -> None:
        self._layer = layer
        self._layout: Layout = ()
        self._stacked_a: Any = None
        self._stacked_b: Any = None
        self._selected: tuple[Layout, Any, Any] = ((), None, None)
        self._active: tuple[str, ...] = ()
        self._mask: Any = None
        layer.register_forward_hook(self._forward_hook)

    def stack_adapters(self, names: frozenset[str]) -> None:
        lora_a, lora_b, scaling = self._layer.lora_A, self._layer.lora_B, self._layer.scaling
        layout = tuple((name, len(lora_a[name].weight), float(scaling[name])) for name in lora_a if name in names)
        if layout == self._layout:
            return
        self._layout, self._active, self._selected = layout, (), ((), None, None)
        self._stacked_a = torch.cat([lora_a[name].weight.data for name, _, _ in layout]) if layout else None
        self._stacked_b = torch.cat([lora_b[name].weight.data.t() for name, _, _ in layout]) if layout else None
        start = 0
        for name, rank, _ in layout:
            lora_a[name].weight.data = self._stacked_a[start : start + rank]
            lora_b[name].weight.data = self._stacked_b[start : start + rank].t()
            start += rank

    def activate(self, row_scales: _RowScales) -> None:
        active = tuple(name for name, _, _ in self._layout if name in row_scales.names)
        if active != self._active:
            self._active, self._selected = active, self._select(active)
        self._mask = row_scales.mask(self._selected[0], self._selected[1])

    def _select(self, active: tuple[str, ...]) -> tuple[Layout, Any, Any]:
        """What lies from the first to the last of `active`, or a copy of theirs alone where that is mostly others'."""
        if not active:
            return (), None, None
        places = [place for place, (name, _, _) in enumerate(self._layout) if name in active]
        ends = torch.tensor([0, *(rank for _, rank, _ in self._layout)]).cumsum(0).tolist()
        own = [torch.arange(ends[place], ends[place + 1]) for place in places]
        between = slice(ends[places[0]], ends[places[-1] + 1])
        if 2 * sum(map(len, own)) >= between.stop - between.start:
            return self._layout[places[0] : places[-1] + 1], self._stacked_a[between], self._stacked_b[between]
        index = torch.cat(own).to(self._stacked_a.device)
        return tuple(self._layout[place] for place in places), self._stacked_a[index], self._stacked_b[index]

    def _forward_hook(self, layer: Any, given: tuple[Any, ...], output: Any) -> Any:
        """A forward hook: what the layer says, and what the rows' adapters add to it."""
        _, lora_a, lora_b = self._selected
        if lora_a is None:
            return None
        low = linear(given[0].to(lora_a.dtype), lora_a)
        mask = self._mask if low.ndim == self._mask.ndim or not self._mask.ndim else self._mask[:, 0]
        return (output + (low * mask) @ lora_b).to(output.dtype)


class _RowScales:
    """Whose columns each row takes, and by how much; layers that lie alike share a mask."""

    def __init__(self, rows: tuple[str | None, ...]) -> None:
        self.names = frozenset(name for name in rows if name is not None)
        self._rows = rows
        self._masks: dict[Any, Any] = {}

    def mask(self, layout: Layout, like: Any) -> Any:
        """(rows, 1, ranks) of an adapter's scale where row and column have one adapter, else 0."""
        if not layout:
            return None
        key = layout, like.device, like.dtype
        if key not in self._masks:
            self._masks[key] = self._build_mask(layout).to(like)
        return self._masks[key]

    def _build_mask(self, layout: Layout) -> torch.Tensor:
        if len(self._rows) == 1:
            return torch.tensor(layout[0][2])
        numbers = {name: number for number, (name, _, _) in enumerate(layout)}
        rows = torch.tensor([numbers.get(name, -1) if name else -1 for name in self._rows])
        columns = torch.tensor([number for number, (_, rank, _) in enumerate(layout) for _ in range(rank)])
        scales = torch.tensor([scale for _, rank, scale in layout for _ in range(rank)])
        return torch.where(rows[:, None] == columns, scales, 0.0)[:, None]
