"""The memory of a process."""

from pathlib import Path


def read_memory_mib(pid: int, *, peak: bool) -> float:
    """The resident memory of a process now, or the most since its start."""
    fields = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text("ascii", "replace").splitlines())
    return round(int(fields["VmHWM" if peak else "VmRSS"].split()[0]) / 1024, 1)
