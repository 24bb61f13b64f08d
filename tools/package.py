"""The package as the registry ships it. Standard library and git only.

python tools/package.py zip OUT.zip           everything that git tracks and .comfyignore does not leave out
python tools/package.py addresses URL REF     write a repository's address, and those of icon and banner, into pyproject.toml
python tools/package.py version TAG           fail unless TAG is this version, and CHANGELOG.md tells of it; print what it tells
"""

import re
import subprocess
import sys
import zipfile
from pathlib import Path

from environment import ROOT


def tracked(*more: str) -> list[str]:
    command = ["git", "-C", str(ROOT), "ls-files", "-z", *more]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.split("\0")[:-1]


def shipped() -> list[str]:
    """Paths within the package, sorted."""
    left_out = set(tracked("--cached", "--ignored", "--exclude-from=.comfyignore"))
    return sorted(p for p in tracked() if p not in left_out and (ROOT / p).is_file())


def pack(target: Path) -> list[str]:
    """Write the zip; returns what is in it."""
    names = shipped()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as file:
        for name in names:
            file.write(ROOT / name, name)
    return names


def with_addresses(pyproject: str, repository: str, raw: str) -> str:
    """pyproject.toml with the addresses of a repository and of its raw files at one commit."""
    for name in ("Icon", "Banner"):
        pyproject = re.sub(rf'^{name} = "(?!https:)(.*)"$', rf'{name} = "{raw}/\1"', pyproject, flags=re.MULTILINE)
    urls = f'[project.urls]\nRepository = "{repository}"\nDocumentation = "{repository}#readme"\nIssues = "{repository}/issues"\n'
    return pyproject.replace("[tool.comfy]\n", f"{urls}\n[tool.comfy]\n", 1)


def changes(tag: str) -> str:
    """What CHANGELOG.md says of this version; SystemExit where the tag is another one, or nothing is said."""
    version = re.search(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.MULTILINE)[1]
    if tag.removeprefix("v") != version:
        raise SystemExit(f"the tag is {tag}, but pyproject.toml says {version}")
    told = re.search(
        rf"^## {re.escape(version)}\b.*\n([^#]+)", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE
    )
    if told is None:
        raise SystemExit(f"CHANGELOG.md says nothing of {version}")
    return told[1].strip()


def main(command: str, *given: str) -> None:
    if command == "zip":
        target = Path(given[0])
        names = pack(target)
        print(f"{target}: {len(names)} files, {target.stat().st_size / 1e6:.1f} MB")
    elif command == "addresses":
        repository, reference = given
        raw = repository.replace("https://github.com/", "https://raw.githubusercontent.com/") + f"/{reference}"
        path = ROOT / "pyproject.toml"
        path.write_text(with_addresses(path.read_text(encoding="utf-8"), repository, raw), encoding="utf-8")
    elif command == "version":
        print(changes(given[0]))
    else:
        raise SystemExit(__doc__)


if __name__ == "__main__":
    main(*(sys.argv[1:] or [""]))
