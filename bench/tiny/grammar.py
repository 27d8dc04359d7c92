"""Everyday text from templates: as much as is asked for, the same for the same seed.

The repository's own prose (prose.txt) is too little to train on alone. Templates are filled with the words of a topic,
words drawn with frequencies that fall as 1/rank, as they do in any language; a document keeps to its topic.
"""

from __future__ import annotations

import random
import re

# Topic: things, places, people, actions (with an object), qualities.
TOPICS: dict[str, tuple[str, ...]] = {
    "kitchen": (
        "soup bread onion pan oven sauce butter pepper recipe knife dough lemon garlic plate spoon rice cheese pot "
        "salad",
        "kitchen pantry market bakery table cellar",
        "cook baker guest grandmother waiter neighbour",
        "stir taste slice warm serve bake season fold boil chop",
        "salty fresh warm sweet burnt crisp thick ripe simple",
    ),
    "travel": (
        "train ticket suitcase map passport bridge road ferry timetable window seat luggage coach tunnel signpost",
        "station harbour airport hotel village border platform",
        "driver guide passenger traveller porter captain",
        "book miss board cross find carry follow load lose reach",
        "late crowded long early northern narrow foreign quiet cheap",
    ),
    "weather": (
        "rain wind cloud storm forecast frost thunder snow sunshine fog temperature umbrella hail breeze shower",
        "valley coast mountain lake island plain",
        "farmer sailor shepherd fisherman forecaster hiker",
        "watch expect measure fear enjoy predict notice ignore record survive",
        "cold heavy mild grey sudden dry bright dark gentle stormy",
    ),
    "office": (
        "report meeting budget letter desk contract printer deadline invoice schedule project agenda memo proposal "
        "folder",
        "office department archive lobby workshop basement",
        "manager secretary accountant colleague director lawyer clerk",
        "sign send review copy postpone approve correct file reject prepare",
        "urgent final missing annual careful official secret boring complete",
    ),
    "garden": (
        "rose seed tree apple fence soil hedge lawn spade bird nest branch flower leaf worm compost tulip bulb",
        "garden orchard meadow greenhouse park forest",
        "gardener child florist beekeeper keeper botanist",
        "plant water cut dig grow pick prune rake trim shelter",
        "green tall yellow wild small early blossoming old shady",
    ),
    "music": (
        "song violin piano melody concert drum chorus tune string rhythm stage record opera flute score microphone",
        "theatre studio hall chapel stadium club",
        "singer conductor pianist drummer composer listener",
        "play sing hear practise compose tune rehearse repeat perform hum",
        "loud soft famous slow joyful modern sad strange brilliant",
    ),
    "science": (
        "star telescope experiment theory microscope planet sample formula atom magnet laser signal equation crystal "
        "cell",
        "laboratory observatory university library museum desert",
        "physicist student professor chemist astronomer engineer",
        "observe prove test weigh explain calculate discover publish compare measure",
        "exact new heavy invisible distant simple likely wrong tiny stable",
    ),
}
# Kept from the public topics: what a private model is fine-tuned on.
PRIVATE_TOPICS: dict[str, tuple[str, ...]] = {
    "medicine": (
        "fever dose tablet wound x-ray pulse allergy injection scan symptom vaccine bandage diagnosis blood surgery",
        "ward clinic pharmacy hospital ambulance surgery",
        "doctor nurse patient surgeon pharmacist midwife",
        "treat examine prescribe heal cure admit diagnose monitor discharge relieve",
        "chronic acute healthy painful rare severe infectious weak stable",
    ),
    "finance": (
        "loan share bond account dividend mortgage insurance tax portfolio coin cheque fee debt pension profit",
        "bank exchange branch vault court agency",
        "broker customer trader auditor banker creditor",
        "buy sell borrow repay invest transfer lend withdraw owe audit",
        "risky cheap private overdue large fixed foreign taxable rich",
    ),
}
_SENTENCES = (
    "The {q} {t} is in the {l}, and the {p} will {a} it {w}.",
    "A {p} must {a} every {t} before the {p} can leave the {l}.",
    "I saw {n} {t}s near the {l}, but none of them was {q}.",
    "{w}, the {p} said that the {t} was too {q} to {a}.",
    "If the {t} is {q}, {a} it again; if it is not, ask the {p}.",
    "Nobody in the {l} wanted to {a} the {t} of the {p}.",
    "We walked from the {l} to the {l} with {n} {t}s and a {q} {t}.",
    "My {p} and I often {a} the {t}, because it is {q} and {q}.",
    "There are {n} ways to {a} a {t}, and only one of them is {q}.",
    "She gave the {p} a {q} {t} and {n} {t}s for the {l}.",
    "They could not {a} the {t} {w}, so the {p} did it for them.",
    "It was a {q} day at the {l}: the {p} had lost the {t}.",
    "You should {a} the {t} first and then {a} the {t}.",
    "The {p} who lives by the {l} knows how to {a} a {q} {t}.",
    "Which {t} did the {p} {a} {w}?",
    "He paid {n} crowns for the {t}, which was {q} but not {q}.",
    "Without a {t}, no {p} can {a} the {t} in the {l}.",
    "Please {a} the {q} {t} and bring it to the {l} {w}.",
    "The {t} and the {t} belong to the {p}; the {l} does not.",
    "After {n} hours in the {l} we were tired, and the {t} was still {q}.",
)
_WHEN = ["today", "tomorrow", "later", "yesterday", "again", "soon", "tonight", "twice", "slowly", "alone", "together"]
_NUMBERS = ["two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "twelve", "twenty", "thirty"]
_SLOT = re.compile(r"\{(\w)\}")


def documents(seed: int, characters: int, private: bool = False) -> list[str]:
    """Documents of three to nine sentences, at least `characters` of them all together."""
    drawn = random.Random(f"grammar {seed} {private}")
    topics = list((PRIVATE_TOPICS if private else TOPICS).values())
    written: list[str] = []
    while characters > 0:
        written.append(_document(drawn, drawn.choice(topics)))
        characters -= len(written[-1])
    return written


def _document(drawn: random.Random, topic: tuple[str, ...]) -> str:
    things, places, people, actions, qualities = (part.split() for part in topic)
    words = {"t": things, "l": places, "p": people, "a": actions, "q": qualities, "w": _WHEN, "n": _NUMBERS}
    sentences = []
    for _ in range(drawn.randint(3, 9)):
        pattern = _falling(drawn, _SENTENCES)
        filled = _SLOT.sub(lambda match: _falling(drawn, words[match.group(1)]), pattern)
        sentences.append(filled[0].upper() + filled[1:])
    return " ".join(sentences)


def _falling(drawn: random.Random, choices: list[str] | tuple[str, ...]) -> str:
    """One of the choices, the k-th with weight 1/k."""
    return drawn.choices(choices, [1 / (k + 1) for k in range(len(choices))])[0]
