"""Which packages are installed, and from where: the four folders of this repository become one package, `secure`."""

from setuptools import find_packages, setup

ROOMS = ("protocols", "models", "parties")

setup(
    packages=[
        "secure",
        *(f"secure.{name}" for name in find_packages("secure")),
        *(f"secure.{name}" for room in ROOMS for name in (room, *(f"{room}.{inner}" for inner in find_packages(room)))),
    ],
    package_dir={f"secure.{room}": room for room in ROOMS},
)
