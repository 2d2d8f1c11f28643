"""With LUTHIER_BUILD_KERNELS=1 the wheel carries compiled kernels for every CPU tier of this machine's architecture.

Without it the wheel is pure Python, and kernels are compiled where they run. pyproject.toml has everything else.
"""

import os
import sys
from pathlib import Path

from setuptools import setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent
SOURCES = ("inference/engines/native/forward.cpp", "training/kernels/kernels.cpp")
WITH_KERNELS = os.environ.get("LUTHIER_BUILD_KERNELS") == "1"


class BuildKernels(build_py):
    def run(self) -> None:
        super().run()
        if WITH_KERNELS:
            sys.path.insert(0, str(ROOT / "src"))
            from luthier import native

            package = Path(self.build_lib) / "luthier"
            native.prebuild([package / source for source in SOURCES], package / "native" / native.PREBUILT.name)


class PlatformWheel(bdist_wheel):
    """Of any Python 3, for one platform."""

    def finalize_options(self) -> None:
        super().finalize_options()
        self.root_is_pure = self.root_is_pure and not WITH_KERNELS

    def get_tag(self) -> tuple[str, str, str]:
        python, abi, platform = super().get_tag()
        return ("py3", "none", platform) if WITH_KERNELS else (python, abi, platform)


setup(cmdclass={"build_py": BuildKernels, "bdist_wheel": PlatformWheel})
