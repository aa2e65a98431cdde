import tomllib
from pathlib import Path

from tongwen.packages import installed_versions, package_versions


def test_the_packages_are_those_of_pyproject_and_of_the_extras_asked_for() -> None:
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
    own = [text.partition(">")[0] for text in project["dependencies"]]
    train = [text.partition(">")[0] for text in project["optional-dependencies"]["train"]]
    assert list(package_versions()) == ["tongwen", *own]
    assert list(package_versions("train")) == ["tongwen", *own, *train]


def test_what_is_not_installed_has_no_version() -> None:
    known = package_versions("data", "train", "serve", "report", "ray")
    assert installed_versions("data", "train", "serve", "report", "ray") == {
        name: version for name, version in known.items() if version
    }
    assert known["numpy"] is not None
