"""Which packages are installed, and from where: the four folders of this repository become one package, `secure`."""

import shutil

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

ROOMS = ("protocols", "models", "parties")


class BuildFromNothing(build_py):
    """Collects the files of a wheel in an empty folder.

    Setuptools adds to what an earlier build left there, and so would ship files that have been removed since.
    """

    def run(self) -> None:
        if not self.editable_mode:
            shutil.rmtree(self.build_lib, ignore_errors=True)
        super().run()


setup(
    packages=[
        "secure",
        *(f"secure.{name}" for name in find_packages("secure")),
        *(f"secure.{name}" for room in ROOMS for name in (room, *(f"{room}.{inner}" for inner in find_packages(room)))),
    ],
    package_dir={f"secure.{room}": room for room in ROOMS},
    cmdclass={"build_py": BuildFromNothing},
)
