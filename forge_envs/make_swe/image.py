"""Images of packages and of tasks: ordinary Dockerfiles, built by the daemon, identical steps cached."""

from __future__ import annotations

import time
from collections import deque
from pathlib import Path

from forge_envs.make_swe.advice import about_install
from forge_envs.make_swe.errors import MakeError
from forge_envs.make_swe.package import Package
from forge_envs.sandbox import SandboxError, images, provider
from forge_envs.sandbox.engine import Engine

PATIENCE = 1_800.0
FIRST_DAY = "2024-01-01T00:00:00Z"
PIP = (
    "pip install -q --no-cache-dir --disable-pip-version-check --break-system-packages "
    "--root-user-action=ignore"
)
PRETENDED = ("SETUPTOOLS_SCM_PRETEND_VERSION", "PDM_BUILD_SCM_VERSION", "POETRY_DYNAMIC_VERSIONING_BYPASS")
"""Where build backends look for a version before they ask git."""
TIDY = "rm -rf /testbed/*.egg-info /testbed/src/*.egg-info /testbed/build /root/.cache"


def installed(package: Package) -> str:
    """The steps that tasks of a package share: its files at /testbed, what it needs, itself in place.

    The folder of the Dockerfile holds `source.tar.gz` and `requirements.txt`.
    """
    if package.installs:
        pretend = " ".join(f"{name}={package.version}" for name in PRETENDED) + " "
        install = f"cd /testbed && {pretend}{PIP} --no-deps --use-pep517 -e /testbed"
    else:
        where = "$(python3 -c 'import site; print(site.getsitepackages()[0])')"
        install = f"mkdir -p {where} && printf '/testbed\\n/testbed/src\\n' > {where}/testbed.pth"
    return f"""\
FROM forge/swe
USER root
COPY source.tar.gz requirements.txt /forge/
RUN tar -xzf /forge/source.tar.gz --no-same-owner -C /testbed \\
 && if [ -s /forge/requirements.txt ]; then {PIP} -r /forge/requirements.txt; fi
RUN {install} \\
 && {TIDY} \\
 && chown -R forge:forge /testbed && git config --system --add safe.directory /testbed
RUN rm -rf /forge
USER forge
WORKDIR /testbed
"""


def task_dockerfile(package: Package) -> str:
    """The image of a task: the repository with the bug, without the hidden tests, as one commit.

    What it was made from, which holds gold, is in none of the files that a container of it sees.
    """
    return f"""\
{installed(package)}COPY --chown=forge:forge base.patch /tmp/
RUN git apply --allow-empty --whitespace=nowarn /tmp/base.patch && rm /tmp/base.patch \\
 && git init -q -b main && git add -A -f \\
 && export GIT_AUTHOR_DATE={FIRST_DAY} GIT_COMMITTER_DATE={FIRST_DAY} \\
 && git -c user.name=forge -c user.email=forge@localhost commit -q -m 'Initial commit' && rm -rf .git/logs
"""


def package_dockerfile(package: Package, user: str) -> str:
    """The image that bugs are tried in: the package as it is."""
    return installed(package) + (f"USER {user}\n" if user != "forge" else "")


def prepare(package: Package, folder: Path) -> dict[str, str]:
    """Build the images of a package; returns their tags by user, "forge" and "root".

    `folder` gets the files that the Dockerfiles of its tasks need. Raises SandboxError; MakeError when the
    package cannot be installed.
    """
    images.build("swe")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "source.tar.gz").write_bytes(package.archive)
    pins, asked = folder / "requirements.txt", folder / "wanted.txt"
    wanted = "".join(f"{line}\n" for line in package.needs)
    if not pins.exists() or not asked.exists() or asked.read_text() != wanted:
        pins.unlink(missing_ok=True)  # asking may fail: old answers must not pass for those to a new question
        asked.write_text(wanted)
        pins.write_text(_pins(package, folder) if wanted else "")
    tags = {}
    for user in ("forge", "root"):
        tags[user] = f"forge/made-{package.label}:{user}"
        (folder / "Dockerfile").write_text(package_dockerfile(package, user))
        try:
            build(folder, tags[user])
        except SandboxError as error:
            raise _explained(package, error) from error
    return tags


def _explained(package: Package, error: SandboxError) -> Exception:
    if error.kind != "build":
        return error
    return MakeError(f"{package.label} cannot be installed in an image: {error}\n{about_install(str(error))}")


def _pins(package: Package, folder: Path) -> str:
    """What pip chooses for what `wanted.txt` asks, each with its version."""
    before = installed(package).partition("COPY")[0]
    scm = " ".join(f"{name}={package.version}" for name in PRETENDED) + " "
    (folder / "Dockerfile").write_text(
        f"{before}COPY source.tar.gz wanted.txt /forge/\n"
        "RUN tar -xzf /forge/source.tar.gz --no-same-owner -C /testbed\n"
        f"RUN cd /testbed && {scm}{PIP} -r /forge/wanted.txt\n"
    )
    tag = f"forge/made-{package.label}:pins"
    try:
        build(folder, tag)
    except SandboxError as error:
        raise _explained(package, error) from error
    listing = "pip list --format=freeze --path $(python3 -c 'import site; print(site.getsitepackages()[0])')"
    box = provider("docker").open(tag)
    try:
        found = box.run(f"{listing} 2>/dev/null").output.split()
    finally:
        box.close()
        remove(tag)
    own = package.name.lower().replace("_", "-")
    return "".join(f"{line}\n" for line in found if line.partition("==")[0].lower().replace("_", "-") != own)


def build(folder: Path, tag: str) -> None:
    """Build the Dockerfile of a folder. Raises SandboxError with the builder's last words."""
    engine, last, until = Engine(), deque[str](maxlen=15), time.monotonic() + PATIENCE
    with engine.asking(f"building {tag}", patience=PATIENCE):
        lines = engine.api.build(
            path=str(folder),
            tag=tag,
            network_mode="host",
            rm=True,
            forcerm=True,
            decode=True,
            timeout=PATIENCE,
        )
        for line in lines:
            last.extend(text for text in line.get("stream", "").splitlines() if text.strip())
            if "error" in line:
                said = "\n".join([*last, line["error"]])
                raise SandboxError(f"{tag} was not built:\n{said}", kind="build", retryable=False)
            if time.monotonic() > until:
                raise SandboxError(
                    f"{tag} was not built within {PATIENCE:g} s", kind="timeout", retryable=True
                )


def exists(tag: str) -> bool:
    """Whether there is such an image. Raises SandboxError when there is no daemon."""
    engine = Engine()
    try:
        with engine.asking(f"image {tag!r}"):
            engine.api.inspect_image(tag)
    except SandboxError as error:
        if error.kind == "no_image":
            return False
        raise
    return True


def remove(tag: str) -> None:
    """Remove an image's name; that it is gone already, or in use, is fine."""
    engine = Engine()
    try:
        with engine.asking(f"image {tag!r}"):
            engine.api.remove_image(tag)
    except SandboxError as error:
        if error.kind in ("no_daemon", "timeout"):
            raise
