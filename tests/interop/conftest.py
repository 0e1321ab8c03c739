"""Third-party Sparkplug clients, each installed from its registry into a folder of the tests' own.

Each is driven by a small program in `sparkplug_clients`, which is told by its input what to publish.
"""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest

DRIVERS = Path(__file__).with_name("sparkplug_clients")
DEVICE = "inv01"
ENERGY = 2**53 + 1
"""What the drivers are born with: the first whole number that a double does not have."""


@dataclass
class Program:
    """A driver with the client it drives."""

    command: list[str]
    environment: dict[str, str] = field(default_factory=dict)

    def started(self) -> subprocess.Popen[str]:
        """Start it; the first line of its input says where and as whom it speaks."""
        return subprocess.Popen(
            self.command, stdin=subprocess.PIPE, text=True,
            env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | self.environment,
        )  # fmt: skip


@pytest.fixture(scope="session")
def sparkplug_client(tmp_path_factory: pytest.TempPathFactory) -> Program:
    """Edge node on npm sparkplug-client, the client of Eclipse Tahu."""
    if not shutil.which("npm") or not shutil.which("node"):
        pytest.skip("npm sparkplug-client needs Node.js with npm")
    folder = tmp_path_factory.mktemp("npm")
    install(["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix", str(folder),
             "sparkplug-client@3.2.4"])  # fmt: skip
    return Program(["node", str(DRIVERS / "sparkplug_client.cjs")], {"NODE_PATH": str(folder / "node_modules")})


@pytest.fixture(scope="session")
def pysparkplug(tmp_path_factory: pytest.TempPathFactory) -> Program:
    """Edge node on PyPI pysparkplug; it pins paho-mqtt below 2, hence a venv of its own."""
    return python_program(tmp_path_factory.mktemp("pysparkplug"), "pysparkplug==0.6.1", "pysparkplug_node.py")


@pytest.fixture(scope="session")
def mqtt_spb_wrapper(tmp_path_factory: pytest.TempPathFactory) -> Program:
    """Device on PyPI mqtt-spb-wrapper; it pins paho-mqtt 1.6.1 and protobuf 3."""
    return python_program(tmp_path_factory.mktemp("wrapper"), "mqtt-spb-wrapper==2.1.2", "mqtt_spb_wrapper_node.py")


def python_program(folder: Path, package: str, driver: str) -> Program:
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True, timeout=120)
    python = str(folder / "bin" / "python")
    install([python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", package])
    return Program([python, str(DRIVERS / driver)])


def install(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, timeout=200, check=False)
    if done.returncode:
        pytest.skip(f"{command[-1]} cannot be installed: is its registry within reach?")
