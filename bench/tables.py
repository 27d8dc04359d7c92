"""Each kind of record as a Markdown table."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from bench import baseline, plots

Record = dict[str, Any]
_OUTDATED = "†"
_NOTE = (
    f"{_OUTDATED} Measured before the last change of what the protocol costs; rounds and bytes are now those of\n"
    "`bench/baseline.json`."
)


def headline(models: Sequence[Record], generations: Sequence[Record]) -> str:
    """Whole models with private weights, on loopback and CPUs: README's small table."""
    plain = [record for record in models if "card" not in record and _is_headline(record)]
    tokens = [record for record in generations if record["setting"].get("memory_gb") is None and _is_headline(record)]
    if not plain and not tokens:
        return ""
    rows = [
        [
            f"{record['setting']['model']}, {record['setting']['batch']} × {record['setting']['tokens']} tokens",
            _parties(record),
            _seconds(record["median_seconds"]),
            *_cost_cells(record)[1:],
            _run(record),
        ]
        for record in plain
    ] + [
        [
            f"{record['setting']['model']}, each new token after {record['setting']['tokens']}",
            _parties(record),
            _seconds(record["token_seconds"]),
            f"{record['token_online_bytes'] / 1e6:.1f}",
            f"{record['token_dealer_bytes'] / 1e6:.1f}",
            _run(record),
        ]
        for record in tokens
    ]
    text = (
        "All parties are semi-honest, run on one machine and are linked by loopback; input and weights are private.\n"
        f"*Online* is what the computing parties send each other. Machine: {_machines([*plain, *tokens])}."
    )
    headings = ["Model and input", "Parties", "Time", "Online MB", "Dealer MB", "Command"]
    return _noted(f"{table(headings, rows)}\n\n{text}", [*plain, *tokens])


def models(records: Sequence[Record]) -> str:
    """Models on loopback, computed by CPUs."""
    here = [record for record in records if _network(record) == "loopback" and "card" not in record]
    if not here:
        return ""
    text = [
        "*End to end* is from the client's tensors to its result, with the dealer at work at the same time: the median",
        "of the runs after a warm-up, all processes on one machine. *Offline* and *online* are measured apart, in",
        "processes of their own: all that the dealer sends is in before the input is sent. *Online MB* is what the",
        "computing parties send together, two or, replicated, three; *dealer MB* what the dealer sends; both payload.",
        "*Rounds* of replicated shares are at most so many, for what a helper deals ahead counts, too. *Memory* is the",
        "peak of the largest process. *Error* is the largest difference of the last hidden state from transformers in",
        "float32.",
    ]
    rows = [
        [
            *_model_cells(record),
            _seconds(record["median_seconds"]),
            _phase(record, "median_offline_seconds"),
            _phase(record, "median_online_seconds"),
            f"{record['load_seconds']:.1f} s",
            *_cost_cells(record),
            f"{max(record['peak_memory_bytes'].values()) / 1e9:.2f} GB",
            f"{record['max_error']:.1e}",
            _run(record),
        ]
        for record in here
    ]
    headings = "Model|Weights|Batch × tokens|End to end|Offline|Online|Load|Rounds|Online MB|Dealer MB|Memory|Error|Run"
    return _noted("\n".join(text) + "\n\n" + table(headings.split("|"), rows), here)


def cards(records: Sequence[Record]) -> str:
    """Models on graphics cards, and the CPU beside."""
    here = [record for record in records if "card" in record]
    if not here:
        return ""
    rows = [
        [
            *_model_cells(record),
            record["card"]["name"],
            _seconds(record["median_seconds"]),
            _seconds(record["median_cpu_seconds"]),
            _phase(record, "median_offline_seconds"),
            _phase(record, "median_online_seconds"),
            *_cost_cells(record),
            f"{record['max_error']:.1e}",
            f"{_machine(record)}",
            f"{record['commit'][:7]}",
            _run(record),
        ]
        for record in here
    ]
    text = (
        "On a graphics card that all three processes share, and on the CPU of the same host in the same run, where\n"
        "each party computes in one thread. Otherwise as above; the card's loops were compiled in the warm-up.\n"
        "There is not always a card at hand: a row is of its own commit, whose bytes may not be today's."
    )
    headings = "Model|Weights|Batch × tokens|Card|End to end|On the CPU|Offline|Online|Rounds|Online MB|Dealer MB|Error"
    return f"{text}\n\n" + table([*headings.split("|"), "Host", "Commit", "Run"], rows)


