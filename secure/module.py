"""Modules that a user wrote in torch, captured and loaded on the parties."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor

from secure.arrays import Array, as_tensor
from secure.connection import Parties
from secure.loaded_model import ResidentModel
from secure.loading import Loaded, load_checkpoint, load_split
from secure.models.checking import check_served
from secure.models.checkpoint.conversion import read_manifest, write_split
from secure.models.contract.manifest import Manifest, WeightVisibility
from secure.models.contract.rehearsal import RangeCheck
from secure.models.graph.capture import capture
from secure.models.graph.network import GraphNetwork
from secure.progress import status
from secure.protocols.core.errors import CheckpointError, InputError
from secure.protocols.families import DEFAULT
from secure.split import check_empty


class PrivateModule(ResidentModel):
    """A torch module that P0 and P1 hold in shares, for inputs of the shapes that it was captured with.

    The parties get no code. They get a graph of operations from a fixed table, with shapes, the numbers that stand in
    the module's code, and names of parameters and submodules; they check all of it. Parameters and buffers, and tensors
    in the code, are private or public, as `weights` says.
    """

    def _have(self, loaded: Loaded) -> None:
        super()._have(loaded)
        if not isinstance(self._network, GraphNetwork):
            raise CheckpointError("this is no captured module; load it with PrivateModel.from_pretrained")
        self._module = self._network

    @classmethod
    def from_module(
        cls,
        module: torch.nn.Module,
        example_inputs: Tensor | Sequence[Tensor],
        *,
        parties: Parties,
        weights: WeightVisibility = "private",
        progress: bool | None = None,
    ) -> Self:
        """Capture a torch module, share its weights and load it on the parties.

        Args:
            module: in eval mode, in float32 or float64. Everything in it must be one of the operators that are served.
            example_inputs: what forward takes, by position: tensors of real numbers, and of integers for embeddings.
                Shapes are those of every later call. The module runs on the values in the clear, here, to see that
                numbers stay in the fixed-point range: take typical ones. Whether other inputs leave it, or the
                domain of a quotient, a root or a norm of rows (docs/ranges.md), `check` tells.
            weights: whether parameters and buffers are "private", "public", or known to P1 alone, the "server".
            progress: show what is going on; None does so when standard error is a terminal.

        Raises CheckpointError, before anything is shared, with every operator that is not served and its line of code;
        BoundError when a number leaves the range, with its line; SessionError and its kinds.
        """

        def load(progress: bool | None) -> Loaded:
            with status("capturing the module", progress):
                checkpoint = capture(module, example_inputs, weights=weights)
            return load_checkpoint(checkpoint, parties, progress)

        return cls(load, parties, progress)

    @classmethod
    def from_split(cls, folder: Path | str, *, parties: Parties, progress: bool | None = None) -> Self:
        """Load a module from a folder that `split` made. Where it lacks the share files, each party serves its own.

        progress: as for `from_module`.

        Raises CheckpointError before anything is sent, and SessionError and its kinds.
        """
        folder = Path(folder)
        return cls(lambda progress: load_split(folder, read_manifest(folder), parties, progress), parties, progress)

    @staticmethod
    def split(
        module: torch.nn.Module,
        example_inputs: Tensor | Sequence[Tensor],
        out_dir: Path | str,
        *,
        weights: WeightVisibility = "private",
        protocol: str = DEFAULT.name,
        output_bits: int | None = None,
        checks_one_hot: bool = True,
    ) -> Manifest:
        """Capture a module and write manifest.json and the share files, as `secure split` does for a checkpoint.

        protocol: whose parties; ConfigurationError for what it does not serve. output_bits, checks_one_hot: as for
        `secure.split.split`, the latter of the tables of embeddings. The other arguments and errors are as for
        `from_module`; CheckpointError also when the folder is not empty.
        """
        check_empty(Path(out_dir))
        captured = capture(module, example_inputs, weights=weights)
        check_served(captured.manifest, protocol)
        return write_split(captured, out_dir, protocol=protocol, output_bits=output_bits, checks_one_hot=checks_one_hot)

    def check(self, *inputs: Array) -> RangeCheck:
        """Which layer and value leave the range of secure arithmetic for these inputs, as `secure.check` says it.

        The module runs in the clear, here, where its weights are; nothing is sent. inputs: as for a call.
        Raises InputError for inputs that the module does not take, and where its weights are not here.
        """
        return self._check(self._by_name(inputs))

    def __call__(self, *inputs: Array, progress: bool | None = None) -> Any:
        """What the module returns, all in one session: a float32 tensor, or a tuple, list or dict of them.

        inputs: as in the module's forward, by position, of the shapes of the example: tensors, numpy arrays or lists.

        Raises InputError before anything is sent, and SessionError and its kinds.
        """
        tensors = self._by_name(inputs)
        with self._bar(1, progress) as bar:
            outputs, report = self._session("hidden", tensors, bar)
        self._keep(report)
        return self._module.arrange(outputs)

    def _by_name(self, inputs: Sequence[Array]) -> dict[str, Tensor]:
        names = [given.name for given in self._module.graph.inputs]
        if len(inputs) != len(names):
            raise InputError(f"{len(inputs)} inputs; the module takes {len(names)}: {', '.join(names)}")
        return {name: as_tensor(name, value) for name, value in zip(names, inputs, strict=True)}
