"""Install Debian's Chromium and its driver where they are missing and this is root; else say so."""

from __future__ import annotations

import os
import shutil
import subprocess

PACKAGES = ("chromium", "chromium-driver")


def main() -> None:
    """Install them; where that cannot be, the tests are skipped and name what is missing."""
    if shutil.which("chromium") and shutil.which("chromedriver"):
        return
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        print(f"to be installed by root: {' '.join(PACKAGES)}")
        return
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for words in (
        ("update", "-qq"),
        ("install", "-y", "-qq", "--no-install-recommends", *PACKAGES),
    ):
        subprocess.run(["apt-get", *words], check=True, env=environment, stdout=subprocess.DEVNULL)


if __name__ == "__main__":
    main()