def generations(records: Sequence[Record]) -> str:
    """Decoders, by token."""
    if not records:
        return ""
    rows = []
    for record in records:
        setting, embedding = record["setting"], record["token_embedding"]
        of_table = embedding["online_bytes"] / record["token_online_bytes"]
        network = "" if _network(record) == "loopback" else f", {_network(record)}"
        limit = setting.get("memory_gb")
        memory = "" if limit is None else f", at most {limit:g} GB for its weights"
        rows.append(
            [
                plots.model_name(setting) + network + memory,
                setting["weights"],
                setting["reveal"],
                f"{setting['batch']} × {setting['tokens']} + {setting['generate']}",
                _seconds(record["prompt_seconds"]),
                _seconds(record["token_seconds"]),
                f"{record['token_rounds']:,.0f}",
                f"{record['token_online_bytes'] / 1e6:.2f}",
                f"{record['token_dealer_bytes'] / 1e6:.2f}",
                f"{100 * of_table:.1f} %",
                f"{max(record['peak_memory_bytes'].values()) / 1e9:.2f} GB",
                f"{record['max_error']:.1e}"
                if "max_error" in record
                else f"{100 * record['tokens_equal']:.0f} % equal",
                _run(record),
            ]
        )
    headings = "Model|Weights|Client gets|Batch × prompt + new|Prompt|Token|Rounds|Online MB|Dealer MB|Embedding|Memory"
    text = (
        "Generation in one session, keys and values kept by the parties. *Token*, rounds, bytes: of a token after the\n"
        "prompt; *embedding*: the share of its online bytes that its lookup takes; *error*: of logits. smollm2 is\n"
        "SmolLM2-135M-Instruct itself (`bench/smollm2.py`); the others have random weights at real shapes."
    )
    return _noted(f"{text}\n\n" + table([*headings.split("|"), "Error", "Run"], rows), records)


def networks(records: Sequence[Record]) -> str:
    """Models on slower networks, with what was done to be slower."""
    away = [record for record in records if _network(record) != "loopback"]
    if not away:
        return ""
    rows = [
        [
            *_model_cells(record),
            _network_words(record["network"]),
            _seconds(record["median_seconds"]),
            _phase(record, "median_offline_seconds"),
            _phase(record, "median_online_seconds"),
            *_cost_cells(record),
            _run(record),
        ]
        for record in away
    ]
    labels = {f"bandwidth: {record['network']['bandwidth']}; delay: {record['network']['delay']}" for record in away}
    headings = "Model|Weights|Batch × tokens|Network|End to end|Offline|Online|Rounds|Online MB|Dealer MB|Run"
    text = f"On slower networks ({'; or '.join(sorted(labels))}; what a party answers the client is not delayed):"
    return _noted(f"{text}\n\n" + table(headings.split("|"), rows), away)


def peers(records: Sequence[Record]) -> str:
    """Ours beside others, one table for each comparison."""
    return "\n\n".join(_comparison(record) for record in records)


def gpus(records: Sequence[Record]) -> str:
    """Whatever figures a GPU's record has, as they stand there."""
    tables = []
    for record in records:
        rows = [[name, _plain(value)] for name, value in _flat(record.get("figures", {}))]
        device = record.get("device", "an unnamed device")
        title = f"## {device}: all roles in one process\n\n`{record.get('command', 'unknown command')}`"
        tables.append(f"{title}\n\n" + table(["Figure", ""], rows))
    return "\n\n".join(tables)


