"""A verifier of a classifier that one untrusted server computes, after Fides (arXiv 2304.00083).

An alarm says that the server's answer is unlike what it answered before. No alarm proves nothing. Against somebody who
knows this verifier it misses many answers; keep the verifier and its threshold secret. It is no malicious security.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, Self

import torch
from torch import Tensor

from secure.protocols.core.errors import InputError, UnlikelyAnswer
from secure.verifier.attacks import ALL, CLASS_CHANGES, Attack, Generator, Knowing, RunnerUp, Target, TopTwoSwapped
from secure.verifier.detector import Detector, conformal_threshold, trained_detector
from secure.verifier.inputs import GivenInputs, Inputs, as_inputs, chosen, joined, varied
from secure.verifier.report import Measured, attack_found
from secure.verifier.services import Service, answers_of, are_probabilities, asked, floored
from secure.verifier.storage import read_verifier, write_verifier
from secure.verifier.student import Student, distilled, plan_for
from secure.verifier.training import untouched, weights_of

OnAlarm = Literal["flag", "raise"] | Callable[[Any], Any]

_TRAINING: tuple[Attack, ...] = (*CLASS_CHANGES, TopTwoSwapped(), RunnerUp())
_AGAINST: tuple[Attack, ...] = (Generator(200), Knowing(30))
"""Attacks on a first detector, whose answers a second one learns from, too."""
_DISTIL, _DETECT, _HELD_OUT = 0.5, 0.25, 0.25
"""Shares of the inputs. The parts never mix: a detector that learnt on its network's own training inputs, where both
agree better than on new ones, would take new honest answers for attacks."""
_SHOWN = 5
_BATCH = 512
"""Inputs that the network computes at a time; images of more would take much memory."""


@dataclass(frozen=True)
class Verdict:
    """What a verifier says of one answer."""

    label: int
    """The class that the service names, or that the trusted service named which an alarm was escalated to.

    It is -1 where the service's answer is no row of probabilities, which always is an alarm.
    """
    alarm: bool
    score: float
    """Log-odds that the answer was exchanged, by simulated attacks. Above the verifier's threshold it is an alarm."""
    own_label: int
    """The class that the verifier thinks the service would have named, if this answer is not the service's."""
    escalated: bool = False


