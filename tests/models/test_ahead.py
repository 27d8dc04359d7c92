"""What a party computes before there is an input changes nothing but when it is computed."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from secure.models import program
from secure.models.checkpoint.conversion import Checkpoint, read_checkpoint, read_share, write_split
from secure.models.contract.exchange import input_payloads
from secure.models.contract.network import Inputs
from secure.models.contract.request import Output
from secure.protocols.beaver.ahead import BeaverAhead
from secure.protocols.core.errors import ProtocolError
from secure.protocols.core.factor import Keep, prepare, prepare_apart
from secure.protocols.core.secret import Protocol
from secure.protocols.masked.ahead import Ahead
from tests.in_process import GivenSteps, Tape, run_roles
from tests.models.decoders import save_decoder, words
from tests.models.runs import party_index

SEEDS, SESSION = (b"a seed, p0's own", b"a seed, p1's own"), b"a deal's own name"[:16]


Served = tuple[list[list[bytes]], list[Any], dict[str, list[bytes]]]


class Loaded:
    """A model at all three roles, and one session with it, again and again under the same masks."""

    def __init__(
        self, checkpoint: Checkpoint, folder: Path, output: Output, inputs: list[Inputs], keep: Keep = prepare_apart
    ) -> None:
        self.manifest = write_split(checkpoint, folder)
        self._net = program.network(self.manifest)
        self.request = self._net.request(output, inputs[0], steps=len(inputs))
        self._payloads = [
            input_payloads(self._net, self.request, given, checkpoint.embeddings, step)
            for step, given in enumerate(inputs)
        ]
        self.models: dict[int | None, program.LoadedModel] = {}

        def load(protocol: Protocol, _: list[Tensor | None]) -> Any:
            index = party_index(protocol)
            shares = None if index is None else read_share(folder / f"p{index}.safetensors", self.manifest, f"p{index}")
            self.models[index] = program.load(protocol, self.manifest, shares, keep)

        run_roles(load, [], policy=self.manifest.policy)

    def serve(self, ahead: dict[int, Ahead] | None = None) -> Served:
        """What the client got of each party, their meters' rows, and what each role sent."""

        def session(protocol: Protocol, _: list[Tensor | None]) -> Any:
            index = party_index(protocol)
            client = GivenSteps(*(b"" if index is None else pair[index] for pair in self._payloads))
            with torch.inference_mode():
                program.serve(protocol, self.models[index], self.request, client, index)
            return client.outputs

        outputs, meters, sent = run_roles(
            session, [], policy=self.manifest.policy, seeds=SEEDS, session=SESSION, ahead=ahead
        )
        rows = [[row | {"seconds": 0} for row in meters[role].snapshot()] for role in ("p0", "p1")]
        return outputs, rows, sent

    def work_ahead(self, dealt: list[bytes], **given: Any) -> dict[int, Ahead]:
        """Both parties' own work."""
        found = {}
        for index in range(2):
            tape = Tape(dealt) if index else None
            party = BeaverAhead(index, SEEDS[index], SESSION, tape, self.manifest.policy, **given)
            with torch.inference_mode():
                program.serve(party, self.models[index], self.request, program.Nobody(), None)
            party.finish()
            found[index] = party.made
        return found


def check(loaded: Loaded, ahead_at: tuple[bool, bool]) -> None:
    """Twice the same session: the same messages to everybody, the same costs. ahead_at: whether P0 and P1 have any."""
    live = loaded.serve()
    ahead = loaded.work_ahead(live[2]["dealer"])
    linear = sum(row["calls"] for row in live[1][0] if row["op"] in ("linear", "linear-share"))
    assert [len(each.products) for each in ahead.values()] == [linear * there for there in ahead_at]
    assert loaded.serve(ahead) == live
    assert not any(each.products for each in ahead.values())  # all of it was used, and none is kept


WHO = [("private", (True, True)), ("server", (True, False)), ("public", (False, False))]


@pytest.mark.parametrize(("weights", "ahead_at"), WHO)
def test_bert_sends_the_same(
    weights: Any, ahead_at: tuple[bool, bool], save_bert: Callable[..., tuple[Path, Any]], tmp_path: Path
) -> None:
    checkpoint = read_checkpoint(save_bert()[0], weights=weights)
    ids, mask = words(2, 6), torch.ones(2, 6, dtype=torch.int64)
    mask[1, 4:] = 0
    check(Loaded(checkpoint, tmp_path / "split", "hidden", [{"input_ids": ids, "attention_mask": mask}]), ahead_at)


@pytest.mark.parametrize(("weights", "ahead_at"), WHO)
def test_generation_sends_the_same(weights: Any, ahead_at: tuple[bool, bool], tmp_path: Path) -> None:
    save_decoder(tmp_path, "gpt2")
    steps: list[Inputs] = [{"input_ids": words(1, 5)}, {"input_ids": words(1, 1)}, {"input_ids": words(1, 1)}]
    check(Loaded(read_checkpoint(tmp_path, weights=weights), tmp_path / "split", "next_logits", steps), ahead_at)


def test_nothing_is_computed_ahead_with_factors_that_lie_together(tmp_path: Path) -> None:
    """Then half of a product would take what the whole one takes."""
    save_decoder(tmp_path, "gpt2")
    prompt: list[Inputs] = [{"input_ids": words(1, 5)}]
    loaded = Loaded(read_checkpoint(tmp_path), tmp_path / "split", "next_logits", prompt, prepare)
    ahead = loaded.work_ahead(loaded.serve()[2]["dealer"])
    assert not any(each.products for each in ahead.values())


def test_what_is_ahead_of_another_session_is_refused(tmp_path: Path) -> None:
    other = Ahead(0, os.urandom(16), {})
    with pytest.raises(ProtocolError, match="of another session"):
        run_roles(lambda *_: None, [], seeds=SEEDS, session=SESSION, ahead={0: other})  # type: ignore[arg-type, return-value]


def test_a_tape_of_another_program_is_refused(tmp_path: Path) -> None:
    save_decoder(tmp_path, "gpt2")
    loaded = Loaded(read_checkpoint(tmp_path), tmp_path / "split", "next_logits", [{"input_ids": words(1, 5)}])
    dealt = loaded.serve()[2]["dealer"]
    with pytest.raises(ProtocolError, match="more than were used"):
        loaded.work_ahead([*dealt[:-1], dealt[-1] + bytes(8)])


def test_the_work_is_given_up_where_its_caller_says_so(tmp_path: Path) -> None:
    class Stop(Exception):
        pass

    def stop(layer: str) -> None:
        seen.append(layer)
        if len(seen) == 3:
            raise Stop

    save_decoder(tmp_path, "gpt2")
    seen: list[str] = []
    loaded = Loaded(read_checkpoint(tmp_path), tmp_path / "split", "next_logits", [{"input_ids": words(1, 5)}])
    dealt = loaded.serve()[2]["dealer"]
    with pytest.raises(Stop):
        loaded.work_ahead(dealt, on_layer=stop)
    assert len(seen) == 3
