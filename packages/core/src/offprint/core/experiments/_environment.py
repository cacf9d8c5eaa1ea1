"""Where a result came from: packages, machine, devices, seeds, and the revision of the code."""

from __future__ import annotations

import functools
import os
import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

from offprint.core.experiments._files import plain


def environment(config: Any, source: Path | None = None, *, devices: bool = True) -> dict[str, Any]:
    """What `environment.json` holds.

    Args:
        config: the config of the run; its fields with `seed` in their name are recorded.
        source: a file of the code that runs; where git tracks it, the revision is recorded.
        devices: ask JAX for its devices, where the experiment has imported it. Asking starts JAX's backends, which
            an experiment may want to set up itself, so it is done at the end of a run only.
    """
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "devices": _devices() if devices else [],
        "seeds": {name: value for name, value in (plain(config) or {}).items() if "seed" in name},
        "git": _revision(source) if source else None,
        "packages": _packages(),
    }


@functools.cache
def _packages() -> dict[str, str]:
    found = {dist.metadata["Name"]: dist.version for dist in metadata.distributions() if dist.metadata["Name"]}
    return dict(sorted(found.items(), key=lambda item: item[0].lower()))


@functools.cache
def _cpu() -> str:
    try:
        if sys.platform == "darwin":
            return _output("sysctl", "-n", "machdep.cpu.brand_string")
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    except (OSError, subprocess.CalledProcessError):
        names = []
    return names[0] if names else platform.processor() or platform.machine()


def _devices() -> list[str]:
    jax = sys.modules.get("jax")
    try:
        return [f"{device.platform}: {device.device_kind}" for device in jax.devices()] if jax else []
    except RuntimeError as error:  # no backend could be started; the run itself has failed over it
        return [f"none: {error}"]


@functools.cache
def _revision(source: Path) -> dict[str, Any] | None:
    """The commit of a tracked file; None for an installed copy, even one that lies inside some checkout."""
    git = ("git", "-C", str(source.parent))
    try:
        _output(*git, "ls-files", "--error-unmatch", source.name)
        changed = _output(*git, "status", "--porcelain", "--untracked-files=no")
        return {"revision": _output(*git, "rev-parse", "HEAD"), "changed": bool(changed)}
    except (OSError, subprocess.CalledProcessError):
        return None


def _output(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
