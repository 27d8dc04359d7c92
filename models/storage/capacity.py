"""What a model takes on a disk and in a party's memory, known from its manifest before anything is written or sent."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

import torch

from secure.models.contract.manifest import Manifest, ParameterSpec
from secure.models.contract.tensor_file import FileTensorSpec
from secure.models.storage.weight_file import BLOCK_BYTES, FEWEST_BUFFERS, Room
from secure.protocols.core import ring
from secure.protocols.core.errors import CheckpointError
from secure.protocols.core.secret import Visibility
from secure.protocols.families import family

_PART_AHEAD = 4  # one byte in so many of the memory for matrices is for those that are on their way
_MOST_AHEAD_BYTES = 1 << 30  # a second's reading


def file_specs(manifest: Manifest, role: str) -> dict[str, FileTensorSpec]:
    """Shapes and types of tensors in a computing role's share file."""
    return {
        name: FileTensorSpec(
            (*manifest.parts, *spec.shape), torch.int32 if spec.bits <= ring.HALF_WORD_BITS else torch.int64
        )
        for name, spec in manifest.held_by(role).items()
    }


def share_bytes(manifest: Manifest, role: str) -> int:
    """Bytes of the tensors in a party's share file."""
    return sum(spec.size_bytes for spec in file_specs(manifest, role).values())


def check_disk(manifest: Manifest, folder: Path) -> None:
    """Raises CheckpointError when the folder's disk has no room for all share files."""
    need = {role: share_bytes(manifest, role) for role in family(manifest.protocol).computing}
    free = shutil.disk_usage(folder).free
    if sum(need.values()) > free:
        each = ", ".join(f"{role} {human_bytes(count)}" for role, count in need.items())
        raise CheckpointError(
            f"the share files take {human_bytes(sum(need.values()))} ({each}) in {folder}; "
            f"{human_bytes(free)} are free there"
        )


def needed_bytes(manifest: Manifest, role: str, *, digits: bool) -> int:
    """What a role's memory must have room for, to load a model and keep all of it there. As for `plan_room`."""
    kept = sum(_kept_bytes(manifest, spec, role, digits=digits) for spec in manifest.parameters.values())
    return kept + max((_loading_bytes(manifest, spec) for spec in manifest.parameters.values()), default=0)


def plan_room(manifest: Manifest, role: str, free_bytes: int, folder: Path, *, digits: bool) -> Room:
    """Where a role keeps a model of which free_bytes at most are to be in memory, and the rest on the folder's disk.

    digits: whether products are computed with digits of numbers, rather than with words: see
    `secure.protocols.core.factor`.

    Raises CheckpointError, with the arithmetic, when memory or disk cannot do.
    """
    kept = {name: _kept_bytes(manifest, spec, role, digits=digits) for name, spec in manifest.parameters.items()}
    matrices = sum(count for name, count in kept.items() if _is_matrix(manifest.parameters[name]))
    others = sum(kept.values()) - matrices
    needed = needed_bytes(manifest, role, digits=digits)
    if needed <= max(free_bytes, 0):  # without parameters nothing is needed
        return Room(matrices)
    largest = max(manifest.parameters, key=lambda name: manifest.parameters[name].elements)
    loading = _loading_bytes(manifest, manifest.parameters[largest])
    least = FEWEST_BUFFERS * BLOCK_BYTES
    if others + loading + least > free_bytes:
        raise CheckpointError(
            f"{role} needs {human_bytes(others + loading + least)} of memory for this model: {human_bytes(others)} for "
            f"vectors, {human_bytes(least)} to read matrices from a disk and {human_bytes(loading)} while {largest}, "
            f"the largest, is loaded; {human_bytes(free_bytes)} are free"
        )
    left = free_bytes - others
    ahead = min(max(least, (left - loading) // _PART_AHEAD), _MOST_AHEAD_BYTES)
    in_memory = _most_in_memory(manifest, kept, left - ahead)
    room = Room(in_memory, matrices - in_memory, ahead)
    free_on_disk = shutil.disk_usage(folder).free
    if room.disk_bytes > free_on_disk:
        raise CheckpointError(
            f"{role} needs {human_bytes(needed)} of memory for this model, of which "
            f"{human_bytes(free_bytes)} are free; the {human_bytes(room.disk_bytes)} of matrices that do not fit would "
            f"go to {folder}, where {human_bytes(free_on_disk)} are free. TMPDIR names another folder"
        )
    return room


def _most_in_memory(manifest: Manifest, kept: Mapping[str, int], left_bytes: int) -> int:
    """What may stay of the matrices, evenly over the model, while one tensor after the other is loaded beside it.

    The last ones to be loaded leave room for sessions.
    """
    seen, part = 0, 1.0
    for name, spec in sorted(manifest.parameters.items()):  # the order of `secure.models.program.load`
        seen += kept[name] if _is_matrix(spec) else 0
        if seen:
            part = min(part, (left_bytes - _loading_bytes(manifest, spec)) / seen)
    return int(part * seen)


def _is_matrix(spec: ParameterSpec) -> bool:
    """Whether it is kept as a factor of matrix products."""
    return spec.parameter.is_matrix


def _loading_bytes(manifest: Manifest, spec: ParameterSpec) -> int:
    """What loading a tensor takes, at most."""
    return family(manifest.protocol).loading_bytes(spec.parameter)


def _kept_bytes(manifest: Manifest, spec: ParameterSpec, role: str, *, digits: bool) -> int:
    """What a role keeps of one parameter."""
    kept = family(manifest.protocol).kept_bytes
    return kept(spec.parameter, role, Visibility(manifest.weights), digits=digits)


def available_bytes(system: Path = Path("/")) -> int | None:
    """What can still be taken without swapping, within a container's limit, too. None where the system does not tell.

    system: the root of /proc and /sys.
    """
    try:
        lines = (system / "proc/meminfo").read_text(encoding="ascii").splitlines()
        free = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration):
        return None
    try:
        group = system / "sys/fs/cgroup"
        limit, used = int((group / "memory.max").read_text()), int((group / "memory.current").read_text())
        # Pages of files that nobody has changed are given back when memory is short.
        files = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
        return min(free, limit - used + int(files["inactive_file"]))
    except (OSError, ValueError, KeyError):
        return free  # no limit: the file is missing, or says "max"


def human_bytes(count: int) -> str:
    """1234567 as '1.23 MB'; units are powers of ten."""
    if count < 1000:
        return f"{count} B"
    value, unit = count / 1e3, "kB"
    for larger in ("MB", "GB", "TB"):
        if value >= 999.5:
            value, unit = value / 1e3, larger
    return f"{value:.{2 if value < 10 else 1 if value < 100 else 0}f} {unit}"
