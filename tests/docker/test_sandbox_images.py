"""Images without a registry: what is current stays, what is not is built, what fails says why."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from forge_envs.sandbox import SandboxError, images
from forge_envs.sandbox.docker import DockerProvider
from forge_envs.sandbox.engine import Engine
from forge_envs.sandbox.pull import ensure, pull


class Heard:
    """Progress that remembers its steps."""

    def __init__(self) -> None:
        self.steps: list[str] = []

    def step(self, text: str) -> None:
        self.steps.append(text)

    def detail(self, text: str) -> None:
        pass


@pytest.fixture
def recipe(engine: Engine, swe_image: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The Dockerfile of an image of our own, `forge/<name of its folder>`."""
    file = tmp_path / f"test-{os.getpid()}" / "Dockerfile"
    file.parent.mkdir()
    file.write_text(f"FROM {swe_image}\nRUN echo one > /tmp/made\n")
    monkeypatch.setattr(images, "FOLDER", tmp_path)
    yield file
    for tag in (f"forge/{file.parent.name}", f"forge-test/base:{os.getpid()}"):
        if engine.api.images(tag):
            engine.api.remove_image(tag, force=True)


def test_what_is_current_is_not_built_again(recipe: Path, engine: Engine, docker: DockerProvider) -> None:
    name, heard = recipe.parent.name, Heard()
    assert images.names() == [name]
    tag = images.build(name, show=heard)
    assert tag == f"forge/{name}" and f"{tag}: building" in heard.steps
    first = ensure(engine, tag)["Id"]
    again = Heard()
    assert images.build_missing([name], show=again) == [tag]
    assert again.steps == [] and ensure(engine, tag)["Id"] == first
    recipe.write_text(recipe.read_text().replace("one", "two"))
    images.build(name, show=again)
    assert f"{tag}: building" in again.steps and ensure(engine, tag)["Id"] != first
    box = docker.open(tag)
    assert box.run("cat /tmp/made").output == "two\n"
    box.close()


def test_a_build_that_fails_tells_what_was_said(recipe: Path) -> None:
    recipe.write_text(recipe.read_text() + "RUN echo the reason; exit 3\n")
    with pytest.raises(
        SandboxError, match=r"(?s)was not built.*the reason.*returned a non-zero code: 3"
    ) as caught:
        images.build(recipe.parent.name, show=Heard())
    assert caught.value.kind == "build"
    with pytest.raises(ValueError, match=recipe.parent.name):
        images.build("nothing")


def test_a_build_has_a_deadline(recipe: Path) -> None:
    recipe.write_text(recipe.read_text() + "RUN sleep 600\n")
    began = time.monotonic()
    with pytest.raises(SandboxError) as caught:
        images.build(recipe.parent.name, timeout=10.0, show=Heard())
    assert caught.value.kind == "timeout" and time.monotonic() - began < 120.0


def test_a_base_comes_from_where_one_says(
    recipe: Path, engine: Engine, swe_image: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    tag = f"forge-test/base:{os.getpid()}"
    monkeypatch.setattr(images, "BASE", tag)
    recipe.write_text(f"FROM {tag}\n")
    images.build(recipe.parent.name, base=swe_image, show=Heard())
    assert ensure(engine, tag)["Id"] == ensure(engine, swe_image)["Id"]


def test_without_debootstrap_or_root_the_fix_is_named(recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "BASE", "forge-test/nothing:here")
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(SandboxError, match="apt-get install debootstrap") as caught:
        images.build(recipe.parent.name, show=Heard())
    assert caught.value.kind == "no_image" and "--from debian:bookworm" in str(caught.value)
    monkeypatch.undo()
    if shutil.which("debootstrap") and os.geteuid() != 0:
        monkeypatch.setattr(images, "FOLDER", recipe.parents[1])
        monkeypatch.setattr(images, "BASE", "forge-test/nothing:here")
        with pytest.raises(SandboxError, match="sudo forge-envs images"):
            images.build(recipe.parent.name, show=Heard())


def test_a_pull_without_a_registry_is_named(engine: Engine) -> None:
    heard = Heard()
    with pytest.raises(SandboxError, match="no registry answers") as caught:
        pull(engine, "127.0.0.1:1/some/where:tag", until=time.monotonic() + 60.0, show=heard)
    assert (caught.value.kind, caught.value.retryable) == ("no_registry", False)
    assert heard.steps == ["127.0.0.1:1/some/where:tag: pulling"]
    with pytest.raises(SandboxError) as wrong:
        pull(engine, "UPPER/Case", until=time.monotonic() + 60.0, show=heard)
    assert not wrong.value.retryable
