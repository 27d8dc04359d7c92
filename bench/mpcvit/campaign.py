"""What a record of plans is made of, a file for each part of it, so that a run that was stopped goes on from there.

    OUT/TOKENS/setting.json            epochs, which all parts share
    OUT/TOKENS/seed-N/teacher          a checkpoint, with teacher.json in it
    OUT/TOKENS/search                  of the first seed's teacher: secure search's own files; search.json at its end
    OUT/TOKENS/plans.json              the plans, by name
    OUT/TOKENS/seed-N/students/NAME    a checkpoint; NAME.json beside it at its end, NAME.training.safetensors before
    OUT/TOKENS/agreement/NAME-PROTOCOL.json
    OUT/TOKENS/measured/PROTOCOL-NETWORK.json

Every seed has a teacher and students of its own. The plans are those of the first seed's search, so that seeds say how
far the accuracy of one plan varies.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bench.data.fashion_mnist import FashionMnist, augmented
from bench.mpcvit.plans import chosen
from bench.mpcvit.teacher import TRAINED_NAME, train_teacher
from secure.clear_model import reference
from secure.protocols.core.errors import ConfigurationError
from secure.protocols.families import DEFAULT
from secure.search import AttentionPlan, Front, distil, search
from secure.search.examples import Examples
from secure.search.front import FRONT_NAME
from secure.search.teacher import read_teacher
from secure.search.training import accuracy, answers

Say = Callable[[str], None]
SEARCHED = "wan", DEFAULT.name
"""The network and the protocol that plans are searched for."""


@dataclass(frozen=True)
class Setting:
    """How long a campaign trains: epochs of a teacher, of the network of all plans, and of every student.

    children: plans that the search tries after its greedy path. seed: of the search, and the first one of all.
    """

    tokens: int
    teacher_epochs: int
    search_epochs: int
    epochs: int
    children: int
    seed: int = 0


@dataclass(frozen=True)
class Campaign:
    """A setting and the folder of its parts."""

    folder: Path
    setting: Setting

    @classmethod
    def begin(cls, out: Path, setting: Setting) -> Campaign:
        """Raises ConfigurationError where the folder has parts of another setting."""
        found, path = cls(out / f"{setting.tokens}", setting), out / f"{setting.tokens}" / "setting.json"
        kept = _read(path)
        if kept is not None and kept != asdict(setting):
            raise ConfigurationError(f"{path} is of another setting, {kept}; say the same one, or another --out")
        write(path, asdict(setting))
        return found

    @classmethod
    def kept(cls, out: Path, tokens: int) -> Campaign:
        """The one that was begun. Raises ConfigurationError where there is none."""
        kept = _read(out / f"{tokens}" / "setting.json")
        if kept is None:
            raise ConfigurationError(f"{out}: nothing of {tokens} tokens was begun; python -m bench mpcvit does it")
        return cls(out / f"{tokens}", Setting(**kept))

    def teacher(self, seed: int) -> Path:
        """The checkpoint of a seed's teacher."""
        return self.folder / f"seed-{seed}" / "teacher"

    def student(self, seed: int, name: str) -> Path:
        """The checkpoint of a plan's student."""
        return self.folder / f"seed-{seed}" / "students" / name

    @property
    def seeds(self) -> list[int]:
        """Those with a teacher that is done."""
        found = self.folder.glob(f"seed-*/teacher/{TRAINED_NAME}")
        return sorted(int(path.parents[1].name.removeprefix("seed-")) for path in found)

    @property
    def plans(self) -> dict[str, AttentionPlan]:
        """By name; none before the search is done."""
        kept = _read(self.folder / "plans.json") or {}
        return {name: AttentionPlan.from_fields(fields) for name, fields in kept.items()}

    def trained(self, seed: int) -> dict[str, Any] | None:
        """What is known of a seed's teacher: its accuracy and more."""
        return _read(self.teacher(seed) / TRAINED_NAME)

    def accuracies(self, name: str) -> dict[int, dict[str, Any]]:
        """What is known of a plan's students, by seed."""
        found = {seed: _read(self.student(seed, name).with_name(f"{name}.json")) for seed in self.seeds}
        return {seed: part for seed, part in found.items() if part is not None}

    def part(self, *names: str) -> Any:
        """The contents of a file of it; None where there is none."""
        return _read(self.folder.joinpath(*names))

    def keep(self, part: Any, *names: str) -> None:
        """Write a file of it."""
        write(self.folder.joinpath(*names), part)

    def train(self, data: FashionMnist, seed: int, say: Say) -> None:
        """A seed's teacher, the search if it is the first one's, and its students."""
        tests = data.test
        examples = Examples(data.train.images, data.train.labels)
        setting, teacher = self.setting, self.teacher(seed)
        if self.trained(seed) is None:
            shutil.rmtree(teacher, ignore_errors=True)
            say(f"seed {seed}: teacher")
            epochs = setting.teacher_epochs
            share = train_teacher(data.train, tests, teacher, tokens=setting.tokens, epochs=epochs, seed=seed, say=say)
            say(f"seed {seed}: teacher {share:.2%}")
        if not self.plans:
            self._search(examples, say)
        for name, plan in self.plans.items():
            self._distil(name, plan, seed, examples, tests, say)

    def _search(self, examples: Examples, say: Say) -> None:
        setting, began = self.setting, time.process_time()
        (network, protocol), teacher = SEARCHED, self.teacher(setting.seed)
        front = search(
            teacher,
            examples,
            out=self.folder / "search",
            network=network,
            protocol=protocol,
            epochs=setting.search_epochs,
            children=setting.children,
            seed=setting.seed,
            augment=augmented,
            say=say,
        )
        self.keep({"processor_seconds": time.process_time() - began}, "search.json")
        plans = chosen(front, read_teacher(teacher).plan)
        self.keep({name: plan.fields for name, plan in plans.items()}, "plans.json")
        for name, plan in plans.items():
            say(f"{name}: {plan}")

    @property
    def front(self) -> Front:
        """What the search found. Raises CheckpointError before it is done."""
        return Front.read(self.folder / "search" / FRONT_NAME)

    def _distil(self, name: str, plan: AttentionPlan, seed: int, examples: Examples, tests: Any, say: Say) -> None:
        folder = self.student(seed, name)
        done, state = folder.with_name(f"{name}.json"), folder.with_name(f"{name}.training.safetensors")
        if done.is_file():
            return
        say(f"seed {seed}: {name}: {plan}")
        began, epochs = time.process_time(), self.setting.epochs
        if folder.is_dir() and state.is_file():
            shutil.rmtree(folder)  # it was being written
        if not folder.is_dir():
            teacher = self.teacher(seed)
            distil(teacher, plan, examples, out=folder, epochs=epochs, seed=seed, augment=augmented, say=say)
        share = accuracy(answers(reference(folder), tests.images), tests.labels)
        # What was trained before a stop is not counted.
        write(done, {"accuracy": share, "processor_seconds": time.process_time() - began})
        say(f"seed {seed}: {name}: {share:.2%} of {len(tests):,} test images")


def _read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def write(path: Path, content: Any) -> None:
    """Write a JSON file, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    written = path.with_name(f"{path.name}.writing")
    written.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    os.replace(written, path)