def by_op(record: Record) -> str:
    """Costs by op of a model or of one of its layers."""
    ops = sorted(record["ops"].items(), key=lambda item: -item[1]["p1"])
    rows = [
        [
            op,
            f"{cost['p1']:.3f}",
            f"{cost.get('dealer', 0.0):.3f}",
            f"{cost['rounds']:,.0f}",
            f"{cost['online_bytes'] / 1e6:.2f}",
            f"{cost['dealer_bytes'] / 1e6:.2f}",
        ]
        for op, cost in ops
    ]
    part = ""
    if "layer" in record:
        seconds = record["layer_seconds"][record["layer"]]
        apart = record.get("phases", {}).get("layer_seconds", {}).get(record["layer"])
        alone = "" if apart is None else f", {apart:.3f} s with the dealer's work done before"
        layers = record["setting"]["layers"]
        of = f"{layers or 'all its'} layer{'s' * (layers != 1)}"
        part = f"In a model of {of} one takes {seconds:.3f} s{alone}. "
    text = f"{part}Seconds are P1's and the dealer's within ops, in the last run; P1's with its waiting."
    headings = ["Op", "P1 s", "Dealer s", "Rounds", "Online MB", "Dealer MB"]
    return f"## {record['kind'].capitalize()}: {plots.title_of(record)}\n\n{text}\n\n{table(headings, rows)}"


def growth(record: Record) -> str:
    """One dimension varied, and how many times the first point's cost each point has."""
    points = record["points"]
    first = points[0]
    figures = ("median_seconds", "plaintext_seconds", "online_bytes", "dealer_bytes")
    rows = [
        [
            f"{point['value']}",
            _seconds(point["median_seconds"]),
            f"{1e3 * point['plaintext_seconds']:.1f} ms",
            f"{point['online_bytes'] / 1e6:.1f}",
            f"{point['dealer_bytes'] / 1e6:.1f}",
            f"{point['rounds']:,.0f}",
            f"{max(point['peak_memory_bytes'].values()) / 1e9:.2f} GB",
            *(f"{point[figure] / first[figure]:.2f}" for figure in figures),
        ]
        for point in points
    ]
    headings = [record["dimension"].capitalize(), "End to end", "Plaintext", "Online MB", "Dealer MB", "Rounds"]
    headings += ["Memory", "× time", "× plaintext", "× online", "× dealer"]
    text = f"`{record['command']}`. Plaintext: {record['plaintext']}. × is against the first row."
    return f"## Growth with {record['dimension']}: {plots.title_of(record)}\n\n{text}\n\n{table(headings, rows)}"


def gates(record: Record) -> str:
    """Every gate at every size, per element of its first argument."""
    rows = [
        [
            row["gate"],
            f"{row['elements']:,}",
            f"{row['microseconds']:.4f}",
            f"{row['dealer_microseconds']:.4f}",
            f"{row['rounds']}",
            f"{row['online_bytes']:.2f}",
            f"{row['dealer_bytes']:.2f}",
        ]
        for row in record["gates"]
    ]
    headings = ["Gate", "Elements", "P1 µs", "Dealer µs", "Rounds", "Online bytes", "Dealer bytes"]
    text = f"`{record['command']}`. Per element of the first argument. Included: {record['includes']}."
    return f"## Gates\n\n{text}\n\n{table(headings, rows)}"


def machines(records: Sequence[Record]) -> str:
    """On what and how the figures came about."""
    found = _machines(record for record in records if "machine" in record and not record.get("card"))
    return (
        f"Machine: {found or 'none measured'}. Each row is a file in `bench/results/` with its\n"
        "commit, versions, what it includes and its cost by op; [bench/RESULTS.md](../bench/RESULTS.md) has more of\n"
        "them. Run the command to repeat a row, then `python -m bench report`."
    )


