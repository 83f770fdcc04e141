"""Writes docs/report.png, the picture in the README: the top of a run's report, as a browser shows it.

python docs/picture.py runs/demo        # wants chromium: apt-get install chromium
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from forge_train.show.report import write_report

SIZE = "1040,900"
"""Of the window, in pixels."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, help="a run's folder, e.g. runs/demo")
    args = parser.parse_args()
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser is None:
        sys.exit("no chromium is installed: apt-get install chromium")
    report = write_report(args.run).resolve()
    picture = Path(__file__).with_name("report.png")
    with tempfile.TemporaryDirectory() as profile:
        subprocess.run(
            [browser, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
             f"--user-data-dir={profile}", f"--window-size={SIZE}", f"--screenshot={picture}",
             report.as_uri()],
            check=True, capture_output=True, timeout=300,
        )  # fmt: skip
    print(f"{picture}: {picture.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
