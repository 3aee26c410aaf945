"""The completion script in a real, interactive zsh: keys are typed, and what stands on the command line then is read."""
import os
import pty
import re
import select
import shutil
import subprocess
import time

import pytest

from conftest import BUILD


class Zsh:
    """zsh -f on a terminal of its own, with completion set up as the documentation says."""

    def __init__(self, folder):
        script = subprocess.run([BUILD / "bin/ecolink", "completion", "zsh"], check=True, capture_output=True, text=True).stdout
        (folder / "_ecolink").write_text(script)
        assert subprocess.run(["zsh", "-n", folder / "_ecolink"], capture_output=True, text=True).stderr == ""
        env = {"PATH": f"{BUILD}/bin:{os.environ['PATH']}", "HOME": str(folder), "TERM": "dumb", "LC_ALL": "C.UTF-8"}
        self.pid, self.terminal = pty.fork()
        if self.pid == 0:
            os.chdir(folder)
            os.execvpe("zsh", ["zsh", "-f", "-i"], env)
        self.say(f"PS1='> '; fpath=({folder} $fpath); autoload -Uz compinit; compinit -u -D; setopt noautolist nobeep; echo UP$((1+1))")
        self.read_until("UP2")

    def say(self, text):
        os.write(self.terminal, text.encode() + b"\r")

    def read_until(self, wanted, seconds=30):
        seen, end = "", time.monotonic() + seconds
        while not re.search(wanted, seen):
            assert time.monotonic() < end, f"zsh did not say {wanted}: {seen!r}"
            if select.select([self.terminal], [], [], 0.2)[0]:
                seen += os.read(self.terminal, 65536).decode(errors="replace")
        return seen

    def complete(self, typed):
        """Types, presses Tab, and has the line printed instead of run."""
        os.write(self.terminal, typed.encode() + b"\t")
        self.say("\x01print -r -- LINE'[' \x05 ']'")
        return " ".join(re.search(r"LINE\[ (.*?) ?\]\s", self.read_until(r"LINE\[ [^\r\n]*\][\r\n]"))[1].split())

    def close(self):
        os.close(self.terminal)
        os.waitpid(self.pid, 0)


@pytest.fixture(scope="module")
def zsh(tmp_path_factory):
    if not shutil.which("zsh"):
        pytest.skip("zsh is not installed")
    shell = Zsh(tmp_path_factory.mktemp("zsh"))
    yield shell
    shell.close()


@pytest.mark.parametrize("typed, line", [
    ("ecolink mod", "ecolink models"),
    ("ecolink models cr", "ecolink models create"),
    ("ecolink models create x --cat", "ecolink models create x --category"),
    ("ecolink models create x --category emb", "ecolink models create x --category embedding"),
    ("ecolink admin platform-models sh", "ecolink admin platform-models show"),
    ("ecolink launch m --allow", "ecolink launch m --allow-single-region"),
    ("ecolink nonsense-that-is-nothing", "ecolink nonsense-that-is-nothing"),
])
def test_tab_completes(zsh, typed, line):
    assert zsh.complete(typed) == line
