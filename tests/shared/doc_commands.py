"""The commands of a page of docs/, as a reader would type them: what a page says to do is what its test does."""
import os
import re
import subprocess
import tempfile

TREE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def block(page, heading, language):
    """The first block in this language under a heading."""
    with open(os.path.join(TREE, "docs", page), encoding="utf-8") as f:
        section = re.search(rf"^## {re.escape(heading)}$(.*?)(?=^## |\Z)", f.read(), re.DOTALL | re.MULTILINE)
    found = section and re.search(rf"^```{language}\n(.*?)^```", section[1], re.DOTALL | re.MULTILINE)
    assert found, f"{page} has no {language} under {heading}"
    return found[1]


def commands(page, heading, way):
    """The lines of the block of shell under a heading that stand beneath its comment `# <way>...` (`# <other>, <way>...`), up to the next such comment."""
    part = re.search(rf"^# (?:\w+, )*{re.escape(way)}\b[^\n]*\n((?:(?!# )[^\n]*\n)+)", block(page, heading, "sh"), re.MULTILINE)
    assert part, f"{page} has no commands for {way} under {heading}"
    return part[1]


def run(page, heading, way, words, cwd, env, timeout=600):
    """All of them in one shell, where the page's short `words` ({name: the beginning of a command}) are commands; each must succeed. What they said."""
    with tempfile.TemporaryDirectory(prefix="eco-words-") as folder:
        for name, command in words.items():
            with open(os.path.join(folder, name), "w", encoding="utf-8", opener=lambda path, flags: os.open(path, flags, 0o700)) as f:
                f.write(f'#!/bin/sh\nexec {command} "$@"\n')
        done = subprocess.run(["bash", "-euo", "pipefail", "-c", commands(page, heading, way)], cwd=cwd, env=env | {"PATH": f"{folder}:{env['PATH']}"},
                              stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", timeout=timeout, check=False)
    assert done.returncode == 0, f"{page}, {heading}, {way}: {done.stdout[-1500:]}{done.stderr[-3000:]}"
    return done.stdout
