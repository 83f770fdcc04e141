"""GGUF given where weights to train are asked for: what it is, and the way from it to a model folder."""

from __future__ import annotations

from pathlib import Path


def refuse_gguf(path: Path | str) -> None:
    """Raise ValueError for a .gguf file, and for a folder whose only weights are GGUF."""
    place = Path(path).expanduser()
    if place.suffix.lower() == ".gguf":
        found = place
    elif place.is_dir() and not any((place / name).exists() for name in ("config.json", "config.toml")):
        found = next((file for file in sorted(place.iterdir()) if file.suffix.lower() == ".gguf"), place)
        if found == place:
            return
    else:
        return
    raise ValueError(
        f"{found}: GGUF holds weights to run, not to train, often rounded to four bits. Take the model's own "
        "folder (config.json, *.safetensors, tokenizer.json), or make one of it as docs/your_model.md shows "
        "(pip install 'forge-envs[gguf]')"
    )