def _comparison(record: Record) -> str:
    setting, rows = record["setting"], []
    for name, figures in record["systems"].items():
        if "error" in figures:
            rows.append([name, f"failed: {_one_line(figures['error'])}", *[""] * 6])
            continue
        ratio = record["ratios"].get(name)
        rounds, dealer = figures.get("rounds"), figures.get("dealer_bytes")
        rows.append(
            [
                name,
                _seconds(figures["median_seconds"]),
                "" if ratio is None else f"{ratio:.1f}×",
                f"{figures['bytes_sent_per_party'] / 1e6:.1f}",
                "" if dealer is None else f"{dealer / 1e6:.1f}",
                "" if rounds is None else f"{rounds:,}",
                f"{figures['max_error']:.1e}",
                f"{max(figures['peak_memory_bytes'].values()) / 1e9:.2f} GB",
            ]
        )
    included = "\n".join(
        f"- {name}: counts {figures['includes']}; leaves out {figures['excludes']}"
        for name, figures in record["systems"].items()
    )
    headings = ["System", "Time", "Ours is faster by", "MB sent per party", "Dealer MB", "Rounds", "Error", "Memory"]
    title = f"{plots.model_name(setting)}, {setting['batch']} × {setting['tokens']} tokens"
    text = f"Beside others: {title}, the same weights and input, in turns (`{record['command']}`):"
    note = (
        "*Ours is faster by* compares medians of the turns that ours and that peer took with each other; *time* is\n"
        "the median of all turns. *Memory* is the peak of the largest process."
    )
    return f"{text}\n\n{table(headings, rows)}\n\n{note}\n\n{included}"


def _model_cells(record: Record) -> list[str]:
    setting = record["setting"]
    return [plots.model_name(setting), setting["weights"], f"{setting['batch']} × {setting['tokens']}"]


def _run(record: Record) -> str:
    """The command, with a mark where bytes or rounds have changed since."""
    return f"`{record['command']}`" + (f" {_OUTDATED}" if baseline.is_outdated(record) else "")


def _noted(text: str, records: Iterable[Record]) -> str:
    """A table's text, with what the mark means where it stands."""
    return f"{text}\n\n{_NOTE}" if any(map(baseline.is_outdated, records)) else text


def _machine(record: Record) -> str:
    machine = record["machine"]
    return f"{machine['processor']}, {machine['cores']} cores, {machine['memory_gib']} GiB"


def _machines(records: Iterable[Record]) -> str:
    return "; ".join(sorted({_machine(record) for record in records}))


def _is_headline(record: Record) -> bool:
    setting = record["setting"]
    return _network(record) == "loopback" and setting["weights"] == "private" and not setting.get("layers")


def _parties(record: Record) -> str:
    protocol = record["setting"].get("protocol")
    return {"replicated": "three", "witnessed": "three and a dealer"}.get(protocol, "two and a dealer")


def _cost_cells(record: Record) -> list[str]:
    return [
        f"{record['rounds']:,.0f}",
        f"{record['online_bytes'] / 1e6:.1f}",
        f"{record['dealer_bytes'] / 1e6:.1f}",
    ]


def _network(record: Record) -> str:
    # Results from before there was a choice have no such field.
    return str(record.get("network", {}).get("name", "loopback"))


def _network_words(network: dict[str, Any]) -> str:
    round_trip = 2e3 * network["delay_seconds_one_way"]
    return f"{network['name']}: {network['bits_per_second'] / 1e6:g} Mbps, {round_trip:g} ms round trip"


def _phase(record: Record, figure: str) -> str:
    return _seconds(record["phases"][figure]) if "phases" in record else ""


def _seconds(value: float) -> str:
    return f"{value:.2f} s"


def _one_line(text: str) -> str:
    return " ".join(text.split()).replace("|", "/")[:160]


def _plain(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else _one_line(str(value))


def _flat(figures: dict[str, Any], prefix: str = "") -> list[tuple[str, object]]:
    found: list[tuple[str, object]] = []
    for name, value in figures.items():
        found += _flat(value, f"{prefix}{name}, ") if isinstance(value, dict) else [(prefix + name, value)]
    return found


def table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Markdown."""
    lines = [headings, ["---"] * len(headings), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines).replace("| --- ", "|---").replace("|--- |", "|---|")
