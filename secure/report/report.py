"""What a prediction cost: seconds, rounds and bytes, by layer and by op, from the reports of all roles.

Accounting: *online* bytes are what the computing parties send to each other, the replicated protocol's 16-byte seeds
included, and the one that P1 sends to P0. *Dealer* bytes are what dealers send to computing parties, if there are any,
16-byte seeds and 32-byte digests included. Both are payload, before gRPC and TLS add their frames. What the client
sends and gets back stands apart. Loading a model is no part of a prediction; its seconds stand apart too.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace

from rich.console import RenderableType

from secure.models.storage.capacity import human_bytes
from secure.parties.client.conversation import Costs
from secure.protocols.core.errors import InputError
from secure.protocols.core.profile import NEAR
from secure.protocols.families import DEFAULT, family
from secure.report.receipt import Receipt
from secure.report.report_parts import DEALERS, MeterRow, Offline, ReportRow, RoleTotals, grouped
from secure.report.view import as_html, as_text, cost_table, view

_TEXT_WIDTH = 110
SCHEMA = 3


@dataclass(frozen=True)
class Report:
    """The cost of one call. `print` shows tables by layer and by op; `rows` has every op of every layer.

    seconds: at the client, from the first byte sent to the last received. load_seconds: of the model, before the call.
    sessions: batches that the call was split into. sequences: inputs. tokens: what they were padded to, in total.
    unchecked_one_hot: whether clients are trusted to choose rows of a private table as they should: by
        the model's owner, or by the protocol.
    receipt: what every role signed of the call. It is no part of `to_json`, and None in a report from there.
    offline: what the computing parties made of correlations before the inputs, where they do that themselves. Rows, and
    bytes of roles, are of what came after.
    profile: the network profile, "near" or "far". protocol: the family by which the parties compute.
    """

    rows: tuple[ReportRow, ...]
    roles: Mapping[str, RoleTotals]
    seconds: float
    load_seconds: float
    sessions: int
    sequences: int
    tokens: int
    unchecked_one_hot: bool = False
    receipt: Receipt | None = field(default=None, compare=False, repr=False)
    offline: Offline | None = None
    profile: str = NEAR.name
    protocol: str = DEFAULT.name

    @classmethod
    def of_session(
        cls, costs: Costs, *, load_seconds: float, sequences: int, tokens: int, unchecked_one_hot: bool = False
    ) -> Report:
        """The report of one session, in which `sequences` inputs were padded to `tokens` in total."""
        reports = costs.reports
        by_role = {role: {(row["layer"], row["op"]): row for row in report.rows} for role, report in reports.items()}
        keys = dict.fromkeys(key for found in by_role.values() for key in found)
        said = ((key, {role: found.get(key, {}) for role, found in by_role.items()}) for key in keys)
        rows = tuple(_merged(key, roles, costs.protocol) for key, roles in said)
        made = {role: report.made_ahead for role, report in reports.items() if report.made_ahead is not None}
        in_session = {role: each.sent_bytes for role, each in made.items() if not each.from_stock}
        totals = {
            role: RoleTotals(
                role,
                _without(report.wire_bytes_sent, {peer: in_session.get(role, 0) for peer in made}),
                _without(report.wire_bytes_received, in_session),
                report.messages,
                report.seconds,
                report.memory_bytes,
                report.waiting_seconds,
                report.cpu_seconds,
            )
            for role, report in reports.items()
        }
        receipt = None if costs.receipt is None else Receipt((costs.receipt,))
        return cls(
            rows,
            totals,
            costs.seconds,
            load_seconds,
            1,
            sequences,
            tokens,
            unchecked_one_hot,
            receipt,
            Offline.of_session(made),
            costs.profile,
            costs.protocol,
        )

    @classmethod
    def total(cls, reports: Sequence[Report]) -> Report:
        """Several sessions of one model, one after another, as one report."""
        result, *others = reports
        for other in others:
            result = replace(
                result,
                rows=grouped([*result.rows, *other.rows], lambda row: (row.layer, row.op)),
                roles=_added_roles(result.roles, other.roles),
                seconds=result.seconds + other.seconds,
                sessions=result.sessions + other.sessions,
                sequences=result.sequences + other.sequences,
                tokens=result.tokens + other.tokens,
                offline=_both(result.offline, other.offline),
            )
        return replace(result, receipt=Receipt.total(report.receipt for report in reports))

    @property
    def computing(self) -> tuple[str, ...]:
        """The parties that hold shares."""
        return tuple(role for role in self.roles if role not in DEALERS)

    @property
    def deal(self) -> str:
        """Where the correlations came from: "live", a dealer on line; "stock", dealt or made before; "demand", made by
        the parties in the call; "none" where a protocol has none.

        Of several sessions "live" where any of them had a dealer, and "demand" where any had nothing in stock.
        """
        if self.offline is not None:
            return "demand" if self.offline.on_demand else "stock"
        if "dealer" in self.roles:
            return "live"
        return "stock" if family(self.protocol).stocks else "none"

    @property
    def security(self) -> str:
        """Against whom: "malicious" is any one of three evaluators, or of two dealers where there are two;
        "semi-honest" a role that follows the protocol."""
        return family(self.protocol).security

    @property
    def rounds(self) -> int:
        """Exchanges between computing parties, and messages that one of them waits for before."""
        return sum(row.rounds for row in self.rows)

    @property
    def online_bytes(self) -> int:
        """Sent by the computing parties to each other, as the transport counted them."""
        return sum(_sent_to_computing(self, role) for role in self.computing)

    @property
    def dealer_bytes(self) -> int:
        """Sent by dealers, as the transport counted them; zero where there are none."""
        return sum(_sent_to_computing(self, role) for role in self.roles if role in DEALERS)

    @property
    def input_bytes(self) -> int:
        """Sent by the client to the computing parties."""
        return sum(self.roles[role].bytes_received.get("client", 0) for role in self.computing)

    @property
    def output_bytes(self) -> int:
        """Sent by the computing parties to the client."""
        return sum(_sent(self.roles, role, "client") for role in self.computing)

    def by_layer(self) -> tuple[ReportRow, ...]:
        """Every layer once, all its ops together."""
        return grouped((replace(row, op="") for row in self.rows), lambda row: (row.layer, ""))

    def by_op(self) -> tuple[ReportRow, ...]:
        """Every op once, over all layers."""
        return grouped((replace(row, layer="") for row in self.rows), lambda row: ("", row.op))

    def to_json(self) -> str:
        """The report for programs. `from_json` is the inverse; `schema` changes when a field does."""
        value = {
            "schema": SCHEMA,
            "seconds": self.seconds,
            "load_seconds": self.load_seconds,
            "sessions": self.sessions,
            "sequences": self.sequences,
            "tokens": self.tokens,
            "deal": self.deal,
            "security": self.security,
            "profile": self.profile,
            "protocol": self.protocol,
            "unchecked_one_hot": self.unchecked_one_hot,
            "totals": {
                "rounds": self.rounds,
                "online_bytes": self.online_bytes,
                "dealer_bytes": self.dealer_bytes,
                "input_bytes": self.input_bytes,
                "output_bytes": self.output_bytes,
            },
            "roles": {role: asdict(totals) for role, totals in self.roles.items()},
            "rows": [asdict(row) for row in self.rows],
            "offline": None if self.offline is None else asdict(self.offline),
        }
        return json.dumps(value, indent=1)

    @classmethod
    def from_json(cls, text: str) -> Report:
        """Raises InputError when the text is no report of this schema."""
        try:
            value = json.loads(text)
            if value["schema"] != SCHEMA:
                raise InputError(f"the report has schema {value['schema']!r}, this version reads {SCHEMA}")
            return cls(
                tuple(ReportRow(**row) for row in value["rows"]),
                {role: RoleTotals(**totals) for role, totals in value["roles"].items()},
                **{name: value[name] for name in ("seconds", "load_seconds", "sessions", "sequences", "tokens")},
                unchecked_one_hot=value.get("unchecked_one_hot", False),
                offline=None if value.get("offline") is None else Offline(**value["offline"]),
                profile=value["profile"],
                protocol=family(value["protocol"]).name,
            )
        except (KeyError, TypeError, AttributeError, json.JSONDecodeError) as error:
            raise InputError(f"not a report: {type(error).__name__} at {error}") from None

    def to_text(self, *, every_row: bool = False, width: int = _TEXT_WIDTH) -> str:
        """The tables as plain text. every_row: also each op of each layer."""
        return as_text(self.view(every_row=every_row), width)

    def view(self, *, every_row: bool = False) -> RenderableType:
        """The tables, for a rich console."""
        tables = [
            cost_table("By layer", [(row.layer, row) for row in self.by_layer()]),
            cost_table("By op", [(row.op, row) for row in self.by_op()]),
        ]
        if every_row:
            tables.append(cost_table("By layer and op", [(f"{row.layer}  {row.op}", row) for row in self.rows]))
        return view(self._summary(), tables)

    def __str__(self) -> str:
        return self.to_text()

    def _repr_html_(self) -> str:
        """What a notebook shows for a report at the end of a cell."""
        return as_html(self.view(), _TEXT_WIDTH)

    def __rich__(self) -> RenderableType:
        return self.view()

    def _summary(self) -> dict[str, str]:
        sequences = "1 sequence" if self.sequences == 1 else f"{self.sequences} sequences"
        batches = "1 batch" if self.sessions == 1 else f"{self.sessions} batches"
        each = (f"{role.upper()} {human_bytes(_sent_to_computing(self, role))}" for role in self.computing)
        dealt = "dealer: absent, the deal is from stock" if self.deal == "stock" else "no dealer"
        if "dealer" in self.roles:
            parts = [f"to {role.upper()} {human_bytes(_sent(self.roles, 'dealer', role))}" for role in self.computing]
            others = [role for role in self.roles if role in DEALERS and role != "dealer"]
            parts += [f"{human_bytes(_sent_to_computing(self, role))} of {DEALERS[role]}" for role in others]
            dealt = ", ".join(parts)
        taken = ", ".join(f"{role} {human_bytes(totals.memory_bytes)}" for role, totals in self.roles.items())
        waits = "; ".join(f"{role} {self.roles[role].waits(self.computing)}" for role in self.computing)
        efforts = ", ".join(f"{role} {totals.cpu_seconds:.3f}" for role, totals in self.roles.items())
        trusted = {"One-hot inputs": "not checked: the client is trusted"} if self.unchecked_one_hot else {}
        ahead = {"Dealer bytes": f"{human_bytes(self.dealer_bytes)}  ({dealt})"}
        if self.offline is not None:
            ahead = {"Offline": self.offline.in_words()}
        return {
            "Input": f"{sequences} in {batches}, {self.tokens} tokens with padding",
            **trusted,
            "Security": f"{self.security}",
            "Network": f"{self.profile}",
            "Seconds": f"{self.seconds:.3f} for the call; {self.load_seconds:.3f} for loading the model, before it",
            "Rounds": f"{self.rounds}",
            "Online bytes": f"{human_bytes(self.online_bytes)}  ({', '.join(each)})",
            **ahead,
            "Client": f"{human_bytes(self.input_bytes)} sent, {human_bytes(self.output_bytes)} received",
            "Memory": f"{taken}  (set aside for a session, beside the model; at most, by its shapes)",
            "Waiting": waits,
            "CPU seconds": f"{efforts}  (of the thread that computes)",
        }


def _merged(key: tuple[str, str], roles: Mapping[str, MeterRow], protocol: str) -> ReportRow:
    """One op of one layer, as all roles say: with a dealer, or with three parties that help each other."""
    if "p2" in roles and "dealer" not in family(protocol).roles:
        return ReportRow.merged_of_three(*key, list(roles.values()))
    computing, dealers = ([row for role, row in roles.items() if (role in DEALERS) is deals] for deals in (False, True))
    return ReportRow.merged(*key, computing, dealers)


def _sent_to_computing(report: Report, sender: str) -> int:
    return sum(_sent(report.roles, sender, role) for role in report.computing)


def _sent(roles: Mapping[str, RoleTotals], sender: str, receiver: str) -> int:
    return roles[sender].bytes_sent.get(receiver, 0)


def _without(counts: Mapping[str, int], less: Mapping[str, int]) -> dict[str, int]:
    return {peer: count - less.get(peer, 0) for peer, count in counts.items()}


def _both(first: Offline | None, second: Offline | None) -> Offline | None:
    return first.plus(second) if first is not None and second is not None else first or second


def _added_roles(first: Mapping[str, RoleTotals], second: Mapping[str, RoleTotals]) -> dict[str, RoleTotals]:
    """Totals of two calls. A dealer may have had a part in one of them alone."""
    both = {role: totals.plus(second[role]) if role in second else totals for role, totals in first.items()}
    return {**both, **{role: totals for role, totals in second.items() if role not in first}}