class Verifier:
    """A small network that knows what a service answers, and a detector of answers that it would not give.

        verifier = secure.Verifier.distil(service, texts, false_alarms=0.01)
        for verdict in verifier(service, new_texts):
            print(verdict.label, verdict.alarm, verdict.own_label)

    An alarm says that the server's answer is unlike what it answered before. No alarm proves nothing. On digits, at 1 %
    false alarms, 99.9 % of answers with another class were found, but who knows the verifier and its threshold got 3 %
    past it, with 200 tries for each (docs/measured.md): keep both secret. Where a service is hard to foretell, such as
    one of texts with which its network agreed on 60 %, it found 76 %, and who knew it got 91 % past it. It is no
    malicious security.
    """

    def __init__(self, student: Student, detector: Detector, threshold: float, false_alarms: float) -> None:
        """threshold: scores above it are alarms. false_alarms: the rate that it was chosen for. See `distil`."""
        self.threshold = threshold
        self.false_alarms = false_alarms
        self._student = student
        self._detector = detector

    @classmethod
    def distil(
        cls,
        service: Service,
        inputs: GivenInputs,
        *,
        weights: int = 20_000,
        false_alarms: float = 0.01,
        variations: int = 4,
        steps: int = 3000,
        seed: int = 0,
    ) -> Self:
        """Ask a service that is honest for now, and learn what it answers.

        Args:
            service: a callable that gets a list of texts, or a tensor, and returns a row of probabilities for each
                input; or a `PrivateModel` or `EncryptedModel` that classifies texts or images.
            inputs: unlabelled texts, or a tensor [N, ...], of the traffic to come, none of them twice. Half teach the
                network, a quarter the detector, a quarter set the threshold.
            weights: most numbers that are trained, in the network and the detector together. A seventh of the service's
                is a good size.
            false_alarms: the share of honest answers that may raise an alarm.
            variations: how many changed copies of each input of the first three quarters are asked, too.
            steps: batches of the network's training; the detector takes half as many, twice.
            seed: fixes all that is drawn.

        Raises InputError for inputs too few for the rate, for weights too few, and for answers that are no
        probabilities.
        """
        if not 0 < false_alarms < 1:
            raise InputError(f"false_alarms is {false_alarms}; it is a share, between 0 and 1")
        generator = torch.Generator().manual_seed(seed)
        given = as_inputs(inputs)
        sizes = [int(len(given) * _DISTIL), int(len(given) * _DETECT)]
        parts = torch.randperm(len(given), generator=generator).tensor_split([sizes[0], sum(sizes)])
        if not all(len(part) for part in parts):
            raise InputError(f"{len(given)} inputs are too few for three parts; a few hundred are the least of use")
        first, second, third = (chosen(given, part) for part in parts)
        # The held-out answers first: where they are too few, nothing else need be asked.
        held, held_answers = asked(service, third)
        conformal_threshold(torch.zeros(len(held_answers)), false_alarms)

        taught, taught_answers = asked(service, _with_variations(first, variations, generator))
        classes = taught_answers.shape[-1]
        plan = plan_for(taught, classes, weights - weights_of(untouched(lambda: Detector(classes))))
        student = distilled(plan, taught, taught_answers, steps, generator)
        seen, honest = asked(service, _with_variations(second, variations, generator))
        detector = _hardened(seen, honest, _own(student, seen), false_alarms, steps // 2, generator)
        with torch.no_grad():
            scores = detector.score(held_answers, _own(student, held))
        return cls(student, detector, conformal_threshold(scores, false_alarms), false_alarms)

    @property
    def weights(self) -> int:
        """How many trained numbers it has, in its network and its detector."""
        return weights_of(self._student) + weights_of(self._detector)

    def __call__(self, service: Service, inputs: GivenInputs, *, on_alarm: OnAlarm = "flag") -> list[Verdict]:
        """Ask the service, and say of each answer whether it is likely.

        Args:
            service, inputs: as for `distil`.
            on_alarm: "flag" marks answers; "raise" raises UnlikelyAnswer when there is an alarm. Anything else is a
                service that is trusted, a second server, a copy, the three parties: it is asked the inputs whose
                answers raised an alarm, and its answers take their place. A false alarm then costs a computation and
                no answer, so the rate may be 5 or 10 %.

        Raises InputError for inputs that the verifier does not know, and what the service raises.
        """
        given = self._taken(inputs)
        verdicts = self._judged(given, answers_of(service, given))
        rows = [row for row, verdict in enumerate(verdicts) if verdict.alarm]
        if not rows or on_alarm == "flag":
            return verdicts
        if on_alarm == "raise":
            shown = ", ".join(str(row) for row in rows[:_SHOWN]) + (", …" if len(rows) > _SHOWN else "")
            raise UnlikelyAnswer(
                f"{len(rows)} of {len(verdicts)} answers are unlike what the service answered when the verifier was "
                f"made, to inputs {shown}; ask another server, or make the verifier again if the service was renewed"
            )
        if isinstance(on_alarm, str):
            raise InputError(f'on_alarm is {on_alarm!r}; it is "flag", "raise", or a service that is trusted')
        _, trusted = asked(on_alarm, chosen(given, torch.tensor(rows)))
        for row, label in zip(rows, trusted.argmax(-1).tolist(), strict=True):
            verdicts[row] = replace(verdicts[row], label=label, escalated=True)
        return verdicts

    def judge(self, inputs: GivenInputs, answers: Tensor) -> list[Verdict]:
        """What it says of answers that were had in another way. Shapes: answers [inputs, classes].

        Raises InputError for inputs that the verifier does not know.
        """
        return self._judged(self._taken(inputs), answers)

    def measure(
        self, service: Service, inputs: GivenInputs, *, attacks: Iterable[Attack] = ALL, seed: int = 0
    ) -> Measured:
        """False alarms, and what it finds of attacks, on inputs that it was not made with.

        Args:
            service: honest for now; other arguments of a call as for `distil`.
            attacks: those of `secure.attacks`, or your own.
            seed: fixes what the attacks draw.

        Raises InputError for inputs that the verifier does not know, and answers that are no probabilities.
        """
        generator = torch.Generator().manual_seed(seed)
        given, honest = asked(service, self._taken(inputs))
        classes = self._student.plan.classes
        if honest.shape[-1] != classes:
            raise InputError(f"the service knows {honest.shape[-1]} classes, this verifier {classes}: make another one")
        own = _own(self._student, given)
        target = Target(given, honest, own, self._detector.score, self.threshold)
        found = []
        for attack in attacks:
            attacked = attack(target, generator).detach()
            again = self._detector.reclassified(attacked, own)
            found.append(attack_found(attack.name, honest, attacked, self._alarms(attacked, own), again))
        return Measured(
            inputs=len(honest),
            agreement=float((own.argmax(-1) == honest.argmax(-1)).double().mean()),
            false_alarms=float(self._alarms(honest, own).double().mean()),
            attacks=tuple(found),
        )

    def save(self, folder: Path | str) -> None:
        """Write the verifier to a new folder, readable by its owner alone. Raises InputError for one that has files."""
        write_verifier(Path(folder), self._student, self._detector, self.threshold, self.false_alarms)

    @classmethod
    def load(cls, folder: Path | str) -> Self:
        """What `save` wrote. Raises CheckpointError for anything else."""
        return cls(*read_verifier(Path(folder)))

    def _taken(self, inputs: GivenInputs) -> Inputs:
        given = as_inputs(inputs)
        if not self._student.takes(given):
            due = f"inputs of shape {list(self._student.plan.shape)}" if self._student.plan.shape else "texts"
            raise InputError(f"this verifier was made for {due}; make another one for these inputs")
        return given

    def _judged(self, given: Inputs, answers: Tensor) -> list[Verdict]:
        classes = self._student.plan.classes
        if answers.shape != (len(given), classes):
            answers = torch.full((len(given), classes), torch.nan)
        fine = are_probabilities(answers)
        own = _own(self._student, given)
        # A row that is none is judged as one without a preference, and then overruled.
        served = floored(torch.where(fine[:, None], answers, torch.full_like(answers, 1 / classes)))
        with torch.no_grad():
            scores = torch.where(fine, self._detector.score(served, own), torch.inf)
            again = torch.where(fine, self._detector.reclassified(served, own), own.argmax(-1))
        labels = torch.where(fine, served.argmax(-1), -1)
        return [
            Verdict(label, score > self.threshold, score, own_label)
            for label, score, own_label in zip(labels.tolist(), scores.tolist(), again.tolist(), strict=True)
        ]

    def _alarms(self, answers: Tensor, own: Tensor) -> Tensor:
        with torch.no_grad():
            return self._detector.score(answers, own) > self.threshold


def _own(student: Student, inputs: Inputs) -> Tensor:
    """The network's probabilities. Shapes: -> float32 [inputs, classes], above 0."""
    with torch.no_grad():
        parts = [student(chosen(inputs, rows)) for rows in torch.arange(len(inputs)).split(_BATCH)]
    return floored(torch.softmax(torch.cat(parts), -1))


def _with_variations(inputs: Inputs, variations: int, generator: torch.Generator) -> Inputs:
    return joined([inputs, *(varied(inputs, generator) for _ in range(variations))])


def _hardened(
    inputs: Inputs, honest: Tensor, own: Tensor, false_alarms: float, steps: int, generator: torch.Generator
) -> Detector:
    """A detector trained on simulated attacks, then once more on attacks against the first one, too."""
    first = Target(inputs, honest, own, lambda served, _: torch.zeros(len(served)), 0.0)
    attacked = [attack(first, generator) for attack in _TRAINING]
    detector = trained_detector(honest, own, attacked, steps, generator)
    with torch.no_grad():
        threshold = float(detector.score(honest, own).quantile(1 - false_alarms))
    second = Target(inputs, honest, own, detector.score, threshold)
    attacked += [attack(second, generator).detach() for attack in _AGAINST]
    return trained_detector(honest, own, attacked, steps, generator)
