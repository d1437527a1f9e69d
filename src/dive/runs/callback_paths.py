"""Paths in the callback states of a checkpoint: they must not lead outside the run that is resumed."""

from pathlib import Path
from typing import Any

# Paths in the state of Lightning's checkpoint callbacks, besides `dirpath` and the keys of `best_k_models`.
PATH_KEYS = {"best_model_path", "kth_best_model_path", "last_model_path"}


def relocate_paths(checkpoint: dict[str, Any], folder: Path) -> dict[str, Any]:
    """A checkpoint in which callbacks refer to files of the same names in `folder`, the run's checkpoint folder.

    A run may have been moved, or come from somebody else: Lightning removes files that callback states name.
    """
    if not isinstance(states := checkpoint.get("callbacks"), dict):
        return checkpoint
    return {**checkpoint, "callbacks": {name: _relocate(state, folder) for name, state in states.items()}}


def _relocate(state: Any, folder: Path) -> Any:
    if not isinstance(state, dict) or not PATH_KEYS & state.keys():
        return state
    old = state.get("dirpath")

    def relocate(path: Any) -> str:
        if not isinstance(path, str) or "\0" in path or Path(path).name in ("", ".."):
            return ""
        inside = isinstance(old, str) and Path(path).is_relative_to(old)
        relative = Path(path).relative_to(str(old)) if inside else Path(Path(path).name)
        return str(folder / relative) if ".." not in relative.parts else ""

    paths: dict[str, Any] = {key: relocate(state[key]) for key in PATH_KEYS & state.keys()}
    if isinstance(models := state.get("best_k_models"), dict):
        paths["best_k_models"] = {relocate(path): score for path, score in models.items()}
    return {**state, **paths, "dirpath": str(folder)}
